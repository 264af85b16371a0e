//! Mutants that don't commit key, receipt and effect together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    Claim, Claimed, ErrorKind, IdempotencyKey, IdempotencyStore, Outcome, Receipt, Rejection,
    Result, Settled, Transactional,
    memory::{MemoryStore, MemoryTx},
};
use tokio::task::yield_now;

use crate::{harness::assert_killed, patch::Patch};

/// No store at all: every claim is fresh, nothing is kept but the effect.
#[derive(Clone, Default)]
struct NoStore;

impl Patch for NoStore {
    async fn claim(&self, right: &MemoryStore, _claim: &Claim) -> Result<Claimed<MemoryTx>> {
        Ok(Claimed::Fresh(right.begin().await?))
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        _claim: &Claim,
        _receipt: &Receipt,
    ) -> Result<Settled> {
        right.commit(tx).await?;
        Ok(Settled::Recorded)
    }
}

#[test]
fn no_store_at_all() {
    assert_killed::<NoStore>("idempotency::basic::i02_completed_key_gives_the_receipt");
    assert_killed::<NoStore>("idempotency::replay::i10_hundred_replays");
}

/// Looks for the key, and writes it at the end, without a unique key to stop a second one.
#[derive(Clone, Default)]
struct CheckThenInsert(Arc<Mutex<HashMap<IdempotencyKey, (Claim, Receipt)>>>);

impl Patch for CheckThenInsert {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let found = {
            let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            keys.get(claim.key()).cloned()
        };
        if let Some((first, receipt)) = found {
            return Ok(if first.fingerprint() == claim.fingerprint() {
                Claimed::Completed(Outcome::Applied(receipt))
            } else {
                Claimed::Mismatch
            });
        }
        Ok(Claimed::Fresh(right.begin().await?))
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        right.commit(tx).await?;
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(claim.key().clone(), (claim.clone(), receipt.clone()));
        Ok(Settled::Recorded)
    }
}

#[test]
fn check_then_insert_without_a_unique_key() {
    assert_killed::<CheckThenInsert>("idempotency::concurrency::i30_racers_on_one_key");
}

/// Commits the key first, in a transaction of its own.
#[derive(Clone, Default)]
struct RecordBeforeEffect;

impl Patch for RecordBeforeEffect {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        match right.claim(claim).await? {
            Claimed::Fresh(tx) => {
                let _ = right.complete(tx, claim, &Receipt::default()).await?;
                Ok(Claimed::Fresh(right.begin().await?))
            }
            other => Ok(other),
        }
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        _claim: &Claim,
        _receipt: &Receipt,
    ) -> Result<Settled> {
        right.commit(tx).await?;
        Ok(Settled::Recorded)
    }
}

#[test]
fn record_written_before_the_effect() {
    assert_killed::<RecordBeforeEffect>("idempotency::concurrency::i34_rollback_leaves_nothing");
    assert_killed::<RecordBeforeEffect>("idempotency::crash::i41_effect_dropped_at_every_poll");
}

/// Commits the effect first, and then the key.
#[derive(Clone, Default)]
struct RecordAfterEffect;

impl Patch for RecordAfterEffect {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        match right.claim(claim).await? {
            Claimed::Fresh(_) => Ok(Claimed::Fresh(right.begin().await?)),
            other => Ok(other),
        }
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        right.commit(tx).await?;
        yield_now().await;
        match right.claim(claim).await? {
            Claimed::Fresh(tx) => right.complete(tx, claim, receipt).await,
            _ => Ok(Settled::Recorded),
        }
    }
}

#[test]
fn record_written_after_the_effect() {
    assert_killed::<RecordAfterEffect>("idempotency::crash::i41_effect_dropped_at_every_poll");
}

/// Believes that a commit without an error has committed.
#[derive(Clone, Default)]
struct TrustsTheCommit;

impl Patch for TrustsTheCommit {
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        match right.complete(tx, claim, receipt).await {
            // The server said ROLLBACK, unseen.
            Err(error) if error.kind() == ErrorKind::WorkFailed => Ok(Settled::Recorded),
            other => other,
        }
    }
}

#[test]
fn commit_trusted_after_a_swallowed_error() {
    assert_killed::<TrustsTheCommit>("idempotency::crash::i45_swallowed_error");
    assert_killed::<TrustsTheCommit>("idempotency::shared::i45h_step_that_fails_half_way");
}

/// Rolls a rejection back and keeps nothing of it.
#[derive(Clone, Default)]
struct ForgetsFailures;

impl Patch for ForgetsFailures {
    async fn reject(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        _claim: &Claim,
        _rejection: &Rejection,
    ) -> Result<Settled> {
        right.rollback(tx).await?;
        Ok(Settled::Recorded)
    }
}

#[test]
fn failures_not_recorded() {
    assert_killed::<ForgetsFailures>("idempotency::basic::i06_rejection_is_replayed");
}

/// Records a rejection, and commits what the work wrote before it.
#[derive(Clone, Default)]
struct KeepsRejectedWrites;

impl Patch for KeepsRejectedWrites {
    async fn reject(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        rejection: &Rejection,
    ) -> Result<Settled> {
        let _ = right.complete(tx, claim, &Receipt::default()).await?;
        right.forget(claim.key()).await?;
        match right.claim(claim).await? {
            Claimed::Fresh(tx) => right.reject(tx, claim, rejection).await,
            _ => Ok(Settled::Recorded),
        }
    }
}

#[test]
fn writes_of_rejected_work_kept() {
    assert_killed::<KeepsRejectedWrites>("idempotency::basic::i06_rejection_is_replayed");
}

/// Never gives back a transaction that is rolled back.
#[derive(Clone, Default)]
struct LeaksTransactions;

impl Patch for LeaksTransactions {
    async fn rollback(&self, _right: &MemoryStore, tx: MemoryTx) -> Result<()> {
        std::mem::forget(tx);
        Ok(())
    }
}

#[test]
fn rolled_back_transactions_leaked() {
    assert_killed::<LeaksTransactions>("idempotency::crash::i47_nothing_leaked");
}
