//! Mutants that are right while they are alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once::{
    AccountId, Adjust, Amount, Applied, BalanceStore, ChangeKind, CompareAndSet, Error, ErrorKind,
    Expected, Floor, IdempotencyKey, Result, Transfer, Transferred, memory::MemoryStore,
};
use tokio::time::{sleep, timeout};

use crate::{harness::assert_killed, patch::Patch};

/// Long enough for another caller to come between two statements.
const BETWEEN: Duration = Duration::from_millis(1);

/// The balance is read, changed in the client, and written back.
#[derive(Clone, Default)]
struct ReadModifyWrite(Arc<Mutex<HashMap<IdempotencyKey, Applied>>>);

impl Patch for ReadModifyWrite {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let known = {
            let done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            done.get(&operation.key).cloned()
        };
        if let Some(applied) = known {
            return Ok(Applied {
                replayed: true,
                ..applied
            });
        }
        let state = right.balance(&operation.account).await?;
        let Some(sum) = state.and_then(|state| state.amount.checked_add(operation.delta)) else {
            return right.adjust(operation).await;
        };
        sleep(BETWEEN).await;
        let (key, account) = (operation.key.clone(), operation.account.clone());
        let set = CompareAndSet::new(key.clone(), account, Expected::Any, sum);
        let mut applied = right.compare_and_set(&set).await?;
        applied.change.kind = ChangeKind::Adjust;
        applied.change.delta = operation.delta;
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        done.insert(key, applied.clone());
        Ok(applied)
    }
}

#[test]
fn read_modify_write_without_a_lock() {
    assert_killed::<ReadModifyWrite>("balance::concurrency::b51_racers_with_keys_of_their_own");
}

/// The version is compared in the client.
#[derive(Clone, Default)]
struct VersionInTheClient;

impl Patch for VersionInTheClient {
    async fn compare_and_set(
        &self,
        right: &MemoryStore,
        operation: &CompareAndSet,
    ) -> Result<Applied> {
        let Expected::Version(expected) = operation.expected else {
            return right.compare_and_set(operation).await;
        };
        match right.balance(&operation.account).await? {
            Some(state) if state.version == expected => {}
            _ => return right.compare_and_set(operation).await,
        }
        sleep(BETWEEN).await;
        let mut any = operation.clone();
        any.expected = Expected::Any;
        right.compare_and_set(&any).await
    }
}

#[test]
fn the_version_is_compared_in_the_client() {
    assert_killed::<VersionInTheClient>("balance::version::b28_racers_on_one_version");
    assert_killed::<VersionInTheClient>("balance::concurrency::b52_lost_update");
}

/// The overdraft is checked in one statement, and the debit made in another.
#[derive(Clone, Default)]
struct OverdraftApart;

impl Patch for OverdraftApart {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let state = right.balance(&operation.account).await?;
        if let Some(state) = state
            && let Some(after) = state.amount.checked_add(operation.delta)
            && operation.delta < Amount::ZERO
            && !operation.floor.unwrap_or(state.floor).allows(after)
        {
            return Err(Error::new(ErrorKind::InsufficientFunds, "adjust", "mutant"));
        }
        sleep(BETWEEN).await;
        right
            .adjust(&operation.clone().with_floor(Floor::None))
            .await
    }
}

#[test]
fn the_overdraft_is_checked_apart_from_the_debit() {
    assert_killed::<OverdraftApart>("balance::concurrency::b48_racers_for_the_last_unit");
}

/// The legs of a transfer are applied one by one.
#[derive(Clone, Default)]
struct WritesBeforeItValidates;

impl Patch for WritesBeforeItValidates {
    async fn transfer(&self, right: &MemoryStore, operation: &Transfer) -> Result<Transferred> {
        let (mut changes, mut replayed) = (Vec::new(), false);
        for (number, leg) in operation.legs().iter().enumerate() {
            let key = IdempotencyKey::new(format!("{}/leg {number}", operation.key()))?;
            let part = Adjust::new(key, leg.account.clone(), leg.delta);
            let applied = right.adjust(&part).await?;
            replayed = applied.replayed;
            changes.push(applied.change);
        }
        Ok(Transferred { changes, replayed })
    }
}

#[test]
fn a_script_writes_before_it_validates() {
    assert_killed::<WritesBeforeItValidates>("balance::legs::b41_refused_leg_undoes_all");
    assert_killed::<WritesBeforeItValidates>("balance::numbers::b37_two_legs_at_the_edge");
}

type Locks = HashMap<AccountId, Arc<tokio::sync::Mutex<()>>>;

/// Accounts are locked in the order of the legs, and the database's deadlock is reported as terminal.
#[derive(Clone, Default)]
struct LocksInArgumentOrder(Arc<Mutex<Locks>>);

impl LocksInArgumentOrder {
    fn of(&self, account: &AccountId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(account.clone()).or_default().clone()
    }
}

impl Patch for LocksInArgumentOrder {
    async fn transfer(&self, right: &MemoryStore, operation: &Transfer) -> Result<Transferred> {
        let mut held = Vec::new();
        for leg in operation.legs() {
            let lock = self.of(&leg.account).lock_owned();
            match timeout(Duration::from_millis(100), lock).await {
                Ok(lock) => held.push(lock),
                Err(_) => {
                    let deadlock = Error::new(ErrorKind::Refused, "transfer", "mutant");
                    return Err(deadlock.with_message("deadlock detected"));
                }
            }
            sleep(BETWEEN).await;
        }
        let done = right.transfer(operation).await;
        drop(held);
        done
    }
}

#[test]
fn locks_are_taken_in_the_order_of_the_legs() {
    assert_killed::<LocksInArgumentOrder>("balance::legs::b43_opposing_transfers");
}

/// A transaction that began with a read can't write once another has (a deferred BEGIN), and
/// says so as if it were for good.
#[derive(Clone, Default)]
struct DeferredBegin;

impl Patch for DeferredBegin {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let seen = right.balance(&operation.account).await?;
        sleep(BETWEEN).await;
        if right.balance(&operation.account).await? != seen {
            return Err(Error::new(ErrorKind::Refused, "adjust", "mutant"));
        }
        right.adjust(operation).await
    }
}

#[test]
fn begin_is_deferred() {
    assert_killed::<DeferredBegin>("balance::concurrency::b51_racers_with_keys_of_their_own");
}
