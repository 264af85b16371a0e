//! The TEMP triggers of the staging connection, and the log that they write.

use std::{collections::BTreeSet, sync::Arc};

use exactly_once_core::{ErrorKind, Result, Statement};
use rusqlite::{
    Connection, Row, ToSql,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    sql::ident,
    table::{self, MAX_COLUMNS, Marks, Shape},
    trigger,
};
use crate::sqlite::{
    error::{Failure, Phase, error, statement},
    guard::Guard,
    lane::Lane,
};

/// The most row changes that one staged transaction may have.
pub(super) const MAX_CHANGES: usize = 100_000;

/// How often a begin may find that the schema has changed under it.
const MAX_ROUNDS: u32 = 100;

/// A value as SQLite stores it: a text need not be UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Datum {
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(match row.get_ref(at)? {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(text) => Self::Text(text.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        })
    }
}

impl ToSql for Datum {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// What happened to a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Insert {
        new: Vec<Datum>,
    },
    /// With a mark for each column that changed.
    Update {
        old: Vec<Datum>,
        new: Vec<Datum>,
        changed: Vec<bool>,
    },
    Delete {
        old: Vec<Datum>,
    },
}

/// One row change of staged work.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) table: String,
    /// The row id, where it is hidden.
    pub(super) row: Option<i64>,
    pub(super) kind: Kind,
}

/// What staged work did.
#[derive(Debug, Default, PartialEq)]
pub(in crate::sqlite) struct Captured {
    /// The changes, in order.
    pub(super) changes: Vec<Change>,
    /// The slots of every row, before and after.
    pub(super) slots: Vec<(String, String)>,
}

/// What the work of a transaction may write.
#[derive(Clone, Copy, Debug)]
pub(in crate::sqlite) enum Writes<'a> {
    /// Any table: a closure's statements are known only when it runs, and inside of its transaction
    /// it is too late for triggers.
    Any,
    /// What these statements write.
    By(&'a [Arc<[Statement]>]),
}

/// Begins a transaction in which every change is logged.
///
/// The triggers must fit the schema that the transaction sees, and can't be made inside of it
/// (undoing the work would undo them), so they are made before, and checked after the begin.
pub(in crate::sqlite) fn begin(lane: &Lane, writes: Writes<'_>) -> Result<(), Failure> {
    let fail = |source| lane.abandon(Failure::of(Phase::Statement, source));
    for _ in 0..MAX_ROUNDS {
        let seen = lane
            .guard
            .committing(|| capture(&lane.connection, &lane.guard, writes))
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
fn capture(connection: &Connection, guard: &Guard, writes: Writes<'_>) -> rusqlite::Result<i64> {
    let seen = schema_version(connection)?;
    let texts: Option<Vec<&str>> = match writes {
        Writes::Any => None,
        Writes::By(jobs) => {
            let statements = jobs.iter().flat_map(|statements| statements.iter());
            Some(statements.map(Statement::text).collect())
        }
    };
    if guard.captures(seen, texts.as_deref()) {
        return Ok(seen);
    }
    connection.execute_batch("BEGIN")?;
    let captured = capture_missing(connection, guard, texts.as_deref());
    let end = if captured.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    connection.execute_batch(end)?;
    if !matches!(&captured, Ok((_, false))) {
        // Reads the triggers that were written; back to normal also after a failure.
        connection.execute_batch("PRAGMA writable_schema = RESET")?;
    }
    let (changes, _) = captured?;
    guard.set_schema(seen, changes, texts.as_deref());
    Ok(seen)
}

/// From how many triggers on they are written all at once.
const MANY: usize = 64;

/// Makes the triggers of the tables that the work may write and that have none, or have changed since, and
/// no others: neither a guard that a prepare adds nor work that is known up front must cost a look
/// at a thousand tables. Says whether they were written and are still to be read.
fn capture_missing(
    connection: &Connection,
    guard: &Guard,
    texts: Option<&[&str]>,
) -> rusqlite::Result<(Captures, bool)> {
    if guard.captured().is_none() {
        connection.execute_batch(&log())?;
    }
    let mut marks = table::marks(connection)?;
    let known = guard.marks();
    if let Some(texts) = texts.filter(|_| !guard.captures_all()) {
        let mut wanted: BTreeSet<String> = known.keys().cloned().collect();
        for text in texts {
            wanted.append(&mut guard.written_by(connection, text));
        }
        marks.retain(|name, _| wanted.contains(name));
    }
    let gone = known.keys().filter(|name| !marks.contains_key(*name));
    let other = |(name, mark): &(&String, &String)| known.get(*name) != Some(*mark);
    let changed: Vec<_> = marks.iter().filter(other).collect();
    let outdated = changed.iter().map(|(name, _)| *name);
    let mut sql = String::new();
    for name in gone.chain(outdated.filter(|name| known.contains_key(*name))) {
        for trigger in trigger::names(name) {
            // Those of a table that could not be staged are not there.
            sql.push_str(&format!("DROP TRIGGER IF EXISTS temp.{};", ident(&trigger)));
        }
    }
    let (mut shapes, mut triggers) = (Vec::new(), Vec::new());
    for (name, mark) in changed {
        let shape = table::of(connection, name, mark)?;
        if let Ok(table) = &shape {
            triggers.extend(trigger::all(table).into_iter().map(|made| (name, made)));
        }
        shapes.push((name.clone(), shape));
    }
    let many = triggers.len() > MANY;
    if many {
        connection.execute_batch(&sql)?;
        write_all(connection, &triggers)?;
    } else {
        for (_, (_, rest)) in triggers {
            sql.push_str(&format!("CREATE TEMP TRIGGER {rest};"));
        }
        connection.execute_batch(&sql)?;
    }
    Ok((Captures { marks, shapes }, many))
}

/// The tables that have triggers, and what of them is new.
pub(in crate::sqlite) struct Captures {
    /// What the catalogue says of each.
    pub(in crate::sqlite) marks: Marks,
    /// Those that have changed, each with its shape or the reason why staged work must not write it.
    pub(in crate::sqlite) shapes: Vec<(String, Shape)>,
}

/// Writes triggers into the TEMP schema, to be read at once: SQLite reads all of it again for each that
/// is created.
fn write_all(
    connection: &Connection,
    triggers: &[(&String, (String, String))],
) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA writable_schema = ON")?;
    let mut insert = connection.prepare(
        "INSERT INTO sqlite_temp_schema (type, name, tbl_name, rootpage, sql) VALUES ('trigger', ?1, \
         ?2, 0, 'CREATE TRIGGER ' || ?3)",
    )?;
    for (table, (name, rest)) in triggers {
        insert.execute([name.as_str(), table.as_str(), rest.as_str()])?;
    }
    Ok(())
}

/// The log that the triggers write, in the staging connection's own TEMP tables. Its columns have
/// no type, so that every value stays what it is.
fn log() -> String {
    let values: Vec<String> = (0..2 * MAX_COLUMNS).map(|at| format!("v{at}")).collect();
    let values = values.join(", ");
    format!(
        "CREATE TEMP TABLE IF NOT EXISTS exactly_once_log (position INTEGER PRIMARY KEY, \
         table_name TEXT NOT NULL, kind TEXT NOT NULL, row INTEGER, changed TEXT, {values});
         CREATE TEMP TABLE IF NOT EXISTS exactly_once_log_slot (table_name TEXT NOT NULL, slot \
         TEXT NOT NULL);
         CREATE TEMP TABLE IF NOT EXISTS exactly_once_log_rival (table_name TEXT NOT NULL, row \
         INTEGER, {values});"
    )
}

/// Reads the log of the work, before the work is undone and the log with it.
pub(in crate::sqlite) fn read(
    connection: &Connection,
    guard: &Guard,
    operation: &'static str,
) -> Result<Captured> {
    let tables = guard.tables();
    let read = || -> rusqlite::Result<Captured> {
        let mut changes = Vec::new();
        let mut query = connection.prepare_cached(
            "SELECT table_name, kind, row, changed, * FROM exactly_once_log ORDER BY position",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let table: String = row.get(0)?;
            let width = tables.get(&table).map_or(0, |table| table.columns.len());
            changes.push(Change {
                row: row.get(2)?,
                kind: read_kind(row, width)?,
                table,
            });
        }
        let slots = connection
            .prepare_cached("SELECT DISTINCT table_name, slot FROM exactly_once_log_slot")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Captured { changes, slots })
    };
    read().map_err(unreadable(operation))
}

/// The values begin behind the four columns that are named, and the five that come before them in
/// the log.
const VALUES: usize = 4 + 5;

fn read_kind(row: &Row<'_>, width: usize) -> rusqlite::Result<Kind> {
    let values = |from: usize| -> rusqlite::Result<Vec<Datum>> {
        (from..from + width)
            .map(|at| Datum::read(row, VALUES + at))
            .collect()
    };
    let kind: String = row.get(1)?;
    Ok(match kind.as_str() {
        "insert" => Kind::Insert { new: values(0)? },
        "delete" => Kind::Delete { old: values(0)? },
        _ => {
            let changed: String = row.get(3)?;
            Kind::Update {
                old: values(0)?,
                new: values(width)?,
                changed: changed.bytes().map(|mark| mark == b'1').collect(),
            }
        }
    })
}

/// Empties the log of work that is kept: the next one's begins empty.
pub(in crate::sqlite) fn clear(connection: &Connection, operation: &'static str) -> Result<()> {
    connection
        .execute_batch("DELETE FROM exactly_once_log; DELETE FROM exactly_once_log_slot")
        .map_err(statement(operation))
}

/// A key that is no UTF-8 can't be stored as a slot.
fn unreadable(operation: &'static str) -> impl Fn(rusqlite::Error) -> exactly_once_core::Error {
    move |source| match source {
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::Utf8Error(..) => error(
            ErrorKind::Refused,
            operation,
            "the work stored text that is not UTF-8 in a unique key, which can't be staged: store \
             it as a blob",
        )
        .with_hidden_source(source),
        other => statement(operation)(other),
    }
}
