//! The entries of the journal behind each form of effect: what it is claimed with, then its outcome.

use std::future::Future;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{BalanceOperation, Engine, KeyedBy, Refusal, Settled, Step, one_shot, unread::Unread};
use crate::{
    balance::BalanceStore,
    error::{Advice, Error, ErrorKind, Result as StoreResult},
    fingerprint::Fingerprint,
    idempotency::{Claim, IdempotencyStore, KeyState},
    lease::FencingToken,
    names::IdempotencyKey,
    refusals,
};

/// The answer of a step: a boxed future, because no other form compiles in every handler.
///
/// A function over any engine returns one too, where a handler of Restate or an activity calls it:
///
/// ```
/// # use exactly_once_core::{AccountId, Amount, BalanceStore, engine::{Answer, Effects, Engine}};
/// fn pay<'a, 'run: 'a, M: 'a, E, S>(
///     ctx: &'a E,
///     bank: &'a S,
///     from: &'a AccountId,
/// ) -> Answer<'a, i64, E::Failure>
/// where
///     E: Engine<'run, M>,
///     S: BalanceStore,
/// {
///     Box::pin(async move {
///         let paid = ctx.adjust(bank, "pay", from, Amount::new(-300)).await?;
///         Ok(paid.change.after.get())
///     })
/// }
/// ```
pub type Answer<'a, T, F> = BoxFuture<'a, Result<T, F>>;

/// What an effect is claimed with, in one entry of the journal: a later version of the handler may
/// build another request, and its retry is the same effect. So it is also where the key is the
/// caller's own.
#[derive(Serialize, Deserialize)]
struct Identity {
    key: IdempotencyKey,
    fingerprint: Fingerprint,
}

/// A cancelled run begins no further step.
pub(super) async fn begin<'a, 'run: 'a, M, E>(engine: &'a E) -> Result<(), E::Failure>
where
    E: Engine<'run, M> + ?Sized,
{
    engine.cancelled().await.map_or(Ok(()), Err)
}

pub(super) fn answer<'run, M, E, T>(engine: &E, settled: Settled<T>) -> Result<T, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
{
    settled
        .into_result()
        .map_err(|refusal| engine.refused(refusal))
}

/// Where a step journals what it is claimed with.
pub(super) fn identity_entry(step: &Step) -> String {
    format!("{}/key", step.name())
}

/// The step's own key, or the one that the engine makes; not journaled so far.
async fn own_key<'run, M, E>(engine: &E, step: &Step) -> Result<IdempotencyKey, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
{
    match step.key() {
        Some(key) => Ok(key.clone()),
        None => engine.identity(step).await,
    }
}

/// The step's own key if it has one, otherwise the journaled one.
async fn journaled_key<'run, M, E>(engine: &E, step: &Step) -> Result<IdempotencyKey, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
{
    let key = own_key(engine, step).await?;
    if step.key().is_some() {
        return Ok(key);
    }
    engine
        .journal(identity_entry(step), move || async move { Ok(key) })
        .await
}

/// Journals the key of a step, and gives the step with it.
pub(super) fn fix_key<'a, 'run: 'a, M, E>(engine: &'a E, step: Step) -> Answer<'a, Step, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
{
    let entered = engine.enter(&step, KeyedBy::of(&step));
    Box::pin(async move {
        let entered = entered?;
        begin(engine).await?;
        let key = journaled_key(engine, &step).await?;
        entered.answered();
        Ok(step.with_key(key))
    })
}

/// Journals key and fingerprint, then the answer to the effect that is claimed with them; `refuse` is as in
/// [`claimed`].
pub(super) fn keyed<'a, 'run: 'a, M, E, T, R, F, Fut, U, Refused>(
    engine: &'a E,
    step: Step,
    request: &R,
    effect: F,
    refuse: U,
) -> Answer<'a, T, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
    T: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + ?Sized,
    F: FnOnce(Claim) -> Fut + Send + 'run,
    Fut: Future<Output = StoreResult<T>> + Send + 'run,
    U: FnOnce(Unread) -> Refused + Send + 'run,
    Refused: Future<Output = StoreResult<T>> + Send + 'run,
{
    let fingerprint = Fingerprint::of(step.name(), request);
    claimed(engine, step, fingerprint, effect, refuse)
}

/// As [`keyed`]. Without a fingerprint its error is journaled in the key's place, unless an earlier
/// attempt has journaled a key: then the effect decides, since that attempt may have applied it. Without
/// a journal the store knows of that attempt, and `refuse` asks it.
pub(super) fn claimed<'a, 'run: 'a, M, E, T, F, Fut, U, Refused>(
    engine: &'a E,
    step: Step,
    fingerprint: StoreResult<Fingerprint>,
    effect: F,
    refuse: U,
) -> Answer<'a, T, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnOnce(Claim) -> Fut + Send + 'run,
    Fut: Future<Output = StoreResult<T>> + Send + 'run,
    U: FnOnce(Unread) -> Refused + Send + 'run,
    Refused: Future<Output = StoreResult<T>> + Send + 'run,
{
    let entered = engine.enter(&step, KeyedBy::of(&step));
    Box::pin(async move {
        let entered = entered?;
        begin(engine).await?;
        let key = own_key(engine, &step).await?;
        let name = step.name().to_owned();
        let settled = match fingerprint {
            Err(refusal) if !engine.has_journal() => {
                let unread = Unread { key, step, refusal };
                let refuse = move || async move { Settled::decide(refuse(unread).await) };
                engine.journal(name, refuse).await?
            }
            fingerprint => {
                let identity = fingerprint.map(|fingerprint| Identity { key, fingerprint });
                let settled = engine
                    .journal(identity_entry(&step), move || async move {
                        Settled::decide(identity)
                    })
                    .await?;
                let Identity { key, fingerprint } = answer(engine, settled)?;
                let claim = Claim::new(key, fingerprint).with_retention(step.retention());
                let apply = move || async move { Settled::decide(effect(claim).await) };
                engine.journal(name, apply).await?
            }
        };
        entered.answered();
        answer(engine, settled)
    })
}

/// Journals the key, then the answer to the operation under it.
pub(super) fn apply<'a, 'run: 'a, M, E, S, O>(
    engine: &'a E,
    store: &S,
    step: Step,
    operation: impl FnOnce(IdempotencyKey) -> StoreResult<O> + Send + 'a,
) -> Answer<'a, O::Answer, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
    S: BalanceStore,
    O: BalanceOperation,
{
    let store = store.clone();
    let entered = engine.enter(&step, KeyedBy::of(&step));
    Box::pin(async move {
        let entered = entered?;
        begin(engine).await?;
        let key = journaled_key(engine, &step).await?;
        let operation =
            operation(key).map_err(|error| engine.refused(Refusal::from_error(&error)))?;
        let settled = engine
            .journal(step.name().to_owned(), move || async move {
                Settled::decide(operation.apply(&store).await)
            })
            .await?;
        entered.answered();
        answer(engine, settled)
    })
}

/// Journals the answer of a step without an effect, and so without a key.
pub(super) fn unkeyed<'a, 'run: 'a, M, E, T, F, Fut>(
    engine: &'a E,
    step: Step,
    read: F,
) -> Answer<'a, T, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnOnce() -> Fut + Send + 'run,
    Fut: Future<Output = StoreResult<T>> + Send + 'run,
{
    journaled(engine, step, true, read)
}

/// The same in a run that was cancelled as well: it asks what has become of an effect.
pub(super) fn asked<'a, 'run: 'a, M, E, T, F, Fut>(
    engine: &'a E,
    step: Step,
    read: F,
) -> Answer<'a, T, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnOnce() -> Fut + Send + 'run,
    Fut: Future<Output = StoreResult<T>> + Send + 'run,
{
    journaled(engine, step, false, read)
}

fn journaled<'a, 'run: 'a, M, E, T, F, Fut>(
    engine: &'a E,
    step: Step,
    unless_cancelled: bool,
    read: F,
) -> Answer<'a, T, E::Failure>
where
    E: Engine<'run, M> + ?Sized,
    T: Serialize + DeserializeOwned + Send + 'static,
    F: FnOnce() -> Fut + Send + 'run,
    Fut: Future<Output = StoreResult<T>> + Send + 'run,
{
    let entered = engine.enter(&step, KeyedBy::Nothing);
    Box::pin(async move {
        let entered = entered?;
        if unless_cancelled {
            begin(engine).await?;
        }
        let settled = engine
            .journal(step.name().to_owned(), move || async move {
                Settled::decide(read().await)
            })
            .await?;
        entered.answered();
        answer(engine, settled)
    })
}

/// What the store recorded under a key, as a value or a refusal.
pub(super) async fn recorded<S: IdempotencyStore, T: DeserializeOwned>(
    store: &S,
    key: Option<&IdempotencyKey>,
) -> StoreResult<Option<Result<T, Refusal>>> {
    const OPERATION: &str = "outcome_of";
    let key = key.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, OPERATION, store.backend())
            .with_message("the step has no key: make it with `fix_key` or `Step::with_key`")
    })?;
    match store.lookup(key).await?.map(|record| record.state) {
        None => Ok(None),
        // No lease has this token: a claim was committed, and how it ended is not known.
        Some(KeyState::Leased { token, .. }) if token == FencingToken::new(0) => {
            let unsettled = refusals::unsettled(OPERATION, store.backend());
            Ok(Some(Err(Refusal::from_error(&unsettled))))
        }
        Some(KeyState::Leased { deadline, .. }) => {
            let now = store.now().await?;
            if deadline <= now {
                // Its attempt is gone, and perhaps no other one will record how it ended.
                return Ok(None);
            }
            let retry_after = deadline.since(now);
            Err(refusals::in_progress(
                retry_after,
                OPERATION,
                store.backend(),
            ))
        }
        Some(KeyState::Completed { outcome, .. }) => {
            match one_shot::value_of(store, OPERATION, outcome) {
                Ok(value) => Ok(Some(Ok(value))),
                Err(error) => match error.kind().advice() {
                    Advice::Stop { .. } => Ok(Some(Err(Refusal::from_error(&error)))),
                    _ => Err(error),
                },
            }
        }
    }
}
