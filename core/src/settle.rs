//! Refusals made final: recorded under the key before they are reported.
//!
//! The caller of a refusal acts on it: a handler ends, a journal keeps it, a customer is turned
//! away. A message of an earlier attempt may still be under way, and what it was refused for may be
//! gone when it arrives. The record makes it find the refusal.

use crate::{
    error::{Error, Result},
    idempotency::{Claim, Claimed, IdempotencyStore, KeyState, Outcome, Settled},
    one_shot::OneShotDone,
    refusals,
    rejection::Rejection,
};

/// Records a refusal as the outcome of a key that this attempt does not hold any more, because its
/// transaction was rolled back. Gives the outcome of an earlier attempt that was faster; what is no
/// refusal (see [`Rejection::of_refusal`]) is given back as it is, and nothing is recorded.
///
/// # Errors
/// The refusal, once it is recorded; retryable kinds, after which nothing is settled and the call is
/// to be repeated.
pub async fn settle_refusal<S: IdempotencyStore>(
    store: &S,
    operation: &'static str,
    claim: &Claim,
    refusal: Error,
) -> Result<Outcome> {
    let Some(rejection) = Rejection::of_refusal(&refusal) else {
        return Err(refusal);
    };
    match store.claim(claim).await? {
        Claimed::Fresh(tx) => match store.reject(tx, claim, &rejection).await? {
            // As each replay will tell it.
            Settled::Recorded => Err(refusal.reported_by(operation, store.backend())),
            Settled::Superseded(outcome) => Ok(outcome),
        },
        Claimed::Completed(outcome) => Ok(outcome),
        Claimed::InProgress { retry_after } => Err(refusals::in_progress(
            retry_after,
            operation,
            store.backend(),
        )),
        Claimed::Mismatch => Err(refusals::mismatch(operation, store.backend())),
    }
}

/// Makes the answer to a one-shot effect final, for adapters: a refusal is recorded before it is reported,
/// and one that was recorded before is reported again.
///
/// # Errors
/// As [`settle_refusal`].
pub async fn settle_one_shot<S: IdempotencyStore>(
    store: &S,
    operation: &'static str,
    claim: &Claim,
    answer: Result<OneShotDone>,
) -> Result<OneShotDone> {
    let outcome = match answer {
        Ok(done) if !done.replayed => return Ok(done),
        Ok(done) => done.outcome,
        Err(refusal) => settle_refusal(store, operation, claim, refusal).await?,
    };
    replayed(store, operation, outcome)
}

/// The answer to a one-shot effect that is refused before the store is asked, for adapters: another
/// version of the program may have applied it, and then its outcome is the answer. Nothing is recorded.
///
/// # Errors
/// The refusal, where the key has no outcome; [mismatch](crate::ErrorKind::Mismatch); that of the
/// lookup.
pub async fn refused_up_front<S: IdempotencyStore>(
    store: &S,
    operation: &'static str,
    claim: &Claim,
    refusal: Error,
) -> Result<OneShotDone> {
    let Some(record) = store.lookup(claim.key()).await? else {
        return Err(refusal);
    };
    if record.fingerprint != *claim.fingerprint() {
        return Err(refusals::mismatch(operation, store.backend()));
    }
    match record.state {
        KeyState::Completed { outcome, .. } => replayed(store, operation, outcome),
        KeyState::Leased { .. } => Err(refusal),
    }
}

fn replayed<S: IdempotencyStore>(
    store: &S,
    operation: &'static str,
    outcome: Outcome,
) -> Result<OneShotDone> {
    match outcome {
        Outcome::Rejected(rejection) if rejection.refusal().is_some() => {
            Err(Error::rejected(rejection, operation, store.backend()))
        }
        outcome => Ok(OneShotDone {
            outcome,
            replayed: true,
        }),
    }
}
