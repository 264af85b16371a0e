//! Mutants of leases that are over, and of transactions that take them over.

use std::{sync::Arc, time::Duration};

use exactly_once::{
    Claim, Error, ErrorKind, FencingToken, IdempotencyKey, IdempotencyStore, KeyRecord, KeyState,
    Lease, LeaseStore, Leased, Outcome, Result, Store, memory::MemoryStore,
};
use tokio::sync::Mutex;

use crate::{harness::assert_killed, patch::Patch};

/// Whether a lease stands in the key's row whose deadline has passed.
async fn is_over(right: &MemoryStore, key: &IdempotencyKey) -> Result<bool> {
    let now = right.now().await?;
    let record = right.lookup(key).await?;
    Ok(record.is_some_and(
        |record| matches!(record.state, KeyState::Leased { deadline, .. } if deadline <= now),
    ))
}

fn fenced(operation: &'static str) -> Error {
    Error::new(ErrorKind::Fenced, operation, "mutant")
}

/// Compares the deadline where it should compare the token.
#[derive(Clone, Default)]
struct RefusesTheLate<const RENEWS: bool>;

impl<const RENEWS: bool> Patch for RefusesTheLate<RENEWS> {
    async fn renew(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        ttl: Duration,
    ) -> Result<Lease> {
        if RENEWS && is_over(right, claim.key()).await? {
            return Err(fenced("renew"));
        }
        right.renew(claim, token, ttl).await
    }
    async fn release(&self, right: &MemoryStore, claim: &Claim, token: FencingToken) -> Result<()> {
        if !RENEWS && is_over(right, claim.key()).await? {
            return Err(fenced("release"));
        }
        right.release(claim, token).await
    }
}

#[test]
fn the_late_are_refused() {
    const CASE: &str = "lease::ended::i66_late_renewal_and_release";
    assert_killed::<RefusesTheLate<true>>(CASE);
    assert_killed::<RefusesTheLate<false>>(CASE);
}

/// Reads a lease that has expired as nothing.
#[derive(Clone, Default)]
struct HidesWhatIsOver;

impl Patch for HidesWhatIsOver {
    async fn lookup(&self, right: &MemoryStore, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        if is_over(right, key).await? {
            return Ok(None);
        }
        right.lookup(key).await
    }
}

#[test]
fn a_lease_that_is_over_is_not_told() {
    assert_killed::<HidesWhatIsOver>("keys::forms::i68_over_and_not_taken");
}

/// Writes a zombie's outcome down where the transaction that takes over can't be seen, and its own is
/// written over it.
#[derive(Clone, Default)]
struct UnseenTakeover;

impl Patch for UnseenTakeover {
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        match right.finalize(claim, token, outcome).await {
            Err(error) if matches!(error.kind(), ErrorKind::InProgress { .. }) => Ok(()),
            answer => answer,
        }
    }
}

#[test]
fn a_zombie_finalizes_beside_the_takeover() {
    assert_killed::<UnseenTakeover>("keys::forms::i68_zombie_beside_the_takeover");
}

/// Grants leases of what a transaction has claimed, as it looks for leases and outcomes only.
#[derive(Clone, Default)]
struct ClaimsUnseen(Arc<Mutex<i64>>);

impl Patch for ClaimsUnseen {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let answer = right.lease(claim, ttl).await?;
        let held = right.lookup(claim.key()).await?.is_some();
        if held || !matches!(answer, Leased::InProgress { .. } | Leased::Mismatch) {
            return Ok(answer);
        }
        let mut last = self.0.lock().await;
        *last += 1;
        let deadline = right.now().await?.checked_add(ttl).expect("a deadline");
        let token = FencingToken::new(i64::MAX / 2 + *last);
        Ok(Leased::Granted(Lease { token, deadline }))
    }
}

#[test]
fn what_is_claimed_is_leased() {
    assert_killed::<ClaimsUnseen>("keys::forms::i67_open_for_all_forms");
}
