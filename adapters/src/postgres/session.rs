//! A connection while we talk over it. Whatever is dropped half way is closed, never reused.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    driver::{Cause, Connection, DriverError, Reply},
    sqlstate::{
        ACTIVE_TRANSACTION, ADMIN_SHUTDOWN, DIVISION_BY_ZERO, FEATURE, IN_FAILED_TRANSACTION,
        READ_ONLY,
    },
    statements::{self, Preamble},
};

/// A connection that is closed on drop. Only [`Session::release`] gives it back to its pool, and
/// that is only called where the last reply has been read and no transaction is open.
///
/// So a future may be dropped at any poll: a BEGIN or COMMIT whose reply was not awaited ends with
/// its connection, and no other caller ever writes into it.
pub(super) struct Session<C: Connection> {
    connection: Option<C>,
    reply: Duration,
    /// Cleans up what a failure may leave on the connection.
    clean: Option<&'static str>,
}

impl<C: Connection> Session<C> {
    pub(super) fn new(connection: C, reply: Duration) -> Self {
        Self {
            connection: Some(connection),
            reply,
            clean: None,
        }
    }

    /// What a rollback has to clean up from now on, which outlives the transaction.
    pub(super) fn leaves(&mut self, clean: Option<&'static str>) {
        self.clean = clean;
    }

    #[cfg(feature = "sqlx-postgres")]
    /// The user's driver handle; `None` once the connection was given up for a lost reply.
    pub(super) fn connection(&mut self) -> Option<&mut C> {
        self.connection.as_mut()
    }

    /// The same, shared.
    #[cfg(feature = "tokio-postgres")]
    pub(super) fn peek(&self) -> Option<&C> {
        self.connection.as_ref()
    }

    /// Sends statements, and waits for all replies.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<Vec<Reply>, DriverError> {
        let Some(connection) = &mut self.connection else {
            return Err(DriverError::bare(Cause::Unreachable));
        };
        let answer = match timeout(self.reply, connection.batch(sql)).await {
            Ok(answer) => answer,
            Err(_) => Err(DriverError::bare(Cause::NoReply)),
        };
        self.keep(answer)
    }

    /// After anything but an answer of the server, the connection's state is not known.
    fn keep<T>(&mut self, answer: Result<T, DriverError>) -> Result<T, DriverError> {
        if let Err(error) = &answer
            && error.code().is_none()
            && let Some(connection) = self.connection.take()
        {
            connection.discard();
        }
        answer
    }

    /// Ends what is open, cleans up, and gives the connection back; closes it if that can't be done.
    ///
    /// In one message, so that behind a pooler both meet the same server connection. The clean-up may
    /// fail: what it removes may not be there.
    pub(super) async fn roll_back(self) -> Result<(), DriverError> {
        self.clean_up("").await
    }

    /// The same, with what has to succeed before the connection goes back.
    pub(super) async fn roll_back_and(self, surely: &str) -> Result<(), DriverError> {
        self.clean_up(surely).await
    }

    async fn clean_up(mut self, surely: &str) -> Result<(), DriverError> {
        let needed = 1 + surely.matches(';').count();
        let clean = self.clean.unwrap_or_default();
        match self.batch(&format!("ROLLBACK; {surely}{clean}")).await {
            Ok(_) => {
                self.release();
                Ok(())
            }
            Err(error) if error.after >= needed && error.code().is_some() => {
                self.release();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the connection back: nothing may be open.
    pub(super) fn release(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.release();
        }
    }

    /// Begins a transaction and runs statements in it, in one round trip. Gives their replies and
    /// the transaction's identity. Nothing is open after an error.
    pub(super) async fn begin(
        mut self,
        preamble: &Preamble,
        sql: &str,
    ) -> Result<Begun<C>, BeginError> {
        match self.batch(&statements::begin(preamble, sql)).await {
            Ok(replies) => self.begun(replies).map_err(BeginError::Failed),
            Err(error) => Err(self.begin_failed(error).await),
        }
    }

    /// The transaction that these replies have begun.
    pub(super) fn begun(self, mut replies: Vec<Reply>) -> Result<Begun<C>, DriverError> {
        let identity = statements::identity(&replies);
        replies.drain(..statements::PREAMBLE_REPLIES.min(replies.len()));
        match identity {
            Some(identity) => Ok(Begun {
                session: self,
                identity,
                replies,
            }),
            None => Err(DriverError::bare(Cause::Driver)),
        }
    }

    /// Runs statements in a transaction of their own and commits, in one round trip.
    pub(super) async fn transact(
        mut self,
        preamble: &Preamble,
        sql: &str,
    ) -> Result<Vec<Reply>, BeginError> {
        match self.batch(&statements::transact(preamble, sql)).await {
            Ok(mut replies) => {
                self.release();
                replies.drain(..statements::PREAMBLE_REPLIES.min(replies.len()));
                Ok(replies)
            }
            Err(error) => Err(self.begin_failed(error).await),
        }
    }

    /// Separates an error of `BEGIN` and the settings from one of the statements behind them.
    pub(super) async fn begin_failed(self, error: DriverError) -> BeginError {
        match unusable(&error, statements::PREAMBLE_REPLIES, DIVISION_BY_ZERO) {
            // Closed, with the session.
            Some(Unusable::Left | Unusable::Dead) => return BeginError::Dirty,
            Some(Unusable::Standby) => return BeginError::Failed(standby(error)),
            None => {}
        }
        if error.code().is_some() {
            // Failing that, the session closes its connection.
            let _ = self.roll_back().await;
        }
        BeginError::Failed(error)
    }

    /// Hands the open transaction to the user.
    pub(super) async fn lend(&mut self) -> Result<(), DriverError> {
        let Some(connection) = &mut self.connection else {
            return Err(DriverError::bare(Cause::Unreachable));
        };
        let answer = match timeout(self.reply, connection.lend()).await {
            Ok(answer) => answer,
            Err(_) => Err(DriverError::bare(Cause::NoReply)),
        };
        self.keep(answer)
    }

    /// Runs a statement that the driver keeps on the connection.
    pub(super) async fn keep_statement(&mut self, sql: String) -> Result<bool, DriverError> {
        let Some(connection) = &mut self.connection else {
            return Err(DriverError::bare(Cause::Unreachable));
        };
        let answer = match timeout(self.reply, connection.keep_statement(sql)).await {
            Ok(answer) => answer,
            Err(_) => Err(DriverError::bare(Cause::NoReply)),
        };
        self.keep(answer)
    }

    /// Forgets the statements that the user's work has prepared.
    pub(super) async fn forget_statements(&mut self) {
        if let Some(connection) = &mut self.connection {
            let answer = match timeout(self.reply, connection.forget_statements()).await {
                Ok(answer) => answer,
                Err(_) => Err(DriverError::bare(Cause::NoReply)),
            };
            // Failing that, the connection is closed.
            let _ = self.keep(answer);
        }
    }
}

/// Why a connection can't be used, though the server answered over it.
pub(super) enum Unusable {
    /// A transaction was open on it that its owner had left there.
    Left,
    /// The server had ended it while it was idle.
    Dead,
    /// It leads to a standby.
    Standby,
}

/// Whether the message failed in its preamble, its first statements, up to the guard that fails with
/// this code in a transaction that was open before. Such an error says nothing about the work, of
/// which no statement has run.
pub(super) fn unusable(error: &DriverError, preamble: usize, guard: &str) -> Option<Unusable> {
    if error.after >= preamble {
        return None;
    }
    match error.code()? {
        ACTIVE_TRANSACTION | IN_FAILED_TRANSACTION => {}
        code if code == guard => {}
        // The message's first reply: had any of it been executed, that would have answered first.
        ADMIN_SHUTDOWN if error.after == 0 => return Some(Unusable::Dead),
        FEATURE | READ_ONLY => return Some(Unusable::Standby),
        _ => return None,
    }
    // What was open was not ours, and its owner is gone: nothing will ever commit it.
    tracing::warn!("a connection of the pool had a transaction open; closed");
    Some(Unusable::Left)
}

/// The error of a connection that leads to a standby.
pub(super) fn standby(error: DriverError) -> DriverError {
    DriverError {
        cause: Cause::Standby,
        ..error
    }
}

/// What a beginning gave.
pub(super) struct Begun<C: Connection> {
    pub(super) session: Session<C>,
    pub(super) identity: i64,
    pub(super) replies: Vec<Reply>,
}

/// Why a transaction could not be begun.
pub(super) enum BeginError {
    /// The pool gave a connection with a foreign transaction open. It was closed: take another.
    Dirty,
    /// An error; nothing is open.
    Failed(DriverError),
}

impl<C: Connection> Drop for Session<C> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.discard();
        }
    }
}
