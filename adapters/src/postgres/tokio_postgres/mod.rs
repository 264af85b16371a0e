//! Postgres by tokio-postgres and a deadpool pool.
//!
//! ```no_run
//! # async fn demo() -> Result<(), exactly_once::Error> {
//! use exactly_once::{Claim, ExecuteOnce, Fingerprint, IdempotencyKey};
//! use exactly_once::postgres::{TokioPostgresStore, TokioPostgresTx};
//!
//! let store = TokioPostgresStore::builder("postgres://app@db.example/payments").connect().await?;
//! let key = IdempotencyKey::new("charge/order-17")?;
//! let claim = Claim::new(key, Fingerprint::of("charge", &("order-17", 500))?);
//! let charged = store
//!     .execute_once(&claim, async |tx: &mut TokioPostgresTx| {
//!         let amount = 500_i64;
//!         tx.client()?
//!             .execute("INSERT INTO payments (order_id, amount) VALUES ('17', $1)", &[&amount])
//!             .await?;
//!         Ok(amount)
//!     })
//!     .await?;
//! assert_eq!(charged.value, 500);
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - `connection`: the driver glue. The builder is here.

mod connection;

use std::{fmt, str::FromStr};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use exactly_once_core::{ErrorKind, Result};
use tokio_postgres::{Client, Config, NoTls};

use super::{
    PostgresStore, PostgresTx,
    error::{connection_lost, error},
    options::{Options, options},
};
pub use connection::{TokioConnection, TokioDriver};

/// A store in Postgres, by tokio-postgres.
pub type TokioPostgresStore = PostgresStore<TokioDriver>;

/// An open transaction of a [`TokioPostgresStore`].
pub type TokioPostgresTx = PostgresTx<TokioConnection>;

/// How many connections a pool of the store's own has, unless told.
const POOL_SIZE: usize = 16;

enum Source {
    Url(String),
    Pool(Pool),
}

/// Says how to connect. Its `Debug` tells no URL.
#[must_use]
pub struct TokioPostgresBuilder {
    source: Source,
    pool_size: usize,
    options: Options,
}

impl fmt::Debug for TokioPostgresBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioPostgresBuilder")
            .field("pool_size", &self.pool_size)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl TokioPostgresStore {
    /// With a pool of its own, to this URL (`postgres://user:password@host:port/database`).
    pub fn builder(url: impl Into<String>) -> TokioPostgresBuilder {
        TokioPostgresBuilder::new(Source::Url(url.into()))
    }

    /// With the pool that you have already. It is not closed with the store.
    pub fn from_pool(pool: Pool) -> TokioPostgresBuilder {
        TokioPostgresBuilder::new(Source::Pool(pool))
    }
}

impl TokioPostgresBuilder {
    fn new(source: Source) -> Self {
        Self {
            source,
            pool_size: POOL_SIZE,
            options: Options::default(),
        }
    }

    options!();

    /// How many connections the store's own pool has; default 16, which serves 128 callers better
    /// than 128 connections do.
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections.max(1);
        self
    }

    /// Connects, checks the server, creates the tables where that is wanted.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration), with the setting and the command that mends it;
    /// [unavailable](ErrorKind::Unavailable) where the server can't be reached.
    pub async fn connect(self) -> Result<TokioPostgresStore> {
        self.options.check()?;
        let driver = match self.source {
            Source::Pool(pool) => TokioDriver::shared(pool),
            Source::Url(url) => TokioDriver::owned(pool(&url, self.pool_size, &self.options)?),
        };
        PostgresStore::connect(driver, self.options).await
    }
}

fn pool(url: &str, size: usize, options: &Options) -> Result<Pool> {
    // The parser's own error may quote the URL, and with it the password.
    let mut config = Config::from_str(url).map_err(|_| {
        error(
            ErrorKind::Configuration,
            "connect",
            "the connection URL can't be parsed; it must look like \
             postgres://user:password@host:5432/database",
        )
    })?;
    let timeouts = &options.timeouts;
    config.connect_timeout(timeouts.connect);
    if config.get_application_name().is_none() {
        config.application_name("exactly-once");
    }
    let manager = Manager::from_config(
        config,
        NoTls,
        ManagerConfig {
            // A connection is given back clean or not at all: nothing to verify.
            recycling_method: RecyclingMethod::Fast,
        },
    );
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(timeouts.acquire))
        .create_timeout(Some(timeouts.connect))
        .recycle_timeout(Some(timeouts.connect))
        .build()
        .map_err(|failed| {
            error(
                ErrorKind::Configuration,
                "connect",
                "the pool can't be built",
            )
            .with_source(failed)
        })
}

impl TokioPostgresTx {
    /// The driver's own client, for your own statements in this transaction.
    ///
    /// # Errors
    /// [Unavailable](ErrorKind::Unavailable) where a call of the store's own on this very
    /// transaction has lost its connection before: nothing of it is stored; retry.
    pub fn client(&self) -> Result<&Client> {
        self.peek()
            .and_then(TokioConnection::client)
            .ok_or_else(connection_lost)
    }
}
