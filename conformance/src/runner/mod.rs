//! Runs trials as a test target does: listing, filters, parallelism, exit codes.
//!
//! The command line is the one of `cargo test`, so a `harness = false` target behaves like any
//! other, under nextest too (which lists first and then starts one process per case). What the
//! command line has no word for comes from the environment, see [`options`](crate::options).
//!
//! Exit codes: 0 all passed or ignored, 101 a case failed, 2 the run could not be started or its
//! reports not written.

mod execute;
mod filters;
mod trial;

use std::collections::HashSet;
use std::env;
use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed};
use tokio::runtime::{Builder, Handle, Runtime};

use self::execute::{End, Limits};
use self::filters::Filters;
pub use self::trial::{Case, CaseInfo, Trial, Variant};
use crate::options::{BadOption, Options};
use crate::report::terminal::{Screen, print_summary};
use crate::report::{CaseReport, Report, Status};

/// Runs the trials of one adapter with the arguments of this process; the result is for `main`.
pub fn run(adapter: &str, trials: impl IntoIterator<Item = Trial>) -> ExitCode {
    match Runner::new(adapter) {
        Ok(runner) => runner.run(trials),
        Err(error) => refuse(&error),
    }
}

/// Runs one trial in this process, apart from any run: for tests of the suite itself, such as
/// that a broken store fails its named case.
///
/// # Errors
/// The environment holds an option that can't be used, or the runtime doesn't start.
pub fn run_one(adapter: &str, trial: Trial) -> Result<CaseReport, RunError> {
    trial.info().check().map_err(RunError::Trials)?;
    let options = Options::from_env().map_err(RunError::Option)?;
    let runtime = new_runtime()?;
    let report = finish(trial, adapter, runtime.handle(), options);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(report)
}

fn new_runtime() -> Result<Runtime, RunError> {
    Builder::new_multi_thread()
        // One blocked worker must not stop the clock of all the others on a small machine.
        .worker_threads(cores().max(4))
        .enable_all()
        .build()
        .map_err(RunError::Runtime)
}

/// How many cases may sleep beside those that work.
const WAITING_MAX: usize = 20;

/// A run that is about to start: for a caller that must set something up in its runtime first.
pub struct Runner {
    adapter: String,
    arguments: Arguments,
    filters: Filters,
    not_offered: Vec<String>,
    options: &'static Options,
    runtime: Runtime,
}

/// Why a run could not be started, or its result not be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An environment variable can't be used.
    #[error("the environment holds an option that can't be used: {0}")]
    Option(#[source] &'static BadOption),
    /// The runtime could not be started.
    #[error("the runtime could not be started: {0}")]
    Runtime(#[source] io::Error),
    /// Two trials have one name, or a name breaks the rules.
    #[error("the list of trials is wrong: {0}")]
    Trials(String),
    /// A report could not be written.
    #[error("the report could not be written: {0}")]
    Report(#[from] crate::report::ReportError),
}

impl Runner {
    /// Reads arguments and environment and starts the runtime that all cases share.
    ///
    /// # Errors
    /// The environment holds an option that can't be used, or the runtime doesn't start. Wrong
    /// *arguments* end the process with their usage, as in `cargo test`.
    pub fn new(adapter: &str) -> Result<Self, RunError> {
        let (arguments, filters) = Filters::from_args();
        let options = Options::from_env().map_err(RunError::Option)?;
        let runtime = new_runtime()?;
        Ok(Self {
            adapter: adapter.to_owned(),
            arguments,
            filters,
            not_offered: Vec::new(),
            options,
            runtime,
        })
    }

    /// Topics that this adapter does not run, each with what that leaves unproven; the report and the
    /// last lines of the output name them.
    #[must_use]
    pub fn not_offered(mut self, topics: Vec<String>) -> Self {
        self.not_offered = topics;
        self
    }

    /// Whether this run only lists its trials: then no server need be started for it.
    #[must_use]
    pub fn lists_only(&self) -> bool {
        self.arguments.list
    }

    /// Runs a set-up step in the runtime that the cases will run in.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Runs the trials; the result is for `main`.
    pub fn run(self, trials: impl IntoIterator<Item = Trial>) -> ExitCode {
        let outcome = self.try_run(trials.into_iter().collect());
        outcome.unwrap_or_else(|error| refuse(&error))
    }

    fn try_run(mut self, trials: Vec<Trial>) -> Result<ExitCode, RunError> {
        check_names(&trials)?;
        let (trials, filtered_out) = self.filters.apply(trials, self.arguments.exact);
        let trials = self.left_out(trials);
        // A case on the ignore list has the flag only where it is *listed*: run as ordinary
        // trials, they can print their reason, which a flagged one can't.
        let flagged =
            self.arguments.list || self.arguments.ignored || self.arguments.include_ignored;
        let screen = Arc::new(Screen::open(&mut self.arguments));
        let collected = Arc::new(Mutex::new(Vec::new()));
        let order: Vec<String> = trials.iter().map(Trial::name).collect();
        let ignored: Vec<CaseReport> = trials.iter().filter_map(Trial::ignored_report).collect();
        let (waiting, working): (Vec<_>, Vec<_>) = trials.into_iter().partition(Trial::waits);
        self.choose_threads(&waiting);
        let mimics: Vec<_> = waiting
            .into_iter()
            .chain(working)
            .map(|trial| self.mimic(trial, flagged, &screen, &collected))
            .collect();
        screen.expect(
            mimics
                .iter()
                .filter(|t| !self.arguments.is_filtered_out(t))
                .count(),
        );

        let mut report = Report::start(&self.adapter, self.options);
        report.not_offered = std::mem::take(&mut self.not_offered);
        let started = Instant::now();
        let conclusion = libtest_mimic::run(&self.arguments, mimics);
        report.duration_ms = started.elapsed().as_secs_f64() * 1_000.0;
        report.filtered_out = conclusion.num_filtered_out + filtered_out;
        screen.close();
        // A task that a case left behind must not keep the process from ending.
        self.runtime.shutdown_timeout(Duration::from_secs(1));

        if self.arguments.list {
            // nextest never starts an ignored case: this is where its reason can be kept.
            if under_nextest() {
                report.cases = ignored;
                write_reports(self.options, &report, Some("ignored"))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        report.cases = std::mem::take(&mut *lock(&collected));
        report
            .cases
            .sort_by_key(|case| order.iter().position(|name| *name == case.name));
        let fragment = under_nextest().then(|| fragment_name(&report));
        write_reports(self.options, &report, fragment.as_deref())?;
        if !under_nextest() && self.arguments.format.is_none() {
            print_summary(&report, self.options.report_dir.as_deref(), &screen);
        }
        Ok(conclusion.exit_code())
    }

    /// The trials, of which a quick run leaves some out.
    fn left_out(&self, trials: Vec<Trial>) -> Vec<Trial> {
        let erased = self.filters.starts_with(Variant::Erased.as_str());
        if erased || trial::has_twins(self.options.quick, self.arguments.filter.as_deref()) {
            return trials;
        }
        trials.into_iter().map(Trial::quickly).collect()
    }

    /// Cases wait for a database more than they compute, and some do nothing but wait: a thread
    /// for each of those is in no other's way.
    fn choose_threads(&mut self, waiting: &[Trial]) {
        let waiting = waiting.iter().filter(|trial| !trial.is_ignored()).count();
        self.arguments
            .test_threads
            .get_or_insert((cores() * 4).clamp(4, 32) + waiting.min(WAITING_MAX));
    }

    /// The trial in the form that libtest-mimic runs.
    fn mimic(
        &self,
        trial: Trial,
        flagged: bool,
        screen: &Arc<Screen>,
        collected: &Arc<Mutex<Vec<CaseReport>>>,
    ) -> libtest_mimic::Trial {
        let (screen, collected) = (Arc::clone(screen), Arc::clone(collected));
        let (handle, options) = (self.runtime.handle().clone(), self.options);
        let flag = flagged && trial.is_ignored();
        let adapter = self.adapter.clone();
        libtest_mimic::Trial::ignorable_test(trial.name(), move || {
            let report = finish(trial, &adapter, &handle, options);
            let answer = match report.status {
                Status::Passed => Ok(Completion::Completed),
                Status::Ignored => Ok(Completion::ignored_with(
                    report.ignore_reason.clone().unwrap_or_default(),
                )),
                Status::Failed => Err(Failed::from(report.failure_text())),
            };
            screen.finished(&report);
            lock(&collected).push(report);
            answer
        })
        .with_ignored_flag(flag)
    }
}

/// Runs one trial to its report.
fn finish(trial: Trial, adapter: &str, handle: &Handle, options: &'static Options) -> CaseReport {
    if let Some(ignored) = trial.ignored_report() {
        return ignored;
    }
    let mut report = trial.report();
    let limits = Limits {
        timeout: trial.timeout_or(options.timeout),
    };
    let started = Instant::now();
    let end = execute::execute(trial, handle, options, limits);
    report.duration_ms = started.elapsed().as_secs_f64() * 1_000.0;
    match end {
        End::Passed => {}
        End::Ignored(reason) => {
            report.status = Status::Ignored;
            report.ignore_reason = Some(reason);
        }
        End::Failed(failure) => report.fail(adapter, failure, options.seed),
    }
    report
}

/// Names are the suite's stable interface: a clash would make one of two cases unreachable.
fn check_names(trials: &[Trial]) -> Result<(), RunError> {
    let mut names = HashSet::new();
    for trial in trials {
        trial.info().check().map_err(RunError::Trials)?;
        if !names.insert(trial.name()) {
            return Err(RunError::Trials(format!(
                "two trials are named {}",
                trial.name()
            )));
        }
    }
    Ok(())
}

fn write_reports(
    options: &Options,
    report: &Report,
    fragment: Option<&str>,
) -> Result<(), RunError> {
    match &options.report_dir {
        Some(dir) => Ok(report.write(dir, fragment)?),
        None => Ok(()),
    }
}

/// In nextest each case is a process of its own and writes a file of its own.
fn fragment_name(report: &Report) -> String {
    match report.cases.as_slice() {
        [only] => only.name.replace("::", "."),
        _ => std::process::id().to_string(),
    }
}

fn under_nextest() -> bool {
    env::var_os("NEXTEST").is_some()
}

fn cores() -> usize {
    available_parallelism().map_or(2, usize::from)
}

/// A case that panicked under this lock has only left a finished list behind.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn refuse(error: &RunError) -> ExitCode {
    eprintln!("conformance: {error}");
    ExitCode::from(2)
}
