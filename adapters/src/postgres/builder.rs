//! How a store is made, the same for both drivers.

use std::fmt;

use exactly_once_core::{Namespace, Result};

use super::{
    STORE,
    driver::Driver,
    options::{Options, Timeouts},
    store::PostgresStore,
};
use crate::runtime;

/// How many connections a pool of the store's own has by default.
const POOL_SIZE: u32 = 16;

/// A driver that a store can be built over.
pub trait Pooled: Driver {
    /// The pool that a user has already.
    type Pool: Send;

    /// Over the user's own pool.
    fn shared(pool: Self::Pool) -> Self;

    /// With a pool of its own, which connects when it is first used.
    ///
    /// # Errors
    /// [Configuration](exactly_once_core::ErrorKind::Configuration); the URL is not in it.
    fn owned(url: &str, size: u32, timeouts: &Timeouts) -> Result<Self>;
}

enum Source<P> {
    Url(String),
    Pool(P),
}

/// Says how to connect. Its `Debug` shows no URL.
#[must_use]
pub struct PostgresBuilder<D: Pooled> {
    source: Source<D::Pool>,
    pool_size: u32,
    options: Options,
}

impl<D: Pooled> fmt::Debug for PostgresBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBuilder")
            .field("pool_size", &self.pool_size)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<D: Pooled> PostgresStore<D> {
    /// With a pool of its own, to this URL (`postgres://user:password@host:port/database`; for TLS
    /// see [`tls`](super::tls)).
    pub fn builder(url: impl Into<String>) -> PostgresBuilder<D> {
        PostgresBuilder::new(Source::Url(url.into()))
    }

    /// With the pool that you have already. It is not closed with the store.
    ///
    /// After each work the store resets its session, so that no setting, role, channel or temporary
    /// table meets the next caller. Where a hook of the pool sets something on each connection, see
    /// [`keep_pool_settings`](PostgresBuilder::keep_pool_settings).
    ///
    /// A pool that gives out the connection that was used last is the quicker one (of deadpool,
    /// `QueueMode::Lifo`; the store's own is such a pool): behind it the server's caches are warm,
    /// and the store's statements are known.
    pub fn from_pool(pool: D::Pool) -> PostgresBuilder<D> {
        PostgresBuilder::new(Source::Pool(pool))
    }
}

impl<D: Pooled> PostgresBuilder<D> {
    fn new(source: Source<D::Pool>) -> Self {
        Self {
            source,
            pool_size: POOL_SIZE,
            options: Options::default(),
        }
    }

    /// How many connections the store's own pool has; default 16, which serves 128 callers better
    /// than 128 connections do.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.pool_size = connections.max(1);
        self
    }

    /// The namespace that the store is bound to; `default` if none is named.
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.options.namespace = Some(namespace);
        self
    }

    /// The schema of the store's own tables; default `exactly_once`.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.options.schema = schema.into();
        self
    }

    /// How long things may take.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.options.timeouts = timeouts;
        self
    }

    /// Whether to create the tables while connecting; default yes. Where the tables are
    /// there already this changes nothing and needs no right to create anything.
    pub fn migrate_at_connect(mut self, migrate: bool) -> Self {
        self.options.migrate = migrate;
        self
    }

    /// Refuses a server without prepared transactions; default no: then the store works, and
    /// two-phase operations answer *configuration*.
    pub fn require_two_phase(mut self, require: bool) -> Self {
        self.options.require_two_phase = require;
        self
    }

    /// Takes a server whose disk writes are not safe (`fsync` or `full_page_writes` off), for
    /// tests; the store then declares that it survives a process, and not a power cut.
    pub fn accept_unsafe_durability(mut self, accept: bool) -> Self {
        self.options.accept_unsafe_durability = accept;
        self
    }

    /// The largest receipt, in bytes; default 1 MiB.
    pub fn max_receipt_bytes(mut self, bytes: usize) -> Self {
        self.options.max_receipt_bytes = bytes;
        self
    }

    /// Whether callers that are there at the same time share a transaction, for one-shot effects,
    /// changes of a balance, and what the decision register writes; default yes. It is several times
    /// as fast, and each caller's failure stays its own; but triggers of yours see the rows of
    /// several callers in one transaction.
    pub fn share_commits(mut self, share: bool) -> Self {
        self.options.share_commits = share;
        self
    }

    /// Whether a hook of your pool sets something on each connection, which must stay; default no.
    /// The store finds that out by itself, unless all that the hook sets are custom settings (with a
    /// dot in their names), which the server does not list.
    ///
    /// Then a session is not reset after work: it is compared with what it was, and ended where it
    /// differs. That costs a millisecond, and does not see custom settings: set those with
    /// `SET LOCAL` only.
    pub fn keep_pool_settings(mut self, keep: bool) -> Self {
        self.options.keep_pool_settings = keep;
        self
    }

    /// Connects, checks the server, creates the tables where that is wanted.
    ///
    /// # Errors
    /// [Configuration](exactly_once_core::ErrorKind::Configuration), with the setting and the
    /// command that fixes it; [unavailable](exactly_once_core::ErrorKind::Unavailable) where the
    /// server can't be reached.
    pub async fn connect(self) -> Result<PostgresStore<D>> {
        self.options.check()?;
        runtime::check("connect", STORE).await?;
        let driver = match self.source {
            Source::Pool(pool) => D::shared(pool),
            Source::Url(url) => D::owned(&url, self.pool_size, &self.options.timeouts)?,
        };
        PostgresStore::connect(driver, self.options).await
    }
}
