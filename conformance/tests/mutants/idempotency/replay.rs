//! Mutants whose replays tell or do something else.

use std::sync::{Arc, Mutex, PoisonError};

use exactly_once::{
    Claim, Claimed, IdempotencyStore, Outcome, Receipt, Result, Settled,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::{CaseFailure, CaseResult};
use tokio::task::yield_now;

use crate::{harness::assert_killed, patch::Patch};

/// Gives the receipt that was stored last, of whatever key.
#[derive(Clone, Default)]
struct LatestReceipt(Arc<Mutex<Receipt>>);

impl Patch for LatestReceipt {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        Ok(match right.claim(claim).await? {
            Claimed::Completed(Outcome::Applied(_)) => {
                let last = self
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                Claimed::Completed(Outcome::Applied(last))
            }
            other => other,
        })
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = receipt.clone();
        right.complete(tx, claim, receipt).await
    }
}

#[test]
fn replay_returns_the_latest_receipt() {
    assert_killed::<LatestReceipt>("idempotency::replay::i13_while_another_key_is_in_progress");
}

/// Stores the outcome again at each replay, and so prolongs its retention.
#[derive(Clone, Default)]
struct ReplayWrites;

impl Patch for ReplayWrites {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let answer = right.claim(claim).await?;
        if let Claimed::Completed(Outcome::Applied(receipt)) = &answer {
            right.forget(claim.key()).await?;
            if let Claimed::Fresh(tx) = right.claim(claim).await? {
                let _ = right.complete(tx, claim, receipt).await?;
            }
        }
        Ok(answer)
    }
}

#[test]
fn replay_writes() {
    assert_killed::<ReplayWrites>("idempotency::replay::i16_replay_runs_no_work");
}

/// Forgets one key and takes another along.
#[derive(Clone, Default)]
struct ForgetsTooMuch(Arc<Mutex<Vec<Claim>>>);

impl Patch for ForgetsTooMuch {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(claim.clone());
        right.claim(claim).await
    }
    async fn forget(
        &self,
        right: &MemoryStore,
        key: &exactly_once::IdempotencyKey,
    ) -> Result<bool> {
        let known = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for claim in known {
            if claim.key().as_str().starts_with(key.as_str()) && claim.key() != key {
                right.forget(claim.key()).await?;
            }
        }
        right.forget(key).await
    }
}

#[test]
fn forget_takes_others_along() {
    assert_killed::<ForgetsTooMuch>("idempotency::basic::i08_forgotten_key_is_fresh");
}

/// Makes its tables when it is opened, if they are not there yet: without a lock.
#[derive(Clone, Default)]
struct MigratesWithoutALock(Arc<Mutex<bool>>);

impl Patch for MigratesWithoutALock {
    async fn open(&self) -> CaseResult<Self> {
        let there = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !there {
            for _ in 0..10 {
                yield_now().await;
            }
            let mut there = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if *there {
                return Err(CaseFailure::unexpected("23505: the table exists already"));
            }
            *there = true;
        }
        Ok(self.clone())
    }
}

#[test]
fn migration_without_a_lock() {
    assert_killed::<MigratesWithoutALock>("idempotency::life::i85_opening_again");
}
