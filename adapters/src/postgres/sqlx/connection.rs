//! The driver glue of sqlx.

use std::{error::Error as StdError, fmt::Write as _};

use exactly_once_core::{Statement, Value};
use futures_util::TryStreamExt;
use sqlx::{
    AssertSqlSafe, Either, Error as SqlxError, PgConnection, PgPool, Postgres, Row, ValueRef,
    pool::PoolConnection,
    postgres::{PgDatabaseError, PgRow},
};

use crate::postgres::{
    driver::{Cause, Connection, Driver, DriverError, Reply},
    literal,
};

/// A pool of sqlx.
#[derive(Clone)]
pub struct SqlxDriver {
    pool: PgPool,
    /// Whether to close it with the store.
    owned: bool,
}

impl SqlxDriver {
    pub(super) fn owned(pool: PgPool) -> Self {
        Self { pool, owned: true }
    }

    pub(super) fn shared(pool: PgPool) -> Self {
        Self { pool, owned: false }
    }
}

impl Driver for SqlxDriver {
    type Connection = SqlxConnection;

    async fn acquire(&self) -> Result<SqlxConnection, DriverError> {
        match self.pool.acquire().await {
            Ok(connection) => Ok(SqlxConnection(Some(connection))),
            Err(error) => Err(match cause(&error) {
                Cause::Lost => DriverError::new(Cause::Unreachable, error),
                cause => DriverError::new(cause, error),
            }),
        }
    }

    async fn close(&self) {
        if self.owned {
            self.pool.close().await;
        }
    }

    fn cause_of(error: &(dyn StdError + 'static)) -> Option<Cause> {
        if let Some(error) = error.downcast_ref::<SqlxError>() {
            return Some(cause(error));
        }
        error
            .downcast_ref::<PgDatabaseError>()
            .map(|error| Cause::Server(error.code().to_owned()))
    }
}

fn cause(error: &SqlxError) -> Cause {
    match error {
        SqlxError::Database(error) => match error.code() {
            Some(code) => Cause::Server(code.into_owned()),
            None => Cause::Driver,
        },
        // After a message that was not expected, nothing more can be said over the connection.
        SqlxError::Io(_) | SqlxError::Protocol(_) | SqlxError::WorkerCrashed => Cause::Lost,
        SqlxError::PoolTimedOut => Cause::Exhausted,
        SqlxError::PoolClosed => Cause::Closed,
        SqlxError::Configuration(_) | SqlxError::Tls(_) => Cause::Settings,
        _ => Cause::Driver,
    }
}

fn failed(error: SqlxError) -> DriverError {
    DriverError::new(cause(&error), error)
}

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
        while let Some(answer) = answers.try_next().await.map_err(failed)? {
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

    async fn execute(&mut self, statements: &[Statement]) -> Result<Vec<u64>, DriverError> {
        let mut changed = Vec::with_capacity(statements.len());
        for statement in statements {
            changed.push(self.execute_one(statement).await?);
        }
        Ok(changed)
    }

    fn release(mut self) {
        // Dropping a pool's connection gives it back.
        drop(self.0.take());
    }

    fn discard(self) {
        drop(self);
    }
}

impl SqlxConnection {
    /// sqlx sends parameters in the binary format of a type that it was told. So that the server
    /// infers the types, as it does for tokio-postgres, the statement is prepared by SQL, and the
    /// values are given as literals of no type.
    async fn execute_one(&mut self, statement: &Statement) -> Result<u64, DriverError> {
        if statement.parameters().is_empty() {
            let replies = self.batch(statement.text()).await?;
            return Ok(replies.last().map_or(0, |reply| reply.affected));
        }
        let values: Vec<String> = statement.parameters().iter().map(untyped).collect();
        // A line break ends a comment at the end of the user's text.
        let sql = format!(
            "PREPARE exactly_once_one_shot AS {}\n; EXECUTE exactly_once_one_shot({}); \
             DEALLOCATE exactly_once_one_shot",
            statement.text(),
            values.join(", ")
        );
        match self.batch(&sql).await {
            Ok(replies) if replies.len() == 3 => {
                Ok(replies.get(1).map_or(0, |reply| reply.affected))
            }
            Ok(_) => Err(DriverError::new(
                Cause::Driver,
                "a statement must be one statement: its text holds several",
            )),
            Err(error) => {
                // A name outlives its transaction. In one message, so that behind a pooler it is
                // the same server connection; the transaction was lost anyway.
                let clean = "ROLLBACK; DEALLOCATE exactly_once_one_shot";
                if error.code().is_some() {
                    let _ = self.batch(clean).await;
                }
                Err(error)
            }
        }
    }
}

/// A literal whose type the server infers. Every character but ASCII letters and digits is written
/// as an escape, so that no setting of the server can change where the literal ends.
fn untyped(value: &Value) -> String {
    let Some(text) = literal::value(value) else {
        return "NULL".to_owned();
    };
    let mut quoted = String::with_capacity(text.len() + 3);
    quoted.push_str("E'");
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            quoted.push(letter);
        } else {
            // Writing to a String can't fail.
            let _ = write!(quoted, "\\U{:08X}", u32::from(letter));
        }
    }
    quoted.push('\'');
    quoted
}

impl Drop for SqlxConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // Out of the pool; closed as it is dropped, without waiting and without a runtime.
            drop(connection.detach());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_ends_only_where_it_ends() {
        for nasty in ["'", "\\", "\\'; DROP TABLE x; --", "é\n\t$$", "E''"] {
            let literal = untyped(&Value::Text(nasty.to_owned()));
            let inner = literal
                .strip_prefix("E'")
                .and_then(|rest| rest.strip_suffix('\''))
                .unwrap();
            assert!(
                inner
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'\\'),
                "{literal}"
            );
        }
        assert_eq!(untyped(&Value::Null), "NULL");
        assert_eq!(untyped(&Value::Integer(-5)), "E'\\U0000002D5'");
    }
}
