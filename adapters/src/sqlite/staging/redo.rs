//! Storing what the work did, and applying it when the decision is to commit.

use std::collections::HashMap;

use exactly_once_core::{ErrorKind, Namespace, Participation, Result};
use rusqlite::{Connection, params};

use super::capture::{Captured, Change};
use crate::sqlite::error::{error, statement};

/// Stores the redo.
pub(in crate::sqlite) fn store(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
    captured: &Captured,
) -> Result<()> {
    for (position, change) in (0_i64..).zip(&captured.changes) {
        connection
            .prepare_cached(
                "INSERT INTO exactly_once_redo (namespace, tx, position, table_name, statement, \
                 old_row, new_row) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    namespace.as_str(),
                    participation.transaction().as_bytes(),
                    position,
                    change.table,
                    change.statement,
                    change.old_row,
                    change.new_row
                ])
            })
            .map_err(statement(operation))?;
    }
    Ok(())
}

/// Applies the redo, each statement to exactly one row, which is still as the work saw it.
///
/// # Errors
/// [Heuristic](ErrorKind::Heuristic) where it is not: somebody went past the reservations.
pub(in crate::sqlite) fn apply(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
) -> Result<()> {
    let changes = read(connection, namespace, participation).map_err(statement(operation))?;
    let mut rows = Rows::default();
    for change in &changes {
        match rows.apply(connection, change) {
            Ok(1) => {}
            Ok(fit) => return Err(heuristic(operation, &format!("{fit} rows fit"))),
            Err(source) if is_conflict(&source) => {
                return Err(heuristic(operation, "a row conflicts").with_source(source));
            }
            Err(source) => return Err(statement(operation)(source)),
        }
    }
    Ok(())
}

fn read(
    connection: &Connection,
    namespace: &Namespace,
    participation: &Participation,
) -> rusqlite::Result<Vec<Change>> {
    connection
        .prepare_cached(
            "SELECT table_name, statement, old_row, new_row FROM exactly_once_redo WHERE \
             namespace = ?1 AND tx = ?2 ORDER BY position",
        )?
        .query_map(
            params![namespace.as_str(), participation.transaction().as_bytes()],
            |row| {
                Ok(Change {
                    table: row.get(0)?,
                    statement: row.get(1)?,
                    old_row: row.get(2)?,
                    new_row: row.get(3)?,
                })
            },
        )?
        .collect()
}

/// The row ids that the work saw, and those that they became: a hidden row id is assigned at
/// commit, so that rows of transactions in doubt don't stop others from inserting.
#[derive(Default)]
struct Rows<'a>(HashMap<(&'a str, i64), i64>);

impl<'a> Rows<'a> {
    /// Applies one change, and says how many rows it fitted.
    fn apply(&mut self, connection: &Connection, change: &'a Change) -> rusqlite::Result<usize> {
        let table = change.table.as_str();
        let mut statement = connection.prepare(&change.statement)?;
        let Some(seen) = change.old_row else {
            let fit = statement.execute([])?;
            if let Some(seen) = change.new_row {
                self.0.insert((table, seen), connection.last_insert_rowid());
            }
            return Ok(fit);
        };
        let actual = self.0.remove(&(table, seen)).unwrap_or(seen);
        let fit = statement.execute([actual])?;
        if let Some(seen) = change.new_row {
            self.0.insert((table, seen), actual);
        }
        Ok(fit)
    }
}

fn is_conflict(source: &rusqlite::Error) -> bool {
    matches!(
        source.sqlite_error_code(),
        Some(rusqlite::ErrorCode::ConstraintViolation | rusqlite::ErrorCode::Unknown)
    )
}

fn heuristic(operation: &'static str, found: &str) -> exactly_once_core::Error {
    error(
        ErrorKind::Heuristic,
        operation,
        format!(
            "a prepared row was changed past its reservation ({found}): by a change of the schema, \
             or a connection with triggers off. Nothing was applied; the transaction stays \
             prepared, with its statements in exactly_once_redo"
        ),
    )
}

/// Removes the redo.
pub(in crate::sqlite) fn remove(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM exactly_once_redo WHERE namespace = ?1 AND tx = ?2")
        .and_then(|mut delete| {
            delete.execute(params![
                namespace.as_str(),
                participation.transaction().as_bytes()
            ])
        })
        .map(drop)
        .map_err(statement(operation))
}
