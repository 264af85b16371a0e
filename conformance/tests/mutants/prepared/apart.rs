//! Mutants that mix namespaces up, or look at an open transaction too early.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    AccountId, Adjust, Applied, BalanceStore, BalanceTransaction, BegunPrepared, Error, ErrorKind,
    IdempotencyKey, Participation, PreparedTransactions, Result, Store, Transactional,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// Where each transaction was begun, by its name alone.
#[derive(Clone, Default)]
struct Begun(Arc<Mutex<Vec<(Participation, MemoryStore)>>>);

impl Begun {
    fn add(&self, right: &MemoryStore, asked: &Participation) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push((
            asked.clone(),
            right.with_namespace(right.namespace().clone()),
        ));
    }

    fn all(&self, asked: &Participation) -> Vec<MemoryStore> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = begun.iter().filter(|(known, _)| known == asked);
        same.map(|(_, store)| store.clone()).collect()
    }
}

/// Prepares and commits whatever namespace's transaction it is given.
#[derive(Clone, Default)]
struct AnyNamespace(Begun);

impl AnyNamespace {
    fn home(&self, right: &MemoryStore, asked: &Participation) -> MemoryStore {
        let first = self.0.all(asked).into_iter().next();
        first.unwrap_or_else(|| right.clone())
    }
}

impl Patch for AnyNamespace {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        self.0.add(right, asked);
        right.begin_prepared(asked).await
    }
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        self.home(right, asked).prepare(tx, asked).await
    }
    async fn commit_alone(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        self.home(right, asked).commit_alone(tx, asked).await
    }
}

#[test]
fn any_namespaces_transaction_is_prepared() {
    assert_killed::<AnyNamespace>("prepared::apart::t83_other_namespaces_transaction");
}

/// Looks up what is staged by the transaction's name: a commit applies it in every namespace.
#[derive(Clone, Default)]
struct ByNameAlone(Begun);

impl Patch for ByNameAlone {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        self.0.add(right, asked);
        right.begin_prepared(asked).await
    }
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        right.commit_prepared(asked).await?;
        for other in self.0.all(asked) {
            // Where it is not prepared, there is nothing to apply.
            let _ = other.commit_prepared(asked).await;
        }
        Ok(())
    }
}

#[test]
fn a_commit_applies_the_other_namespaces_work() {
    assert_killed::<ByNameAlone>("prepared::apart::t84_one_name_in_two_namespaces");
}

/// Keys of operations belong to their accounts: each account has its own.
#[derive(Clone, Default)]
struct KeysOfAnAccount;

impl KeysOfAnAccount {
    fn own(operation: &Adjust) -> Adjust {
        let name = format!("{}@{}", operation.key, operation.account);
        let mut own = operation.clone();
        own.key = IdempotencyKey::new(name).expect("a key");
        own
    }
}

impl Patch for KeysOfAnAccount {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        right.adjust(&Self::own(operation)).await
    }
    async fn adjust_in(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        operation: &Adjust,
    ) -> Result<Applied> {
        right.adjust_in(tx, &Self::own(operation)).await
    }
}

#[test]
fn each_account_has_keys_of_its_own() {
    assert_killed::<KeysOfAnAccount>("balance_tx::beside::bt16_key_beside_a_transaction");
    assert_killed::<KeysOfAnAccount>("prepared::taken::t66_key_for_another_account");
    assert_killed::<KeysOfAnAccount>("prepared::taken::t66_key_of_an_open_transaction");
}

/// Takes account and delta of an operation in a transaction, and not its floor.
#[derive(Clone, Default)]
struct FloorUnseenInside;

impl Patch for FloorUnseenInside {
    async fn adjust_in(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        operation: &Adjust,
    ) -> Result<Applied> {
        let mut bare = operation.clone();
        bare.floor = None;
        right.adjust_in(tx, &bare).await
    }
}

#[test]
fn an_operations_floor_does_not_count_inside() {
    assert_killed::<FloorUnseenInside>("balance_tx::beside::bt14_floor_of_one_operation");
}

/// Keeps what open transactions change by account, so that one takes the place of another.
#[derive(Clone, Default)]
struct OneChangeAnAccount(Arc<Mutex<HashMap<AccountId, Adjust>>>);

impl Patch for OneChangeAnAccount {
    async fn adjust_in(
        &self,
        right: &MemoryStore,
        _tx: &mut MemoryTx,
        operation: &Adjust,
    ) -> Result<Applied> {
        let mut scratch = right.begin().await?;
        let applied = right.adjust_in(&mut scratch, operation).await?;
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(operation.account.clone(), operation.clone());
        Ok(applied)
    }
    async fn commit(&self, right: &MemoryStore, tx: MemoryTx) -> Result<()> {
        right.commit(tx).await?;
        let open = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for operation in open.into_values() {
            right.adjust(&operation).await?;
        }
        Ok(())
    }
}

#[test]
fn open_changes_take_each_others_place() {
    assert_killed::<OneChangeAnAccount>("balance_tx::beside::bt15_change_beside_a_transaction");
}

/// Reservations of one namespace stop all others.
#[derive(Clone, Default)]
struct ReservedEverywhere(Arc<Mutex<Vec<String>>>);

impl Patch for ReservedEverywhere {
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, asked).await?;
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.push(right.namespace().to_string());
        Ok(())
    }
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let elsewhere = {
            let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            held.iter()
                .any(|namespace| namespace != right.namespace().as_str())
        };
        if elsewhere {
            return Err(Error::new(ErrorKind::Reserved, "adjust", "mutant"));
        }
        right.adjust(operation).await
    }
}

#[test]
fn reservations_stop_other_namespaces() {
    assert_killed::<ReservedEverywhere>("prepared::taken::t66_other_namespace_is_free");
}
