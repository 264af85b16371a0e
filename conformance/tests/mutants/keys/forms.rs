//! Mutants for which a key under a lease and one in a transaction are two.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use exactly_once::{
    Claim, Claimed, FencingToken, IdempotencyKey, IdempotencyStore, KeyState, Lease, LeaseStore,
    Leased, Namespace, Outcome, Result, Store, Transactional,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// Transactions look for outcomes only.
#[derive(Clone, Default)]
struct LeasesUnseen;

impl Patch for LeasesUnseen {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let record = right.lookup(claim.key()).await?;
        let leased = record.is_some_and(|record| matches!(record.state, KeyState::Leased { .. }));
        if leased {
            return Ok(Claimed::Fresh(right.begin().await?));
        }
        right.claim(claim).await
    }
}

#[test]
fn transactions_see_no_lease() {
    assert_killed::<LeasesUnseen>("keys::forms::i67_held_for_all_forms");
}

/// The leases that were granted.
#[derive(Clone, Default)]
struct Granted(Arc<Mutex<Vec<(Claim, FencingToken)>>>);

impl Granted {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let answer = right.lease(claim, ttl).await?;
        if let Leased::Granted(lease) = &answer {
            let mut granted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            granted.push((claim.clone(), lease.token));
        }
        Ok(answer)
    }

    /// Gives back what is held under this key, or under any; how many there were.
    async fn give_back(&self, right: &MemoryStore, key: Option<&IdempotencyKey>) -> Result<u64> {
        let granted = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut given_back = 0;
        for (claim, token) in granted {
            let wanted = key.is_none_or(|key| key == claim.key());
            let held = right.lookup(claim.key()).await?.is_some();
            if wanted && held && right.release(&claim, token).await.is_ok() {
                given_back += 1;
            }
        }
        Ok(given_back)
    }
}

/// Expires whatever is no outcome.
#[derive(Clone, Default)]
struct ExpiresLeases(Granted);

impl Patch for ExpiresLeases {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        self.0.lease(right, claim, ttl).await
    }
    async fn expire(&self, right: &MemoryStore, limit: u32) -> Result<u64> {
        Ok(right.expire(limit).await? + self.0.give_back(right, None).await?)
    }
}

#[test]
fn leases_in_force_are_expired() {
    assert_killed::<ExpiresLeases>("keys::forms::i67_held_for_all_forms");
}

/// Forgets by key, whatever the state.
#[derive(Clone, Default)]
struct ForgetsLeases(Granted);

impl Patch for ForgetsLeases {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        self.0.lease(right, claim, ttl).await
    }
    async fn forget(&self, right: &MemoryStore, key: &IdempotencyKey) -> Result<bool> {
        if self.0.give_back(right, Some(key)).await? > 0 {
            return Ok(true);
        }
        right.forget(key).await
    }
}

#[test]
fn leases_in_force_are_forgotten() {
    assert_killed::<ForgetsLeases>("keys::forms::i67_held_for_all_forms");
}

/// Reads a lease that has expired as no lease at all.
#[derive(Clone, Default)]
struct EndedIsFree(Granted);

impl Patch for EndedIsFree {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let record = right.lookup(claim.key()).await?;
        if let Some(KeyState::Leased { deadline, .. }) = record.map(|record| record.state)
            && deadline <= right.now().await?
        {
            self.0.give_back(right, Some(claim.key())).await?;
        }
        self.0.lease(right, claim, ttl).await
    }
}

#[test]
fn an_ended_lease_is_anyones() {
    assert_killed::<EndedIsFree>("keys::forms::i21_ended_lease_keeps_its_request");
}

/// Lets a zombie overwrite what a transaction has recorded.
#[derive(Clone, Default)]
struct FencedByLeasesOnly;

impl Patch for FencedByLeasesOnly {
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        let answer = right.finalize(claim, token, outcome).await;
        let record = right.lookup(claim.key()).await?;
        match record.map(|record| record.state) {
            Some(KeyState::Completed { .. }) if answer.is_err() => Ok(()),
            _ => answer,
        }
    }
}

#[test]
fn a_zombie_is_fenced_by_leases_only() {
    assert_killed::<FencedByLeasesOnly>("keys::forms::i68_taken_over_by_a_transaction");
}

/// A release takes back what was recorded.
#[derive(Clone, Default)]
struct ReleaseUndoes;

impl Patch for ReleaseUndoes {
    async fn release(&self, right: &MemoryStore, claim: &Claim, token: FencingToken) -> Result<()> {
        let record = right.lookup(claim.key()).await?;
        if let Some(KeyState::Completed { .. }) = record.map(|record| record.state) {
            right.forget(claim.key()).await?;
            return Ok(());
        }
        right.release(claim, token).await
    }
}

#[test]
fn a_release_takes_the_outcome_back() {
    assert_killed::<ReleaseUndoes>("lease::ended::i69_finalized_is_over");
}

/// The holder that has released a key may still finalize it, as long as it is free.
#[derive(Clone, Default)]
struct ReleasedMayFinalize;

impl Patch for ReleasedMayFinalize {
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        if right.lookup(claim.key()).await?.is_none()
            && let Leased::Granted(lease) = right.lease(claim, Duration::from_secs(1)).await?
        {
            return right.finalize(claim, lease.token, outcome).await;
        }
        right.finalize(claim, token, outcome).await
    }
}

#[test]
fn who_has_released_may_finalize() {
    assert_killed::<ReleasedMayFinalize>("lease::ended::i69_released_is_over");
}

/// Leases of all namespaces lie in one.
#[derive(Clone, Default)]
struct LeasesInOneNamespace;

fn one(right: &MemoryStore) -> Result<MemoryStore> {
    Ok(right.with_namespace(Namespace::new("one")?))
}

impl Patch for LeasesInOneNamespace {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        one(right)?.lease(claim, ttl).await
    }
    async fn renew(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        ttl: Duration,
    ) -> Result<Lease> {
        one(right)?.renew(claim, token, ttl).await
    }
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        one(right)?.finalize(claim, token, outcome).await
    }
    async fn release(&self, right: &MemoryStore, claim: &Claim, token: FencingToken) -> Result<()> {
        one(right)?.release(claim, token).await
    }
}

#[test]
fn leases_lie_in_one_namespace() {
    assert_killed::<LeasesInOneNamespace>("lease::ended::i80l_namespaces_are_apart");
}
