//! Mutants of a store that stages: its reservations are missing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    Adjust, Applied, BalanceStore, BalanceTransaction, BegunPrepared, Error, ErrorKind,
    Participation, PreparedStatus, PreparedTransactions, Result, TransactionDigest, Transactional,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// What is staged for later, and reserves nothing.
#[derive(Default)]
struct Staged {
    /// By the transaction that is open: these cases have one at a time.
    open: Vec<Adjust>,
    prepared: HashMap<TransactionDigest, Vec<Adjust>>,
    committed: Vec<TransactionDigest>,
}

/// Adjustments are staged when they are prepared and made at the commit, without a reservation.
#[derive(Clone, Default)]
struct NoReservations(Arc<Mutex<Staged>>);

impl NoReservations {
    fn with<T>(&self, look: impl FnOnce(&mut Staged) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Patch for NoReservations {
    async fn adjust_in(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        operation: &Adjust,
    ) -> Result<Applied> {
        let applied = right.adjust_in(tx, operation).await?;
        self.with(|staged| staged.open.push(operation.clone()));
        Ok(applied)
    }
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        if self.with(|staged| staged.prepared.contains_key(asked.transaction())) {
            return Ok(BegunPrepared::AlreadyPrepared);
        }
        right.begin_prepared(asked).await
    }
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.rollback(tx).await?;
        self.with(|staged| {
            let open = std::mem::take(&mut staged.open);
            staged.prepared.insert(*asked.transaction(), open);
        });
        Ok(())
    }
    async fn prepared_status(
        &self,
        _right: &MemoryStore,
        asked: &Participation,
    ) -> Result<PreparedStatus> {
        let digest = asked.transaction();
        Ok(self.with(|staged| match staged.committed.contains(digest) {
            true => PreparedStatus::Committed,
            false if staged.prepared.contains_key(digest) => PreparedStatus::Prepared,
            false => PreparedStatus::None,
        }))
    }
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        let digest = *asked.transaction();
        let operations = self.with(|staged| staged.prepared.remove(&digest));
        for operation in operations.unwrap_or_default() {
            right.adjust(&operation).await.map_err(|error| {
                Error::new(ErrorKind::Heuristic, "commit_prepared", "mutant").with_source(error)
            })?;
        }
        self.with(|staged| staged.committed.push(digest));
        Ok(())
    }
}

#[test]
fn nothing_is_reserved() {
    assert_killed::<NoReservations>("prepared::reservations::t66_at_the_floor");
    assert_killed::<NoReservations>("prepared::reservations::t66_at_the_largest_amount");
    assert_killed::<NoReservations>("prepared::balances::t66_commit_after_a_storm");
    assert_killed::<NoReservations>("prepared::balances::t24_two_transactions_one_row");
}
