//! A request that can't be read, on an engine without a journal: the store knows what became of an
//! earlier attempt, which could read it.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{Step, one_shot};
use crate::{
    error::{Error, ErrorKind, Result},
    fingerprint::Fingerprint,
    idempotency::{Claim, IdempotencyStore, KeyState, Outcome},
    lease::{FencingToken, LeaseStore, Leased},
    names::IdempotencyKey,
    refusals,
    rejection::Rejection,
    settle::settle_refusal,
    store::Store,
};

const OPERATION: &str = "refuse";

/// The operation whose request it stands for: no step has it, so no request has its fingerprint.
const UNREAD: &str = "exactly-once/unread";

/// A step, and why its request can't be read.
pub(super) struct Unread {
    pub(super) key: IdempotencyKey,
    pub(super) step: Step,
    pub(super) refusal: Error,
}

impl Unread {
    /// The value of [`Self::outcome`].
    pub(super) async fn refuse<S, T>(self, store: &S) -> Result<T>
    where
        S: IdempotencyStore,
        T: DeserializeOwned,
    {
        let outcome = self.outcome(store).await?;
        one_shot::value_of(store, OPERATION, outcome)
    }

    /// What an earlier attempt has recorded under the key. Where there is nothing, the refusal is recorded
    /// before it is reported, so that no message of such an attempt is applied after it.
    pub(super) async fn outcome<S: IdempotencyStore>(self, store: &S) -> Result<Outcome> {
        let fingerprint = match store.lookup(&self.key).await? {
            None => stand_in(&self.step)?,
            Some(record) => match record.state {
                KeyState::Completed { outcome, .. } => return Ok(outcome),
                // No lease has this token: a claim was committed, and how it ended is not known.
                KeyState::Leased { token, .. } if token == FencingToken::new(0) => {
                    return Err(refusals::unsettled(OPERATION, store.backend()));
                }
                // As that attempt has claimed it: in force, it is waited for; expired, it is taken over.
                KeyState::Leased { .. } => record.fingerprint,
            },
        };
        let claim = Claim::new(self.key, fingerprint).with_retention(self.step.retention());
        let settled = settle_refusal(store, OPERATION, &claim, self.refusal).await;
        settled.map_err(|error| match error.kind() {
            // Claimed since the look-up; the next attempt finds its owner.
            ErrorKind::Mismatch => refusals::overtaken(OPERATION, store.backend()),
            _ => error,
        })
    }

    /// As [`Self::refuse`], in a store that has leases, and may have no look-up.
    pub(super) async fn refuse_leased<S, T>(self, store: &S, ttl: Duration) -> Result<T>
    where
        S: LeaseStore,
        T: DeserializeOwned,
    {
        let Some(rejection) = Rejection::of_refusal(&self.refusal) else {
            return Err(self.refusal);
        };
        let fingerprint = stand_in(&self.step)?;
        let claim = Claim::new(self.key, fingerprint).with_retention(self.step.retention());
        match store.lease(&claim, ttl).await? {
            Leased::Granted(lease) => {
                let outcome = Outcome::Rejected(rejection);
                store.finalize(&claim, lease.token, &outcome).await?;
                Err(self.refusal.reported_by(OPERATION, store.backend()))
            }
            Leased::Completed(outcome) => one_shot::value_of(store, OPERATION, outcome),
            Leased::InProgress { retry_after } => Err(refusals::in_progress(
                retry_after,
                OPERATION,
                store.backend(),
            )),
            Leased::Mismatch => Err(read_before(store, &self.refusal)),
        }
    }
}

/// What stands for a request that can't be read.
pub(super) fn stand_in(step: &Step) -> Result<Fingerprint> {
    Fingerprint::of(UNREAD, step.name())
}

/// The outcome can only be asked for with the request: no answer is better than a wrong one.
pub(super) fn read_before<S: Store>(store: &S, refusal: &Error) -> Error {
    Error::new(ErrorKind::Configuration, OPERATION, store.backend()).with_message(format!(
        "an earlier attempt could read the request, and may have applied the effect; this one can't: {}. \
         Fix the program, and the next attempt gets the outcome",
        refusal.text()
    ))
}
