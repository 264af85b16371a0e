//! A store that a sweeper looks after, of any backend.

use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    InDoubtPage, Timestamp, TransactionDigest,
    error::Result,
    prepared::{Participation, PreparedStatus, PreparedTransactions},
};

/// A store that a sweeper looks after.
pub(super) trait Swept: Send + Sync {
    fn name(&self) -> &str;
    fn now(&self) -> BoxFuture<'_, Result<Timestamp>>;
    fn in_doubt<'s>(
        &'s self,
        after: Option<&'s TransactionDigest>,
        limit: u32,
    ) -> BoxFuture<'s, Result<InDoubtPage>>;
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
    fn now(&self) -> BoxFuture<'_, Result<Timestamp>> {
        self.store.now().boxed()
    }
    fn in_doubt<'s>(
        &'s self,
        after: Option<&'s TransactionDigest>,
        limit: u32,
    ) -> BoxFuture<'s, Result<InDoubtPage>> {
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
