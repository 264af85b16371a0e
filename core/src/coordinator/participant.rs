//! A participant: a store and the work that is to be done in it, of any backend.

use std::sync::{Mutex, PoisonError};

use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    error::{Error, ErrorKind, Result},
    execute::{Work, WorkError},
    names::Namespace,
    place::Place,
    prepared::{BegunPrepared, Participation, PreparedStatus, PreparedTransactions},
    store::TwoPhase,
};

/// A participant whose transaction is open and its marker in, or that needs no work any more.
pub(super) enum Begun<'a> {
    /// Runs the work and prepares.
    Fresh(BoxFuture<'a, Result<()>>),
    /// Voted yes in an earlier attempt.
    Already,
}

/// A participant, whatever its store and its work.
pub(super) trait Participant: Send + Sync {
    fn name(&self) -> &str;
    /// Two participants with the same home are one store.
    fn home(&self) -> (Place, Namespace);
    /// The store takes part in two-phase commits at all.
    fn check(&self) -> Result<()>;
    fn begin<'s>(
        &'s mut self,
        participation: &'s Participation,
    ) -> BoxFuture<'s, Result<Begun<'s>>>;
    fn commit<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>>;
    fn rollback<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>>;
}

pub(super) struct StoreAndWork<S, W> {
    name: String,
    store: S,
    /// Taken when it runs: the work runs at most once per attempt. Never locked: the mutex only
    /// makes a participant shareable whose work is not, so that an attempt may change threads.
    work: Mutex<Option<W>>,
}

impl<S, W> StoreAndWork<S, W> {
    pub(super) fn new(name: String, store: S, work: W) -> Self {
        Self {
            name,
            store,
            work: Mutex::new(Some(work)),
        }
    }
}

impl<S, W> Participant for StoreAndWork<S, W>
where
    S: PreparedTransactions,
    W: for<'t> Work<&'t mut S::Tx, Result<(), WorkError>>,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn home(&self) -> (Place, Namespace) {
        (self.store.place(), self.store.namespace().clone())
    }

    fn check(&self) -> Result<()> {
        check_two_phase(&self.store, &self.name)
    }

    fn begin<'s>(
        &'s mut self,
        participation: &'s Participation,
    ) -> BoxFuture<'s, Result<Begun<'s>>> {
        async move {
            let mut tx = match self.store.begin_prepared(participation).await? {
                BegunPrepared::Fresh(tx) => tx,
                BegunPrepared::AlreadyPrepared | BegunPrepared::AlreadyCommitted => {
                    return Ok(Begun::Already);
                }
            };
            let work = self.work.get_mut().unwrap_or_else(PoisonError::into_inner);
            let Some(work) = work.take() else {
                return Err(
                    Error::new(ErrorKind::WorkFailed, OPERATION, self.store.backend())
                        .with_message("the work of this attempt has run already"),
                );
            };
            let store = &self.store;
            Ok(Begun::Fresh(
                async move {
                    match work(&mut tx).await {
                        Ok(()) => store.prepare(tx, participation).await,
                        Err(error) => {
                            let error = error.into_error(OPERATION, store);
                            if let Err(rollback) = store.rollback(tx).await {
                                tracing::debug!(error = %rollback, "rollback after failed work");
                            }
                            Err(error)
                        }
                    }
                }
                .boxed(),
            ))
        }
        .boxed()
    }

    fn commit<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>> {
        self.store.commit_prepared(participation).boxed()
    }

    fn rollback<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>> {
        self.store.rollback_prepared(participation).boxed()
    }
}

pub(super) const OPERATION: &str = "two_phase_commit";

/// Refuses a store that can't take part.
pub(super) fn check_two_phase<S: PreparedTransactions>(store: &S, name: &str) -> Result<()> {
    if store.capabilities().two_phase != TwoPhase::None {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::Unsupported, OPERATION, store.backend())
            .with_message(format!("the participant {name:?} has no two-phase commit")),
    )
}

/// A store that a sweeper looks after.
pub(super) trait Swept: Send + Sync {
    fn name(&self) -> &str;
    fn now(&self) -> BoxFuture<'_, Result<crate::Timestamp>>;
    fn in_doubt<'s>(
        &'s self,
        after: Option<&'s crate::TransactionDigest>,
        limit: u32,
    ) -> BoxFuture<'s, Result<crate::InDoubtPage>>;
    fn status<'s>(&'s self, p: &'s Participation) -> BoxFuture<'s, Result<PreparedStatus>>;
    fn commit<'s>(&'s self, p: &'s Participation) -> BoxFuture<'s, Result<()>>;
    fn rollback<'s>(&'s self, p: &'s Participation) -> BoxFuture<'s, Result<()>>;
    fn forget(&self, limit: u32) -> BoxFuture<'_, Result<u64>>;
}

pub(super) struct Named<S> {
    pub(super) name: String,
    pub(super) store: S,
}

impl<S: PreparedTransactions> Swept for Named<S> {
    fn name(&self) -> &str {
        &self.name
    }
    fn now(&self) -> BoxFuture<'_, Result<crate::Timestamp>> {
        self.store.now().boxed()
    }
    fn in_doubt<'s>(
        &'s self,
        after: Option<&'s crate::TransactionDigest>,
        limit: u32,
    ) -> BoxFuture<'s, Result<crate::InDoubtPage>> {
        self.store.in_doubt(after, limit).boxed()
    }
    fn status<'s>(&'s self, p: &'s Participation) -> BoxFuture<'s, Result<PreparedStatus>> {
        self.store.prepared_status(p).boxed()
    }
    fn commit<'s>(&'s self, p: &'s Participation) -> BoxFuture<'s, Result<()>> {
        self.store.commit_prepared(p).boxed()
    }
    fn rollback<'s>(&'s self, p: &'s Participation) -> BoxFuture<'s, Result<()>> {
        self.store.rollback_prepared(p).boxed()
    }
    fn forget(&self, limit: u32) -> BoxFuture<'_, Result<u64>> {
        self.store.forget_prepared(limit).boxed()
    }
}
