//! What was measured, as it is written to a file and read back for the page.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{options::Options, statistics::Spread};

/// A case with a number of callers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The case.
    pub case: String,
    /// Its floor.
    pub floor: String,
    /// How many callers called at once.
    pub callers: usize,
    /// Over the rounds: operations of the case per operation of its floor beside it.
    pub ratio: Spread,
    /// The ratio of each round.
    pub rounds: Vec<f64>,
    /// Half of the calls took no longer, in microseconds.
    pub p50: f64,
    /// 99 of 100 calls took no longer, in microseconds.
    pub p99: f64,
    /// The floor's p50, in microseconds.
    pub floor_p50: f64,
    /// The floor's p99, in microseconds.
    pub floor_p99: f64,
    /// Round trips of an operation.
    pub trips: Option<f64>,
    /// Syncs of the log for an operation.
    pub syncs: Option<f64>,
    /// Processor time of an operation, in microseconds: of this process and of the servers.
    #[serde(default)]
    pub used: Option<f64>,
    /// The servers' part of it.
    #[serde(default)]
    pub used_by_server: Option<f64>,
    /// The same of the floor, of both.
    #[serde(default)]
    pub floor_used: Option<f64>,
    /// What the ratio should reach.
    pub target: Option<f64>,
    /// The case whose p50 this p99 should be below.
    pub quicker_than: Option<String>,
    /// Turns that were measured again, because something else ran on the machine.
    pub repeated: usize,
    /// Turns that count although something else ran.
    pub disturbed: usize,
}

/// The cost of an operation with so many keys stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScaleRow {
    /// How many keys are stored.
    pub keys: u64,
    /// What was done, or `expire`.
    pub case: String,
    /// Of an operation, or of a batch, in microseconds.
    pub p50: f64,
    /// The same, of the slowest hundredth.
    pub p99: f64,
    /// Operations per operation of the floor beside it; 0 where there is none.
    pub ratio: f64,
    /// What a key takes on the disk, or in the server's memory.
    pub bytes_per_key: Option<f64>,
}

/// What was measured of one adapter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The adapter.
    pub adapter: String,
    /// What decides over the figures: versions, durability, sizes of pools.
    pub settings: String,
    /// How many processors the machine has.
    pub processors: usize,
    /// How often each case took its turn.
    pub rounds: usize,
    /// How long a slice lasted.
    pub seconds: f64,
    /// The cases.
    pub rows: Vec<Row>,
    /// What was said beside them: a line each.
    pub notes: Vec<String>,
    /// Costs by the number of keys.
    pub scale: Vec<ScaleRow>,
}

impl Report {
    /// An empty one.
    #[must_use]
    pub fn new(adapter: &str, settings: impl Into<String>, options: &Options) -> Self {
        Self {
            adapter: adapter.to_owned(),
            settings: settings.into(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            rounds: options.rounds,
            seconds: options.seconds,
            ..Self::default()
        }
    }

    /// The row of a case.
    #[must_use]
    pub fn row(&self, case: &str, callers: usize) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.case == case && row.callers == callers)
    }

    /// How many callers there were, in order.
    #[must_use]
    pub fn callers(&self) -> Vec<usize> {
        let mut callers: Vec<usize> = self.rows.iter().map(|row| row.callers).collect();
        callers.sort_unstable();
        callers.dedup();
        callers
    }

    /// Writes it to `bench-<adapter>.json`, over what an earlier run wrote. A run of the scale and
    /// one of the cases keep each other's part.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder)
            .with_context(|| format!("can't make the folder {}", folder.display()))?;
        let file = folder.join(format!("bench-{}.json", self.adapter));
        let mut whole = self.clone();
        if let Ok(earlier) = Self::load(&file) {
            if whole.scale.is_empty() {
                whole.scale = earlier.scale;
            }
            if whole.rows.is_empty() {
                whole.rows = earlier.rows;
            }
        }
        fs::write(&file, serde_json::to_vec_pretty(&whole)?)
            .with_context(|| format!("can't write {}", file.display()))?;
        Ok(file)
    }

    fn load(file: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }

    /// All that stand in a folder, in the order of their names.
    ///
    /// # Errors
    /// When one can't be read.
    pub fn load_all(folder: &Path) -> Result<Vec<Self>> {
        let mut files: Vec<PathBuf> = fs::read_dir(folder)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| name.starts_with("bench-") && name.ends_with(".json"))
            })
            .collect();
        files.sort();
        let load = |file: &PathBuf| {
            Self::load(file).with_context(|| format!("can't read {}", file.display()))
        };
        files.iter().map(load).collect()
    }
}
