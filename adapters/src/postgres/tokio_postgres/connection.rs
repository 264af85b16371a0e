//! The driver glue of tokio-postgres.

use std::{
    error::Error as StdError,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use deadpool_postgres::{Object, Pool, PoolError, TimeoutType};
use futures_util::TryStreamExt;
use tokio_postgres::{
    Client, Error as PgError, SimpleQueryMessage,
    error::DbError,
    types::{WasNull, WrongType},
};

use crate::postgres::{
    builder::Pooled,
    driver::{Cause, Connection, Driver, DriverError, Reply},
    options::Timeouts,
    said::{Answer, undecoded},
    sqlstate::{PLAN_CHANGED, counted},
    tls::refused,
};

/// A deadpool pool.
#[derive(Clone)]
pub struct TokioDriver {
    pool: Pool,
    /// Whether to close it with the store.
    owned: bool,
    /// Whether statements of the user's stay prepared on their connection.
    keeps: Arc<AtomicBool>,
}

impl TokioDriver {
    fn new(pool: Pool, owned: bool) -> Self {
        Self {
            pool,
            owned,
            keeps: Arc::new(AtomicBool::new(true)),
        }
    }
}

impl Pooled for TokioDriver {
    type Pool = Pool;

    fn shared(pool: Pool) -> Self {
        Self::new(pool, false)
    }

    fn owned(url: &str, size: u32, timeouts: &Timeouts) -> exactly_once_core::Result<Self> {
        let pool = super::pool(url, size, timeouts)?;
        Ok(Self::new(pool, true))
    }
}

impl Driver for TokioDriver {
    type Connection = TokioConnection;

    async fn acquire(&self) -> Result<TokioConnection, DriverError> {
        match self.pool.get().await {
            Ok(object) => Ok(TokioConnection {
                object: Some(object),
                keeps: self.keeps.load(Ordering::Relaxed),
            }),
            Err(error) => Err(pool_error(error)),
        }
    }

    fn most_connections(&self) -> usize {
        self.pool.status().max_size
    }

    fn keep_no_statements(&self) -> bool {
        self.keeps.store(false, Ordering::Relaxed);
        true
    }

    async fn close(&self) {
        if self.owned {
            self.pool.close();
        }
    }

    fn cause_of(error: &(dyn StdError + 'static)) -> Option<(Cause, Option<String>)> {
        if let Some(error) = error.downcast_ref::<PgError>() {
            let cause = match error.as_db_error() {
                Some(answer) => of_users_statement(answer),
                None => cause(error),
            };
            return Some((cause, said(error)));
        }
        error
            .downcast_ref::<DbError>()
            .map(|error| (of_users_statement(error), Some(answer(error))))
    }
}

/// What may be shown of the server's answer, or of a value that could not be read or written: why may
/// quote it.
fn said(error: &PgError) -> Option<String> {
    if let Some(error) = error.as_db_error() {
        return Some(answer(error));
    }
    let source = error.source();
    if source.is_some_and(|source| source.is::<WrongType>() || source.is::<WasNull>()) {
        return None;
    }
    undecoded(&error.to_string())
}

/// The code of the server's answer.
fn code(error: &DbError) -> String {
    counted(error.code().code(), error.position().is_some()).to_owned()
}

fn answer(error: &DbError) -> String {
    Answer {
        message: error.message(),
        code: error.code().code(),
        placed: error.position().is_some(),
        constraint: error.constraint(),
        table: error.table(),
    }
    .text()
}

fn pool_error(error: PoolError) -> DriverError {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => DriverError::bare(Cause::Exhausted),
        PoolError::Timeout(_) => DriverError::bare(Cause::Unreachable),
        PoolError::Closed => DriverError::bare(Cause::Closed),
        PoolError::Backend(error) => {
            let said = said(&error);
            DriverError::new(connect_cause(&error), error).saying(said)
        }
        other => DriverError::new(Cause::Settings, other),
    }
}

/// While connecting, whatever is no answer of the server is a server that can't be reached.
fn connect_cause(error: &PgError) -> Cause {
    // No field of the error says that it is one of TLS.
    if refused(error) || (error.to_string().contains("TLS handshake") && !is_io(error)) {
        return Cause::Tls;
    }
    match cause(error) {
        Cause::Driver if !is_io(error) => Cause::Settings,
        Cause::Lost | Cause::Driver => Cause::Unreachable,
        cause => cause,
    }
}

/// The work may have used a statement that was prepared on this connection before.
fn of_users_statement(answer: &DbError) -> Cause {
    match answer.routine() {
        Some(PLAN_CHANGED) => Cause::PlanChanged,
        _ => Cause::Server(code(answer)),
    }
}

fn is_io(error: &PgError) -> bool {
    error
        .source()
        .is_some_and(|source| source.is::<std::io::Error>())
        // No field of the error says that its timer fired.
        || error.to_string().contains("error connecting")
}

fn cause(error: &PgError) -> Cause {
    if let Some(error) = error.as_db_error() {
        return Cause::Server(code(error));
    }
    if error.is_closed() || is_io(error) {
        return Cause::Lost;
    }
    Cause::Driver
}

/// An error on a connection that was up.
fn failed(error: PgError) -> DriverError {
    let cause = match cause(&error) {
        // Broken in the middle of a message.
        Cause::Driver if error.to_string().contains("communicating") => Cause::Lost,
        // The server ends a session with an answer: afterwards there is no connection.
        cause => cause,
    };
    let said = said(&error);
    DriverError::new(cause, error).saying(said)
}

/// A connection of a deadpool pool.
pub struct TokioConnection {
    object: Option<Object>,
    keeps: bool,
}

impl TokioConnection {
    pub(super) fn client(&self) -> Option<&Client> {
        self.object.as_ref().map(|object| &***object)
    }

    pub(super) fn object(&self) -> Option<&Object> {
        self.object.as_ref()
    }

    /// Whether statements of the user's stay prepared on it.
    pub(super) fn keeps_statements(&self) -> bool {
        self.keeps
    }

    fn wanted(&self) -> Result<&Client, DriverError> {
        self.client().ok_or_else(|| DriverError::bare(Cause::Lost))
    }
}

impl Connection for TokioConnection {
    async fn batch(&mut self, sql: &str) -> Result<Vec<Reply>, DriverError> {
        let messages = self.wanted()?.simple_query_raw(sql).await.map_err(failed)?;
        let mut messages = pin!(messages);
        let mut replies = Vec::new();
        let mut rows = Vec::new();
        loop {
            let message = match messages.try_next().await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return Err(failed(error).after(replies.len())),
            };
            match message {
                SimpleQueryMessage::Row(row) => rows.push(
                    (0..row.len())
                        .map(|column| row.get(column).map(str::to_owned))
                        .collect(),
                ),
                SimpleQueryMessage::CommandComplete(affected) => replies.push(Reply {
                    rows: std::mem::take(&mut rows),
                    affected,
                }),
                _ => {}
            }
        }
        Ok(replies)
    }

    async fn lend(&mut self) -> Result<(), DriverError> {
        // A nested transaction takes `&mut Client`, which no caller has.
        Ok(())
    }

    async fn keep_statement(&mut self, sql: String) -> Result<bool, DriverError> {
        let object = self
            .object()
            .ok_or_else(|| DriverError::bare(Cause::Lost))?;
        let statement = object.prepare_cached(&sql).await.map_err(failed)?;
        object.execute(&statement, &[]).await.map_err(failed)?;
        Ok(true)
    }

    async fn forget_statements(&mut self) -> Result<(), DriverError> {
        if let Some(object) = &self.object {
            object.statement_cache.clear();
        }
        Ok(())
    }

    fn release(mut self) {
        // Dropping an object gives it back.
        drop(self.object.take());
    }

    fn discard(self) {
        drop(self);
    }
}

impl Drop for TokioConnection {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            // Out of the pool; closed as it is dropped.
            drop(Object::take(object));
        }
    }
}
