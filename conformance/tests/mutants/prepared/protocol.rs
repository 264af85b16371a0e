//! Mutants that take the steps of the protocol in another order, or take one for another.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    BegunPrepared, Error, ErrorKind, Participation, PreparedStatus, PreparedTransactions, Result,
    Store, TransactionDigest,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

fn rolled_back<T>() -> Result<T> {
    Err(Error::new(ErrorKind::RolledBack, "mutant", "mutant"))
}

/// The tombstone is written before ROLLBACK PREPARED, without waiting for the marker: an attempt
/// that is at it prepares after the rollback was done.
#[derive(Clone, Default)]
struct TombstoneFirst(Arc<Mutex<HashSet<TransactionDigest>>>);

impl TombstoneFirst {
    fn undone(&self, asked: &Participation) -> bool {
        let tombstones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tombstones.contains(asked.transaction())
    }
}

impl Patch for TombstoneFirst {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        if self.undone(asked) {
            return rolled_back();
        }
        right.begin_prepared(asked).await
    }
    async fn rollback_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        let digest = *asked.transaction();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest);
        match right.rollback_prepared(asked).await {
            Err(error) if error.kind() == ErrorKind::Busy => Ok(()),
            answer => answer,
        }
    }
}

#[test]
fn the_tombstone_is_written_first() {
    assert_killed::<TombstoneFirst>("prepared::zombies::t32_between_marker_and_prepare");
}

/// A lock timeout at the marker is read as *prepared*.
#[derive(Clone, Default)]
struct BusyIsPrepared;

impl Patch for BusyIsPrepared {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        match right.begin_prepared(asked).await {
            Err(error) if error.kind() == ErrorKind::Busy => Ok(BegunPrepared::AlreadyPrepared),
            answer => answer,
        }
    }
}

#[test]
fn a_lock_timeout_is_read_as_prepared() {
    assert_killed::<BusyIsPrepared>("prepared::zombies::t29_retry_beside_a_zombie");
}

/// Prepare commits.
#[derive(Clone, Default)]
struct PrepareCommits;

impl Patch for PrepareCommits {
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, asked).await?;
        right.commit_prepared(asked).await
    }
}

#[test]
fn prepare_commits() {
    assert_killed::<PrepareCommits>("prepared::basic::t01_prepared_work_is_invisible");
}

/// An error that the work swallowed is taken for a yes.
#[derive(Clone, Default)]
struct SwallowedIsYes;

impl Patch for SwallowedIsYes {
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        match right.prepare(tx, asked).await {
            Err(error) if error.kind() == ErrorKind::WorkFailed => Ok(()),
            answer => answer,
        }
    }
}

#[test]
fn a_swallowed_error_is_taken_for_a_yes() {
    assert_killed::<SwallowedIsYes>("prepared::crash::t46_swallowed_error");
}

/// The deadline is applied to commit.
#[derive(Clone, Default)]
struct DeadlineOnCommit;

impl Patch for DeadlineOnCommit {
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        if right.now().await? > asked.not_after() {
            return rolled_back();
        }
        right.commit_prepared(asked).await
    }
}

#[test]
fn the_deadline_is_applied_to_commit() {
    assert_killed::<DeadlineOnCommit>("prepared::zombies::t35_late_commit");
    assert_killed::<DeadlineOnCommit>("two_phase::t55_sweeps_to_commit");
}

/// Identifiers are cut: what is left of them is two bits.
#[derive(Clone, Default)]
struct IdentifierCut;

fn cut(asked: &Participation) -> Result<Participation> {
    let mut digest = [0; 32];
    digest[0] = asked.transaction().as_bytes()[0] & 3;
    Participation::from_terms(
        TransactionDigest::from_bytes(digest),
        &asked.terms(),
        asked.not_after(),
        asked.forget_after(),
    )
}

impl Patch for IdentifierCut {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        right.begin_prepared(&cut(asked)?).await
    }
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, &cut(asked)?).await
    }
    async fn prepared_status(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<PreparedStatus> {
        right.prepared_status(&cut(asked)?).await
    }
}

#[test]
fn identifiers_are_cut() {
    assert_killed::<IdentifierCut>("prepared::limits::t62_names_do_not_collide");
}

/// The fingerprint is not compared once the transaction is known.
#[derive(Clone, Default)]
struct AnyRequest;

impl Patch for AnyRequest {
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        match right.commit_prepared(asked).await {
            Err(error) if error.kind() == ErrorKind::Mismatch => Ok(()),
            answer => answer,
        }
    }
}

#[test]
fn the_request_is_not_compared() {
    assert_killed::<AnyRequest>("prepared::replay::t17_other_request_in_each_state");
}
