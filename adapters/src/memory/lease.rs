//! Keys held for a while.

use std::time::Duration;

use exactly_once_core::{
    Claim, ErrorKind, FencingToken, Lease, LeaseStore, Leased, Outcome, Result, Store, Timestamp,
    refusals, time::check_duration,
};

use super::{
    MemoryStore,
    error::{BACKEND, error},
    idempotency::{Standing, completed, standing},
    state::{EntryState, KeyEntry, Space},
};

/// What stands in the way of a holder's call: nothing, where the lease is the current one.
fn check_holder(
    space: &Space,
    claim: &Claim,
    token: FencingToken,
    operation: &'static str,
) -> Result<()> {
    if space.claims.contains_key(claim.key()) {
        // The lease is over, and whether the key has a new holder shows when that transaction ends.
        let kind = ErrorKind::InProgress {
            retry_after: Duration::from_millis(5),
        };
        return Err(error(kind, operation, "a transaction has claimed the key"));
    }
    match space.keys.get(claim.key()) {
        Some(KeyEntry {
            fingerprint,
            state: EntryState::Leased { token: current, .. },
        }) if *current == token && fingerprint == claim.fingerprint() => Ok(()),
        _ => Err(refusals::fenced(operation, BACKEND)),
    }
}

/// A deadline, so long from now.
fn deadline(now: Timestamp, ttl: Duration, operation: &'static str) -> Result<Timestamp> {
    check_duration("lease", ttl)?;
    now.checked_add(ttl).ok_or_else(|| {
        error(
            ErrorKind::Invalid,
            operation,
            "the deadline does not fit the store's clock",
        )
    })
}

impl LeaseStore for MemoryStore {
    async fn lease(&self, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let mut state = self.state("lease")?;
        let now = self.shared.clock.now();
        let deadline = deadline(now, ttl, "lease")?;
        match standing(state.space(&self.namespace), claim, now) {
            Standing::Completed(outcome) => return Ok(Leased::Completed(outcome)),
            Standing::InProgress(retry_after) => return Ok(Leased::InProgress { retry_after }),
            Standing::Mismatch => return Ok(Leased::Mismatch),
            Standing::Free => {}
        }
        let token = state.next_token();
        let entry = KeyEntry {
            fingerprint: *claim.fingerprint(),
            state: EntryState::Leased { token, deadline },
        };
        state
            .space(&self.namespace)
            .keys
            .insert(claim.key().clone(), entry);
        Ok(Leased::Granted(Lease { token, deadline }))
    }

    async fn renew(&self, claim: &Claim, token: FencingToken, ttl: Duration) -> Result<Lease> {
        let mut state = self.state("renew")?;
        let deadline = deadline(self.shared.clock.now(), ttl, "renew")?;
        let space = state.space(&self.namespace);
        check_holder(space, claim, token, "renew")?;
        if let Some(entry) = space.keys.get_mut(claim.key()) {
            entry.state = EntryState::Leased { token, deadline };
        }
        Ok(Lease { token, deadline })
    }

    async fn finalize(&self, claim: &Claim, token: FencingToken, outcome: &Outcome) -> Result<()> {
        if let Outcome::Applied(receipt) = outcome {
            receipt.check_size(self.capabilities().max_receipt_bytes, "finalize", BACKEND)?;
        }
        let mut state = self.state("finalize")?;
        let now = self.shared.clock.now();
        let space = state.space(&self.namespace);
        match space.keys.get(claim.key()) {
            Some(entry) if entry.fingerprint != *claim.fingerprint() => {
                return Err(refusals::mismatch("finalize", BACKEND));
            }
            Some(KeyEntry {
                state:
                    EntryState::Completed {
                        outcome: first,
                        token: by,
                        ..
                    },
                ..
            }) if *by == Some(token) => {
                if first == outcome {
                    return Ok(());
                }
                return Err(error(
                    ErrorKind::Conflict { current: None },
                    "finalize",
                    "finalized before with another outcome, which stands",
                ));
            }
            _ => check_holder(space, claim, token, "finalize")?,
        }
        let entry = completed(claim, outcome.clone(), Some(token), now);
        space.keys.insert(claim.key().clone(), entry);
        Ok(())
    }

    async fn release(&self, claim: &Claim, token: FencingToken) -> Result<()> {
        let mut state = self.state("release")?;
        let space = state.space(&self.namespace);
        if !space.keys.contains_key(claim.key()) && !space.claims.contains_key(claim.key()) {
            return Ok(());
        }
        check_holder(space, claim, token, "release")?;
        space.keys.remove(claim.key());
        Ok(())
    }
}
