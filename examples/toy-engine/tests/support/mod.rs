//! The toy engine, as one of the matrix.

use std::path::PathBuf;

use exactly_once_conformance::{
    CaseFailure, CaseResult, Harness,
    engines::{Ended, EngineHarness, EngineStore, Job, on_a_thread},
};
use exactly_once_toy_engine::{Failure, cancel, run};
use tempfile::TempDir;

/// Keeps the journals in a folder.
pub(crate) struct Toy(TempDir);

impl Toy {
    #[allow(clippy::expect_used)]
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for the journals"))
    }
}

impl<H> EngineHarness<H> for Toy
where
    H: Harness,
    H::Store: EngineStore,
{
    fn name(&self) -> &str {
        "toy"
    }

    fn journals(&self) -> bool {
        true
    }

    async fn run(&self, job: Job<H>) -> CaseResult<Ended> {
        let folder = self.0.path().to_owned();
        let (cancelled, name) = (folder.clone(), job.run().to_owned());
        job.faults().on_cancel(move || {
            // Where it could not be cancelled, the case fails.
            let _ = cancel(&cancelled, &name);
        });
        on_a_thread(move || drive(folder, job)).await
    }
}

async fn drive<H>(folder: PathBuf, job: Job<H>) -> CaseResult<Ended>
where
    H: Harness,
    H::Store: EngineStore,
{
    loop {
        let process = run(&folder, job.run(), async |ctx| job.attempt(ctx).await);
        // A crash: the journal's file is what is left, and the next process begins.
        let Ok(returned) = job.faults().until_crash(process).await else {
            continue;
        };
        return match returned? {
            Ok(value) => Ok(Ended::Value(value)),
            Err(Failure::Refused(refusal)) => Ok(Ended::Refused(refusal)),
            Err(Failure::Cancelled) => Ok(Ended::Cancelled),
            Err(failure) => Err(CaseFailure::unexpected(failure.to_string())),
        };
    }
}
