//! One commit for many effects, each of which fails alone.

use exactly_once_core::ErrorKind;

use super::{
    error::{Failure, STORE},
    lane::Lane,
    queue::{Job, Ran, Undo},
    settings::Settings,
};

/// Runs the jobs in one transaction and commits it. Gives how many were run, and the failure of
/// all of these, if it failed.
pub(super) fn commit_group(
    lane: &Lane,
    settings: &Settings,
    group: &mut [Box<dyn Job>],
) -> (usize, Option<Failure>) {
    let alone = group.len() == 1;
    let mut kept = false;
    for (position, job) in group.iter_mut().enumerate() {
        match run_job(lane, settings, job.as_mut(), alone) {
            Ok(done) => kept |= done,
            Err(failure) => return (position + 1, Some(failure)),
        }
    }
    let end = if kept {
        crate::observe::group_size(STORE, group.len());
        lane.commit()
    } else {
        lane.roll_back()
    };
    (group.len(), end.err())
}

/// Runs one job, and undoes its writes if it failed. Says whether something is to be committed.
fn run_job(
    lane: &Lane,
    settings: &Settings,
    job: &mut dyn Job,
    alone: bool,
) -> Result<bool, Failure> {
    let savepoint = !alone && job.ticket().undo == Undo::Savepoint;
    if savepoint {
        lane.execute("SAVEPOINT exactly_once_job")?;
    }
    let ran = job.run(&lane.bench(settings));
    lane.check_open()?;
    match ran {
        Ran::Done | Ran::Clean if savepoint => lane.execute("RELEASE exactly_once_job")?,
        Ran::Done | Ran::Clean => {}
        Ran::Dirty if savepoint => {
            lane.execute("ROLLBACK TO exactly_once_job; RELEASE exactly_once_job")?;
        }
        Ran::Dirty if alone => {}
        Ran::Dirty => {
            let failure = Failure::new(
                ErrorKind::Busy,
                "an effect of the same group failed half way; the group was rolled back",
            );
            return Err(lane.abandon(failure));
        }
    }
    Ok(ran == Ran::Done)
}
