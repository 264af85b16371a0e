//! Keeps the user's SQL inside the transaction that it was given.
//!
//! Two fences on each write connection. The *authorizer* refuses statements that would end the
//! transaction, reach other files, or write the store's own tables; it is asked when a statement
//! is compiled. The *commit hook* turns every commit that the store did not order into a rollback;
//! it is asked when it counts. So after a full disk has rolled the transaction back by itself, the
//! statements that follow can't slip into the database one by one.

mod captured;
mod objection;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once_core::ErrorKind;
use rusqlite::{Connection, config::DbConfig, hooks::AuthContext};

pub(super) use objection::ONE_STATEMENT;

use super::{
    error::Failure,
    staging::table::{Marks, Table},
};

/// Every table, index, trigger and savepoint of the store begins like this.
pub(super) const PREFIX: &str = "exactly_once_";

/// Settings of a connection that its owner can change without a statement.
const CONFIG: [DbConfig; 4] = [
    DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY,
    DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER,
    DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW,
    DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA,
];

/// In which kind of work the user's SQL runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// A closure with a transaction of its own.
    Alone { staged: bool },
    /// A closure that shares a commit.
    Shared,
    /// A statement that is known up front.
    Statement { staged: bool },
    /// A closure that reads.
    Read,
}

impl Scope {
    fn is_staged(self) -> bool {
        matches!(
            self,
            Self::Alone { staged: true } | Self::Statement { staged: true }
        )
    }
}

/// What uses the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// The store's own statements.
    #[default]
    Store,
    /// The user's.
    Work(Scope),
    /// A look whether the authorizer is still this one.
    Probe,
    /// A look at what a statement would write.
    Survey,
}

#[derive(Debug, Default)]
struct State {
    mode: Mode,
    may_commit: bool,
    /// Why work was refused in this transaction, if it was.
    refused: Option<String>,
    /// The refusal with which SQLite ended the transaction by itself, if it did.
    ended: Option<String>,
    /// Whether the disk had no room for the work.
    disk_full: bool,
    /// Whether the authorizer was asked by a probe.
    probed: bool,
    /// Whether work has changed the connection itself.
    breached: bool,
    /// The settings of the connection as it was opened.
    config: Vec<(DbConfig, bool)>,
    /// The table that a statement is dropping, with its triggers.
    dropping: Option<String>,
    /// Tables that can't be staged, and why.
    unstageable: HashMap<String, String>,
    /// Tables that have triggers of the user's.
    triggered: Vec<String>,
    /// What a statement under survey writes.
    written: BTreeSet<String>,
    /// What the catalogue says of each table that has triggers.
    marks: Marks,
    /// Whether all tables have.
    captures_all: bool,
    /// Statements whose tables have.
    texts: HashSet<String>,
    /// Tables that can be staged, by their names in the catalogue.
    tables: Arc<HashMap<String, Table>>,
    /// The version of the schema that these are of, and the staging connection's triggers.
    captured: Option<i64>,
}

/// The fences of one connection. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard(Arc<Mutex<State>>);

impl Guard {
    /// Puts the fences up.
    pub(super) fn install(&self, connection: &Connection) -> rusqlite::Result<()> {
        let config = CONFIG
            .into_iter()
            .map(|setting| Ok((setting, connection.db_config(setting)?)))
            .collect::<rusqlite::Result<_>>()?;
        self.with(|state| state.config = config);
        self.hook_commits(connection)?;
        self.authorize(connection)
    }

    fn hook_commits(&self, connection: &Connection) -> rusqlite::Result<()> {
        let guard = self.clone();
        connection.commit_hook(Some(move || !guard.with(|state| state.may_commit)))
    }

    fn authorize(&self, connection: &Connection) -> rusqlite::Result<()> {
        let guard = self.clone();
        connection.authorizer(Some(move |context: AuthContext<'_>| {
            guard.with(|state| state.authorize(&context))
        }))
    }

    /// Puts back what the user's closure may have changed of the connection by the driver's own
    /// calls. A replaced authorizer or setting is a [breach](Self::was_breached).
    pub(super) fn restore(
        &self,
        connection: &Connection,
        busy_timeout: Duration,
    ) -> rusqlite::Result<()> {
        connection.busy_timeout(busy_timeout)?;
        connection.update_hook(None::<fn(rusqlite::hooks::Action, &str, &str, i64)>)?;
        connection.rollback_hook(None::<fn()>)?;
        connection.progress_handler(0, None::<fn() -> bool>)?;
        self.hook_commits(connection)?;
        self.with(|state| (state.mode, state.probed) = (Mode::Probe, false));
        let compiled = connection.prepare("SELECT 1").map(drop);
        let intact = self.with(|state| {
            state.mode = Mode::Store;
            state.probed
        });
        // Setting it makes SQLite compile every statement again.
        if !intact {
            self.authorize(connection)?;
        }
        compiled?;
        let mut changed = false;
        for (setting, wanted) in self.with(|state| state.config.clone()) {
            if connection.db_config(setting)? != wanted {
                changed = true;
                connection.set_db_config(setting, wanted)?;
            }
        }
        if !intact || changed {
            self.with(|state| state.breached = true);
        }
        Ok(())
    }

    /// Whether the work before this call changed the connection itself.
    pub(super) fn take_breach(&self) -> bool {
        self.with(|state| std::mem::take(&mut state.breached))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs the user's code behind the fences.
    pub(super) fn work<T>(&self, scope: Scope, f: impl FnOnce() -> T) -> T {
        /// Takes the fences down again, also when the work panics.
        struct Reset<'a>(&'a Guard);
        impl Drop for Reset<'_> {
            fn drop(&mut self) {
                self.0.with(|state| state.mode = Mode::Store);
            }
        }
        self.with(|state| state.mode = Mode::Work(scope));
        let _reset = Reset(self);
        f()
    }

    /// Runs a commit that the store orders.
    pub(super) fn committing<T>(&self, f: impl FnOnce() -> T) -> T {
        self.with(|state| state.may_commit = true);
        let answer = f();
        self.with(|state| state.may_commit = false);
        answer
    }

    /// Forgets what an earlier transaction met.
    pub(super) fn begin(&self) {
        self.with(|state| {
            state.refused = None;
            state.ended = None;
            state.breached = false;
        });
    }

    /// Notes the refusal with which a statement ended the transaction.
    pub(super) fn note_end(&self, refusal: String) {
        self.with(|state| state.ended = Some(refusal));
    }

    /// Notes that the disk had no room for the work.
    pub(super) fn note_disk_end(&self) {
        self.with(|state| state.disk_full = true);
    }

    /// Whether the disk had no room since the last call.
    pub(super) fn take_disk_end(&self) -> bool {
        self.with(|state| std::mem::take(&mut state.disk_full))
    }

    /// The refusal that ended the transaction, if a refusal did.
    pub(super) fn ended(&self) -> Option<Failure> {
        let refusal = self.with(|state| state.ended.clone())?;
        Some(Failure::new(
            ErrorKind::Refused,
            format!("a statement was refused and rolled the whole transaction back: {refusal}"),
        ))
    }

    /// What was refused since the last call, if anything was.
    pub(super) fn take_refused(&self) -> Option<String> {
        self.with(|state| state.refused.take())
    }

    /// What was refused last, without forgetting it.
    pub(super) fn refused(&self) -> Option<String> {
        self.with(|state| state.refused.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded() -> (Connection, Guard) {
        let connection = Connection::open_in_memory().unwrap();
        let guard = Guard::default();
        connection
            .execute_batch("CREATE TABLE t (a INTEGER) STRICT; CREATE TABLE exactly_once_x (a)")
            .unwrap();
        guard.install(&connection).unwrap();
        (connection, guard)
    }

    #[test]
    fn the_work_cannot_end_the_transaction_or_leave_it() {
        let (connection, guard) = guarded();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for sql in [
            "COMMIT",
            "ROLLBACK",
            "ATTACH ':memory:' AS other",
            "PRAGMA synchronous = OFF",
            "CREATE TEMP TABLE x (a)",
            "INSERT INTO exactly_once_x VALUES (1)",
            "SAVEPOINT Exactly_Once_tx",
        ] {
            let answer = guard.work(Scope::Alone { staged: false }, || {
                connection.execute_batch(sql)
            });
            assert!(answer.is_err(), "{sql} was allowed");
            assert!(guard.take_refused().is_some());
        }
        guard
            .work(Scope::Alone { staged: false }, || {
                connection.execute_batch("SAVEPOINT mine; INSERT INTO t VALUES (1); RELEASE mine")
            })
            .unwrap();
        assert!(!connection.is_autocommit());
    }

    #[test]
    fn a_commit_that_the_store_did_not_order_is_undone() {
        let (connection, guard) = guarded();
        assert!(connection.execute("INSERT INTO t VALUES (1)", []).is_err());
        let count = |connection: &Connection| -> i64 {
            connection
                .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(count(&connection), 0);
        guard
            .committing(|| connection.execute("INSERT INTO t VALUES (1)", []))
            .unwrap();
        assert_eq!(count(&connection), 1);
    }

    #[test]
    fn staged_work_cannot_change_the_schema() {
        let (connection, guard) = guarded();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let answer = guard.work(Scope::Alone { staged: true }, || {
            connection.execute_batch("CREATE TABLE u (a)")
        });
        assert!(answer.is_err());
        assert!(guard.take_refused().unwrap().contains("schema"));
    }
}
