//! What the two drivers have in common: everything else in this folder is written once, over this.

use std::{error::Error as StdError, future::Future};

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
    /// The driver refused: a parameter that can't be encoded, say.
    Driver,
}

/// An error of a driver, and its cause.
#[derive(Debug)]
pub struct DriverError {
    /// Decides what the error means.
    pub cause: Cause,
    /// What the driver said.
    pub source: Option<BoxError>,
}

impl DriverError {
    /// With its source.
    pub fn new(cause: Cause, source: impl Into<BoxError>) -> Self {
        Self {
            cause,
            source: Some(source.into()),
        }
    }

    /// Without more to say.
    #[must_use]
    pub fn bare(cause: Cause) -> Self {
        Self {
            cause,
            source: None,
        }
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

    /// Closes the pool, if it is the store's own.
    fn close(&self) -> impl Future<Output = ()> + Send;

    /// What an error is, if it is one of this driver's.
    fn cause_of(error: &(dyn StdError + 'static)) -> Option<Cause>;
}
