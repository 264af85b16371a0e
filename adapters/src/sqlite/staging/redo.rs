//! What the work did, as statements with typed values: tried at prepare, stored, and applied when the
//! decision is to commit.

use std::collections::{HashMap, HashSet};

use exactly_once_core::{ErrorKind, Namespace, Participation, Result};
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::{capture::Datum, table::Table};
use crate::sqlite::{
    bench::Bench,
    error::{Said, error, statement},
};

/// One statement of the redo.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sqlite) struct Step {
    pub(super) table: String,
    pub(super) statement: String,
    pub(super) values: Vec<Datum>,
    /// The hidden row id that the work saw, of a row that the redo itself inserts: the actual one
    /// is bound as the last value.
    pub(super) old_row: Option<i64>,
    pub(super) new_row: Option<i64>,
}

/// Applies the redo once where the work has just been undone, and undoes it again: what would fail
/// at the commit is no yes.
///
/// # Errors
/// [Refused](ErrorKind::Refused), with what failed; [reserved](ErrorKind::Reserved); retryable kinds.
pub(in crate::sqlite) fn rehearse(
    bench: &Bench<'_>,
    operation: &'static str,
    steps: &[Step],
    tables: &HashMap<String, Table>,
) -> Result<()> {
    if let Some(checker) = bench.checker {
        compile(checker, operation, steps)?;
    }
    // The user's triggers have done their part already; the guards have met no reservation.
    let triggered = |step: &Step| tables.get(&step.table).is_none_or(|table| table.triggered);
    let without_triggers = steps.iter().any(triggered);
    let run = |sql| bench.control(sql).map_err(statement(operation));
    run("SAVEPOINT exactly_once_rehearsal")?;
    let quiet = |on| {
        let setting = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
        match bench.connection.set_db_config(setting, on) {
            Ok(_) => Ok(()),
            Err(source) => Err(statement(operation)(source)),
        }
    };
    if without_triggers {
        quiet(false)?;
    }
    let mut rows = Rows::default();
    let tried = steps.iter().try_for_each(|step| {
        let refused = |why: String| {
            error(
                ErrorKind::Refused,
                operation,
                format!(
                    "the work on the table {} can't be staged: {why}",
                    step.table
                ),
            )
        };
        match rows.apply(bench.connection, step) {
            Ok(1) => Ok(()),
            Ok(fit) => Err(refused(format!("{fit} rows fit a change of one"))),
            Err(source) => {
                let said = Said::find(&source);
                match said.filter(|said| said.reserved_table().is_none()) {
                    Some(said) if is_conflict(&source) => {
                        Err(refused(said.text().to_owned()).with_hidden_source(source))
                    }
                    _ => Err(statement(operation)(source)),
                }
            }
        }
    });
    if without_triggers {
        quiet(true)?;
    }
    if bench.connection.is_autocommit() {
        return tried;
    }
    run("ROLLBACK TO exactly_once_rehearsal")?;
    run("RELEASE exactly_once_rehearsal")?;
    tried
}

/// Compiles each statement on a connection as the commit's will be: it has no function and no
/// collation of the program's own.
fn compile(checker: &Connection, operation: &'static str, steps: &[Step]) -> Result<()> {
    // Reads the schema again if it has changed.
    checker
        .prepare_cached("SELECT 1 FROM main.sqlite_schema LIMIT 1")
        .and_then(|mut query| query.query_row([], |_| Ok(())).optional())
        .map_err(statement(operation))?;
    let mut seen = HashSet::new();
    for step in steps {
        if !seen.insert(step.statement.as_str()) {
            continue;
        }
        if let Err(source) = checker.prepare_cached(&step.statement) {
            if !is_conflict(&source) {
                return Err(statement(operation)(source));
            }
            let message = format!(
                "the work on the table {} can't be staged: the connection that commits lacks \
                 what the program has registered",
                step.table
            );
            return Err(error(ErrorKind::Refused, operation, message).with_source(source));
        }
    }
    Ok(())
}

/// Stores the redo.
pub(in crate::sqlite) fn store(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
    steps: &[Step],
) -> Result<()> {
    let (namespace, tx) = (namespace.as_str(), participation.transaction().as_bytes());
    let store = || -> rusqlite::Result<()> {
        let mut step_row = connection.prepare_cached(
            "INSERT INTO exactly_once_redo (namespace, tx, position, table_name, statement, \
             old_row, new_row) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let mut value_row = connection.prepare_cached(
            "INSERT INTO exactly_once_redo_value (namespace, tx, position, number, value) VALUES \
             (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (position, step) in (0_i64..).zip(steps) {
            let Step {
                table,
                statement,
                values,
                old_row,
                new_row,
            } = step;
            step_row.execute(params![
                namespace, tx, position, table, statement, old_row, new_row
            ])?;
            for (number, value) in (1_i64..).zip(values) {
                value_row.execute(params![namespace, tx, position, number, value])?;
            }
        }
        Ok(())
    };
    store().map_err(statement(operation))
}

/// Applies the redo, each statement to exactly one row, which is still as the work saw it.
///
/// # Errors
/// [Heuristic](ErrorKind::Heuristic) where it is not: a writer went past the reservations.
pub(in crate::sqlite) fn apply(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
) -> Result<()> {
    let steps = read(connection, namespace, participation).map_err(statement(operation))?;
    let mut rows = Rows::default();
    for step in &steps {
        match rows.apply(connection, step) {
            Ok(1) => {}
            Ok(fit) => return Err(heuristic(operation, &format!("{fit} rows fit"))),
            Err(source) if is_conflict(&source) => {
                return Err(heuristic(operation, "a row conflicts").with_hidden_source(source));
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
) -> rusqlite::Result<Vec<Step>> {
    let (namespace, tx) = (namespace.as_str(), participation.transaction().as_bytes());
    let mut steps = connection
        .prepare_cached(
            "SELECT table_name, statement, old_row, new_row FROM exactly_once_redo WHERE \
             namespace = ?1 AND tx = ?2 ORDER BY position",
        )?
        .query_map(params![namespace, tx], |row| {
            Ok(Step {
                table: row.get(0)?,
                statement: row.get(1)?,
                values: Vec::new(),
                old_row: row.get(2)?,
                new_row: row.get(3)?,
            })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut values = connection.prepare_cached(
        "SELECT position, value FROM exactly_once_redo_value WHERE namespace = ?1 AND tx = ?2 \
         ORDER BY position, number",
    )?;
    let mut rows = values.query(params![namespace, tx])?;
    while let Some(row) = rows.next()? {
        let position = usize::try_from(row.get::<_, i64>(0)?).ok();
        if let Some(step) = position.and_then(|position| steps.get_mut(position)) {
            step.values.push(Datum::read(row, 1)?);
        }
    }
    Ok(steps)
}

/// The row ids that the work saw, and those that they became: a hidden row id is assigned at
/// commit, so that rows of transactions in doubt don't stop others from inserting.
#[derive(Default)]
struct Rows<'a>(HashMap<(&'a str, i64), i64>);

impl<'a> Rows<'a> {
    /// Applies one step, and says how many rows it fitted.
    fn apply(&mut self, connection: &Connection, step: &'a Step) -> rusqlite::Result<usize> {
        let table = step.table.as_str();
        let mut statement = connection.prepare_cached(&step.statement)?;
        let Some(seen) = step.old_row else {
            let fit = statement.execute(params_from_iter(&step.values))?;
            if let Some(seen) = step.new_row {
                self.0.insert((table, seen), connection.last_insert_rowid());
            }
            return Ok(fit);
        };
        let actual = self.0.remove(&(table, seen)).unwrap_or(seen);
        let last = Datum::Integer(actual);
        let fit = statement.execute(params_from_iter(step.values.iter().chain([&last])))?;
        if let Some(seen) = step.new_row {
            self.0.insert((table, seen), actual);
        }
        Ok(fit)
    }
}

/// Whether the statement itself is at fault, and not the disk or a lock.
fn is_conflict(source: &rusqlite::Error) -> bool {
    matches!(
        source.sqlite_error_code(),
        Some(
            rusqlite::ErrorCode::ConstraintViolation
                | rusqlite::ErrorCode::TypeMismatch
                | rusqlite::ErrorCode::Unknown
        )
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
    for sql in [
        "DELETE FROM exactly_once_redo WHERE namespace = ?1 AND tx = ?2",
        "DELETE FROM exactly_once_redo_value WHERE namespace = ?1 AND tx = ?2",
    ] {
        connection
            .prepare_cached(sql)
            .and_then(|mut delete| {
                delete.execute(params![
                    namespace.as_str(),
                    participation.transaction().as_bytes()
                ])
            })
            .map_err(statement(operation))?;
    }
    Ok(())
}
