//! Effects outside the database: one attempt at a time, and one recorded outcome.

use std::{future::Future, time::Duration};

use futures_util::future::{Either, select};
use serde::{Serialize, de::DeserializeOwned};

use super::Verdict;
use crate::{
    error::{Error, ErrorKind, Result},
    execute::WorkError,
    idempotency::{Claim, Outcome},
    lease::{FencingToken, LeaseStore, Leased},
    names::IdempotencyKey,
    receipt::Receipt,
    refusals,
    rejection::Rejection,
};

const OPERATION: &str = "leased_effect";

/// A lease is renewed when this part of it has passed.
const RENEW_AFTER: u32 = 3;

/// The pause between two tries to record an outcome.
const PAUSE: Duration = Duration::from_millis(50);

/// What the work of a leased effect goes out with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permit {
    /// The key of the effect, the same on every attempt: send it along as the other side's
    /// idempotency key, if it knows such.
    pub key: IdempotencyKey,
    /// Grows with each attempt: the other side can refuse a smaller one than it has seen.
    pub token: FencingToken,
}

/// Holds the key, does the work while renewing, and records how it ended. `sleep` is the engine's
/// timer, since this crate has none of its own.
pub(super) async fn execute<S, T, W, Fut, Z, Slept>(
    store: &S,
    claim: &Claim,
    ttl: Duration,
    sleep: Z,
    work: W,
) -> Result<T>
where
    S: LeaseStore,
    T: Serialize + DeserializeOwned + Send,
    W: FnOnce(Permit) -> Fut + Send,
    Fut: Future<Output = Result<T, WorkError>> + Send,
    Z: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    let lease = match store.lease(claim, ttl).await? {
        Leased::Granted(lease) => lease,
        Leased::Completed(outcome) => return replay(store, outcome),
        Leased::InProgress { retry_after } => {
            return Err(refusals::in_progress(
                retry_after,
                OPERATION,
                store.backend(),
            ));
        }
        Leased::Mismatch => return Err(refusals::mismatch(OPERATION, store.backend())),
    };
    let permit = Permit {
        key: claim.key().clone(),
        token: lease.token,
    };
    let worked = while_renewing(store, claim, lease.token, ttl, &sleep, work(permit)).await?;
    let (outcome, answer) = match worked {
        Ok(value) => {
            let (receipt, answer) = receipt(store, &value);
            (Outcome::Applied(receipt), answer)
        }
        Err(failed) => {
            let failed = failed.into_error_without_store(OPERATION, store.backend());
            let Some(rejection) = Rejection::of_refusal(&failed) else {
                // Best effort: if it fails, the key is free again when the lease has expired.
                if let Err(error) = store.release(claim, lease.token).await {
                    tracing::debug!(%error, "release after failed work");
                }
                return Err(failed);
            };
            let failed = failed.reported_by(OPERATION, store.backend());
            (Outcome::Rejected(rejection), Err(failed))
        }
    };
    finalize(store, claim, lease.token, &outcome, ttl, &sleep).await?;
    answer
}

/// What to record of work that is done, and what to answer. Work outside can't be undone: a value
/// that can't be stored must not keep the effect from being recorded, or the next attempt does it
/// again.
fn receipt<S, T>(store: &S, value: &T) -> (Receipt, Result<T>)
where
    S: LeaseStore,
    T: Serialize + DeserializeOwned,
{
    let limit = store.capabilities().max_receipt_bytes;
    let kept = Receipt::of(value).and_then(|(receipt, value)| {
        receipt.check_size(limit, OPERATION, store.backend())?;
        Ok((receipt, value))
    });
    match kept {
        Ok((receipt, value)) => (receipt, Ok(value)),
        Err(reason) => {
            tracing::error!(error = %reason, "an effect was applied, and its value is not stored");
            let receipt = Receipt::without_value(&reason);
            let answer = decode(store, &receipt);
            (receipt, answer)
        }
    }
}

fn decode<S: LeaseStore, T: DeserializeOwned>(store: &S, receipt: &Receipt) -> Result<T> {
    let read = receipt.decode();
    read.map_err(|error| error.reported_by(OPERATION, store.backend()))
}

/// Does the work, and prolongs the lease meanwhile. Stops the work if the lease is lost.
async fn while_renewing<S, F, Z, Slept>(
    store: &S,
    claim: &Claim,
    token: FencingToken,
    ttl: Duration,
    sleep: &Z,
    work: F,
) -> Result<F::Output>
where
    S: LeaseStore,
    F: Future + Send,
    Z: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    let renewing = std::pin::pin!(async {
        loop {
            sleep(ttl / RENEW_AFTER).await;
            match store.renew(claim, token, ttl).await {
                Ok(_) => {}
                // It may be in force still: the next renewal, or the outcome, will tell.
                Err(error) if Verdict::of(error.kind()).is_retry() => {}
                Err(error) if error.kind() == ErrorKind::Fenced => return superseded(error),
                Err(error) => return not_renewed(error),
            }
        }
    });
    match select(std::pin::pin!(work), renewing).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right((error, _)) => Err(error),
    }
}

/// Records the outcome, and insists: what was done outside must not be forgotten because a reply
/// was lost.
async fn finalize<S, Z, Slept>(
    store: &S,
    claim: &Claim,
    token: FencingToken,
    outcome: &Outcome,
    ttl: Duration,
    sleep: &Z,
) -> Result<()>
where
    S: LeaseStore,
    Z: Fn(Duration) -> Slept + Send + Sync,
    Slept: Future<Output = ()> + Send,
{
    let tries = ttl.as_millis() / PAUSE.as_millis();
    let mut tried = 0;
    loop {
        match store.finalize(claim, token, outcome).await {
            Ok(()) => return Ok(()),
            Err(error) if Verdict::of(error.kind()).is_retry() && tried < tries => {}
            Err(error) if error.kind() == ErrorKind::Fenced => return Err(superseded(error)),
            Err(error) => return Err(error),
        }
        tried += 1;
        sleep(PAUSE).await;
    }
}

/// Another attempt holds the key by now, or has recorded an outcome. The next attempt gets it, so
/// this one is retried and not refused.
fn superseded(source: Error) -> Error {
    Error::new(ErrorKind::Ambiguous, OPERATION, source.store())
        .with_message("the lease was lost; the next attempt learns how the effect ended")
        .with_source(source)
}

/// The lease expires, and then another attempt may begin: this one must not go on.
fn not_renewed(source: Error) -> Error {
    Error::new(ErrorKind::Ambiguous, OPERATION, source.store())
        .with_message(
            "the lease can't be renewed, so the work was stopped; the next attempt waits until the lease \
             expires",
        )
        .with_source(source)
}

fn replay<S: LeaseStore, T: DeserializeOwned>(store: &S, outcome: Outcome) -> Result<T> {
    match outcome {
        Outcome::Applied(receipt) => decode(store, &receipt),
        Outcome::Rejected(rejection) => Err(Error::rejected(rejection, OPERATION, store.backend())),
    }
}
