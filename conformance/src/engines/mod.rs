//! The matrix of engines: every form of effect, on one engine, under every fault.
//!
//! An engine's glue implements [`Engine`](exactly_once_core::engine::Engine); this runs a handler for
//! each method of [`Effects`](exactly_once_core::engine::Effects) on it, over a store of your choice:
//!
//! | case | what must hold |
//! |---|---|
//! | `plain` | the effect is there once; the run's replay gives the same answer and changes nothing |
//! | `crash` | the same, wherever the process is killed: around each entry of the journal, in the work |
//! | `lost_reply` | the same, whichever reply of the store is lost |
//! | `cancel` | before a step, nothing is done; in it, the step runs to its answer |
//! | `names` | two steps of one name are two effects; without a journal, the second one is refused |
//! | `unread` | a retry that can't read its request reports no refusal of what is applied |
//! | `refusal` | the kind and the HTTP status arrive, under a crash at each point too; never retried |
//! | `retry` | a retryable error is not journaled, and the step runs again under the same key |
//! | `retry_after` | no attempt comes before the time that the store gave |
//!
//! The call site is a `harness = false` test target of some 30 lines: an [`EngineHarness`] and
//! [`run`].

mod cases;
mod effects;
mod job;
mod refusing;

use std::{future::Future, process::ExitCode, sync::Arc};

use exactly_once_core::{
    BalanceTransaction, DecisionRegister, LeaseStore, OneShotParticipant, OneShotStore,
    engine::Refusal,
};
use serde_json::Value;

pub use job::Job;

use crate::{
    CaseFailure, CaseResult, Harness,
    runner::{self, Trial},
};

/// What the matrix needs of a store.
pub trait EngineStore:
    OneShotStore + LeaseStore + BalanceTransaction + OneShotParticipant + DecisionRegister
{
}

impl<S> EngineStore for S where
    S: OneShotStore + LeaseStore + BalanceTransaction + OneShotParticipant + DecisionRegister
{
}

/// How a run ended, in the words of no engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With this value.
    Value(Value),
    /// With a refusal, as the engine gives it to a caller.
    Refused(Refusal),
    /// It was cancelled.
    Cancelled,
}

/// How the matrix drives one engine.
pub trait EngineHarness<H>: Send + Sync + 'static
where
    H: Harness,
    H::Store: EngineStore,
{
    /// The engine's name in reports.
    fn name(&self) -> &str;

    /// Whether the engine has a journal, which it replays when [`Self::run`] is called a second time.
    fn journals(&self) -> bool;

    /// Runs the job to its end, through as many attempts as the engine makes: each calls
    /// [`Job::attempt`] with the engine's context.
    ///
    /// To ensure that the faults are those of the engine, drive each process of it by
    /// [`Faults::until_crash`](exactly_once_core::engine::script::Faults::until_crash), start another
    /// one after a crash, and cancel the run in
    /// [`Faults::on_cancel`](exactly_once_core::engine::script::Faults::on_cancel). A second call with
    /// a job of the same [name](Job::run) replays its journal.
    fn run(&self, job: Job<H>) -> impl Future<Output = CaseResult<Ended>> + Send;
}

/// Runs the matrix with the arguments of this process; the result is for `main`.
pub fn run<H, G>(engine: G, stores: H) -> ExitCode
where
    H: Harness,
    H::Store: EngineStore,
    G: EngineHarness<H>,
{
    let name = format!("{} on {}", engine.name(), stores.name());
    runner::run(&name, trials(Arc::new(engine), Arc::new(stores)))
}

/// The cases of the matrix, for a caller that runs them by itself.
pub fn trials<H, G>(engine: Arc<G>, stores: Arc<H>) -> Vec<Trial>
where
    H: Harness,
    H::Store: EngineStore,
    G: EngineHarness<H>,
{
    cases::trials(engine, stores)
}

/// Drives a future that is not `Send` to its end, on a thread of its own: a handler that is an
/// `AsyncFn` makes such ones.
///
/// # Errors
/// The future's own, and a panic in it.
pub async fn on_a_thread<T, F, Fut>(process: F) -> CaseResult<T>
where
    T: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = CaseResult<T>>,
{
    let runtime = tokio::runtime::Handle::current();
    let driven = tokio::task::spawn_blocking(move || runtime.block_on(process()));
    match driven.await {
        Ok(ended) => ended,
        Err(error) => Err(CaseFailure::unexpected(error.to_string())),
    }
}
