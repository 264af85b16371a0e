//! Reserved slots, and the persistent triggers that stop everybody who would write into one, with
//! this library or without.
//!
//! The triggers use nothing newer than SQLite 3.37, which the STRICT tables need anyway: an older
//! program that opens the file must be able to read its schema. They stay when nothing is
//! reserved any more, and cost a look into an empty table per row then.

use std::collections::{BTreeSet, HashMap};

use exactly_once_core::{AccountId, ErrorKind, Namespace, Participation, Result};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    capture::Captured,
    sql::{ident, slot, slots, text},
    table::{Collation, KeyColumn, Table},
};
use crate::sqlite::error::{RESERVED, error, statement};

/// Reserves every slot that the work has touched, of the tables as they were when it began.
pub(in crate::sqlite) fn reserve(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
    captured: &Captured,
    tables: &HashMap<String, Table>,
) -> Result<()> {
    let holder = (namespace, participation);
    let names: BTreeSet<&str> = captured
        .changes
        .iter()
        .map(|change| change.table.as_str())
        .collect();
    for name in names {
        let table = tables.get(name).ok_or_else(|| {
            let message = format!("the table {name} came up while the work ran");
            error(ErrorKind::Busy, operation, message)
        })?;
        if table.autoincrement {
            keep_sequence(connection, table, captured).map_err(statement(operation))?;
        }
        let slots: Vec<&String> = captured
            .slots
            .iter()
            .filter(|(table, _)| table == name)
            .map(|(_, slot)| slot)
            .collect();
        // New rows of a table without any key conflict with nothing.
        if !slots.is_empty() {
            guard(connection, table).map_err(statement(operation))?;
        }
        for slot in slots {
            hold(connection, operation, holder, name, slot)?;
        }
    }
    Ok(())
}

fn hold(
    connection: &Connection,
    operation: &'static str,
    (namespace, participation): (&Namespace, &Participation),
    table: &str,
    slot: &str,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO exactly_once_reservation (table_name, slot, namespace, tx) VALUES (?1, \
             ?2, ?3, ?4)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                table,
                slot,
                namespace.as_str(),
                participation.transaction().as_bytes()
            ])
        })
        .map(drop)
        .map_err(|source| taken(operation, table, source))
}

fn taken(
    operation: &'static str,
    table: &str,
    source: rusqlite::Error,
) -> exactly_once_core::Error {
    if source.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) {
        let message = format!("another prepared transaction holds a row of the table {table}");
        return error(ErrorKind::Reserved, operation, message).with_hidden_source(source);
    }
    statement(operation)(source)
}

/// Which prepared transaction holds an account's row, if any does.
pub(in crate::sqlite) fn holder_of_account(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    account: &AccountId,
) -> Result<Option<String>> {
    let key = ["namespace", "account"].map(|name| KeyColumn {
        name: name.to_owned(),
        collation: Collation::Binary,
        numeric: false,
    });
    let sql = format!(
        "SELECT lower(hex(tx)) FROM exactly_once_reservation WHERE table_name = \
         'exactly_once_account' AND slot = (SELECT {} FROM (SELECT ?1 AS namespace, ?2 AS account) \
         AS held)",
        slot("held", &key)
    );
    connection
        .prepare_cached(&sql)
        .and_then(|mut query| {
            let names = params![namespace.as_str(), account.as_str()];
            query.query_row(names, |row| row.get(0)).optional()
        })
        .map_err(statement(operation))
}

/// Gives every slot of the transaction free.
pub(in crate::sqlite) fn release(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM exactly_once_reservation WHERE namespace = ?1 AND tx = ?2")
        .and_then(|mut delete| {
            delete.execute(params![
                namespace.as_str(),
                participation.transaction().as_bytes()
            ])
        })
        .map(drop)
        .map_err(statement(operation))
}

/// Makes the triggers of a table, or makes them again where its unique keys have changed.
fn guard(connection: &Connection, table: &Table) -> rusqlite::Result<()> {
    for (name, sql) in triggers(table) {
        let present: Option<String> = connection
            .prepare_cached("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = ?1")?
            .query_row([&name], |row| row.get(0))
            .optional()?;
        if present.as_deref() == Some(sql.as_str()) {
            continue;
        }
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS main.{}", ident(&name)))?;
        connection.execute_batch(&sql)?;
    }
    Ok(())
}

/// Drops the triggers of tables in which nothing is reserved. Says how many.
pub(in crate::sqlite) fn remove_guards(
    connection: &Connection,
    operation: &'static str,
) -> Result<u64> {
    let idle = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE \
                'exactly\\_once\\_guard\\_%' ESCAPE '\\' AND NOT EXISTS (SELECT 1 FROM \
                exactly_once_reservation WHERE table_name = tbl_name COLLATE NOCASE)";
    let names: Vec<String> = connection
        .prepare(idle)
        .and_then(|mut query| {
            query
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()
        })
        .map_err(statement(operation))?;
    for name in &names {
        connection
            .execute_batch(&format!("DROP TRIGGER main.{}", ident(name)))
            .map_err(statement(operation))?;
    }
    Ok(names.len() as u64)
}

/// A row id that SQLite picks is known after the insert only; a key that would be refused as not
/// unique must be met before.
fn triggers(table: &Table) -> Vec<(String, String)> {
    let make = |label: &str, event: &str, rows: &[&str]| {
        let name = format!("exactly_once_guard_{label}_{}", table.name);
        let slots: Vec<String> = rows.iter().flat_map(|row| slots(row, table)).collect();
        let message = format!("{RESERVED}, table {}", table.name);
        let sql = format!(
            "CREATE TRIGGER {} {event} ON {} WHEN EXISTS (SELECT 1 FROM exactly_once_reservation \
             WHERE table_name = {} AND slot IN ({})) BEGIN SELECT RAISE(ABORT, {}); END",
            ident(&name),
            ident(&table.name),
            text(&table.name),
            slots.join(", "),
            text(&message)
        );
        (name, sql)
    };
    if slots("NEW", table).is_empty() {
        return Vec::new();
    }
    vec![
        make("insert", "BEFORE INSERT", &["NEW"]),
        make("inserted", "AFTER INSERT", &["NEW"]),
        make("update", "BEFORE UPDATE", &["OLD", "NEW"]),
        make("delete", "BEFORE DELETE", &["OLD"]),
    ]
}

/// Moves an AUTOINCREMENT table's counter past the row ids of the work, so that others are given
/// later ones instead of meeting the reservation.
fn keep_sequence(
    connection: &Connection,
    table: &Table,
    captured: &Captured,
) -> rusqlite::Result<()> {
    let last = captured
        .slots
        .iter()
        .filter(|(name, _)| *name == table.name)
        .filter_map(|(_, slot)| row_id(table, slot))
        .max();
    let Some(last) = last else { return Ok(()) };
    let moved = connection.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1",
        params![table.name, last],
    )?;
    if moved == 0 {
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
            params![table.name, last],
        )?;
    }
    Ok(())
}

/// The row id in a slot of the identity.
fn row_id(table: &Table, slot: &str) -> Option<i64> {
    let column = table.identity.as_ref()?.columns.first()?;
    let rest = slot.strip_prefix(&column.name.to_ascii_lowercase())?;
    rest.strip_prefix('=')?.parse().ok()
}
