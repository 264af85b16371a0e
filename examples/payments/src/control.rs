//! Crash points, and counters that survive a SIGKILL.
//!
//! The driver and the service share a folder. A file named like a crash point *arms* it: the next
//! attempt that passes there takes the file away and kills its own process. Counters are files too,
//! one byte for each event: what was written is there after a SIGKILL.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::process::{Signal, getpid, kill_process};

/// Where the service can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CrashPoint {
    /// Before anything of the effect is done.
    BeforeTransaction,
    /// With all of the work written, and nothing committed.
    BeforeCommit,
    /// Committed, and not yet journaled: the point where the usual recipes break.
    AfterCommit,
    /// Between two steps of a handler.
    BetweenSteps,
}

impl CrashPoint {
    /// All of them, the most telling one first.
    pub const ALL: [Self; 4] = [
        Self::AfterCommit,
        Self::BetweenSteps,
        Self::BeforeTransaction,
        Self::BeforeCommit,
    ];

    /// Its name, and that of its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeTransaction => "before the transaction",
            Self::BeforeCommit => "before the commit",
            Self::AfterCommit => "after the commit, before the journal",
            Self::BetweenSteps => "between steps",
        }
    }
}

/// Which handler a crash point lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Handler {
    /// A payment.
    Charge,
    /// A payment back.
    Refund,
    /// A transfer.
    Transfer,
}

impl Handler {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Charge, Self::Refund, Self::Transfer];

    const fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Transfer => "transfer",
        }
    }
}

/// What the service counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Calls of the store that could have an effect.
    Attempts,
    /// Those that were answered from an earlier one's receipt.
    Replays,
}

impl Counter {
    const fn file(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Replays => "replays",
        }
    }
}

/// What may happen at a crash point.
pub trait Faults: Clone + Send + Sync + 'static {
    /// An attempt passes a crash point.
    ///
    /// # Errors
    /// What the caller gets in place of the answer.
    fn pass(&self, point: CrashPoint, handler: Handler) -> exactly_once::Result<()>;

    /// Something countable happened.
    fn count(&self, counter: Counter);
}

/// The folder that the driver and the service share.
#[derive(Clone, Debug)]
pub struct Control {
    folder: PathBuf,
}

impl Control {
    /// Uses a folder that exists.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn file(&self, point: CrashPoint, handler: Handler) -> PathBuf {
        self.folder
            .join(format!("{} of a {}", point.name(), handler.name()))
    }

    /// The driver arms a crash point.
    ///
    /// # Errors
    /// Where the folder is gone.
    pub fn arm(&self, point: CrashPoint, handler: Handler) -> Result<()> {
        File::create(self.file(point, handler)).context("can't arm a crash point")?;
        Ok(())
    }

    /// The driver takes it back, if no attempt has passed there.
    pub fn disarm(&self, point: CrashPoint, handler: Handler) {
        let _ = std::fs::remove_file(self.file(point, handler));
    }

    /// The driver reads a counter.
    #[must_use]
    pub fn counted(&self, counter: Counter) -> u64 {
        std::fs::metadata(self.folder.join(counter.file())).map_or(0, |file| file.len())
    }
}

/// Kills this process where the driver has armed a crash point.
impl Faults for Control {
    fn pass(&self, point: CrashPoint, handler: Handler) -> exactly_once::Result<()> {
        // Only one of all attempts gets the file removed.
        if std::fs::remove_file(self.file(point, handler)).is_err() {
            return Ok(());
        }
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            // The signal is on its way; nothing more may happen in this thread.
            std::thread::park();
        }
    }

    fn count(&self, counter: Counter) {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(counter.file()));
        // A count for the report only: the audit does not lean on it.
        let _ = file.and_then(|mut file| file.write_all(b"."));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_armed_does_not_crash_and_counters_count() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::new(folder.path());
        let (point, handler) = (CrashPoint::AfterCommit, Handler::Refund);
        control.pass(point, handler).unwrap();
        control.arm(point, handler).unwrap();
        control.pass(point, Handler::Charge).unwrap();
        control.pass(CrashPoint::BeforeCommit, handler).unwrap();
        control.disarm(point, handler);
        control.pass(point, handler).unwrap();
        control.count(Counter::Replays);
        control.count(Counter::Replays);
        assert_eq!(control.counted(Counter::Replays), 2);
        assert_eq!(control.counted(Counter::Attempts), 0);
    }
}
