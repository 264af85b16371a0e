//! The trait that handlers use.

use std::{future::Future, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    context::Journal,
    effect::{Answer, apply, keyed, unkeyed},
    leased::{self, Permit},
    operation::BalanceOperation,
    step::Step,
    two_phase,
};
use crate::{
    amount::Amount,
    balance::{
        Adjust, Applied, BalanceStore, CloseAccount, CompareAndSet, Expected, Leg, OpenAccount,
        Transfer, Transferred,
    },
    coordinator::TwoPhaseCommit,
    error::Error,
    execute::{ExecuteOnce, Work, WorkError},
    idempotency::{IdempotencyStore, Outcome},
    lease::LeaseStore,
    names::{AccountId, IdempotencyKey},
    one_shot::{OneShot, OneShotStore, Statement},
    receipt::Receipt,
    register::DecisionRegister,
};

/// Effects that happen once, on each of the SDK's five contexts.
///
/// Every method journals the key of its effect before it uses it, journals the answer, and lets
/// Restate retry what may succeed later; see the [module](super) for the whole protocol.
///
/// # Errors
/// A terminal error is either a [`Refusal`](super::Refusal), or a cancellation of the invocation
/// (409 `cancelled`, and the effect may have been applied).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no Restate context",
    note = "the five contexts of `restate-sdk` are; take one of them, or be generic over \
            `C: ExactlyOnce<'ctx>`"
)]
pub trait ExactlyOnce<'ctx>: Journal<'ctx> {
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
        W: for<'t> Work<&'t mut S::Tx, Result<T, WorkError>> + 'ctx;

    /// Applies statements that are known up front, exactly once, in one round trip, and gives
    /// `value`; a retry gets the value of the attempt that committed.
    ///
    /// `request` is as in [`Self::execute_once`].
    fn one_shot<'a, S, T, R>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        request: &R,
        statements: Vec<Statement>,
        value: &T,
    ) -> Answer<'a, T>
    where
        'ctx: 'a,
        S: OneShotStore,
        T: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + ?Sized;

    /// Does something **outside** the database (a call to a payment provider, a mail) under a
    /// lease: one attempt at a time is entitled to it, and how it ended is recorded once.
    ///
    /// The lease is held for `ttl` and renewed while the work lasts; after a crash, the next
    /// attempt waits until it is over. No database can make an outside effect exactly-once: an
    /// attempt that crashes between the effect and its record is followed by another one. So send
    /// the [permit's](super::Permit) key along as the other side's idempotency key, or its token
    /// for the other side to compare.
    ///
    /// A [rejection](crate::Rejection) is recorded and final; any other error gives the key back,
    /// and is retried.
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
        Fut: Future<Output = Result<T, WorkError>> + Send + 'ctx;

    /// Commits a transaction in several databases, all or none; see [`crate::coordinator`].
    ///
    /// `participants` names the databases and the work in each:
    /// `|order| order.participant("stock", &stock, async move |tx| …)`. `request` is as in
    /// [`Self::execute_once`]. What a dead invocation leaves is ended by a
    /// [sweeper](crate::coordinator::Sweeper) past the [deadline](Step::with_deadline).
    ///
    /// The answer is a [`Refusal`](super::Refusal) if a participant refused: then all have rolled
    /// back, for good. The kind [rolled back](crate::ErrorKind::RolledBack) is a rollback without a
    /// reason that is known here: by the deadline, a sweeper, or an attempt that crashed before it
    /// could tell. Nothing was done, so another step may try anew.
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
        P: FnOnce(TwoPhaseCommit<'ctx, R>) -> TwoPhaseCommit<'ctx, R> + Send + 'ctx;

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
        Fut: Future<Output = Result<T, WorkError>> + Send + 'ctx;

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
        O: BalanceOperation;

    /// Adds a delta to an account, once.
    fn adjust<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
        delta: Amount,
    ) -> Answer<'a, Applied>
    where
        'ctx: 'a;

    /// Opens an account with floor zero and this amount, once.
    fn open_account<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
        amount: Amount,
    ) -> Answer<'a, Applied>
    where
        'ctx: 'a;

    /// Closes an account whose balance is zero, once.
    fn close_account<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
    ) -> Answer<'a, Applied>
    where
        'ctx: 'a;

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
        'ctx: 'a;

    /// Moves amounts between accounts, all legs or none, once.
    fn transfer<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        legs: Vec<Leg>,
    ) -> Answer<'a, Transferred>
    where
        'ctx: 'a;
}

impl<'ctx, C: Journal<'ctx>> ExactlyOnce<'ctx> for C {
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
        let store = store.clone();
        keyed(self, step.into(), request, move |claim| async move {
            Ok(store.execute_once(&claim, work).await?.value)
        })
    }

    fn one_shot<'a, S, T, R>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        request: &R,
        statements: Vec<Statement>,
        value: &T,
    ) -> Answer<'a, T>
    where
        'ctx: 'a,
        S: OneShotStore,
        T: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + ?Sized,
    {
        let store = store.clone();
        let receipt = Receipt::json(value);
        keyed(self, step.into(), request, move |claim| async move {
            let effect = OneShot {
                claim,
                statements,
                receipt: receipt?,
            };
            match store.execute_one_shot(&effect).await?.outcome {
                Outcome::Applied(receipt) => receipt.decode(),
                Outcome::Rejected(rejection) => {
                    Err(Error::rejected(rejection, "one_shot", store.backend()))
                }
            }
        })
    }

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
        let store = store.clone();
        keyed(self, step.into(), request, move |claim| async move {
            leased::execute(&store, &claim, ttl, tokio::time::sleep, work).await
        })
    }

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
        two_phase::run(self, register, step.into(), request, participants)
    }

    fn durable_read<'a, T, F, Fut>(&'a self, step: impl Into<Step>, read: F) -> Answer<'a, T>
    where
        'ctx: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'ctx,
        Fut: Future<Output = Result<T, WorkError>> + Send + 'ctx,
    {
        unkeyed(self, step.into(), move || async move {
            let value = read().await;
            value.map_err(|error| error.into_error_without_store("durable_read", "restate"))
        })
    }

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
        apply(self, store, step.into(), |key| Ok(operation(key)))
    }

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
        let account = account.clone();
        apply(self, store, step.into(), move |key| {
            Ok(Adjust::new(key, account, delta))
        })
    }

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
        let account = account.clone();
        apply(self, store, step.into(), move |key| {
            Ok(OpenAccount::new(key, account).with_amount(amount))
        })
    }

    fn close_account<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
    ) -> Answer<'a, Applied>
    where
        'ctx: 'a,
    {
        let account = account.clone();
        apply(self, store, step.into(), move |key| {
            Ok(CloseAccount::new(key, account))
        })
    }

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
        let account = account.clone();
        apply(self, store, step.into(), move |key| {
            Ok(CompareAndSet::new(key, account, expected, amount))
        })
    }

    fn transfer<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        legs: Vec<Leg>,
    ) -> Answer<'a, Transferred>
    where
        'ctx: 'a,
    {
        apply(self, store, step.into(), move |key| {
            Transfer::new(key, legs)
        })
    }
}
