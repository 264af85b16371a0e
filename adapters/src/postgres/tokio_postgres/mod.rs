//! Postgres through tokio-postgres and a deadpool pool.
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
//! - `connection`: the driver glue; `tls`: rustls. The pool is made here.

mod connection;
#[cfg(feature = "tokio-postgres-tls")]
mod tls;

use std::str::FromStr;

use deadpool_postgres::{Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime};
use exactly_once_core::{ErrorKind, Result, WorkError};
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::{
    TokioPostgresTx,
    error::{connection_lost, error},
    options::Timeouts,
    tls::Asked,
};
pub use connection::{TokioConnection, TokioDriver};

/// A pool of the store's own kind.
pub(crate) fn pool(url: &str, size: u32, timeouts: &Timeouts) -> Result<Pool> {
    let compiled_in = cfg!(feature = "tokio-postgres-tls");
    let asked = Asked::of(url, "tokio-postgres-tls", compiled_in)?;
    // The parser's own error may quote the URL, and with it the password.
    let mut config = Config::from_str(&asked.url).map_err(|_| {
        error(
            ErrorKind::Configuration,
            "connect",
            "the connection URL can't be parsed; it must look like \
             postgres://user:password@host:5432/database",
        )
    })?;
    config.connect_timeout(timeouts.connect);
    if config.get_application_name().is_none() {
        config.application_name("exactly-once");
    }
    Pool::builder(manager(config, &asked)?)
        .max_size(size as usize)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(timeouts.acquire))
        .create_timeout(Some(timeouts.connect))
        .recycle_timeout(Some(timeouts.connect))
        // The one that was used last: its server process has everything at hand.
        .queue_mode(QueueMode::Lifo)
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

/// A connection is given back clean or not at all: nothing to verify.
const OPTIONS: ManagerConfig = ManagerConfig {
    recycling_method: RecyclingMethod::Fast,
};

#[cfg(feature = "tokio-postgres-tls")]
fn manager(config: Config, asked: &Asked) -> Result<Manager> {
    if config.get_ssl_mode() == tokio_postgres::config::SslMode::Disable {
        return Ok(Manager::from_config(config, NoTls, OPTIONS));
    }
    let connector = tls::connector(asked)?;
    Ok(Manager::from_config(config, connector, OPTIONS))
}

#[cfg(not(feature = "tokio-postgres-tls"))]
fn manager(config: Config, _: &Asked) -> Result<Manager> {
    Ok(Manager::from_config(config, NoTls, OPTIONS))
}

impl TokioPostgresTx {
    /// The driver's own client, for your own statements in this transaction.
    ///
    /// `execute` and `query` with SQL as text take two round trips, one of them to prepare it: see
    /// [`prepared`](Self::prepared).
    ///
    /// # Errors
    /// [Unavailable](ErrorKind::Unavailable) where a call of the store's own on this very
    /// transaction has lost its connection before: nothing of it is stored; retry.
    pub fn client(&self) -> Result<&Client> {
        self.peek()
            .and_then(TokioConnection::client)
            .ok_or_else(connection_lost)
    }

    /// A statement of your own, for [`client`](Self::client): prepared when a connection of the pool
    /// first meets it, and kept with that connection. So it costs no round trip afterwards, and the
    /// server neither parses nor plans it again. For SQL that is the same each time; what varies
    /// belongs into its parameters.
    ///
    /// ```no_run
    /// # use exactly_once::{WorkError, postgres::TokioPostgresTx};
    /// # async fn demo(tx: &TokioPostgresTx, id: i64) -> Result<(), WorkError> {
    /// let insert = tx.prepared("INSERT INTO payments (order_id) VALUES ($1)").await?;
    /// tx.client()?.execute(&insert, &[&id]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Behind a pooler in transaction mode that does not know of prepared statements (pgbouncer before
    /// 1.21, or without `max_prepared_statements`) it is prepared each time. After a migration
    /// that changes the columns which a statement returns, it fails once on each connection that had
    /// it, as *work failed*: name the columns, instead of `*`.
    ///
    /// # Errors
    /// What the server says of the statement, which also aborts the transaction; or as
    /// [`client`](Self::client). Pass it on with `?`: the store decides whether to retry.
    pub async fn prepared(&self, sql: &str) -> std::result::Result<Statement, WorkError> {
        let connection = self.peek().ok_or_else(connection_lost)?;
        let object = connection.object().ok_or_else(connection_lost)?;
        if connection.keeps_statements() {
            Ok(object.prepare_cached(sql).await?)
        } else {
            Ok(object.prepare(sql).await?)
        }
    }
}
