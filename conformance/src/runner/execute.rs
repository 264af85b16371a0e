//! Runs one body: in a task of its own, under a time limit, with its panic caught and kept.

use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinError;
use tokio::time::timeout;

use super::lock;
use super::trial::{Case, Trial};
use crate::check::{CaseFailure, CaseResult};
use crate::options::{Options, TIMEOUT};
use crate::report::FailureReport;

/// How a body ended.
pub(super) enum End {
    Passed,
    /// The case found out while running that it can't run here.
    Ignored(String),
    Failed(FailureReport),
}

pub(super) struct Limits {
    pub(super) timeout: Duration,
}

/// How long a case that ran out of time may take to drop what it holds (guards clean up there).
const CLEAN_UP_MAX: Duration = Duration::from_secs(2);

/// Runs the body to its end, blocking this thread.
pub(super) fn execute(
    trial: Trial,
    handle: &Handle,
    options: &'static Options,
    limits: Limits,
) -> End {
    catch_panics_of_cases();
    let case = Case::new(&trial, options.seed, options.quick);
    let Some(body) = trial.into_body() else {
        return End::Passed;
    };
    let panicked = PanicSlot::default();
    let scoped = {
        let case = case.clone();
        // The body is made inside the task: it may already panic while it is being made.
        IN_CASE.scope(Arc::clone(&panicked), async move { body(case).await })
    };
    let ended = handle.block_on(async {
        let mut task = handle.spawn(scoped);
        match timeout(limits.timeout, &mut task).await {
            Ok(ended) => Some(ended),
            Err(_elapsed) => {
                task.abort();
                let _ = timeout(CLEAN_UP_MAX, task).await;
                None
            }
        }
    });
    let failure = match ended {
        Some(Ok(Err(ignored))) if ignored.is_ignored() => {
            return End::Ignored(ignored.seen().to_owned());
        }
        Some(ended) => match failure_of(ended, &panicked) {
            None => return End::Passed,
            Some(failure) => failure,
        },
        None => {
            let mut report = FailureReport::new(format!("no end within {:?}", limits.timeout))
                .expected("the case to end in time");
            report.notes.push(format!(
                "a case that ran out of time says nothing about its cause; see its last step. {TIMEOUT} \
                 gives it more seconds"
            ));
            report
        }
    };
    End::Failed(failure.last_step(case.last_step()))
}

fn failure_of(ended: Result<CaseResult, JoinError>, panicked: &PanicSlot) -> Option<FailureReport> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(of_check(&failure)),
        Err(error) => Some(match lock(panicked).take() {
            Some(Panicked { message, at }) => {
                FailureReport::new(format!("a panic: {message}")).at(at)
            }
            None => FailureReport::new(format!("the case's task ended early: {error}")),
        }),
    }
}

fn of_check(failure: &CaseFailure) -> FailureReport {
    let mut report = FailureReport::new(failure.seen()).at(failure.at().to_string());
    report.expected = failure.expected().map(str::to_owned);
    report.likely_mistake = failure.likely_mistake().map(str::to_owned);
    report.notes = failure.notes().to_vec();
    report.compared = failure.is_compared();
    report
}

struct Panicked {
    message: String,
    at: String,
}

type PanicSlot = Arc<Mutex<Option<Panicked>>>;

tokio::task_local! {
    static IN_CASE: PanicSlot;
}

/// Keeps the message and place of a case's panic for its report, instead of printing them between
/// the lines of other cases. Panics elsewhere, also in tasks that a case spawned, print as ever.
fn catch_panics_of_cases() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let elsewhere = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = IN_CASE.try_with(|slot| {
                *lock(slot) = Some(Panicked::from(info));
            });
            if kept.is_err() {
                elsewhere(info);
            }
        }));
    });
}

impl From<&PanicHookInfo<'_>> for Panicked {
    fn from(info: &PanicHookInfo<'_>) -> Self {
        let message = info.payload_as_str().unwrap_or("(no message)").to_owned();
        let at = info
            .location()
            .map_or_else(String::new, ToString::to_string);
        Self { message, at }
    }
}
