//! Mutants whose one-shot effects have keys of another kind.

use exactly_once::{
    Claim, ErrorKind, IdempotencyKey, IdempotencyStore, Namespace, OneShot, OneShotDone,
    OneShotStore, Outcome, Result, Retention, Store, memory::MemoryStore,
};

use crate::{harness::assert_killed, patch::Patch};

fn with_claim(effect: &OneShot, claim: Claim) -> OneShot {
    OneShot {
        claim,
        ..effect.clone()
    }
}

/// Writes the default retention.
#[derive(Clone, Default)]
struct DefaultRetention;

impl Patch for DefaultRetention {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let claim = effect.claim.clone().with_retention(Retention::default());
        right.execute_one_shot(&with_claim(effect, claim)).await
    }
}

#[test]
fn the_retention_is_the_default_one() {
    assert_killed::<DefaultRetention>("one_shot::keys::i51s_retention");
}

/// Looks for receipts only.
#[derive(Clone, Default)]
struct RejectionsUnseen;

impl Patch for RejectionsUnseen {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let done = right.execute_one_shot(effect).await?;
        if let Outcome::Rejected(_) = &done.outcome {
            right.forget(effect.claim.key()).await?;
            return right.execute_one_shot(effect).await;
        }
        Ok(done)
    }
}

#[test]
fn rejected_work_has_its_effect() {
    assert_killed::<RejectionsUnseen>("one_shot::keys::i06s_rejection_is_replayed");
}

/// Keeps the keys of all namespaces in one.
#[derive(Clone, Default)]
struct OneNamespace;

impl Patch for OneNamespace {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let one = right.with_namespace(Namespace::new("one")?);
        one.execute_one_shot(effect).await
    }
}

#[test]
fn one_shot_keys_lie_in_one_namespace() {
    assert_killed::<OneNamespace>("one_shot::keys::i80s_namespaces_are_apart");
}

/// Executes what a lease holds.
#[derive(Clone, Default)]
struct LeasesUnseen;

impl Patch for LeasesUnseen {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        match right.execute_one_shot(effect).await {
            Err(error) if matches!(error.kind(), ErrorKind::InProgress { .. }) => {
                let key = IdempotencyKey::new(format!("{}#", effect.claim.key()))?;
                let claim = Claim::new(key, *effect.claim.fingerprint());
                right.execute_one_shot(&with_claim(effect, claim)).await
            }
            answer => answer,
        }
    }
}

#[test]
fn a_held_key_is_executed() {
    assert_killed::<LeasesUnseen>("one_shot::leases::i67s_held_by_a_lease");
}
