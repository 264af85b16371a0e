//! A store that a sweeper looks after, of any backend.

use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    InDoubtPage, Timestamp, TransactionDigest,
    error::{Error, ErrorKind, Result},
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

/// What needs an operator, at a participant.
pub(super) fn alarm(
    kind: ErrorKind,
    participant: &dyn Swept,
    participation: &Participation,
    what: &str,
) -> Error {
    Error::new(kind, "sweep", "core").with_message(format!(
        "the participant {:?} {what} (transaction {})",
        participant.name(),
        participation.transaction()
    ))
}

/// Why a participant does not confirm a commit. A record that was removed in its time confirms nothing
/// either: the transaction may have ended there in any way, by a restore as well.
pub(super) fn lost_how(past_forget_after: bool) -> &'static str {
    if past_forget_after {
        "has no record of the transaction any more, as forget_after has passed, so nothing proves that \
         it has committed as was decided"
    } else {
        "knows nothing of the transaction that it had prepared, and commit was decided"
    }
}
