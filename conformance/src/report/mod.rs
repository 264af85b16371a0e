//! Results: collected once, shown as a terminal table, JSON, JUnit and HTML.
//!
//! # The JSON
//!
//! One file per adapter, `<adapter>.json`. The schema is stable: a field is never renamed or
//! given another meaning, new ones may be added.
//!
//! | field | |
//! |---|---|
//! | `schema` | `"exactly-once-conformance/1"` |
//! | `adapter` | the adapter's name |
//! | `started_at_unix_ms` | wall clock at the start |
//! | `duration_ms` | of the whole run |
//! | `seed` | of the run, as a string (it doesn't fit a JavaScript number) |
//! | `quick` | whether the run was a quick one |
//! | `filtered_out` | trials that the command line left out |
//! | `suite_version` | the version of this crate |
//! | `not_offered` | topics that the adapter does not run; absent where it runs them all |
//! | `cases` | in the order of the catalogue, see below |
//!
//! A case has `id`, `path`, `variant`, `name` (variant and path), `goal`, `contract`, `status`
//! (`passed`, `failed`, `ignored`), `duration_ms`; when ignored, `ignore_reason`; when failed,
//! `failure` with `seen` and, where known, `expected`, `likely_mistake`, `notes`, `at` (file and
//! line), `last_step`, and `text`, which is all of it in one piece to show.
//!
//! Under nextest each case is a process of its own: it writes `<adapter>--<case>.json`, and
//! [`merge`] puts the pieces together.

pub mod html;
pub mod junit;
pub mod terminal;

mod json;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use self::json::{SCHEMA, merge};
use crate::options::Options;
use crate::runner::CaseInfo;
use crate::seed::Seed;

/// The name of the page in a report folder.
pub const PAGE: &str = "conformance.html";

/// The result of one run of one adapter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Names the schema and its version.
    pub schema: String,
    /// The adapter's name.
    pub adapter: String,
    /// Wall clock at the start.
    pub started_at_unix_ms: u64,
    /// How long the whole run took.
    pub duration_ms: f64,
    /// The seed of the run.
    pub seed: String,
    /// Whether the run was a quick one.
    pub quick: bool,
    /// Trials that the command line left out.
    pub filtered_out: u64,
    /// The suite's own version.
    #[serde(default)]
    pub suite_version: String,
    /// Topics that the adapter does not run, each with what that leaves unproven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_offered: Vec<String>,
    /// The results, in the order of the catalogue.
    pub cases: Vec<CaseReport>,
}

/// The result of one case on one variant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CaseReport {
    /// The stable id, such as `I01`.
    pub id: String,
    /// Topic and case, without the variant.
    pub path: String,
    /// `typed` or `erased`.
    pub variant: String,
    /// The full name, by which the case is filtered.
    pub name: String,
    /// What holds when it passes.
    pub goal: String,
    /// Where the contract asks for it.
    pub contract: String,
    /// How it ended.
    pub status: Status,
    /// How long it took.
    pub duration_ms: f64,
    /// Why it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_reason: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
    #[serde(skip)]
    mistake: &'static str,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// What the contract asks for was seen.
    Passed,
    /// It was not.
    Failed,
    /// The case was left out, with a reason.
    Ignored,
}

/// Why a case failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FailureReport {
    /// What the contract asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What happened instead.
    pub seen: String,
    /// The mistake in an adapter that usually makes this case fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likely_mistake: Option<String>,
    /// Circumstances, such as the crash point.
    pub notes: Vec<String>,
    /// File and line of the check that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What the case said it was about to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_step: Option<String>,
    /// All of it in one piece.
    pub text: String,
    /// A check compared what it saw with what the contract asks for.
    #[serde(skip)]
    pub(crate) compared: bool,
}

/// A report that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The file system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A file in the folder is not a report of this suite.
    #[error("{path} is not a report of this suite: {source}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file was written by another version of this suite.
    #[error("{path} has schema {schema:?}, this version reads {SCHEMA:?}", path = path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The schema it names.
        schema: String,
    },
}

impl Report {
    pub(crate) fn start(adapter: &str, options: &Options) -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            schema: SCHEMA.to_owned(),
            adapter: adapter.to_owned(),
            started_at_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
            duration_ms: 0.0,
            seed: options.seed.to_string(),
            quick: options.quick,
            filtered_out: 0,
            suite_version: env!("CARGO_PKG_VERSION").to_owned(),
            not_offered: Vec::new(),
            cases: Vec::new(),
        }
    }

    /// How many cases ended this way.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.cases
            .iter()
            .filter(|case| case.status == status)
            .count()
    }

    /// Writes JSON and JUnit into the folder, and the page of all reports that are there.
    ///
    /// A `fragment` is one process's part of a run; the page is then left to [`merge`], since
    /// many processes write at once.
    pub(crate) fn write(&self, dir: &Path, fragment: Option<&str>) -> Result<(), ReportError> {
        fs::create_dir_all(dir).map_err(|source| ReportError::io(dir, source))?;
        let stem = match fragment {
            None => file_name(&self.adapter),
            Some(part) => format!("{}--{}", file_name(&self.adapter), file_name(part)),
        };
        put(&dir.join(format!("{stem}.json")), &json::to_json(self))?;
        if fragment.is_none() {
            put(&dir.join(format!("{stem}.xml")), &junit::to_xml(self))?;
            write_page(dir)?;
        }
        Ok(())
    }
}

/// Merges all reports of the folder into its page; the path of the page.
///
/// # Errors
/// The folder can't be read or written, or holds a JSON file that is not a report.
pub fn write_page(dir: &Path) -> Result<PathBuf, ReportError> {
    let page = dir.join(PAGE);
    put(&page, &html::to_page(&merge(dir)?))?;
    Ok(page)
}

impl CaseReport {
    pub(crate) fn new(info: &CaseInfo, variant: &str) -> Self {
        Self {
            id: info.id.to_owned(),
            path: info.path.to_owned(),
            variant: variant.to_owned(),
            name: format!("{variant}::{}", info.path),
            goal: info.goal.to_owned(),
            contract: info.contract.to_owned(),
            status: Status::Passed,
            duration_ms: 0.0,
            ignore_reason: None,
            failure: None,
            mistake: info.mistake,
        }
    }

    /// Everything of the path but the case itself.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.path.rsplit_once("::").map_or("", |(topic, _)| topic)
    }

    pub(crate) fn fail(&mut self, adapter: &str, mut failure: FailureReport, seed: Seed) {
        // The case knows its usual mistake where a check has compared something. Behind a time-out, a
        // panic or an error of a step that was to succeed, any cause would be a guess.
        if failure.compared && failure.likely_mistake.is_none() && !self.mistake.is_empty() {
            failure.likely_mistake = Some(self.mistake.to_owned());
        }
        failure.text = self.describe(adapter, &failure, seed);
        self.status = Status::Failed;
        self.failure = Some(failure);
    }

    pub(crate) fn failure_text(&self) -> &str {
        self.failure.as_ref().map_or("", |failure| &failure.text)
    }

    /// The text for people: what should hold, what did not, why, and how to see it again.
    fn describe(&self, adapter: &str, failure: &FailureReport, seed: Seed) -> String {
        let Self {
            id,
            goal,
            variant,
            contract,
            name,
            ..
        } = self;
        let mut text = format!("{id} on {adapter}, {variant}\n");
        let mut line = |label: &str, value: &str| {
            if !value.is_empty() {
                let value = value.replace('\n', "\n               ");
                text.push_str(&format!("  {label:<13}{value}\n"));
            }
        };
        line("goal", goal);
        line("expected", failure.expected.as_deref().unwrap_or_default());
        line("seen", &failure.seen);
        line(
            "last step",
            failure.last_step.as_deref().unwrap_or_default(),
        );
        for note in &failure.notes {
            line("note", note);
        }
        line(
            "likely cause",
            failure.likely_mistake.as_deref().unwrap_or_default(),
        );
        line("contract", contract);
        line("checked at", failure.at.as_deref().unwrap_or_default());
        line("run again", &run_again(name, seed));
        text
    }
}

impl FailureReport {
    pub(crate) fn new(seen: impl Into<String>) -> Self {
        Self {
            seen: seen.into(),
            ..Self::default()
        }
    }

    pub(crate) fn expected(mut self, expected: &str) -> Self {
        self.expected = Some(expected.to_owned());
        self
    }

    pub(crate) fn at(mut self, at: String) -> Self {
        self.at = Some(at);
        self
    }

    pub(crate) fn last_step(mut self, step: Option<String>) -> Self {
        self.last_step = step;
        self
    }
}

/// The command that repeats a case: cargo gives a test target its package, and the file name of
/// the executable is the target's with a hash behind it.
fn run_again(name: &str, seed: Seed) -> String {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let executable = std::env::current_exe().ok();
    let stem = executable
        .as_deref()
        .and_then(Path::file_stem)
        .and_then(|stem| stem.to_str());
    let target = stem
        .and_then(|stem| stem.rsplit_once('-'))
        .map_or("", |(target, _)| target);
    let seed_variable = crate::options::SEED;
    if package.is_empty() || target.is_empty() {
        return format!("{seed_variable}={seed} … --exact {name}");
    }
    format!("{seed_variable}={seed} cargo test -p {package} --test {target} -- --exact {name}")
}

/// A file name that is one everywhere: an adapter may be called `postgres 15 / pgbouncer`.
fn file_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect()
}

/// Writes beside and renames: a reader, or another run, never meets half a file.
fn put(path: &Path, text: &str) -> Result<(), ReportError> {
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|source| ReportError::io(path, source))
}

impl ReportError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
