//! The trait that handlers use.

use std::future::Future;

use futures_util::future::BoxFuture;
use restate_sdk::errors::TerminalError;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    context::Journal,
    identity,
    operation::BalanceOperation,
    refusal::{Journaled, Refusal},
    step::Step,
};
use crate::{
    amount::Amount,
    balance::{
        Adjust, Applied, BalanceStore, CloseAccount, CompareAndSet, Expected, Leg, OpenAccount,
        Transfer, Transferred,
    },
    error::Result as StoreResult,
    execute::{ExecuteOnce, Work, WorkError},
    fingerprint::Fingerprint,
    idempotency::{Claim, IdempotencyStore},
    names::{AccountId, IdempotencyKey},
};

/// The answer of a step: a boxed future, because no other form compiles in a handler.
type Answer<'a, T> = BoxFuture<'a, Result<T, TerminalError>>;

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
        let (store, step) = (store.clone(), step.into());
        let fingerprint = Fingerprint::of(step.name(), request);
        Box::pin(async move {
            let fingerprint = fingerprint.map_err(|error| Refusal::from_error(&error))?;
            let key = identity::key(self, &step).await?;
            let claim = Claim::new(key, fingerprint).with_retention(step.retention());
            self.step(step.name().to_owned(), move || async move {
                let executed = store.execute_once(&claim, work).await;
                Journaled::from_answer(executed.map(|executed| executed.value))
            })
            .await?
            .into_answer()
        })
    }

    fn durable_read<'a, T, F, Fut>(&'a self, step: impl Into<Step>, read: F) -> Answer<'a, T>
    where
        'ctx: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'ctx,
        Fut: Future<Output = Result<T, WorkError>> + Send + 'ctx,
    {
        let step = step.into();
        Box::pin(async move {
            self.step(step.name().to_owned(), move || async move {
                let value = read().await;
                Journaled::from_answer(
                    value.map_err(|error| error.into_error_without_store("durable_read")),
                )
            })
            .await?
            .into_answer()
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

/// Journals the key, then the answer to the operation under it.
fn apply<'a, 'ctx: 'a, C, S, O>(
    context: &'a C,
    store: &S,
    step: Step,
    operation: impl FnOnce(IdempotencyKey) -> StoreResult<O> + Send + 'a,
) -> Answer<'a, O::Answer>
where
    C: Journal<'ctx>,
    S: BalanceStore,
    O: BalanceOperation,
{
    let store = store.clone();
    Box::pin(async move {
        let key = identity::key(context, &step).await?;
        let operation = operation(key).map_err(|error| Refusal::from_error(&error))?;
        context
            .step(step.name().to_owned(), move || async move {
                Journaled::from_answer(operation.apply(&store).await)
            })
            .await?
            .into_answer()
    })
}
