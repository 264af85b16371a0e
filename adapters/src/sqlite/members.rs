//! What becomes of the members of a batch: each gets its own answer, whatever ended the batch.

use exactly_once_core::ErrorKind;

use super::{
    error::{Failure, error},
    group::{Ended, commit_group},
    queue::Job,
    staging::capture::Writes,
    writer::WriterThread,
};

impl WriterThread {
    /// Commits the group. What one job does to the transaction is never the answer of another: the
    /// others are run again, or are *busy* where they can't be.
    pub(super) fn run_group(&mut self, mut group: Vec<Box<dyn Job>>) {
        let settings = self.settings.clone();
        // First what can be run again, so that it may fail while the rest is still to be run.
        group.sort_by_key(|job| !job.repeatable());
        loop {
            group.retain(|job| !job.abandoned());
            let Some(purpose) = group.first().map(|job| job.ticket().purpose) else {
                return;
            };
            let known = group.iter().map(|job| job.ticket().statements.clone());
            let known: Option<Vec<_>> = known.collect();
            let writes = known.as_deref().map_or(Writes::Any, Writes::By);
            let ended = match self.prepare_lane(purpose, writes) {
                Ok(lane) => commit_group(lane, &settings, &mut group),
                Err(failure) => Ended::Settled(group.len(), Some(failure)),
            };
            let of_the_disk = match &ended {
                Ended::Settled(_, failure) => failure.as_ref().is_some_and(Failure::is_of_the_disk),
                Ended::Broken(_) => self.lanes.values().any(|lane| lane.guard.take_disk_end()),
                Ended::Refused | Ended::Apart => false,
            };
            if of_the_disk {
                self.keep_log_short(true);
            }
            match ended {
                Ended::Settled(ran, failure) => {
                    let rest = group.split_off(ran.min(group.len()));
                    for job in std::mem::replace(&mut group, rest) {
                        let operation = job.ticket().operation;
                        job.settle(failure.as_ref().map(|failure| failure.error(operation)));
                    }
                }
                Ended::Broken(at) => {
                    group.remove(at).settle(None);
                    let rest = group.split_off(at);
                    group = keep_repeatable(group);
                    group.extend(rest);
                }
                Ended::Refused => {
                    for job in keep_repeatable(std::mem::take(&mut group)) {
                        self.run_group(vec![job]);
                    }
                }
                Ended::Apart => {
                    let (again, once) = std::mem::take(&mut group)
                        .into_iter()
                        .partition(|job| job.repeatable());
                    self.run_group(again);
                    for job in once {
                        self.run_group(vec![job]);
                    }
                }
            }
        }
    }
}

/// Answers the members that were run and can't be run again, and gives back the others.
fn keep_repeatable(group: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
    let (again, once): (Vec<_>, Vec<_>) = group.into_iter().partition(|job| job.repeatable());
    for job in once {
        let operation = job.ticket().operation;
        job.settle(Some(error(
            ErrorKind::Busy,
            operation,
            "another effect ended the batch that this one was in; nothing was stored: retry",
        )));
    }
    again
}
