//! Mutants that forget outcomes, or tell wrong ones.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once::{
    BegunPrepared, Error, ErrorKind, Participation, PreparedStatus, PreparedTransactions, Result,
    Timestamp, TransactionDigest,
    memory::{MemoryStore, MemoryTx},
};
use tokio::time::sleep;

use crate::{harness::assert_killed, patch::Patch};

/// Which life of a transaction's name is the current one: a store that forgets an outcome takes the
/// name as a new one.
#[derive(Clone, Default)]
struct Lives(Arc<Mutex<HashMap<TransactionDigest, u8>>>);

impl Lives {
    fn of(&self, asked: &Participation) -> Result<Participation> {
        let lives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let life = lives.get(asked.transaction()).copied().unwrap_or(0);
        let mut digest = *asked.transaction().as_bytes();
        digest[31] = digest[31].wrapping_add(life);
        Participation::from_terms(
            TransactionDigest::from_bytes(digest),
            &asked.terms(),
            asked.not_after(),
            asked.forget_after(),
        )
    }

    fn next(&self, asked: &Participation) {
        let mut lives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *lives.entry(*asked.transaction()).or_default() += 1;
    }
}

macro_rules! in_its_life {
    ($($method:ident -> $answer:ty),*) => {$(
        async fn $method(&self, right: &MemoryStore, asked: &Participation) -> Result<$answer> {
            right.$method(&self.0.of(asked)?).await
        }
    )*};
}

/// No marker: an attempt that comes after the commit finds nothing that stops it.
#[derive(Clone, Default)]
struct NoMarker(Lives);

impl Patch for NoMarker {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        match right.begin_prepared(&self.0.of(asked)?).await? {
            BegunPrepared::AlreadyCommitted => {
                self.0.next(asked);
                right.begin_prepared(&self.0.of(asked)?).await
            }
            answer => Ok(answer),
        }
    }
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, &self.0.of(asked)?).await
    }
    in_its_life!(commit_prepared -> (), rollback_prepared -> (), prepared_status -> PreparedStatus);
}

#[test]
fn no_marker() {
    assert_killed::<NoMarker>("prepared::zombies::t31_wakes_after_commit");
    assert_killed::<NoMarker>("prepared::replay::t11_prepare_after_commit");
}

/// Rollback leaves no tombstone.
#[derive(Clone, Default)]
struct NoTombstone(Lives);

impl Patch for NoTombstone {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        right.begin_prepared(&self.0.of(asked)?).await
    }
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, &self.0.of(asked)?).await
    }
    async fn rollback_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        right.rollback_prepared(&self.0.of(asked)?).await?;
        self.0.next(asked);
        Ok(())
    }
    in_its_life!(commit_prepared -> (), prepared_status -> PreparedStatus);
}

#[test]
fn rollback_leaves_no_tombstone() {
    assert_killed::<NoTombstone>("prepared::zombies::t30_wakes_after_rollback");
    assert_killed::<NoTombstone>("prepared::basic::t06_rollback_of_an_unknown");
}

/// A commit of what is unknown is taken as done.
#[derive(Clone, Default)]
struct UnknownIsCommitted;

impl Patch for UnknownIsCommitted {
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        match right.commit_prepared(asked).await {
            Err(error) if error.kind() == ErrorKind::NotPrepared => Ok(()),
            answer => answer,
        }
    }
}

#[test]
fn an_unknown_transaction_on_commit_is_taken_as_ok() {
    assert_killed::<UnknownIsCommitted>("prepared::basic::t05_commit_of_an_unknown");
}

/// A commit after the rollback is taken as done.
#[derive(Clone, Default)]
struct RolledBackIsCommitted;

impl Patch for RolledBackIsCommitted {
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        match right.commit_prepared(asked).await {
            Err(error) if error.kind() == ErrorKind::RolledBack => Ok(()),
            answer => answer,
        }
    }
    async fn rollback_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        match right.rollback_prepared(asked).await {
            Err(error) if error.kind() == ErrorKind::Committed => Ok(()),
            answer => answer,
        }
    }
}

#[test]
fn the_opposite_outcome_is_taken_as_ok() {
    assert_killed::<RolledBackIsCommitted>("prepared::replay::t15_commit_after_rollback");
    assert_killed::<RolledBackIsCommitted>("prepared::replay::t16_rollback_after_commit");
    assert_killed::<RolledBackIsCommitted>("prepared::races::t22_commit_against_rollback");
}

/// Status reads the marker first, and then whether it is prepared.
#[derive(Clone, Default)]
struct MarkerFirst;

impl Patch for MarkerFirst {
    async fn prepared_status(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<PreparedStatus> {
        let marker = right.prepared_status(asked).await?;
        if marker != PreparedStatus::Prepared {
            return Ok(marker);
        }
        sleep(Duration::from_micros(100)).await;
        Ok(match right.prepared_status(asked).await? {
            PreparedStatus::Prepared => PreparedStatus::Prepared,
            _ => PreparedStatus::RolledBack,
        })
    }
}

#[test]
fn status_reads_the_marker_first() {
    assert_killed::<MarkerFirst>("prepared::races::t23_status_during_commit");
}

/// What is forgotten reads as rolled back.
#[derive(Clone, Default)]
struct AbsentIsRolledBack;

fn as_rolled_back(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Forgotten => Error::new(ErrorKind::RolledBack, "mutant", "mutant"),
        _ => error,
    }
}

impl Patch for AbsentIsRolledBack {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        right.begin_prepared(asked).await.map_err(as_rolled_back)
    }
    async fn prepared_status(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<PreparedStatus> {
        Ok(match right.prepared_status(asked).await? {
            PreparedStatus::Forgotten => PreparedStatus::RolledBack,
            status => status,
        })
    }
}

#[test]
fn absent_after_removal_is_read_as_rolled_back() {
    assert_killed::<AbsentIsRolledBack>("prepared::zombies::t34_wakes_after_it_was_forgotten");
}

/// Records are removed as soon as there is an outcome.
#[derive(Clone, Default)]
struct RemovedEarly(Lives, Arc<Mutex<Vec<Participation>>>);

impl Patch for RemovedEarly {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        right.begin_prepared(&self.0.of(asked)?).await
    }
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, &self.0.of(asked)?).await
    }
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        right.commit_prepared(&self.0.of(asked)?).await?;
        self.1
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(asked.clone());
        Ok(())
    }
    in_its_life!(rollback_prepared -> (), prepared_status -> PreparedStatus);

    async fn forget_prepared(&self, right: &MemoryStore, limit: u32) -> Result<u64> {
        right.forget_prepared(limit).await?;
        let ended = std::mem::take(&mut *self.1.lock().unwrap_or_else(PoisonError::into_inner));
        ended.iter().for_each(|asked| self.0.next(asked));
        Ok(ended.len() as u64)
    }
}

#[test]
fn records_are_removed_before_their_time() {
    assert_killed::<RemovedEarly>("prepared::in_doubt::t59_forget_keeps_what_is_needed");
}

/// No deadline: whatever the clock says, it can be prepared.
#[derive(Clone, Default)]
struct NoDeadline;

fn timeless(asked: &Participation) -> Result<Participation> {
    Participation::from_terms(
        *asked.transaction(),
        &asked.terms(),
        Timestamp::from_micros(asked.forget_after().as_micros() - 1),
        asked.forget_after(),
    )
}

impl Patch for NoDeadline {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        right.begin_prepared(&timeless(asked)?).await
    }
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, &timeless(asked)?).await
    }
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        right.commit_prepared(&timeless(asked)?).await
    }
    async fn rollback_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        right.rollback_prepared(&timeless(asked)?).await
    }
    async fn prepared_status(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<PreparedStatus> {
        right.prepared_status(&timeless(asked)?).await
    }
}

#[test]
fn no_deadline() {
    assert_killed::<NoDeadline>("prepared::zombies::t33_begins_after_the_deadline");
}
