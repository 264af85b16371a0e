//! The scripted journal, with which handlers are tested, as an engine of the matrix.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use exactly_once::engine::script::{Failure, Script};
use exactly_once_conformance::{
    CaseFailure, CaseResult, Harness,
    engines::{Ended, EngineHarness, EngineStore, Job, on_a_thread},
};

/// Keeps the journal of each run.
#[derive(Default)]
pub(crate) struct Scripts(Mutex<HashMap<String, Script>>);

impl<H> EngineHarness<H> for Scripts
where
    H: Harness,
    H::Store: EngineStore,
{
    fn name(&self) -> &str {
        "script"
    }

    fn journals(&self) -> bool {
        true
    }

    async fn run(&self, job: Job<H>) -> CaseResult<Ended> {
        let script = {
            let mut scripts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let script = scripts.entry(job.run().to_owned());
            script
                .or_insert_with(|| Script::new().named(job.run()))
                .clone()
        };
        let cancelled = script.clone();
        job.faults().on_cancel(move || cancelled.cancel());
        on_a_thread(move || drive(script, job)).await
    }
}

async fn drive<H>(script: Script, job: Job<H>) -> CaseResult<Ended>
where
    H: Harness,
    H::Store: EngineStore,
{
    loop {
        let process = script.run(async |ctx| job.attempt(ctx).await);
        // A crash: the journal is what is left, and the next attempt begins.
        let Ok(returned) = job.faults().until_crash(process).await else {
            continue;
        };
        return match returned {
            Ok(value) => Ok(Ended::Value(value)),
            Err(Failure::Refused(refusal)) => Ok(Ended::Refused(refusal)),
            Err(Failure::Cancelled) => Ok(Ended::Cancelled),
            Err(failure) => Err(CaseFailure::unexpected(failure.to_string())),
        };
    }
}
