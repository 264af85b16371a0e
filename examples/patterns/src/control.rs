//! Crash points: where a service's process aborts, once for each order that asks for it.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// A point at which a process may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// Two-phase commit: the work is done, and not prepared.
    BeforePrepare,
    /// Prepared, and no caller has heard of it.
    AfterPrepare,
    /// Prepared, and written down: in the journal, or in the register.
    Prepared,
    /// The work is done, and not committed.
    BeforeCommit,
    /// Committed, and Restate has not heard of it.
    AfterCommit,
    /// The step's answer is in the journal.
    AfterJournal,
}

/// The points around one commit.
pub const AROUND_COMMIT: [Point; 3] =
    [Point::BeforeCommit, Point::AfterCommit, Point::AfterJournal];

/// The points around one PREPARE.
pub const AROUND_PREPARE: [Point; 3] = [Point::BeforePrepare, Point::AfterPrepare, Point::Prepared];

impl Point {
    /// One word, for names.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BeforePrepare => "before-prepare",
            Self::AfterPrepare => "after-prepare",
            Self::Prepared => "prepared",
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::AfterJournal => "after-journal",
        }
    }
}

/// What a handler is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub name: String,
    /// What it is about, in minor units.
    pub cents: i64,
    /// Where the process shall die, the first time that it gets there.
    pub crash: Option<Point>,
}

/// What may go wrong at a point.
pub trait Faults: Clone + Send + Sync + 'static {
    /// Passes the point: goes on, dies, or gives the error of a lost reply.
    ///
    /// # Errors
    /// Where the reply is to be lost.
    fn pass(&self, point: Point) -> exactly_once::Result<()>;
}

/// The crash points of a service's process.
#[derive(Clone, Debug)]
pub struct Control {
    folder: PathBuf,
    armed: Arc<Mutex<Option<Order>>>,
}

impl Control {
    /// With a folder for what must outlive the process.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            armed: Arc::default(),
        }
    }

    /// A handler begins with this order; a process has one at a time.
    pub fn arm(&self, order: &Order) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some(order.clone());
    }

    /// How often processes have died here.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn crashes(&self) -> Result<i64> {
        let mut crashes = 0;
        for entry in fs::read_dir(&self.folder)? {
            let dead = entry?.file_name().to_string_lossy().ends_with(".crashed");
            crashes += i64::from(dead);
        }
        Ok(crashes)
    }
}

impl Faults for Control {
    fn pass(&self, point: Point) -> exactly_once::Result<()> {
        let armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(order) = armed.as_ref().filter(|order| order.crash == Some(point)) else {
            return Ok(());
        };
        let marker = self.folder.join(format!("{}.crashed", order.name));
        // Only the one that makes the file dies: the next attempt goes on.
        if fs::File::create_new(marker).is_ok() {
            std::process::abort();
        }
        Ok(())
    }
}
