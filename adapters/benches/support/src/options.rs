//! The command line, the same for every adapter.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

/// The folder of the whole repository: cargo runs a benchmark in its package's.
const REPORTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../reports");

/// What `./dev bench <adapter> -- …` takes.
#[derive(Clone, Debug, Parser)]
#[command(about = "Benchmarks of one adapter, each case beside its floor")]
pub struct Options {
    /// How many callers call at once; one run for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,128")]
    pub callers: Vec<usize>,
    /// How often every case takes its turn.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// How long a slice lasts; a turn has four.
    #[arg(long, default_value_t = 0.3)]
    pub seconds: f64,
    /// Only the cases whose name holds one of these texts, apart by commas.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Also the libraries that a user would take instead, where they are installed.
    #[arg(long)]
    pub peers: bool,
    /// Instead: the cost of an operation by how many keys are stored.
    #[arg(long)]
    pub scale: bool,
    /// With --scale: fill up to this many keys, by powers of ten from 10,000.
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// Where the reports are written.
    #[arg(long, env = "EXACTLY_ONCE_REPORT_DIR", default_value = REPORTS)]
    pub reports: PathBuf,
    /// Cargo says so to every benchmark.
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    /// Those of the command line.
    #[must_use]
    pub fn from_command_line() -> Self {
        Self::parse()
    }

    /// How long a slice lasts.
    #[must_use]
    pub fn slice(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.clamp(0.001, 600.0))
    }

    /// Whether a case is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}
