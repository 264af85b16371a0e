//! Crash points.
//!
//! The driver and the service share a folder. A file named like a crash point *arms* it: the next
//! attempt that passes there takes the file away and kills its own process.

use std::{fmt, fs::File, future::Future, path::PathBuf};

use anyhow::{Context, Result};
use rustix::process::{Signal, getpid, kill_process};

/// Which database an attempt is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Database {
    /// Postgres, with the orders and the register of decisions.
    Orders,
    /// SQLite, with the stock.
    Stock,
    /// Redis, with the quotas.
    Quota,
}

impl Database {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Orders, Self::Stock, Self::Quota];

    /// Its name as a participant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Stock => "stock",
            Self::Quota => "quota",
        }
    }
}

/// Where the service can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CrashPoint {
    /// In the midst of the work.
    InWork(Database),
    /// With all of the work done, and nothing prepared there.
    BeforePrepare(Database),
    /// Prepared there.
    AfterPrepare(Database),
    /// With all votes in, and nothing decided.
    BeforeDecision,
    /// Decided, and no participant informed.
    AfterDecision,
    /// Before this participant is informed.
    BeforeCommit(Database),
    /// After this participant has committed.
    AfterCommit(Database),
    /// Before this participant is to roll back.
    BeforeRollback(Database),
    /// After this participant has rolled back.
    AfterRollback(Database),
    /// All informed, and the register does not know.
    BeforeFinish,
    /// All informed and the register closed, and Restate has not heard of it.
    AfterFinish,
    /// Between two steps of the handler: in the journal, and not answered.
    BetweenSteps,
}

impl CrashPoint {
    /// All that an order passes that is placed, in their order.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let each = |point: fn(Database) -> Self| Database::ALL.map(point).to_vec();
        [
            each(Self::InWork),
            each(Self::BeforePrepare),
            each(Self::AfterPrepare),
            vec![Self::BeforeDecision, Self::AfterDecision],
            each(Self::BeforeCommit),
            each(Self::AfterCommit),
            vec![Self::BeforeFinish, Self::AfterFinish, Self::BetweenSteps],
        ]
        .concat()
    }

    /// Those that only an order passes that is refused.
    #[must_use]
    pub fn of_a_refusal() -> Vec<Self> {
        let each = |point: fn(Database) -> Self| Database::ALL.map(point).to_vec();
        [each(Self::BeforeRollback), each(Self::AfterRollback)].concat()
    }

    /// Its name without the database.
    #[must_use]
    pub const fn moment(self) -> &'static str {
        match self {
            Self::InWork(_) => "in the work",
            Self::BeforePrepare(_) => "before a prepare",
            Self::AfterPrepare(_) => "after a prepare",
            Self::BeforeDecision => "before the decision",
            Self::AfterDecision => "after the decision",
            Self::BeforeCommit(_) => "before a commit",
            Self::AfterCommit(_) => "after a commit",
            Self::BeforeRollback(_) => "before a rollback",
            Self::AfterRollback(_) => "after a rollback",
            Self::BeforeFinish => "before the end",
            Self::AfterFinish => "after the end, before the journal",
            Self::BetweenSteps => "between steps",
        }
    }

    const fn database(self) -> Option<Database> {
        match self {
            Self::InWork(database)
            | Self::BeforePrepare(database)
            | Self::AfterPrepare(database)
            | Self::BeforeCommit(database)
            | Self::AfterCommit(database)
            | Self::BeforeRollback(database)
            | Self::AfterRollback(database) => Some(database),
            Self::BeforeDecision
            | Self::AfterDecision
            | Self::BeforeFinish
            | Self::AfterFinish
            | Self::BetweenSteps => None,
        }
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.moment())?;
        match self.database() {
            Some(database) => write!(f, " ({})", database.name()),
            None => Ok(()),
        }
    }
}

/// What may happen at a crash point.
pub trait Faults: Clone + Send + Sync + 'static {
    /// An attempt passes a crash point.
    fn pass(&self, point: CrashPoint) -> impl Future<Output = ()> + Send;
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

    fn file(&self, point: CrashPoint) -> PathBuf {
        self.folder.join(point.to_string())
    }

    /// The driver arms a crash point.
    ///
    /// # Errors
    /// Where the folder is gone.
    pub fn arm(&self, point: CrashPoint) -> Result<()> {
        File::create(self.file(point)).context("can't arm a crash point")?;
        Ok(())
    }

    /// The driver takes it back, if no attempt has passed there.
    pub fn disarm(&self, point: CrashPoint) {
        let _ = std::fs::remove_file(self.file(point));
    }
}

/// Kills this process where the driver has armed a crash point.
impl Faults for Control {
    async fn pass(&self, point: CrashPoint) {
        // Only one of all attempts gets the file removed.
        if std::fs::remove_file(self.file(point)).is_err() {
            return;
        }
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            // The signal is on its way; nothing more may happen in this thread.
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_point_has_a_file_of_its_own_and_what_is_not_armed_does_not_crash() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::new(folder.path());
        let points = [CrashPoint::all(), CrashPoint::of_a_refusal()].concat();
        assert_eq!(points.len(), 26);
        for point in &points {
            control.arm(*point).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 26);
        for point in points {
            control.disarm(point);
            control.pass(point).await;
        }
    }
}
