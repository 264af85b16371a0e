//! What a durable engine must provide for exactly-once effects, and what it gets for that.
//!
//! An engine implements [`Engine`]: a few small methods. For it, [`Effects`] then has every form of
//! effect: `execute_once`, one-shot, leased, balance operations, durable reads, two-phase commit.
//! The glue to Restate is made like this, as are that to Temporal (crate `exactly-once-temporal`) and
//! the toy engine in `examples/toy-engine`.
//!
//! # The four questions
//! - **Which identity** does a step of this run have? The same on every attempt, another one for
//!   each other step: [`Engine::identity`]; keys are written by [`key_of`].
//! - **Is there a journal** for a step's result? [`Engine::journal`]. Without one, the store's
//!   receipt is the memory, and each attempt asks the store.
//! - **Is there another attempt?** [`Verdict`]: never, retry, retry after. [`Settled`] and [`Retry`]
//!   carry the kind and the HTTP status along.
//! - **Was the run cancelled?** [`Engine::cancelled`]: then no further step begins. A step that has
//!   begun runs to its answer, and [`Effects::outcome_of`] may be asked.
//!
//! [`script`] is an engine in memory, for tests of a handler without a server.
//!
//! # What each engine gives
//! | | identity | another attempt | cancellation |
//! |---|---|---|---|
//! | Restate | journaled as a step of its own: invocation id, name, ordinal | for ever, unless terminal | a terminal error at the next await |
//! | Temporal | original execution run id, activity id, name; or a key made in the workflow | by the activity's retry policy | seen through heartbeats |
//! | HTTP | the client's `Idempotency-Key` | the client's | a closed connection says nothing |
//! | a queue | the message's own id, or one in its body | a redelivery | none |
//! | none | a business key: the order's number | yours | yours |

mod effects;
mod enter;
pub(crate) mod key;
mod leased;
mod one_shot;
mod operation;
mod refusal;
pub mod script;
mod step;
mod steps;
mod two_phase;
mod unread;
mod verdict;

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

pub use effects::Effects;
pub use enter::{Entered, KeyedBy};
pub use key::key_of;
pub use leased::Permit;
pub use one_shot::{AnsweredEffect, Effect, RowsEffect, ValuedEffect};
pub use operation::BalanceOperation;
pub use refusal::{Carries, Details, Refusal, Settled};
pub use step::Step;
pub use steps::Answer;
pub use two_phase::TransactionIdentity;
pub use verdict::{Retry, Verdict};

use crate::names::IdempotencyKey;

/// One run of a durable engine, as far as effects need it.
///
/// `'run` is how long the work of a step may borrow. `M` is a marker type of the engine's glue: with
/// it, a crate implements this trait for a context that another crate defines
/// (`impl Engine<'_, Temporal> for ActivityContext`).
pub trait Engine<'run, M>: Sync {
    /// What a handler of this engine fails with.
    type Failure: Send + 'static;

    /// The engine in one word, for errors.
    fn name(&self) -> &'static str;

    /// The identity of this step of this run. [`Effects`] journals it before it is used.
    ///
    /// To ensure correctness, it must be the same on every attempt of the step, also after a crash
    /// or an operator's reset, and must differ from each other step's, also those of a later run of
    /// the same workflow. If it changes, the effect happens twice; if two steps share it, one effect
    /// is lost.
    ///
    /// An engine with a journal may give another identity to an attempt that finds one journaled.
    fn identity<'a>(
        &'a self,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<IdempotencyKey, Self::Failure>>
    where
        'run: 'a;

    /// Runs the closure, unless the journal has the result of this step; journals the result.
    ///
    /// To ensure correctness, a [`Retry`] must not be journaled, and must lead to another attempt
    /// of the whole step, not before [`Retry::after`]. An engine without a journal runs the closure
    /// on each attempt.
    fn journal<'a, T, F, Fut>(
        &'a self,
        name: String,
        run: F,
    ) -> BoxFuture<'a, Result<T, Self::Failure>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run;

    /// Whether [`Self::journal`] remembers. Without a journal, what must not change between
    /// attempts has to come from the caller: the deadlines of a two-phase commit.
    fn has_journal(&self) -> bool;

    /// The failure to end with, if the run was cancelled: asked before each step that has an effect or
    /// reads. Once is enough (the handler may then undo what it did by further steps), for ever is
    /// allowed too.
    ///
    /// To ensure correctness on an engine with a journal, a replay must see it at the same step. An
    /// attempt that only has to make room for another one (a pause, a worker that shuts down) ends with
    /// a failure that is retried: a caller that receives *cancelled* waits for no other attempt.
    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<Self::Failure>>
    where
        'run: 'a;

    /// The failure that ends the run with this refusal: it must never lead to another attempt, and
    /// must keep the kind and the HTTP status.
    fn refused(&self, refusal: Refusal) -> Self::Failure;

    /// The engine's timer, to renew a lease.
    fn timer(&self) -> Timer;

    /// Called when a step is made, before its future is polled; the step holds what this returns until
    /// it ends. An engine that can't run two steps of one run side by side refuses the second one
    /// here: by then the order is that of the code, on each attempt the same.
    ///
    /// To ensure correctness, an engine whose [identities](Self::identity) are made of names alone refuses
    /// a second step of one name, where both are [keyed by the engine](KeyedBy::Engine): they would share
    /// a key, and one effect would be lost.
    ///
    /// # Errors
    /// The refusal of this step.
    fn enter(&self, _step: &Step, _keyed_by: KeyedBy) -> Result<Entered, Self::Failure> {
        Ok(Entered::default())
    }
}

/// Waits for a duration.
pub type Timer = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;
