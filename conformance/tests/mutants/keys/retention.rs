//! Mutants that remember for too long, too short, or each handle on its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    Capabilities, Claim, Claimed, Durability, FencingToken, IdempotencyKey, IdempotencyStore,
    KeyRecord, KeyState, LeaseStore, Outcome, Rejection, Result, Retention, Settled, Store,
    Timestamp, Transactional, TwoPhase,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::CaseResult;

use crate::{harness::assert_killed, patch::Patch};

/// Stores the time of the claim as that of the completion, as `now()` in PostgreSQL is.
#[derive(Clone, Default)]
struct CountsFromTheClaim(Arc<Mutex<HashMap<IdempotencyKey, (Timestamp, Retention)>>>);

impl Patch for CountsFromTheClaim {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let now = right.now().await?;
        let answer = right.claim(claim).await?;
        if matches!(answer, Claimed::Fresh(_)) {
            let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            begun.insert(claim.key().clone(), (now, claim.retention()));
        }
        Ok(answer)
    }
    async fn lookup(&self, right: &MemoryStore, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        let found = right.lookup(key).await?;
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = begun.get(key).copied();
        Ok(found.map(|record| match (record.state, begun) {
            (KeyState::Completed { outcome, .. }, Some((at, retention))) => KeyRecord::new(
                record.fingerprint,
                KeyState::Completed {
                    outcome,
                    completed_at: at,
                    expires_at: retention.expires_at(at),
                },
            ),
            (state, _) => KeyRecord::new(record.fingerprint, state),
        }))
    }
}

#[test]
fn retention_counts_from_the_claim() {
    assert_killed::<CountsFromTheClaim>("idempotency::retention::i59_counts_from_completion");
}

/// Gives rejections no end.
#[derive(Clone, Default)]
struct RejectsForEver;

impl Patch for RejectsForEver {
    async fn reject(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        rejection: &Rejection,
    ) -> Result<Settled> {
        let ever = claim.clone().with_retention(Retention::FOREVER);
        right.reject(tx, &ever, rejection).await
    }
}

#[test]
fn rejections_never_end() {
    assert_killed::<RejectsForEver>("idempotency::retention::i51_rejections_end_too");
}

/// Gives outcomes of leases no end.
#[derive(Clone, Default)]
struct FinalizesForEver;

impl Patch for FinalizesForEver {
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        let ever = claim.clone().with_retention(Retention::FOREVER);
        right.finalize(&ever, token, outcome).await
    }
}

#[test]
fn leased_outcomes_never_end() {
    assert_killed::<FinalizesForEver>("keys::forms::i59_retention_of_a_leased_outcome");
}

/// A replay that asks for another retention gets it.
#[derive(Clone, Default)]
struct ReplayMovesTheEnd(Arc<Mutex<HashMap<IdempotencyKey, Retention>>>);

impl Patch for ReplayMovesTheEnd {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let answer = right.claim(claim).await?;
        let before = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(claim.key().clone(), claim.retention())
        };
        if let Claimed::Completed(Outcome::Applied(receipt)) = &answer
            && before != Some(claim.retention())
        {
            right.forget(claim.key()).await?;
            if let Claimed::Fresh(tx) = right.claim(claim).await? {
                let _ = right.complete(tx, claim, receipt).await?;
            }
        }
        Ok(answer)
    }
}

#[test]
fn a_replay_moves_the_end() {
    assert_killed::<ReplayMovesTheEnd>("idempotency::retention::i16_replay_moves_no_end");
}

/// Each handle keeps what it has replayed.
#[derive(Clone, Default)]
struct Caches(Arc<Mutex<Vec<(Claim, Outcome)>>>);

impl Patch for Caches {
    async fn open(&self) -> CaseResult<Self> {
        Ok(Self::default())
    }
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let known = {
            let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            cache.iter().find(|(known, _)| known == claim).cloned()
        };
        if let Some((_, outcome)) = known {
            return Ok(Claimed::Completed(outcome));
        }
        let answer = right.claim(claim).await?;
        if let Claimed::Completed(outcome) = &answer {
            let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            cache.push((claim.clone(), outcome.clone()));
        }
        Ok(answer)
    }
}

#[test]
fn a_handle_keeps_what_it_has_replayed() {
    assert_killed::<Caches>("idempotency::retention::i12_forgotten_for_every_handle");
}

/// Declares that keys are claimed first, and lets rivals start.
#[derive(Clone, Default)]
struct LetsRivalsStart;

impl Patch for LetsRivalsStart {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        Ok(match right.claim(claim).await? {
            Claimed::InProgress { .. } => Claimed::Fresh(right.begin().await?),
            answer => answer,
        })
    }
}

#[test]
fn claims_first_by_its_word_only() {
    assert_killed::<LetsRivalsStart>("idempotency::declared::i37_claimed_first");
}

/// Lets rivals try again at once, for ever.
#[derive(Clone, Default)]
struct BusyLoop;

impl Patch for BusyLoop {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        Ok(match right.claim(claim).await? {
            Claimed::InProgress { .. } => Claimed::InProgress {
                retry_after: std::time::Duration::ZERO,
            },
            answer => answer,
        })
    }
}

#[test]
fn rivals_are_told_not_to_wait() {
    assert_killed::<BusyLoop>("idempotency::declared::i37_claimed_first");
}

/// Declares otherwise in other namespaces.
#[derive(Clone, Default)]
struct DeclaresByNamespace;

impl Patch for DeclaresByNamespace {
    fn capabilities(&self, right: &MemoryStore) -> Capabilities {
        if right.namespace().as_str() == "i38" {
            return Capabilities::new(Durability::Power, TwoPhase::None);
        }
        right.capabilities()
    }
}

#[test]
fn capabilities_are_lost_on_the_way() {
    assert_killed::<DeclaresByNamespace>("idempotency::declared::i38_declared_alike");
}
