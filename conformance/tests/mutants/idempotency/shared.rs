//! Mutants whose callers pay for one another.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use exactly_once::{
    Claim, Claimed, Error, ErrorKind, IdempotencyStore, OneShot, OneShotDone, OneShotStore,
    Participation, PreparedTransactions, Receipt, Result, Settled, Store, Transactional,
    memory::{MemoryStore, MemoryTx},
};

use crate::{
    harness::{Right, SESSION, VIOLATION, assert_killed, assert_told_apart},
    patch::Patch,
};

/// The failure of one effect is the answer to the next one as well.
#[derive(Clone, Default)]
struct OneFailureForAll(Arc<AtomicBool>);

impl Patch for OneFailureForAll {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        if self.0.swap(false, Ordering::SeqCst) {
            return Err(Error::new(
                ErrorKind::Refused,
                "execute_one_shot",
                right.backend(),
            ));
        }
        let done = right.execute_one_shot(effect).await;
        self.0.store(done.is_err(), Ordering::SeqCst);
        done
    }
}

#[test]
fn the_failure_of_a_batch_as_each_members_answer() {
    assert_killed::<OneFailureForAll>("one_shot::groups::s02_poisoned_member");
}

/// Takes a transaction of any store for its own.
#[derive(Clone, Default)]
struct AnyStores;

fn taken<T>(answer: Result<T>, done: T) -> Result<T> {
    match answer {
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(done),
        answer => answer,
    }
}

impl Patch for AnyStores {
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        taken(right.complete(tx, claim, receipt).await, Settled::Recorded)
    }

    async fn commit(&self, right: &MemoryStore, tx: MemoryTx) -> Result<()> {
        taken(right.commit(tx).await, ())
    }

    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        participation: &Participation,
    ) -> Result<()> {
        taken(right.prepare(tx, participation).await, ())
    }
}

#[test]
fn a_transaction_of_another_store_taken_for_its_own() {
    assert_killed::<AnyStores>("idempotency::shared::e06_transaction_of_another_store");
    assert_killed::<AnyStores>("prepared::apart::e06p_transaction_of_another_store");
}

/// Each call waits for its limit in turn, one after another.
#[derive(Clone, Default)]
struct OneAfterAnother(Arc<tokio::sync::Mutex<bool>>);

impl Patch for OneAfterAnother {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let mut turn = self.0.lock().await;
        if right.open_transactions() > 0 {
            *turn = true;
            tokio::time::sleep(Duration::from_millis(400)).await;
            return Err(Error::new(ErrorKind::Busy, "claim", right.backend()));
        }
        right.claim(claim).await
    }
}

#[test]
fn a_limit_for_each_of_those_that_wait() {
    assert_killed::<OneAfterAnother>("idempotency::shared::s07_one_limit_for_each_call");
}

/// Gives each transaction a session as new; the store as it is keeps what the last one has left.
#[derive(Clone, Default)]
struct NewSessions;

impl Patch for NewSessions {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let mut claimed = right.claim(claim).await?;
        if let Claimed::Fresh(tx) = &mut claimed {
            tx.delete(SESSION);
        }
        Ok(claimed)
    }
}

#[test]
fn a_session_that_outlives_its_transaction() {
    assert_told_apart::<NewSessions, Right>("idempotency::shared::s05_session_of_the_next_caller");
}

/// Has a constraint that is checked at the commit.
#[derive(Clone, Default)]
struct ChecksAtTheEnd;

/// The same, and takes what it finds for a fault of the moment.
#[derive(Clone, Default)]
struct RetriesAtTheEnd;

async fn checked(
    right: &MemoryStore,
    mut tx: MemoryTx,
    claim: &Claim,
    receipt: &Receipt,
    found: ErrorKind,
) -> Result<Settled> {
    if tx.get(VIOLATION).is_none() {
        return right.complete(tx, claim, receipt).await;
    }
    right.rollback(tx).await?;
    Err(Error::new(found, "complete", right.backend()))
}

impl Patch for ChecksAtTheEnd {
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        checked(right, tx, claim, receipt, ErrorKind::Refused).await
    }
}

impl Patch for RetriesAtTheEnd {
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        checked(right, tx, claim, receipt, ErrorKind::WorkFailed).await
    }
}

#[test]
fn a_refusal_at_the_commit_that_is_not_final() {
    assert_told_apart::<ChecksAtTheEnd, RetriesAtTheEnd>(
        "idempotency::shared::f05_refused_at_the_commit",
    );
}

/// The first caller executes what others have enqueued, in its own future.
#[derive(Clone, Default)]
struct FirstCallerLeads(Arc<tokio::sync::Mutex<()>>);

impl Patch for FirstCallerLeads {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let _leads = self.0.lock().await;
        tokio::task::yield_now().await;
        right.execute_one_shot(effect).await
    }
}

#[test]
fn a_batch_in_the_future_of_its_first_caller() {
    assert_killed::<FirstCallerLeads>("one_shot::groups::s01_caller_left_alone");
}
