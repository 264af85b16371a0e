//! The user's transaction: redb's own, and what may end it.

use std::{fmt, sync::Arc};

use exactly_once_core::{
    BoxError, Claim, Error, Namespace, Result, Transactional, adapter::refusals,
};
use redb::WriteTransaction;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    error::{BACKEND, classify, committed},
    store::{RedbStore, Shared, blocking},
};

/// An open transaction. Dropping it rolls back.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct RedbTx {
    // In this order: it is rolled back first, and then it is another caller's turn.
    transaction: WriteTransaction,
    turn: OwnedSemaphorePermit,
    home: Arc<Shared>,
    /// The key that it was begun for; `None` for a plain one.
    pub(crate) claimed: Option<(Namespace, Claim)>,
}

impl RedbTx {
    pub(crate) fn new(
        store: &RedbStore,
        transaction: WriteTransaction,
        turn: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            transaction,
            turn,
            home: store.shared.clone(),
            claimed: None,
        }
    }

    /// redb's own transaction, for the user's tables. Tables whose names begin with
    /// `exactly_once.` are this store's.
    #[must_use]
    pub fn transaction(&self) -> &WriteTransaction {
        &self.transaction
    }

    pub(crate) fn into_parts(self) -> (WriteTransaction, OwnedSemaphorePermit) {
        (self.transaction, self.turn)
    }

    /// Refuses a transaction that was not begun by the call that this one ends.
    pub(crate) fn check(
        &self,
        store: &RedbStore,
        claim: Option<&Claim>,
        operation: &'static str,
    ) -> Result<()> {
        let begun_for = self
            .claimed
            .as_ref()
            .map(|(namespace, claim)| (namespace, claim));
        let ends = claim.map(|claim| (&store.namespace, claim));
        let same = match (begun_for, ends) {
            (None, None) => true,
            (Some((own, begun)), Some((namespace, claim))) => {
                own == namespace
                    && begun.key() == claim.key()
                    && begun.fingerprint() == claim.fingerprint()
            }
            _ => false,
        };
        // Any handle on the file may end it.
        if same && self.home.file == store.shared.file {
            return Ok(());
        }
        Err(refusals::foreign(operation, BACKEND))
    }

    /// Commits; blocks until it is on the disk.
    pub(crate) fn commit_now(self, operation: &'static str) -> Result<()> {
        let (transaction, turn) = self.into_parts();
        let done = committed(operation, transaction.commit());
        drop(turn);
        done
    }
}

impl fmt::Debug for RedbTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbTx")
            .field("claimed", &self.claimed)
            .finish_non_exhaustive()
    }
}

impl Transactional for RedbStore {
    type Tx = RedbTx;

    async fn begin(&self) -> Result<RedbTx> {
        self.begin_write("begin").await
    }

    async fn commit(&self, tx: RedbTx) -> Result<()> {
        tx.check(self, None, "commit")?;
        // On its way even if the caller stops waiting for it.
        blocking("commit", move || tx.commit_now("commit")).await?
    }

    async fn rollback(&self, tx: RedbTx) -> Result<()> {
        blocking("rollback", move || drop(tx)).await
    }

    fn classify(&self, operation: &'static str, source: BoxError) -> Error {
        classify(operation, source)
    }
}
