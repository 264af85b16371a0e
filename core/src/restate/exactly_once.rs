//! The trait that handlers use.

use std::{future::Future, time::Duration};

use futures_util::future::BoxFuture;
use restate_sdk::errors::TerminalError;
use serde::{Serialize, de::DeserializeOwned};

use super::{context::Journal, engine::Restate};
use crate::{
    amount::Amount,
    balance::{Applied, BalanceStore, Expected, Leg, Transferred},
    engine::{AnsweredEffect, BalanceOperation, Effects, Permit, Refusal, Step},
    execute::{Work, WorkError},
    idempotency::IdempotencyStore,
    lease::LeaseStore,
    names::{AccountId, IdempotencyKey},
    one_shot::OneShotStore,
    register::DecisionRegister,
    two_phase::TwoPhaseCommit,
};

/// The answer of a step.
type Answer<'a, T> = BoxFuture<'a, Result<T, TerminalError>>;

/// Effects that happen once, on each of the SDK's five contexts.
///
/// Every method journals the key of its effect before it uses it, journals the answer, and lets
/// Restate retry what may succeed later; see the [module](super) for the whole protocol.
///
/// # Errors
/// A terminal error is either a [`Refusal`](crate::engine::Refusal), or a cancellation of the invocation
/// (409 `cancelled`, and the effect may have been applied: see [`Self::outcome_of`]).
///
/// A step that is made while another one of the same context is under way, for a `join!` say, is
/// refused at once ([unsupported](crate::ErrorKind::Unsupported), with both names): the SDK can't run
/// two side by side.
///
/// # Where a key is reused, and where it is forgotten
/// A key made from the invocation lives as long as Restate and the store both remember it. Two cases
/// end or outlive that, and no error says so:
/// - **A workflow id that runs again after its retention** (24 hours by default), or after a purge,
///   gets the same invocation id, and with it the same keys: the store replays the old answers and
///   *nothing is done*. To run the workflow again, give it another id: put a date or a number into
///   it. The same holds for an ingress idempotency key.
/// - **An invocation that is paused for longer than a key's retention**
///   ([30 days](crate::Retention) by default) *does its effect a second time* when it resumes, if the
///   pause fell between the commit and the journal entry: the store has forgotten the key. Resume or
///   kill paused invocations within the retention, or give the step a
///   [longer one](Step::with_retention).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no Restate context",
    note = "the five contexts of `restate-sdk` are; take one of them, or be generic over \
            `C: ExactlyOnce<'ctx>`"
)]
pub trait ExactlyOnce<'ctx>: Journal<'ctx> + Sized {
    /// Runs the work in a transaction together with its key, exactly once, and gives its value; a
    /// retry gets the value of the attempt that committed.
    ///
    /// `request` is what the effect depends on: a key that comes with another request is refused
    /// as a [mismatch](crate::ErrorKind::Mismatch). To ensure correctness, it must be the same on
    /// every retry, so it must not hold a clock's or a random value of the moment.
    fn execute_once<'a, S, T, R, W>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        request: &R,
        work: W,
    ) -> Answer<'a, T>
    where
        'ctx: 'a,
        S: IdempotencyStore,
        T: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + ?Sized,
        W: for<'t> Work<&'t mut S::Tx, Result<T, WorkError>> + 'ctx,
    {
        Effects::<'ctx, Restate>::execute_once(self, store, step, request, work)
    }

    /// Applies statements that are known up front, exactly once, in one round trip, and gives the
    /// effect's value, or the rows that a statement made; a retry gets those of the attempt that
    /// committed.
    ///
    /// The request is as in [`Self::execute_once`].
    fn one_shot<'a, S, E>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        effect: E,
    ) -> Answer<'a, E::Answer>
    where
        'ctx: 'a,
        S: OneShotStore,
        E: AnsweredEffect,
    {
        Effects::<'ctx, Restate>::one_shot(self, store, step, effect)
    }

    /// Does something **outside** the database (a call to a payment provider, a mail) under a
    /// lease: one attempt at a time is entitled to it, and how it ended is recorded once.
    ///
    /// The lease is held for `ttl` and renewed while the work lasts; after a crash, the next
    /// attempt waits until it has expired. No database can make an outside effect exactly-once: an
    /// attempt that crashes between the effect and its record is followed by another one. So send
    /// the [permit's](crate::engine::Permit) key along as the other side's idempotency key, or its token
    /// for the other side to compare.
    ///
    /// A [rejection](crate::Rejection) is recorded and final; any other error gives the key back,
    /// and is retried. A value that can't be stored (it does not
    /// [read back](crate::Receipt::of), or exceeds the receipt limit) does not undo what was done:
    /// the effect is recorded as applied without a value, and this attempt and each later one
    /// report so, as [forgotten](crate::ErrorKind::Forgotten).
    fn leased_effect<'a, S, T, R, W, Fut>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        request: &R,
        ttl: Duration,
        work: W,
    ) -> Answer<'a, T>
    where
        'ctx: 'a,
        S: LeaseStore,
        T: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + ?Sized,
        W: FnOnce(Permit) -> Fut + Send + 'ctx,
        Fut: Future<Output = Result<T, WorkError>> + Send + 'ctx,
    {
        Effects::<'ctx, Restate>::leased_effect(self, store, step, request, ttl, work)
    }

    /// Commits a transaction in several databases, all or none; see [`crate::two_phase`].
    ///
    /// `participants` names the databases and the work in each:
    /// `|order| order.participant("stock", &stock, async move |tx| …)`. `request` is as in
    /// [`Self::execute_once`]. What a dead invocation leaves is ended by a
    /// [sweeper](crate::two_phase::Sweeper) past the [deadline](Step::with_deadline).
    ///
    /// The answer is a [`Refusal`](crate::engine::Refusal) if a participant refused: then all have rolled
    /// back, for good. The kind [rolled back](crate::ErrorKind::RolledBack) is a rollback without a
    /// reason that is known here: by the deadline, a sweeper, or an attempt that crashed before it
    /// could tell. Nothing was done, so another step may try again.
    fn two_phase<'a, R, Q, P>(
        &'a self,
        register: &R,
        step: impl Into<Step>,
        request: &Q,
        participants: P,
    ) -> Answer<'a, ()>
    where
        'ctx: 'a,
        R: DecisionRegister,
        Q: Serialize + ?Sized,
        P: FnOnce(TwoPhaseCommit<'ctx, R>) -> TwoPhaseCommit<'ctx, R> + Send + 'ctx,
    {
        Effects::<'ctx, Restate>::two_phase(self, register, step, request, participants)
    }

    /// Journals the key of a step before the step begins, and gives the step with it: so that a
    /// handler that is cancelled in the middle of the effect can
    /// [ask for its outcome](Self::outcome_of).
    fn fix_key<'a>(&'a self, step: impl Into<Step>) -> Answer<'a, Step>
    where
        'ctx: 'a,
    {
        Effects::<'ctx, Restate>::fix_key(self, step)
    }

    /// How the effect of a step ended, by what the store recorded under its key: `None` if nothing
    /// is recorded, the value if it was applied, or the refusal. The step must have a
    /// [key](Step::key): [fixed](Self::fix_key), or [its own](Step::with_key).
    ///
    /// For a handler that was cancelled: **cancelled does not mean not applied**.
    ///
    /// ```
    /// # use exactly_once_core::{IdempotencyStore, restate::ExactlyOnce};
    /// # use restate_sdk::prelude::*;
    /// # async fn handler<S: IdempotencyStore>(ctx: Context<'_>, store: &S) -> Result<i64, TerminalError> {
    /// let charge = ctx.fix_key("charge").await?;
    /// match ctx.execute_once(store, charge.clone(), &500, async |_tx| Ok(500)).await {
    ///     Err(cancelled) if cancelled.message() == "cancelled" => {
    ///         match ctx.outcome_of::<_, i64>(store, &charge).await? {
    ///             Some(Ok(_cents)) => { /* it was applied: undo it with a step of its own */ }
    ///             Some(Err(_refusal)) => { /* it was refused: nothing to undo */ }
    ///             None => { /* nothing is recorded so far */ }
    ///         }
    ///         Err(cancelled)
    ///     }
    ///     other => other,
    /// }
    /// # }
    /// ```
    ///
    /// `None` is what the store knew at that moment: an attempt whose statement is still under way in
    /// the database may commit afterwards, and of a leased effect whose attempt died before it could
    /// record an outcome, nothing is known. Where that matters, repeat the step with its key instead:
    /// it waits for the attempt, and its answer is final.
    ///
    /// # Errors
    /// [Invalid](crate::ErrorKind::Invalid) for a step without a key.
    fn outcome_of<'a, S, T>(
        &'a self,
        store: &S,
        step: &Step,
    ) -> Answer<'a, Option<Result<T, Refusal>>>
    where
        'ctx: 'a,
        S: IdempotencyStore,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        Effects::<'ctx, Restate>::outcome_of(self, store, step)
    }

    /// Reads, and journals what was read: a retry goes on with the same value, however the
    /// database has changed since.
    ///
    /// The error of the read is retried, unless it is a [rejection](crate::Rejection) or a store's
    /// error that says stop.
    fn durable_read<'a, T, F, Fut>(&'a self, step: impl Into<Step>, read: F) -> Answer<'a, T>
    where
        'ctx: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'ctx,
        Fut: Future<Output = Result<T, WorkError>> + Send + 'ctx,
    {
        Effects::<'ctx, Restate>::durable_read(self, step, read)
    }

    /// Applies a balance operation, with all its options:
    /// `ctx.balance_operation(&store, "debit", |key| Adjust::new(key, account, delta).expecting(v))`.
    fn balance_operation<'a, S, O>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        operation: impl FnOnce(IdempotencyKey) -> O + Send + 'a,
    ) -> Answer<'a, O::Answer>
    where
        'ctx: 'a,
        S: BalanceStore,
        O: BalanceOperation,
    {
        Effects::<'ctx, Restate>::balance_operation(self, store, step, operation)
    }

    /// Adds a delta to an account, once.
    fn adjust<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
        delta: Amount,
    ) -> Answer<'a, Applied>
    where
        'ctx: 'a,
    {
        Effects::<'ctx, Restate>::adjust(self, store, step, account, delta)
    }

    /// Opens an account with floor zero and this amount, once.
    fn open_account<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
        amount: Amount,
    ) -> Answer<'a, Applied>
    where
        'ctx: 'a,
    {
        Effects::<'ctx, Restate>::open_account(self, store, step, account, amount)
    }

    /// Closes an account whose balance is zero, once.
    fn close_account<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
    ) -> Answer<'a, Applied>
    where
        'ctx: 'a,
    {
        Effects::<'ctx, Restate>::close_account(self, store, step, account)
    }

    /// Sets an account's amount if it is as expected, once. A retry of what was applied gets the
    /// receipt, not a conflict with itself.
    fn compare_and_set<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
        expected: Expected,
        amount: Amount,
    ) -> Answer<'a, Applied>
    where
        'ctx: 'a,
    {
        Effects::<'ctx, Restate>::compare_and_set(self, store, step, account, expected, amount)
    }

    /// Moves amounts between accounts, all legs or none, once.
    fn transfer<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        legs: Vec<Leg>,
    ) -> Answer<'a, Transferred>
    where
        'ctx: 'a,
    {
        Effects::<'ctx, Restate>::transfer(self, store, step, legs)
    }
}

impl<'ctx, C: Journal<'ctx>> ExactlyOnce<'ctx> for C {}
