//! What a job works with on the writer's thread, and the user's closures behind the fences.

use std::panic::AssertUnwindSafe;

use exactly_once_core::{Error, ErrorKind, Result};
use rusqlite::Connection;

use super::{
    error::{error, statement},
    guard::{Guard, Scope},
    settings::Settings,
};

/// What a job works with, on the writer's thread.
pub(super) struct Bench<'a> {
    pub(super) connection: &'a Connection,
    pub(super) guard: &'a Guard,
    pub(super) settings: &'a Settings,
    /// What begins the text of the store's own transaction control: see [`Lane`](super::lane::Lane).
    pub(super) mark: &'a str,
    /// Compiles what a prepared transaction will run at its commit; on a lane that stages.
    pub(super) checker: Option<&'a Connection>,
}

impl Bench<'_> {
    /// Runs transaction control of the store's own, compiled once.
    pub(super) fn control(&self, sql: &str) -> rusqlite::Result<()> {
        let sql = format!("{}{sql}", self.mark);
        self.connection.prepare_cached(&sql)?.execute([]).map(drop)
    }

    /// Runs statements that stand or fall together, also where they panic.
    pub(super) fn savepoint<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let run = |sql| self.control(sql).map_err(statement(operation));
        run("SAVEPOINT exactly_once_part")?;
        let answer = caught(operation, work);
        // After a full disk or ON CONFLICT ROLLBACK there is no transaction left, and the answer
        // says so.
        if answer.is_err() && !self.connection.is_autocommit() {
            run("ROLLBACK TO exactly_once_part")?;
        }
        if !self.connection.is_autocommit() {
            run("RELEASE exactly_once_part")?;
        }
        answer
    }

    /// Runs a closure of the user's behind the fences, and puts back what it may have changed of
    /// the connection.
    ///
    /// # Errors
    /// [Refused](ErrorKind::Refused) where it removed the fences.
    pub(super) fn closure<T>(
        &self,
        operation: &'static str,
        scope: Scope,
        work: impl FnOnce(&Connection) -> T,
    ) -> Result<T> {
        let run = || self.guard.work(scope, || work(self.connection));
        let answer = std::panic::catch_unwind(AssertUnwindSafe(run));
        self.guard
            .restore(self.connection, self.settings.busy_timeout)
            .map_err(statement(operation))?;
        if self.guard.take_breach() {
            return Err(error(
                ErrorKind::Refused,
                operation,
                "the work replaced the authorizer or the settings of the store's connection: \
                 nothing is committed",
            ));
        }
        answer.map_err(|panic| panicked(operation, panic))
    }

    /// Hides the row id that the last caller of this connection inserted.
    pub(super) fn forget_row_id(&self) -> rusqlite::Result<()> {
        if self.connection.last_insert_rowid() == 0 {
            return Ok(());
        }
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO temp.exactly_once_row_id (id) VALUES (0)")?
            .execute([])
            .map(drop)
    }
}

/// Runs work that may be the user's: a panic in it must not end the writer's thread.
pub(super) fn caught<T>(operation: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(panicked(operation, panic)))
}

/// The error of work that panicked.
pub(super) fn panicked(operation: &'static str, panic: Box<dyn std::any::Any + Send>) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    // Its drop may panic as well.
    std::mem::forget(panic);
    error(
        ErrorKind::WorkFailed,
        operation,
        format!("the work panicked: {text}"),
    )
}
