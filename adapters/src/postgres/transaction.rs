//! What a user's work writes in.

use std::fmt;

use exactly_once_core::{BoxError, Error, ErrorKind, Result, Transactional};

use super::{
    driver::{Cause, Connection, Driver, DriverError},
    error::{classify, convert, error},
    session::Session,
    sqlstate::{DIVISION_BY_ZERO, IN_FAILED_TRANSACTION, NO_SAVEPOINT, NO_TRANSACTION, Stage},
    statements,
    store::PostgresStore,
};

/// An open transaction, READ COMMITTED, with the store's timeouts.
///
/// Dropping it closes its connection, so that the server rolls back; nobody else ever gets the
/// connection. Don't send `COMMIT`, `ROLLBACK` or `PREPARE TRANSACTION` yourself; savepoints are
/// fine.
pub struct PostgresTx<C: Connection> {
    session: Session<C>,
    /// When it began, which nothing else has.
    identity: i64,
    /// Whether statements that belong together were done in part.
    spoilt: bool,
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
            spoilt: false,
        }
    }

    /// From now on it can't be committed, whatever the work does about it, unless it is `mended`.
    /// Says whether it was so before.
    pub(super) fn spoil(&mut self) -> bool {
        std::mem::replace(&mut self.spoilt, true)
    }

    /// What was to be done as a whole is done; gives back what [`Self::spoil`] has said.
    pub(super) fn mended(&mut self, spoilt_before: bool) {
        self.spoilt = spoilt_before;
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
        let _ = self.session.roll_back().await;
    }

    /// Sends the statements that end the transaction, the probe among them. Nothing is open after
    /// an error.
    pub(super) async fn end(mut self, sql: &str) -> Result<(), DriverError> {
        if self.spoilt {
            self.abandon().await;
            // As where the server has noticed.
            let failed = Cause::Server(IN_FAILED_TRANSACTION.to_owned());
            return Err(DriverError::bare(failed));
        }
        match self.session.batch(sql).await {
            Ok(_) => {
                self.session.release();
                Ok(())
            }
            Err(error) => {
                if error.code().is_some() {
                    self.abandon().await;
                }
                Err(error)
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
        Ok(PostgresTx::new(begun.session, begun.identity))
    }

    async fn commit(&self, tx: Self::Tx) -> Result<()> {
        let sql = format!("{}; COMMIT", statements::probe(tx.identity()));
        tx.end(&sql)
            .await
            .map_err(|error| end_error(error, "commit"))
    }

    async fn rollback(&self, tx: Self::Tx) -> Result<()> {
        match tx.session.roll_back().await {
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
