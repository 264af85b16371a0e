//! Mutants whose refusals leave their transaction or their namespace, or do not reach them, and whose
//! accounts keep what an earlier life left.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    Adjust, Applied, BalanceStore, BalanceTransaction, Error, ErrorKind, IdempotencyKey, Namespace,
    OpenAccount, Result, Store,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// Refusals, by the keys that keep them.
#[derive(Clone, Default)]
struct Refusals(Arc<Mutex<HashMap<IdempotencyKey, (Namespace, ErrorKind)>>>);

impl Refusals {
    fn keep(&self, right: &MemoryStore, key: &IdempotencyKey, answer: &Result<Applied>) {
        if let Err(error) = answer
            && !error.is_retryable()
        {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.insert(key.clone(), (right.namespace().clone(), error.kind()));
        }
    }

    fn of(&self, key: &IdempotencyKey) -> Option<(Namespace, ErrorKind)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).cloned()
    }
}

/// Looks refusals up without the namespace.
#[derive(Clone, Default)]
struct RefusedEverywhere(Refusals);

impl Patch for RefusedEverywhere {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        match self.0.of(&operation.key) {
            Some((namespace, kind)) if namespace != *right.namespace() => {
                Err(Error::new(kind, "adjust", "mutant"))
            }
            _ => {
                let answer = right.adjust(operation).await;
                self.0.keep(right, &operation.key, &answer);
                answer
            }
        }
    }
}

#[test]
fn a_refusal_counts_in_every_namespace() {
    assert_killed::<RefusedEverywhere>("balance::refusals::b13_refusal_in_its_namespace");
}

/// Records what is refused in a transaction.
#[derive(Clone, Default)]
struct RecordsInside(Refusals);

impl Patch for RecordsInside {
    async fn adjust_in(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        operation: &Adjust,
    ) -> Result<Applied> {
        let answer = right.adjust_in(tx, operation).await;
        self.0.keep(right, &operation.key, &answer);
        answer
    }
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        match self.0.of(&operation.key) {
            Some((_, kind)) => Err(Error::new(kind, "adjust", "mutant")),
            None => right.adjust(operation).await,
        }
    }
}

#[test]
fn a_refusal_in_a_transaction_is_recorded() {
    assert_killed::<RecordsInside>("balance_tx::refusals::bt12_refusal_is_not_recorded");
}

/// Looks in a transaction for applied operations only, and decides again what was refused.
#[derive(Clone, Default)]
struct UnseenInside(Refusals);

impl Patch for UnseenInside {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let answer = right.adjust(operation).await;
        self.0.keep(right, &operation.key, &answer);
        answer
    }
    async fn adjust_in(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        operation: &Adjust,
    ) -> Result<Applied> {
        let mut operation = operation.clone();
        if self.0.of(&operation.key).is_some() {
            let anew = format!("{}/anew", operation.key);
            operation.key = IdempotencyKey::new(anew).expect("a key");
        }
        right.adjust_in(tx, &operation).await
    }
}

#[test]
fn a_refusal_is_not_seen_in_a_transaction() {
    assert_killed::<UnseenInside>("balance_tx::refusals::bt13_refused_before");
}

/// Opens a closed account again with the floor that it had.
#[derive(Clone, Default)]
struct KeepsTheFloor;

impl Patch for KeepsTheFloor {
    async fn open_account(&self, right: &MemoryStore, operation: &OpenAccount) -> Result<Applied> {
        let mut operation = operation.clone();
        if let Some(state) = right.balance(&operation.account).await? {
            operation.floor = state.floor;
        }
        right.open_account(&operation).await
    }
}

#[test]
fn a_reopened_account_keeps_its_floor() {
    assert_killed::<KeepsTheFloor>("balance::basic::b09_reopened_with_its_own_floor");
}
