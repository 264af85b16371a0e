//! The driver glue of sqlx.

use std::error::Error as StdError;

use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Connection as _, Database, Either, Error as SqlxError, PgConnection, PgPool,
    Postgres, Row, SqlSafeStr, ValueRef,
    error::DatabaseError,
    pool::PoolConnection,
    postgres::{PgDatabaseError, PgRow},
};
use sqlx_core::transaction::TransactionManager;

use crate::postgres::{
    builder::Pooled,
    driver::{Cause, Connection, Driver, DriverError, Reply},
    options::Timeouts,
    said::{Answer, undecoded},
    sqlstate::{PLAN_CHANGED, counted},
    tls::refused,
};

/// A pool of sqlx.
#[derive(Clone)]
pub struct SqlxDriver {
    pool: PgPool,
    /// Whether to close it with the store.
    owned: bool,
}

impl Pooled for SqlxDriver {
    type Pool = PgPool;

    fn shared(pool: PgPool) -> Self {
        Self { pool, owned: false }
    }

    fn owned(url: &str, size: u32, timeouts: &Timeouts) -> exactly_once_core::Result<Self> {
        let pool = super::pool(url, size, timeouts)?;
        Ok(Self { pool, owned: true })
    }
}

impl Driver for SqlxDriver {
    type Connection = SqlxConnection;

    async fn acquire(&self) -> Result<SqlxConnection, DriverError> {
        // In a task of its own: a caller that is dropped meanwhile leaves the pool one connection
        // more, and not a login half done.
        match tokio::spawn(self.pool.acquire()).await {
            Ok(Ok(connection)) => Ok(SqlxConnection(Some(connection))),
            // The pool goes on trying for as long as it may: with no connection at all, it is not
            // that others hold them.
            Ok(Err(SqlxError::PoolTimedOut)) if self.pool.size() == 0 => Err(DriverError::new(
                Cause::Unreachable,
                SqlxError::PoolTimedOut,
            )),
            Ok(Err(error)) if refused(&error) => Err(DriverError::new(Cause::Tls, error)),
            Ok(Err(error)) => Err(match cause(&error) {
                Cause::Lost => DriverError::new(Cause::Unreachable, error),
                _ => failed(error),
            }),
            Err(ended) => Err(DriverError::new(Cause::Unreachable, ended)),
        }
    }

    fn most_connections(&self) -> usize {
        let most = self.pool.options().get_max_connections();
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    fn keep_no_statements(&self) -> bool {
        if self.owned {
            let options = self.pool.connect_options().as_ref().clone();
            self.pool
                .set_connect_options(options.statement_cache_capacity(0));
        }
        self.owned
    }

    async fn close(&self) {
        if self.owned {
            self.pool.close().await;
        }
    }

    fn cause_of(error: &(dyn StdError + 'static)) -> Option<(Cause, Option<String>)> {
        if let Some(error) = error.downcast_ref::<SqlxError>() {
            let cause = server_answer(error).map_or_else(|| cause(error), of_users_statement);
            return Some((cause, said(error)));
        }
        // What a transparent wrapper around the driver's own error shows.
        let boxed = error
            .downcast_ref::<Box<dyn DatabaseError>>()
            .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
        let error = boxed.or_else(|| error.downcast_ref::<PgDatabaseError>())?;
        Some((of_users_statement(error), Some(answer(error))))
    }
}

/// What may be shown of the server's answer, or of a value that could not be read or written: why may
/// quote it.
fn said(error: &SqlxError) -> Option<String> {
    match server_answer(error) {
        Some(error) => Some(answer(error)),
        None => undecoded(&error.to_string()),
    }
}

/// The code of the server's answer.
fn code(error: &PgDatabaseError) -> String {
    counted(error.code(), error.position().is_some()).to_owned()
}

fn server_answer(error: &SqlxError) -> Option<&PgDatabaseError> {
    error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
}

fn answer(error: &PgDatabaseError) -> String {
    Answer {
        message: error.message(),
        code: error.code(),
        placed: error.position().is_some(),
        constraint: error.constraint(),
        table: error.table(),
    }
    .text()
}

fn cause(error: &SqlxError) -> Cause {
    if let Some(answer) = server_answer(error) {
        return Cause::Server(code(answer));
    }
    match error {
        SqlxError::Database(error) => match error.code() {
            Some(code) => Cause::Server(code.into_owned()),
            None => Cause::Driver,
        },
        // After a message that was not expected, nothing more can be said over the connection.
        SqlxError::Io(_) | SqlxError::Protocol(_) | SqlxError::WorkerCrashed => Cause::Lost,
        SqlxError::PoolTimedOut => Cause::Exhausted,
        SqlxError::PoolClosed => Cause::Closed,
        SqlxError::Configuration(_) => Cause::Settings,
        SqlxError::Tls(_) => Cause::Tls,
        _ => Cause::Driver,
    }
}

/// The work may have used a statement that was prepared on this connection before.
fn of_users_statement(answer: &PgDatabaseError) -> Cause {
    match answer.routine() {
        Some(PLAN_CHANGED) => Cause::PlanChanged,
        _ => Cause::Server(code(answer)),
    }
}

fn failed(error: SqlxError) -> DriverError {
    let said = said(&error);
    DriverError::new(cause(&error), error).saying(said)
}

type Manager = <Postgres as Database>::TransactionManager;

/// A connection of a `PgPool`.
pub struct SqlxConnection(Option<PoolConnection<Postgres>>);

impl SqlxConnection {
    pub(super) fn raw(&mut self) -> Option<&mut PgConnection> {
        self.0.as_deref_mut()
    }
}

fn text(row: &PgRow) -> Result<Vec<Option<String>>, SqlxError> {
    (0..row.len())
        .map(|column| {
            let value = row.try_get_raw(column)?;
            if value.is_null() {
                return Ok(None);
            }
            match value.as_str() {
                Ok(text) => Ok(Some(text.to_owned())),
                Err(source) => Err(SqlxError::Decode(source)),
            }
        })
        .collect()
}

impl Connection for SqlxConnection {
    async fn batch(&mut self, sql: &str) -> Result<Vec<Reply>, DriverError> {
        let Some(connection) = self.raw() else {
            return Err(DriverError::bare(Cause::Unreachable));
        };
        // Safe: values in it are numbers and hexadecimal; see `literal`.
        let mut answers = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_many(connection);
        let mut replies = Vec::new();
        let mut rows = Vec::new();
        loop {
            let answer = match answers.try_next().await {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(error) => return Err(failed(error).after(replies.len())),
            };
            match answer {
                Either::Right(row) => rows.push(text(&row).map_err(failed)?),
                Either::Left(done) => replies.push(Reply {
                    rows: std::mem::take(&mut rows),
                    affected: done.rows_affected(),
                }),
            }
        }
        Ok(replies)
    }

    async fn lend(&mut self) -> Result<(), DriverError> {
        let Some(connection) = self.raw() else {
            return Err(DriverError::bare(Cause::Unreachable));
        };
        // The transaction is open; sqlx has to count it, so that a `begin()` of the work is a
        // savepoint in it.
        let nothing = Some("".into_sql_str());
        Manager::begin(connection, nothing).await.map_err(failed)
    }

    async fn keep_statement(&mut self, sql: String) -> Result<bool, DriverError> {
        let Some(connection) = self.raw() else {
            return Err(DriverError::bare(Cause::Unreachable));
        };
        sqlx::query(AssertSqlSafe(sql))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        Ok(connection.cached_statements_size() > 0)
    }

    async fn forget_statements(&mut self) -> Result<(), DriverError> {
        match self.raw() {
            Some(connection) => connection.clear_cached_statements().await.map_err(failed),
            None => Ok(()),
        }
    }

    fn release(mut self) {
        if let Some(connection) = self.raw() {
            // The transaction that was lent has ended, and the work may have left nested ones behind.
            // sqlx sends these when the pool takes the connection back; they meet no transaction.
            while Manager::get_transaction_depth(connection) > 0 {
                Manager::start_rollback(connection);
            }
        }
        // Dropping a pool's connection gives it back.
        drop(self.0.take());
    }

    fn discard(self) {
        drop(self);
    }
}

impl Drop for SqlxConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // Out of the pool; closed as it is dropped, without waiting and without a runtime.
            drop(connection.detach());
        }
    }
}
