//! One commit for many effects, each of which fails alone.
//!
//! A savepoint for each effect costs up to a third. So a group whose effects can all be run again
//! goes without: if one of them fails half way, the group is rolled back and run again with
//! savepoints; if the commit is refused (a deferred constraint), each is run and committed alone.

use exactly_once_core::ErrorKind;

use super::{
    connection::Purpose,
    error::{Failure, STORE},
    lane::Lane,
    queue::{Job, Ran, Undo},
    settings::Settings,
};

/// After an effect that failed half way, more such are likely: so many groups are run with
/// savepoints at once.
const CAREFUL_GROUPS: u32 = 64;

/// How a group ended.
pub(super) enum Ended {
    /// So many jobs were run; this is the failure of all of these, if there was one.
    Settled(usize, Option<Failure>),
    /// Nothing was stored; whose fault it was is seen when each is run alone.
    OneByOne,
}

/// What was met on the way.
enum Stopped {
    /// An effect failed half way, without a savepoint.
    Dirty,
    /// The transaction is over, after so many jobs.
    Failed(usize, Failure),
}

/// Runs the jobs in the transaction that is open and commits it.
pub(super) fn commit_group(lane: &Lane, settings: &Settings, group: &mut [Box<dyn Job>]) -> Ended {
    let repeatable = group.len() > 1
        && group
            .iter()
            .all(|job| job.repeatable() && job.ticket().purpose == Purpose::Write);
    let savepoints = group.len() > 1 && (!repeatable || lane.careful.get() > 0);
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
        Err(Stopped::Failed(count, failure)) => return Ended::Settled(count, Some(failure)),
        // Alone, or a job that undoes its own writes: nobody else is hit.
        Err(Stopped::Dirty) => false,
    };
    let end = if kept {
        crate::observe::group_size(STORE, group.len());
        lane.commit()
    } else {
        lane.roll_back()
    };
    match end {
        Err(failure) if repeatable && failure.kind() == ErrorKind::Refused => Ended::OneByOne,
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
        let failed = |failure| Stopped::Failed(position + 1, failure);
        match run_job(lane, settings, job.as_mut(), savepoints).map_err(failed)? {
            Ran::Done => kept = true,
            Ran::Clean => {}
            Ran::Dirty if savepoints => {
                let failure = Failure::new(
                    ErrorKind::Busy,
                    "an effect of the same group failed half way; the group was rolled back",
                );
                return Err(failed(lane.abandon(failure)));
            }
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
    savepoints: bool,
) -> Result<Ran, Failure> {
    // What refuses before it writes may be stopped half way all the same, by somebody's trigger.
    let savepoint = savepoints
        && match job.ticket().undo {
            Undo::Savepoint => true,
            Undo::Nothing => job.repeatable(),
            Undo::Own => false,
        };
    if savepoint {
        lane.execute("SAVEPOINT exactly_once_job")?;
    }
    let ran = job.run(&lane.bench(settings));
    lane.check_open()?;
    if !savepoint {
        return Ok(ran);
    }
    let undone = ran == Ran::Dirty;
    if undone {
        lane.execute("ROLLBACK TO exactly_once_job")?;
    }
    lane.execute("RELEASE exactly_once_job")?;
    Ok(if undone { Ran::Clean } else { ran })
}
