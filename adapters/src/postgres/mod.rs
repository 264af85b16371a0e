//! Postgres, by [tokio-postgres](self::tokio_postgres) with a deadpool pool, or by [`sqlx`] over a
//! `PgPool`: the user's own SQL shares the transaction with the key.
//!
//! Schema, statements, the meaning of each SQLSTATE and the protocols are written once; a driver
//! only sends text and reads rows.
//!
//! # What is guaranteed
//! | | |
//! |---|---|
//! | acknowledged writes | survive a power cut: `synchronous_commit` is raised where it is `off` or `local`, and a server without `fsync` is refused |
//! | failover | survives with synchronous replication, which prepared transactions wait for like all else; an asynchronous failover loses what was not shipped, prepared transactions included |
//! | two-phase commit | native (`PREPARE TRANSACTION`), where `max_prepared_transactions` is above 0 |
//! | state of the session | settings, the role, temporary tables, listeners, cursors and session locks of the work end with it; a statement that the work prepares by SQL text (`PREPARE`) **stays** on the pool's connection |
//! | transaction poolers | work: of a session nothing is used outside of a transaction but prepared statements, whose names are digests of what they do; where the pooler mixes up the statements of the user's own, the driver keeps none. A pooler in statement mode is refused |
//! | callers at the same time | share a transaction, each failing alone; `share_commits(false)` gives each one of its own |
//! | TLS | by rustls, optional; `sslmode` and `sslrootcert` of the URL, see [`tls`] |
//! | the server's defaults | don't matter: isolation, read-only, timeouts and quoting are set, or not relied upon |
//! | the user's pool | a connection that was left with a transaction open is closed, not used |
//!
//! The user's work may run any SQL of its driver but `COMMIT`, `ROLLBACK` and `PREPARE
//! TRANSACTION`; if it ends the transaction all the same, completing answers *invalid*.
//!
//! # Layout
//! - `store`, `transaction`, `builder`, `options`, [`tls`]: the store, what a user holds, what
//!   can be chosen.
//! - `driver`: what the two drivers have in common; `session`: a connection that is closed unless
//!   it is given back.
//! - `pooler`: whether one is in between.
//! - `schema`, `migrate`, `checks`: the tables, and what is looked at before the first call.
//! - `statements`, `literal`, `identifier`: the SQL; `sql_text`, `plain_insert`: what can be known of
//!   the user's; `returned`: rows of the user's statements, as JSON.
//! - `sqlstate`, `error`: what an error means.
//! - `idempotency`, `key_row`, `one_shot`, `lease`, `balance`, `balance_row`, `prepared`,
//!   `one_shot_participant`, `last`, `outcome`, `register`: the protocols.
//! - `rivals`: callers of one key in one process.
//! - `standby`: what is acknowledged survives a failover.
//! - `expiry`: what has expired, removed in batches. `group`: several callers in one commit.

mod balance;
mod balance_row;
mod base64;
mod builder;
mod checks;
mod driver;
mod error;
mod expiry;
mod group;
mod idempotency;
pub(crate) mod identifier;
mod key_row;
mod last;
mod lease;
mod literal;
mod migrate;
mod one_shot;
mod one_shot_participant;
mod options;
mod outcome;
mod plain_insert;
mod pooler;
mod prepared;
mod register;
mod returned;
mod rivals;
mod said;
pub(crate) mod schema;
mod session;
mod sql_text;
mod sqlstate;
mod standby;
mod statements;
mod store;
pub mod tls;
mod transaction;

#[cfg(feature = "sqlx-postgres")]
pub mod sqlx;
#[cfg(feature = "tokio-postgres")]
pub mod tokio_postgres;

pub use builder::{Pooled, PostgresBuilder};
pub use options::Timeouts;
pub use store::PostgresStore;
pub use transaction::PostgresTx;

/// A store in Postgres, through sqlx.
#[cfg(feature = "sqlx-postgres")]
pub type SqlxPostgresStore = PostgresStore<self::sqlx::SqlxDriver>;

/// An open transaction of a [`SqlxPostgresStore`].
#[cfg(feature = "sqlx-postgres")]
pub type SqlxPostgresTx = PostgresTx<self::sqlx::SqlxConnection>;

/// Says how to connect.
#[cfg(feature = "sqlx-postgres")]
pub type SqlxPostgresBuilder = PostgresBuilder<self::sqlx::SqlxDriver>;

/// A store in Postgres, through tokio-postgres.
#[cfg(feature = "tokio-postgres")]
pub type TokioPostgresStore = PostgresStore<self::tokio_postgres::TokioDriver>;

/// An open transaction of a [`TokioPostgresStore`].
#[cfg(feature = "tokio-postgres")]
pub type TokioPostgresTx = PostgresTx<self::tokio_postgres::TokioConnection>;

/// Says how to connect.
#[cfg(feature = "tokio-postgres")]
pub type TokioPostgresBuilder = PostgresBuilder<self::tokio_postgres::TokioDriver>;

/// The backend's name, in errors and spans.
const STORE: &str = "postgres";
