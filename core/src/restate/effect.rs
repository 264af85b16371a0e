//! The two steps of an effect: its key, then the effect itself and how it ended.

use std::future::Future;

use futures_util::future::BoxFuture;
use restate_sdk::errors::TerminalError;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    alone::Alone,
    context::Journal,
    identity,
    operation::BalanceOperation,
    refusal::{Journaled, Refusal},
    step::Step,
};
use crate::{
    balance::BalanceStore, error::Result as StoreResult, fingerprint::Fingerprint,
    idempotency::Claim, names::IdempotencyKey,
};

/// The answer of a step: a boxed future, because no other form compiles in a handler.
pub(super) type Answer<'a, T> = BoxFuture<'a, Result<T, TerminalError>>;

/// Journals the key of a step, and gives the step with it.
pub(super) fn fix_key<'a, 'ctx: 'a, C: Journal<'ctx>>(
    context: &'a C,
    step: Step,
) -> Answer<'a, Step> {
    let alone = Alone::begin(context, &step);
    Box::pin(async move {
        let _alone = alone?;
        let key = identity::key(context, &step).await?;
        Ok(step.with_key(key))
    })
}

/// Journals the key, then the answer to the effect that is claimed with it.
pub(super) fn keyed<'a, 'ctx: 'a, C, T, R, F, Fut>(
    context: &'a C,
    step: Step,
    request: &R,
    effect: F,
) -> Answer<'a, T>
where
    C: Journal<'ctx>,
    T: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + ?Sized,
    F: FnOnce(Claim) -> Fut + Send + 'ctx,
    Fut: Future<Output = StoreResult<T>> + Send + 'ctx,
{
    let fingerprint = Fingerprint::of(step.name(), request);
    let alone = Alone::begin(context, &step);
    Box::pin(async move {
        let _alone = alone?;
        let claim = identity::claim(context, &step, fingerprint).await?;
        context
            .step(step.name().to_owned(), move || async move {
                Journaled::from_answer(effect(claim).await)
            })
            .await?
            .into_answer()
    })
}

/// Journals the key, then the answer to the operation under it.
pub(super) fn apply<'a, 'ctx: 'a, C, S, O>(
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
    let alone = Alone::begin(context, &step);
    Box::pin(async move {
        let _alone = alone?;
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

/// Journals the answer of something that has no effect, and so no key.
pub(super) fn unkeyed<'a, 'ctx: 'a, C, T, F, Fut>(
    context: &'a C,
    step: Step,
    read: F,
) -> Answer<'a, T>
where
    C: Journal<'ctx>,
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnOnce() -> Fut + Send + 'ctx,
    Fut: Future<Output = StoreResult<T>> + Send + 'ctx,
{
    let alone = Alone::begin(context, &step);
    Box::pin(async move {
        let _alone = alone?;
        context
            .step(step.name().to_owned(), move || async move {
                Journaled::from_answer(read().await)
            })
            .await?
            .into_answer()
    })
}
