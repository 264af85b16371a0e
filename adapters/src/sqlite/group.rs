//! One commit for many effects, each of which fails alone.
//!
//! A savepoint for each effect costs up to a third. So a group whose effects can all be run again
//! goes without: if one of them fails half way, the group is rolled back and run again with
//! savepoints; if the commit is refused (a deferred constraint), each is run and committed alone.
//!
//! A closure runs once. So where a foreign key is deferred, and a commit can be refused for what one
//! member did, closures commit alone; and work that ends the transaction by itself (`ON CONFLICT
//! ROLLBACK`) is answered alone, while the others go on without it.

use exactly_once_core::ErrorKind;

use super::{
    connection::Purpose,
    error::{Failure, STORE},
    lane::Lane,
    queue::{Job, Ran},
    settings::Settings,
};

/// After an effect that failed half way, more such are likely: so many groups are run with
/// savepoints at once.
const CAREFUL_GROUPS: u32 = 64;

/// How a group ended.
pub(super) enum Ended {
    /// So many jobs were run; this is the failure of all of these, if there was one.
    Settled(usize, Option<Failure>),
    /// The job at this position ended the transaction by itself: nothing was stored.
    Broken(usize),
    /// The commit was refused, for what one of the jobs did: nothing was stored.
    Refused,
    /// Nothing was run: the jobs that run once must not share a commit.
    Apart,
}

/// What was met on the way.
enum Stopped {
    /// An effect failed half way, without a savepoint.
    Dirty,
    /// SQLite ended the transaction in the job at this position.
    Broken(usize),
    /// The transaction has ended, after this many jobs.
    Failed(usize, Failure),
}

/// Runs the jobs in the transaction that is open and commits it.
pub(super) fn commit_group(lane: &Lane, settings: &Settings, group: &mut [Box<dyn Job>]) -> Ended {
    let shared = group.len() > 1;
    let writes = group
        .first()
        .is_some_and(|job| job.ticket().purpose == Purpose::Write);
    let repeatable = shared && writes && group.iter().all(|job| job.repeatable());
    if shared && writes && !repeatable {
        match lane.may_defer() {
            Ok(false) => {}
            Ok(true) => {
                return match lane.roll_back() {
                    Ok(()) => Ended::Apart,
                    Err(failure) => Ended::Settled(group.len(), Some(failure)),
                };
            }
            Err(failure) => return Ended::Settled(group.len(), Some(failure)),
        }
    }
    let savepoints = shared && (!repeatable || lane.careful.get() > 0);
    lane.careful.set(lane.careful.get().saturating_sub(1));
    let mut ran = run_all(lane, settings, group, savepoints);
    if matches!(ran, Err(Stopped::Dirty)) && repeatable {
        lane.careful.set(CAREFUL_GROUPS);
        if let Err(failure) = lane.roll_back().and_then(|()| lane.begin()) {
            return Ended::Settled(group.len(), Some(failure));
        }
        ran = run_all(lane, settings, group, true);
    }
    let kept = match ran {
        Ok(kept) => kept,
        Err(Stopped::Broken(position)) => return Ended::Broken(position),
        Err(Stopped::Failed(count, failure)) => return Ended::Settled(count, Some(failure)),
        // Alone: no other job is hit.
        Err(Stopped::Dirty) => false,
    };
    let end = if kept {
        crate::observe::group_size(STORE, group.len());
        lane.commit()
    } else {
        lane.roll_back()
    };
    match end {
        Err(failure) if shared && failure.kind() == ErrorKind::Refused => Ended::Refused,
        end => Ended::Settled(group.len(), end.err()),
    }
}

/// Runs all jobs. Says whether something is to be committed.
fn run_all(
    lane: &Lane,
    settings: &Settings,
    group: &mut [Box<dyn Job>],
    savepoints: bool,
) -> Result<bool, Stopped> {
    let mut kept = false;
    for (position, job) in group.iter_mut().enumerate() {
        match run_job(lane, settings, job.as_mut(), position, savepoints)? {
            Ran::Done => kept = true,
            Ran::Clean => {}
            Ran::Dirty => return Err(Stopped::Dirty),
        }
    }
    Ok(kept)
}

/// Runs one job, and undoes its writes if it failed and has a savepoint.
fn run_job(
    lane: &Lane,
    settings: &Settings,
    job: &mut dyn Job,
    position: usize,
    savepoints: bool,
) -> Result<Ran, Stopped> {
    let execute = |sql| {
        lane.execute(sql)
            .map_err(|failure| Stopped::Failed(position + 1, failure))
    };
    if savepoints {
        execute("SAVEPOINT exactly_once_job")?;
    }
    let ran = job.run(&lane.bench(settings));
    if lane.connection.is_autocommit() {
        return Err(if job.failed() {
            Stopped::Broken(position)
        } else {
            Stopped::Failed(position + 1, lane.ended_by_itself())
        });
    }
    if !savepoints {
        return Ok(ran);
    }
    let undone = ran == Ran::Dirty;
    if undone {
        execute("ROLLBACK TO exactly_once_job")?;
    }
    execute("RELEASE exactly_once_job")?;
    Ok(if undone { Ran::Clean } else { ran })
}
