//! A store that a sweeper looks after, of any backend.

use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    InDoubtPage, Timestamp, TransactionDigest,
    error::Result,
    identity::{NamespaceIdentity, identity_of},
    place::Place,
    prepared::{Participation, PreparedStatus, PreparedTransactions},
};

/// A store that a sweeper looks after.
pub(super) trait Swept: Send + Sync {
    fn name(&self) -> &str;
    fn place(&self) -> Place;
    fn identity(&self) -> BoxFuture<'_, Result<NamespaceIdentity>>;
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

pub(super) struct Known<S> {
    pub(super) name: String,
    pub(super) store: S,
}

impl<S: PreparedTransactions> Swept for Known<S> {
    fn name(&self) -> &str {
        &self.name
    }
    fn place(&self) -> Place {
        self.store.place()
    }
    fn identity(&self) -> BoxFuture<'_, Result<NamespaceIdentity>> {
        identity_of(&self.store).boxed()
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
