//! Mutants that take another request for the first one's retry.

use std::time::Duration;

use exactly_once::{
    Claim, Claimed, Fingerprint, IdempotencyStore, KeyState, LeaseStore, Leased, Receipt, Result,
    Settled,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// The claim with another fingerprint.
fn with(claim: &Claim, fingerprint: Fingerprint) -> Claim {
    Claim::new(claim.key().clone(), fingerprint).with_retention(claim.retention())
}

/// Stores the key only.
#[derive(Clone, Default)]
struct NeverCompared;

fn same_for_all(claim: &Claim) -> Claim {
    with(claim, Fingerprint::from_bytes([0; 32]))
}

impl Patch for NeverCompared {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        right.claim(&same_for_all(claim)).await
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        right.complete(tx, &same_for_all(claim), receipt).await
    }
}

#[test]
fn fingerprint_never_compared() {
    assert_killed::<NeverCompared>("idempotency::fingerprint::i20_after_completion");
    assert_killed::<NeverCompared>("idempotency::concurrency::i32_racers_with_two_requests");
}

/// Stores the first 31 bytes.
#[derive(Clone, Default)]
struct ComparedInPart;

fn cut(claim: &Claim) -> Claim {
    let mut bytes = *claim.fingerprint().as_bytes();
    bytes[31] = 0;
    with(claim, Fingerprint::from_bytes(bytes))
}

impl Patch for ComparedInPart {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        right.claim(&cut(claim)).await
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        right.complete(tx, &cut(claim), receipt).await
    }
}

#[test]
fn fingerprint_compared_in_part() {
    assert_killed::<ComparedInPart>("idempotency::fingerprint::i22_last_byte");
}

/// Takes a fingerprint of zeros for none.
#[derive(Clone, Default)]
struct ZeroIsNone;

impl Patch for ZeroIsNone {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        match right.claim(claim).await? {
            Claimed::Mismatch if claim.fingerprint().as_bytes() == &[0; 32] => {
                let first = right
                    .lookup(claim.key())
                    .await?
                    .map(|record| record.fingerprint);
                let first = first.unwrap_or(*claim.fingerprint());
                right.claim(&with(claim, first)).await
            }
            other => Ok(other),
        }
    }
}

#[test]
fn empty_fingerprint_taken_for_none() {
    assert_killed::<ZeroIsNone>("idempotency::fingerprint::i23_empty_against_absent");
}

/// Says *in progress* of a held key, whichever request asks.
#[derive(Clone, Default)]
struct ComparedWhenCompleted;

impl Patch for ComparedWhenCompleted {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let answer = right.lease(claim, ttl).await?;
        let record = right.lookup(claim.key()).await?;
        Ok(match (answer, record.map(|record| record.state)) {
            (Leased::Mismatch, Some(KeyState::Leased { .. })) => {
                let retry_after = Duration::from_millis(5);
                Leased::InProgress { retry_after }
            }
            (answer, _) => answer,
        })
    }
}

#[test]
fn fingerprint_compared_only_when_completed() {
    assert_killed::<ComparedWhenCompleted>("lease::basic::i21l_other_request_while_held");
}
