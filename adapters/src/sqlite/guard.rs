//! Keeps the user's SQL inside the transaction that it was given.
//!
//! Two fences on each write connection. The *authorizer* refuses statements that would end the
//! transaction, reach other files, or write the store's own tables; it is asked when a statement
//! is compiled. The *commit hook* turns every commit that the store did not order into a rollback;
//! it is asked when it counts. So after a full disk has rolled the transaction back by itself, the
//! statements that follow can't slip into the database one by one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once_core::ErrorKind;
use rusqlite::{
    Connection,
    config::DbConfig,
    hooks::{AuthAction, AuthContext, Authorization},
};

use super::{
    error::Failure,
    staging::table::{Marks, Shape, Table},
};

/// Every table, index, trigger and savepoint of the store begins like this.
pub(super) const PREFIX: &str = "exactly_once_";

/// Pragmas that only read, or that end with the transaction.
const HARMLESS_PRAGMAS: [&str; 9] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "defer_foreign_keys",
];

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
    /// What the catalogue says of each table.
    marks: Marks,
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

    /// Names the tables that have changed since the last time, each with its shape or the reason why
    /// staged work must not write it; and what the catalogue says of all.
    pub(super) fn set_schema(&self, version: i64, marks: Marks, shapes: Vec<(String, Shape)>) {
        self.with(|state| {
            let tables = Arc::make_mut(&mut state.tables);
            tables.retain(|name, _| marks.contains_key(name));
            for (name, shape) in shapes {
                let folded = name.to_ascii_lowercase();
                state.unstageable.remove(&folded);
                tables.remove(&name);
                match shape {
                    Ok(table) => {
                        tables.insert(name, table);
                    }
                    Err(reason) => {
                        state.unstageable.insert(folded, reason);
                    }
                }
            }
            state.triggered = tables
                .values()
                .filter(|table| table.is_triggered())
                .map(|table| table.name().to_ascii_lowercase())
                .collect();
            state.marks = marks;
            state.captured = Some(version);
        });
    }

    /// What the catalogue said of the tables when it was looked at last.
    pub(super) fn marks(&self) -> Marks {
        self.with(|state| state.marks.clone())
    }

    /// The version of the schema that was looked at last.
    pub(super) fn captured(&self) -> Option<i64> {
        self.with(|state| state.captured)
    }

    /// The tables that can be staged, as the schema was when the transaction began: staged work can't
    /// change it.
    pub(super) fn tables(&self) -> Arc<HashMap<String, Table>> {
        self.with(|state| Arc::clone(&state.tables))
    }
}

impl State {
    fn authorize(&mut self, context: &AuthContext<'_>) -> Authorization {
        let scope = match self.mode {
            Mode::Store => return Authorization::Allow,
            Mode::Probe => {
                self.probed = true;
                return Authorization::Allow;
            }
            Mode::Work(scope) => scope,
        };
        if let AuthAction::DropTable { table_name } = context.action {
            self.dropping = Some(table_name.to_owned());
        }
        match self.objection(scope, context) {
            None => Authorization::Allow,
            Some(reason) => {
                self.refused = Some(reason);
                Authorization::Deny
            }
        }
    }

    /// Why the work must not do this; `None` if it may.
    fn objection(&self, scope: Scope, context: &AuthContext<'_>) -> Option<String> {
        if let Some(name) = changed_object(&context.action).find(|name| is_ours(name))
            && !self.drops_with_its_table(&context.action)
        {
            return Some(format!("{name} belongs to the store"));
        }
        match context.action {
            AuthAction::Transaction { .. } => {
                Some("BEGIN, COMMIT and ROLLBACK belong to the store".to_owned())
            }
            AuthAction::Savepoint { savepoint_name, .. } if is_ours(savepoint_name) => Some(
                format!("the savepoint {savepoint_name} belongs to the store"),
            ),
            AuthAction::Savepoint { .. } if matches!(scope, Scope::Statement { .. }) => {
                Some(ONE_STATEMENT.to_owned())
            }
            AuthAction::Pragma {
                pragma_name,
                pragma_value: Some(_),
            } if pragma_name.eq_ignore_ascii_case("defer_foreign_keys")
                && !matches!(scope, Scope::Alone { staged: false }) =>
            {
                Some(
                    "PRAGMA defer_foreign_keys would reach the other effects of the batch: use a \
                     transaction of your own"
                        .to_owned(),
                )
            }
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
                Some("ATTACH, DETACH and VACUUM reach outside of the transaction".to_owned())
            }
            AuthAction::Pragma { pragma_name, .. } if !is_harmless(pragma_name) => Some(format!(
                "PRAGMA {pragma_name} would change the shared connection"
            )),
            AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempIndex { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. } => Some(
                "temporary objects would outlive the transaction on the shared connection"
                    .to_owned(),
            ),
            _ if scope.is_staged() && changes_schema(&context.action) => {
                Some("a change of the schema can't be staged".to_owned())
            }
            AuthAction::Insert { table_name }
            | AuthAction::Delete { table_name }
            | AuthAction::Update { table_name, .. } => {
                self.write_objection(scope, table_name, context)
            }
            _ => None,
        }
    }

    /// A table takes its guard triggers along.
    fn drops_with_its_table(&self, action: &AuthAction<'_>) -> bool {
        matches!(action, AuthAction::DropTrigger { table_name, .. }
            if self.dropping.as_deref() == Some(*table_name) && !is_ours(table_name))
    }

    fn write_objection(
        &self,
        scope: Scope,
        table: &str,
        context: &AuthContext<'_>,
    ) -> Option<String> {
        // The store's own triggers write the log of staged work.
        if context.accessor.is_some_and(is_ours) {
            return None;
        }
        if is_ours(table) {
            return Some(format!("the table {table} belongs to the store"));
        }
        if !scope.is_staged() {
            return None;
        }
        if table.starts_with("sqlite_") {
            return Some("a change of the schema can't be staged".to_owned());
        }
        if let Some(reason) = self.unstageable.get(&table.to_ascii_lowercase()) {
            return Some(format!("the table {table} can't be staged: {reason}"));
        }
        // Staging needs recursive_triggers, which would run a chain of triggers otherwise than the
        // user's own connection does.
        if let Some(trigger) = context.accessor
            && self.triggered.contains(&table.to_ascii_lowercase())
        {
            return Some(format!(
                "the trigger {trigger} writes the table {table}, which has triggers itself: a \
                 chain of triggers can't be staged"
            ));
        }
        None
    }
}

/// Why a statement that is known up front is nothing but one statement.
pub(super) const ONE_STATEMENT: &str = "SAVEPOINT, RELEASE, ROLLBACK TO and PRAGMA need a \
     transaction of their own: an effect that is known up front shares its commit with others";

/// The names of what a change of the schema touches.
fn changed_object<'a>(action: &AuthAction<'a>) -> impl Iterator<Item = &'a str> {
    let (first, second) = match *action {
        AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateTable { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::DropVtable { table_name, .. }
        | AuthAction::CreateVtable { table_name, .. }
        | AuthAction::Analyze { table_name } => (Some(table_name), None),
        AuthAction::CreateIndex {
            index_name,
            table_name,
        }
        | AuthAction::DropIndex {
            index_name,
            table_name,
        } => (Some(index_name), Some(table_name)),
        AuthAction::CreateTrigger {
            trigger_name,
            table_name,
        }
        | AuthAction::DropTrigger {
            trigger_name,
            table_name,
        } => (Some(trigger_name), Some(table_name)),
        AuthAction::CreateView { view_name } | AuthAction::DropView { view_name } => {
            (Some(view_name), None)
        }
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

fn is_ours(name: &str) -> bool {
    name.get(..PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn is_harmless(pragma: &str) -> bool {
    HARMLESS_PRAGMAS
        .iter()
        .any(|harmless| harmless.eq_ignore_ascii_case(pragma))
}

/// Whether the action changes the schema.
fn changes_schema(action: &AuthAction<'_>) -> bool {
    !matches!(
        action,
        AuthAction::Read { .. }
            | AuthAction::Select
            | AuthAction::Function { .. }
            | AuthAction::Recursive
            | AuthAction::Pragma { .. }
            | AuthAction::Savepoint { .. }
            | AuthAction::Insert { .. }
            | AuthAction::Update { .. }
            | AuthAction::Delete { .. }
    )
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
