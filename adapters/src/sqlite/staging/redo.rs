//! Storing what the work did, and applying it when the decision is to commit.

use exactly_once_core::{ErrorKind, Namespace, Participation, Result};
use rusqlite::{Connection, params};

use super::capture::Captured;
use crate::sqlite::error::{error, statement};

/// Stores the redo.
pub(in crate::sqlite) fn store(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
    captured: &Captured,
) -> Result<()> {
    for (position, (_, change)) in (0_i64..).zip(&captured.changes) {
        connection
            .prepare_cached(
                "INSERT INTO exactly_once_redo (namespace, tx, position, statement) VALUES (?1, \
                 ?2, ?3, ?4)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    namespace.as_str(),
                    participation.transaction().as_bytes(),
                    position,
                    change
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
    let id = params![namespace.as_str(), participation.transaction().as_bytes()];
    let changes: Vec<String> = connection
        .prepare_cached(
            "SELECT statement FROM exactly_once_redo WHERE namespace = ?1 AND tx = ?2 ORDER BY \
             position",
        )
        .and_then(|mut query| {
            query
                .query_map(id, |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()
        })
        .map_err(statement(operation))?;
    for change in changes {
        match connection.execute(&change, []) {
            Ok(1) => {}
            Ok(rows) => return Err(heuristic(operation, &format!("{rows} rows fit"))),
            Err(source) if is_conflict(&source) => {
                return Err(heuristic(operation, "a row conflicts").with_source(source));
            }
            Err(source) => return Err(statement(operation)(source)),
        }
    }
    Ok(())
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
