//! Crash points, and a counter, that survive a SIGKILL.
//!
//! The driver and the workers share a folder. A file named like a crash point *arms* it: the next
//! attempt that passes there takes the file away and kills its own process.

use std::{
    fs::{File, OpenOptions, remove_file},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::process::{Signal, getpid, kill_process};

/// Where a worker can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashPoint {
    /// The charge is committed, and not yet reported: where the usual recipe doubles it.
    ChargeCommitted,
    /// The charge's work is written, and not committed.
    ChargeWritten,
    /// The merchant is credited, and the credit not yet reported.
    CreditCommitted,
    /// One of two databases has the shipment's work, and nothing is prepared.
    ShipmentBegun,
    /// The shipment is committed in both databases, and not yet reported.
    ShipmentCommitted,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ChargeCommitted,
        Self::ShipmentBegun,
        Self::CreditCommitted,
        Self::ShipmentCommitted,
        Self::ChargeWritten,
    ];

    /// Its name, and that of its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChargeCommitted => "charge committed, not reported",
            Self::ChargeWritten => "charge written, not committed",
            Self::CreditCommitted => "credit committed, not reported",
            Self::ShipmentBegun => "shipment between two databases",
            Self::ShipmentCommitted => "shipment committed, not reported",
        }
    }
}

/// The folder that the driver and the workers share.
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
        self.folder.join(point.name())
    }

    /// Arms a crash point.
    ///
    /// # Errors
    /// Where the folder is gone.
    pub fn arm(&self, point: CrashPoint) -> Result<()> {
        File::create(self.file(point)).context("can't arm a crash point")?;
        Ok(())
    }

    /// Takes it back; says whether no attempt has passed there.
    #[must_use]
    pub fn disarm(&self, point: CrashPoint) -> bool {
        remove_file(self.file(point)).is_ok()
    }

    /// Whether an attempt has passed there since it was armed.
    #[must_use]
    pub fn passed(&self, point: CrashPoint) -> bool {
        !self.file(point).exists()
    }

    /// An attempt passes a crash point: it kills the process where that is armed.
    pub fn pass(&self, point: CrashPoint) {
        if remove_file(self.file(point)).is_ok() {
            // It can't fail: the process is our own.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    /// Counts an attempt at an activity.
    pub fn attempt(&self) {
        let counted = OpenOptions::new()
            .create(true)
            .append(true)
            .open(attempts(&self.folder))
            .and_then(|mut file| file.write_all(b"."));
        if let Err(error) = counted {
            eprintln!("an attempt was not counted: {error}");
        }
    }

    /// How many attempts there were.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        std::fs::metadata(attempts(&self.folder)).map_or(0, |file| file.len())
    }
}

fn attempts(folder: &Path) -> PathBuf {
    folder.join("attempts")
}
