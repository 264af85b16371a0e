//! The TEMP triggers of the staging connection, and the log that they write.

use std::collections::{BTreeSet, HashMap};

use exactly_once_core::{ErrorKind, Result};
use rusqlite::Connection;

use super::{
    sql::{ident, logged_slots, redo_delete, redo_insert, redo_update, text},
    table::{self, Table},
};
use crate::sqlite::{
    error::{Failure, Phase, error, statement},
    guard::Guard,
    lane::Lane,
};

/// The most row changes that one staged transaction may have.
const MAX_CHANGES: usize = 100_000;

/// How often a begin may find that the schema has changed under it.
const MAX_ROUNDS: u32 = 100;

/// The log that the triggers write, in the staging connection's own TEMP tables.
const LOG: &str = "
CREATE TEMP TABLE IF NOT EXISTS exactly_once_log (
    position INTEGER PRIMARY KEY, table_name TEXT NOT NULL, statement TEXT NOT NULL,
    old_row INTEGER, new_row INTEGER);
CREATE TEMP TABLE IF NOT EXISTS exactly_once_log_slot (
    table_name TEXT NOT NULL, slot TEXT NOT NULL);
";

/// One row change of staged work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) table: String,
    pub(super) statement: String,
    /// The row id before, where it is hidden: then it is bound when the change is applied.
    pub(super) old_row: Option<i64>,
    /// The row id after.
    pub(super) new_row: Option<i64>,
}

/// What staged work did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::sqlite) struct Captured {
    /// The redo, in order.
    pub(super) changes: Vec<Change>,
    /// The slots of every row, before and after.
    pub(super) slots: Vec<(String, String)>,
}

/// Begins a transaction in which every change is logged.
///
/// The triggers must fit the schema that the transaction sees, and can't be made inside of it
/// (undoing the work would undo them), so they are made before, and checked after the begin.
pub(in crate::sqlite) fn begin(lane: &Lane) -> Result<(), Failure> {
    let fail = |source| lane.abandon(Failure::of(Phase::Statement, source));
    for _ in 0..MAX_ROUNDS {
        let seen = lane
            .guard
            .committing(|| capture_current(&lane.connection, &lane.guard))
            .map_err(fail)?;
        lane.begin()?;
        if schema_version(&lane.connection).map_err(fail)? == seen {
            return Ok(());
        }
        lane.roll_back()?;
    }
    Err(Failure::new(
        ErrorKind::Busy,
        "the schema of the database keeps changing",
    ))
}

fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("PRAGMA main.schema_version")?
        .query_row([], |row| row.get(0))
}

/// Makes the triggers fit the schema as it is; gives its version.
fn capture_current(connection: &Connection, guard: &Guard) -> rusqlite::Result<i64> {
    let seen = schema_version(connection)?;
    if guard.captured() != Some(seen) {
        capture_all(connection, guard, seen)?;
    }
    Ok(seen)
}

/// Makes the triggers anew, for the schema as it is.
fn capture_all(connection: &Connection, guard: &Guard, seen: i64) -> rusqlite::Result<()> {
    connection.execute_batch(LOG)?;
    let old: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_temp_schema WHERE type = 'trigger'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in old {
        connection.execute_batch(&format!("DROP TRIGGER temp.{}", ident(&name)))?;
    }
    let (mut unstageable, mut tables) = (HashMap::new(), HashMap::new());
    for (name, shape) in table::all(connection)? {
        match shape {
            Ok(table) => {
                connection.execute_batch(&triggers(&table))?;
                tables.insert(name, table);
            }
            Err(reason) => {
                unstageable.insert(name.to_lowercase(), reason);
            }
        }
    }
    guard.set_schema(seen, unstageable, triggered(connection)?, tables);
    Ok(())
}

/// The tables that have triggers of the user's, in lower case.
fn triggered(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(
            "SELECT DISTINCT lower(tbl_name) FROM main.sqlite_schema WHERE type = 'trigger' AND \
             name NOT LIKE 'exactly\\_once\\_%' ESCAPE '\\'",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// The three triggers that log a table's changes.
fn triggers(table: &Table) -> String {
    [
        trigger(table, "INSERT", &redo_insert(table), &["NEW"]),
        trigger(table, "UPDATE", &redo_update(table), &["OLD", "NEW"]),
        trigger(table, "DELETE", &redo_delete(table), &["OLD"]),
    ]
    .concat()
}

fn trigger(table: &Table, event: &str, statement: &str, rows: &[&str]) -> String {
    let row_id = |row: &str| match table.hidden_rowid.filter(|_| rows.contains(&row)) {
        Some(name) => format!("{row}.{name}"),
        None => "NULL".to_owned(),
    };
    let mut body = format!(
        "INSERT INTO exactly_once_log (table_name, statement, old_row, new_row) VALUES ({}, \
         {statement}, {}, {});",
        text(&table.name),
        row_id("OLD"),
        row_id("NEW")
    );
    for slot in rows.iter().flat_map(|row| logged_slots(row, table)) {
        // Without a unique key: the conflict clause of the user's statement would rule here.
        body.push_str(&format!(
            " INSERT INTO exactly_once_log_slot SELECT {}, {slot} WHERE ({slot}) IS NOT NULL;",
            text(&table.name)
        ));
    }
    let name = format!(
        "exactly_once_capture_{}_{}",
        event.to_ascii_lowercase(),
        table.name
    );
    format!(
        "CREATE TEMP TRIGGER {} AFTER {event} ON main.{} BEGIN {body} END;",
        ident(&name),
        ident(&table.name)
    )
}

/// Reads the log of the work, before the work is undone and the log with it.
pub(in crate::sqlite) fn read(
    connection: &Connection,
    operation: &'static str,
) -> Result<Captured> {
    let changes = read_changes(connection).map_err(unreadable(operation))?;
    if changes.len() > MAX_CHANGES {
        return Err(error(
            ErrorKind::Refused,
            operation,
            format!("more than {MAX_CHANGES} row changes can't be staged in one transaction"),
        ));
    }
    let slots = connection
        .prepare_cached("SELECT DISTINCT table_name, slot FROM exactly_once_log_slot")
        .and_then(|mut query| {
            query
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .map_err(unreadable(operation))?;
    Ok(Captured { changes, slots })
}

/// Empties the log of work that is kept: the next one's begins anew.
pub(in crate::sqlite) fn clear(connection: &Connection, operation: &'static str) -> Result<()> {
    connection
        .execute_batch("DELETE FROM exactly_once_log; DELETE FROM exactly_once_log_slot")
        .map_err(statement(operation))
}

fn read_changes(connection: &Connection) -> rusqlite::Result<Vec<Change>> {
    connection
        .prepare_cached(
            "SELECT table_name, statement, old_row, new_row FROM exactly_once_log ORDER BY position",
        )?
        .query_map([], |row| {
            Ok(Change {
                table: row.get(0)?,
                statement: row.get(1)?,
                old_row: row.get(2)?,
                new_row: row.get(3)?,
            })
        })?
        .take(MAX_CHANGES + 1)
        .collect()
}

impl Captured {
    /// The hidden row ids of a table that were there before the work and that it changed. Those
    /// that it made itself are assigned at commit, so that they stand in nobody's way.
    pub(super) fn old_rows(&self, table: &str) -> BTreeSet<i64> {
        let mut born = BTreeSet::new();
        let mut old = BTreeSet::new();
        for change in self.changes.iter().filter(|change| change.table == table) {
            if let Some(row) = change.old_row
                && !born.remove(&row)
            {
                old.insert(row);
            }
            born.extend(change.new_row);
        }
        old
    }
}

/// Text that is no UTF-8 can't be stored as a statement.
fn unreadable(operation: &'static str) -> impl Fn(rusqlite::Error) -> exactly_once_core::Error {
    move |source| match source {
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::Utf8Error(..) => error(
            ErrorKind::Refused,
            operation,
            "the work stored text that is not UTF-8, which can't be staged: store it as a blob",
        )
        .with_source(source),
        other => statement(operation)(other),
    }
}
