//! What the two drivers have in common: everything else in this folder is written once, over this.

use std::{error::Error as StdError, fmt, future::Future};

use exactly_once_core::BoxError;

/// The answer to one statement of a batch, as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The rows, if there are any.
    pub rows: Vec<Vec<Option<String>>>,
    /// How many rows the command tag counts.
    pub affected: u64,
}

/// What went wrong, as far as the protocol can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server answered with this SQLSTATE.
    Server(String),
    /// The connection is gone; a statement in flight may have been executed.
    Lost,
    /// No reply in time; a statement in flight may have been executed.
    NoReply,
    /// No connection could be made; nothing was sent.
    Unreachable,
    /// The pool has no free connection in time; nothing was sent.
    Exhausted,
    /// The pool was closed; nothing was sent.
    Closed,
    /// The URL or another setting is wrong; nothing was sent.
    Settings,
    /// The server has no TLS, or its certificate was refused; nothing was sent.
    Tls,
    /// The driver refused on the client's side: no row where one was expected, a value that can't be
    /// encoded or decoded.
    Driver,
    /// The result type of a statement that was prepared earlier has changed; prepared once more, it works.
    PlanChanged,
    /// The server is a standby: it refused to begin a transaction that writes.
    Standby,
}

/// An error of a driver, and its cause.
pub struct DriverError {
    /// Decides what the error means.
    pub cause: Cause,
    /// What may be shown of it, if the server answered.
    pub said: Option<String>,
    /// What the driver said.
    pub source: Option<BoxError>,
    /// How many statements of the message had completed before: the position of the one that failed.
    pub after: usize,
}

/// Without the source: what the driver says in full may hold values of rows, and this is logged.
impl fmt::Debug for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverError")
            .field("cause", &self.cause)
            .field("said", &self.said)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl DriverError {
    /// With its source.
    pub fn new(cause: Cause, source: impl Into<BoxError>) -> Self {
        Self {
            cause,
            said: None,
            source: Some(source.into()),
            after: 0,
        }
    }

    /// With the number of statements that had completed.
    #[must_use]
    pub fn after(self, statements: usize) -> Self {
        Self {
            after: statements,
            ..self
        }
    }

    /// Without more to say.
    #[must_use]
    pub fn bare(cause: Cause) -> Self {
        Self {
            cause,
            said: None,
            source: None,
            after: 0,
        }
    }

    /// With what may be shown of it.
    #[must_use]
    pub fn saying(mut self, said: Option<String>) -> Self {
        self.said = said;
        self
    }

    /// The SQLSTATE, if the server answered.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match &self.cause {
            Cause::Server(code) => Some(code),
            _ => None,
        }
    }
}

/// A connection out of a pool. Dropping it without [`release`](Connection::release) must close it.
pub trait Connection: Send + 'static {
    /// Sends the statements in one message of the simple protocol; the first failure ends it.
    fn batch(&mut self, sql: &str) -> impl Future<Output = Result<Vec<Reply>, DriverError>> + Send;

    /// Hands the open transaction to the user: from here on the driver's own nested transactions are
    /// savepoints in it.
    fn lend(&mut self) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Runs a statement as one that stays prepared on the connection, under the driver's own name for
    /// it. `false` where the driver keeps none.
    fn keep_statement(
        &mut self,
        sql: String,
    ) -> impl Future<Output = Result<bool, DriverError>> + Send;

    /// Forgets the statements that the user's work has prepared on it, after they may have failed.
    fn forget_statements(&mut self) -> impl Future<Output = Result<(), DriverError>> + Send;

    /// Gives it back to the pool. Only with no transaction open and no reply outstanding.
    fn release(self);

    /// Closes it: whatever was open is rolled back by the server.
    fn discard(self);
}

/// A pool of connections.
pub trait Driver: Clone + Send + Sync + 'static {
    /// Its connections.
    type Connection: Connection;

    /// Takes a connection out of the pool.
    fn acquire(&self) -> impl Future<Output = Result<Self::Connection, DriverError>> + Send;

    /// How many connections it may have at once.
    fn most_connections(&self) -> usize;

    /// From now on no statement of the user's stays prepared on a connection. `false` where the pool
    /// is the user's, and does not leave that to the store.
    fn keep_no_statements(&self) -> bool;

    /// Closes the pool, if it is the store's own.
    fn close(&self) -> impl Future<Output = ()> + Send;

    /// What an error is, if it is one of this driver's, and what may be shown of it if the server
    /// answered.
    fn cause_of(error: &(dyn StdError + 'static)) -> Option<(Cause, Option<String>)>;
}
