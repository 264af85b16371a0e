//! What a user's work writes in.

use std::fmt;

use exactly_once_core::{
    BoxError, Error, ErrorKind, Namespace, Place, Result, Store, Transactional,
};

use super::{
    driver::{Cause, Connection, Driver, DriverError},
    error::{classify, convert, error},
    rivals::Turn,
    session::Session,
    sqlstate::{DIVISION_BY_ZERO, IN_FAILED_TRANSACTION, NO_SAVEPOINT, NO_TRANSACTION, Stage},
    statements,
    store::PostgresStore,
};

/// An open transaction, READ COMMITTED, with the store's timeouts.
///
/// Dropping it closes its connection, so that the server rolls back; no other caller ever gets the
/// connection. Don't send `COMMIT`, `ROLLBACK` or `PREPARE TRANSACTION` yourself; savepoints are
/// fine.
pub struct PostgresTx<C: Connection> {
    session: Session<C>,
    /// When it began, which nothing else has.
    identity: i64,
    /// Whether statements that belong together were done in part.
    rollback_only: bool,
    /// What removes the work's traces from the session, where the user had it.
    clean: Option<String>,
    /// The turn of the key that it claims, until it ends.
    turn: Option<Turn>,
    /// The store that lent it to the user.
    home: Option<(Place, Namespace)>,
}

/// What work may leave in a session: settings and the role, channels, cursors, temporary tables,
/// session locks. None of it costs anything where there is none. A statement that the work prepares by
/// SQL text stays: to look for one costs the server 70 µs a transaction, twice what all of these cost.
pub(super) const CLEAN: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; UNLISTEN *; CLOSE ALL; \
                     DISCARD TEMP; SELECT pg_catalog.pg_advisory_unlock_all(); ";

/// A digest of a session's settings and temporary tables, without those that the store sets for a
/// transaction.
const STATE: &str = "SELECT pg_catalog.md5(pg_catalog.concat_ws('/', \
     pg_catalog.current_setting('role'), CURRENT_USER, SESSION_USER, \
     (SELECT pg_catalog.string_agg(name || '=' || setting, ',' ORDER BY name) \
     FROM pg_catalog.pg_settings WHERE source = 'session' AND name NOT IN ('lock_timeout', \
     'statement_timeout', 'idle_in_transaction_session_timeout', 'synchronous_commit', \
     'client_connection_check_interval', 'transaction_isolation', 'transaction_read_only', \
     'transaction_deferrable')), \
     (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class \
     WHERE relnamespace = pg_catalog.pg_my_temp_schema())))";

/// Ends the session where its state is not what it was.
fn end_if_changed(state: &str) -> String {
    format!(
        "UNLISTEN *; CLOSE ALL; SELECT pg_catalog.pg_advisory_unlock_all(); \
         SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid()) \
         WHERE ({STATE}) IS DISTINCT FROM '{state}'; "
    )
}

impl<C: Connection> fmt::Debug for PostgresTx<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTx").finish_non_exhaustive()
    }
}

impl<C: Connection> PostgresTx<C> {
    pub(super) fn new(session: Session<C>, identity: i64) -> Self {
        Self {
            session,
            identity,
            rollback_only: false,
            clean: None,
            turn: None,
            home: None,
        }
    }

    /// Keeps the turn of a key until the transaction ends.
    pub(super) fn keep(&mut self, turn: Turn) {
        self.turn = Some(turn);
    }

    /// Hands the transaction to the user. `set_at_connect` says that the pool's connections come with
    /// settings of their own, which must stay.
    pub(super) async fn lend(mut self, set_at_connect: bool) -> Result<Self, DriverError> {
        if set_at_connect {
            let replies = self.session.batch(STATE).await?;
            let state = statements::cell(replies.first(), 0).unwrap_or_default();
            // A digest, in hexadecimal.
            self.clean = Some(end_if_changed(state));
        } else {
            self.clean = Some(CLEAN.to_owned());
        }
        self.session.lend().await?;
        Ok(self)
    }

    /// Marks the transaction rollback-only, until it is cleared by [`Self::clear_rollback_only`].
    /// Says whether it was so before.
    pub(super) fn mark_rollback_only(&mut self) -> bool {
        std::mem::replace(&mut self.rollback_only, true)
    }

    /// What was to be done as a whole is done: sets again what [`Self::mark_rollback_only`] returned.
    pub(super) fn clear_rollback_only(&mut self, before: bool) {
        self.rollback_only = before;
    }

    pub(super) fn identity(&self) -> i64 {
        self.identity
    }

    pub(super) fn session(&mut self) -> &mut Session<C> {
        &mut self.session
    }

    /// The user's handle. It is there as long as no reply of the store's own statements was lost.
    #[cfg(feature = "tokio-postgres")]
    pub(super) fn peek(&self) -> Option<&C> {
        self.session.peek()
    }

    /// Rolls back after an error; the connection is closed if that can't be done.
    pub(super) async fn abandon(self) {
        let _ = self.roll_back().await;
    }

    /// Rolls back, and removes what the work left in the session.
    async fn roll_back(mut self) -> Result<(), DriverError> {
        match &self.clean {
            Some(clean) => {
                // One of them may be why the work failed.
                self.session.forget_statements().await;
                self.session.roll_back_and(clean).await
            }
            None => self.session.roll_back().await,
        }
    }

    /// Sends the statements that end the transaction, the probe among them. Nothing is open after
    /// an error.
    pub(super) async fn end(mut self, sql: &str) -> Result<(), DriverError> {
        if self.rollback_only {
            self.abandon().await;
            // As where the server has noticed.
            let failed = Cause::Server(IN_FAILED_TRANSACTION.to_owned());
            return Err(DriverError::bare(failed));
        }
        // No literal of it holds a semicolon: they are hexadecimal.
        let ending = sql.matches(';').count() + 1;
        let answer = match &self.clean {
            Some(clean) => self.session.batch(&format!("{sql}; {clean}")).await,
            None => self.session.batch(sql).await,
        };
        match answer {
            Ok(_) => {
                self.session.release();
                Ok(())
            }
            // It has ended, and the connection is closed with the session.
            Err(error) if error.after >= ending => Ok(()),
            Err(error) => {
                if error.code().is_some() {
                    self.abandon().await;
                }
                Err(error)
            }
        }
    }
}

impl<D: Driver> PostgresStore<D> {
    /// The transaction, as a user's work gets it.
    pub(super) async fn lent(
        &self,
        tx: PostgresTx<D::Connection>,
        operation: &'static str,
    ) -> Result<PostgresTx<D::Connection>> {
        let mut tx = tx
            .lend(self.server().set_at_connect)
            .await
            .map_err(|failed| convert(failed, operation, Stage::Ours))?;
        tx.home = Some((self.place(), self.namespace().clone()));
        Ok(tx)
    }

    /// Refuses a transaction that another store lent: its work would be committed there, and recorded
    /// here or nowhere.
    pub(super) fn check_home(
        &self,
        tx: &PostgresTx<D::Connection>,
        operation: &'static str,
    ) -> Result<()> {
        let found = match &tx.home {
            Some((place, namespace)) if *place == self.place() => {
                if namespace == self.namespace() {
                    return Ok(());
                }
                "the transaction was begun in another namespace"
            }
            _ => "the transaction was begun in another database",
        };
        Err(error(ErrorKind::Invalid, operation, found))
    }

    /// As [`Self::check_home`], for what ends the transaction: a foreign one is rolled back.
    pub(super) async fn at_home(
        &self,
        tx: PostgresTx<D::Connection>,
        operation: &'static str,
    ) -> Result<PostgresTx<D::Connection>> {
        match self.check_home(&tx, operation) {
            Ok(()) => Ok(tx),
            Err(foreign) => {
                tx.abandon().await;
                Err(foreign)
            }
        }
    }
}

/// What an error of the statements that end a transaction means.
pub(super) fn end_error(failed: DriverError, operation: &'static str) -> Error {
    match failed.code() {
        Some(DIVISION_BY_ZERO | NO_SAVEPOINT | NO_TRANSACTION) => error(
            ErrorKind::Invalid,
            operation,
            "the work ended the transaction itself (COMMIT, ROLLBACK or PREPARE TRANSACTION), or \
             it is not the transaction of this call; what it committed stays, and is not recorded",
        ),
        _ => convert(failed, operation, Stage::Durable),
    }
}

impl<D: Driver> Transactional for PostgresStore<D> {
    type Tx = PostgresTx<D::Connection>;

    async fn begin(&self) -> Result<Self::Tx> {
        let begun = self.open("begin", "SELECT 1").await?;
        self.lent(PostgresTx::new(begun.session, begun.identity), "begin")
            .await
    }

    async fn commit(&self, tx: Self::Tx) -> Result<()> {
        let tx = self.at_home(tx, "commit").await?;
        let sql = format!("{}; COMMIT", statements::probe(tx.identity()));
        tx.end(&sql)
            .await
            .map_err(|error| end_error(error, "commit"))
    }

    async fn rollback(&self, tx: Self::Tx) -> Result<()> {
        match tx.roll_back().await {
            Ok(()) => Ok(()),
            // It went with its connection.
            Err(error) if error.cause == Cause::Lost => Ok(()),
            Err(error) => Err(convert(error, "rollback", Stage::Before)),
        }
    }

    fn classify(&self, operation: &'static str, source: BoxError) -> Error {
        classify::<D>(operation, source)
    }
}
