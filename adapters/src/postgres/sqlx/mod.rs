//! Postgres through sqlx, over your own `PgPool` or one of the store's own.
//!
//! ```no_run
//! # async fn demo(pool: sqlx::PgPool) -> Result<(), exactly_once::Error> {
//! use exactly_once::{Claim, ExecuteOnce, Fingerprint, IdempotencyKey};
//! use exactly_once::postgres::{SqlxPostgresStore, SqlxPostgresTx};
//!
//! let store = SqlxPostgresStore::from_pool(pool).connect().await?;
//! let key = IdempotencyKey::new("charge/order-17")?;
//! let claim = Claim::new(key, Fingerprint::of("charge", &("order-17", 500))?);
//! let charged = store
//!     .execute_once(&claim, async |tx: &mut SqlxPostgresTx| {
//!         let amount = 500_i64;
//!         sqlx::query("INSERT INTO payments (order_id, amount) VALUES ('17', $1)")
//!             .bind(amount)
//!             .execute(tx.connection()?)
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
//! - `connection`: the driver glue. The pool is made here.

mod connection;

use std::str::FromStr;

use exactly_once_core::{ErrorKind, Result};
use sqlx::{
    ConnectOptions, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};

use super::{
    SqlxPostgresTx,
    error::{connection_lost, error},
    options::Timeouts,
    tls::{Asked, Mode},
};
pub use connection::{SqlxConnection, SqlxDriver};

/// The parameters that sqlx reads from a URL, and those of libpq that it may pass over in the log
/// since their values are no secrets.
const PARAMETERS: [&str; 23] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
    // sqlx passes over it.
    "channel_binding",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "target_session_attrs",
];

/// Refuses a parameter that sqlx would ignore: it writes such a one into the log with its value, and
/// a password whose name is misspelt is still a password.
fn check_parameters(url: &str) -> Result<()> {
    let (_, query) = url.split_once('?').unwrap_or_default();
    let (query, _) = query.split_once('#').unwrap_or((query, ""));
    let mut names = query
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default());
    let known =
        |name: &str| name.is_empty() || name.starts_with("options[") || PARAMETERS.contains(&name);
    if names.all(known) {
        return Ok(());
    }
    Err(error(
        ErrorKind::Configuration,
        "connect",
        format!(
            "the connection URL has a parameter that is not known here; these are: {}",
            PARAMETERS.join(", ")
        ),
    ))
}

fn pool(url: &str, size: u32, timeouts: &Timeouts) -> Result<PgPool> {
    check_parameters(url)?;
    let compiled_in = cfg!(feature = "sqlx-postgres-tls");
    let asked = Asked::of(url, "sqlx-postgres-tls", compiled_in)?;
    // The parser's own error may quote the URL, and with it the password.
    let mut connect = PgConnectOptions::from_str(&asked.url).map_err(|_| {
        error(
            ErrorKind::Configuration,
            "connect",
            "the connection URL can't be parsed; it must look like \
             postgres://user:password@host:5432/database",
        )
    })?;
    match asked.mode {
        Mode::VerifyCa => connect = connect.ssl_mode(PgSslMode::VerifyCa),
        Mode::VerifyFull => connect = connect.ssl_mode(PgSslMode::VerifyFull),
        Mode::Driver | Mode::Require => {}
    }
    #[cfg(feature = "sqlx-postgres-tls")]
    if let Some(authorities) = asked.authorities()? {
        connect = connect.ssl_root_cert_from_pem(authorities);
    }
    // Statements hold receipts, which don't belong in a log; nor may a pooler's servers hold
    // prepared statements of ours.
    connect = connect.disable_statement_logging();
    if connect.get_application_name().is_none() {
        connect = connect.application_name("exactly-once");
    }
    Ok(PgPoolOptions::new()
        .max_connections(size)
        // Of the pool this covers connecting too; the store waits no longer than `acquire` for a
        // connection that is in use.
        .acquire_timeout(timeouts.acquire.max(timeouts.connect))
        // A connection is given back clean or not at all: nothing to verify.
        .test_before_acquire(false)
        .connect_lazy_with(connect))
}

impl SqlxPostgresTx {
    /// The driver's own connection, for your own statements in this transaction.
    ///
    /// # Errors
    /// [Unavailable](ErrorKind::Unavailable) where a call of the store's own on this very
    /// transaction has lost its connection before: nothing of it is stored; retry.
    pub fn connection(&mut self) -> Result<&mut PgConnection> {
        self.session()
            .connection()
            .and_then(SqlxConnection::raw)
            .ok_or_else(connection_lost)
    }
}
