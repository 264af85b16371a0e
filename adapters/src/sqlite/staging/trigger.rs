//! The TEMP triggers that log the changes of one table.
//!
//! `recursive_triggers` stays off, as it is on the user's own connections: with it, a row that
//! `INSERT OR REPLACE` removes would fire the user's DELETE triggers. So the rows that a new row
//! could replace are noted before it is written; they were replaced if it was written.

use super::{
    capture::MAX_CHANGES,
    sql::{ident, same_key, slots, text},
    table::{Key, Table},
};
use crate::sqlite::guard::PREFIX;

const EVENTS: [&str; 5] = [
    "before_insert",
    "insert",
    "before_update",
    "update",
    "delete",
];

/// The names of the triggers of a table.
pub(super) fn names(table: &str) -> impl Iterator<Item = String> {
    EVENTS
        .into_iter()
        .map(move |event| format!("{PREFIX}capture_{event}_{table}"))
}

/// The triggers of a table, each with its name and what follows `CREATE TRIGGER`.
pub(super) fn all(table: &Table) -> Vec<(String, String)> {
    let bodies = [
        ("BEFORE INSERT", before_insert(table)),
        ("AFTER INSERT", after_insert(table)),
        ("BEFORE UPDATE", before_update(table)),
        ("AFTER UPDATE", after_update(table)),
        ("AFTER DELETE", logged(table, "delete", "OLD", &["OLD"])),
    ];
    let triggers = names(&table.name).zip(bodies);
    triggers
        .filter(|(_, (_, body))| !body.is_empty())
        .map(|(name, (event, body))| {
            let on = ident(&table.name);
            let rest = format!("{} {event} ON main.{on} BEGIN {body} END", ident(&name));
            (name, rest)
        })
        .collect()
}

fn raise(table: &Table, why: &str, condition: &str) -> String {
    let message = format!("the table {} can't be staged so: {why}", table.name);
    format!(
        "SELECT RAISE(ABORT, {}) WHERE {condition}; ",
        text(&message)
    )
}

fn before_insert(table: &Table) -> String {
    let chosen = table.hidden_rowid.map(|name| {
        raise(
            table,
            "the work chose a hidden row id, which the commit gives anew: use an INTEGER PRIMARY KEY",
            &format!("NEW.{name} <> -1"),
        )
    });
    chosen.unwrap_or_default() + &rivals(table, None)
}

fn after_insert(table: &Table) -> String {
    replaced(table) + &logged(table, "insert", "NEW", &["NEW"])
}

fn before_update(table: &Table) -> String {
    rivals(table, Some("OLD"))
}

fn after_update(table: &Table) -> String {
    let moved = table.hidden_rowid.map(|name| {
        raise(
            table,
            "the work changed a hidden row id, which the commit gives anew: use an INTEGER PRIMARY \
             KEY",
            &format!("NEW.{name} <> OLD.{name}"),
        )
    });
    moved.unwrap_or_default() + &replaced(table) + &logged(table, "update", "OLD", &["OLD", "NEW"])
}

/// The expression of the row id, where it is hidden.
fn row_id(table: &Table, row: &str) -> String {
    match table.hidden_rowid {
        Some(name) => format!("{row}.{name}"),
        None => "NULL".to_owned(),
    }
}

fn value_names(from: usize, count: usize) -> String {
    let names: Vec<String> = (from..from + count).map(|at| format!("v{at}")).collect();
    names.join(", ")
}

fn values(table: &Table, row: &str) -> String {
    let values = table.columns.iter();
    let values: Vec<String> = values
        .map(|column| format!("{row}.{}", ident(column)))
        .collect();
    values.join(", ")
}

/// Notes the rows that the new one could replace: those that have a key of it.
fn rivals(table: &Table, but: Option<&str>) -> String {
    let keys: Vec<String> = table.keys().map(|key| same_key("NEW", key)).collect();
    if keys.is_empty() {
        return String::new();
    }
    let name = text(&table.name);
    let own = but.and_then(|row| match (&table.identity, table.hidden_rowid) {
        (_, Some(rowid)) => Some(format!("{rowid} = {row}.{rowid}")),
        (Some(key), None) => Some(same_key(row, &key.columns)),
        (None, None) => None,
    });
    let own = own.map(|own| format!(" AND NOT ({own})"));
    let row = match table.hidden_rowid {
        Some(name) => format!("main.{}.{name}", ident(&table.name)),
        None => "NULL".to_owned(),
    };
    format!(
        "DELETE FROM exactly_once_log_rival WHERE table_name = {name}; INSERT INTO \
         exactly_once_log_rival (table_name, row, {}) SELECT {name}, {row}, {} FROM main.{} WHERE \
         ({}){}; ",
        value_names(0, table.columns.len()),
        values(table, &format!("main.{}", ident(&table.name))),
        ident(&table.name),
        keys.join(" OR "),
        own.unwrap_or_default()
    )
}

/// Logs the rows that were noted as removed, now that the new row is there.
fn replaced(table: &Table) -> String {
    if table.keys().next().is_none() {
        return String::new();
    }
    let columns: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| format!("v{at} AS {}", ident(column)))
        .collect();
    let name = text(&table.name);
    let from = format!(
        "FROM (SELECT row AS exactly_once_row, {} FROM exactly_once_log_rival WHERE table_name = \
         {name}) AS gone",
        columns.join(", ")
    );
    let mut sql = format!(
        "INSERT INTO exactly_once_log (table_name, kind, row, {}) SELECT {name}, 'delete', \
         exactly_once_row, {} {from}; ",
        value_names(0, table.columns.len()),
        values(table, "gone")
    );
    for slot in slots("gone", table) {
        sql.push_str(&format!(
            "INSERT INTO exactly_once_log_slot SELECT {name}, {slot} {from} WHERE ({slot}) IS NOT \
             NULL; "
        ));
    }
    sql.push_str(&format!(
        "DELETE FROM exactly_once_log_rival WHERE table_name = {name}; "
    ));
    sql
}

/// Logs one change, with the slots of its rows.
fn logged(table: &Table, kind: &str, row: &str, rows: &[&str]) -> String {
    let mut sql: String = rows.iter().map(|row| refusals(table, row)).collect();
    let (width, name) = (table.columns.len(), text(&table.name));
    let changed = match rows {
        [old, new] => {
            let marks: Vec<String> = table
                .columns
                .iter()
                .map(|column| changed(old, new, &ident(column)))
                .collect();
            marks.join(" || ")
        }
        _ => "NULL".to_owned(),
    };
    let all: Vec<String> = rows.iter().map(|row| values(table, row)).collect();
    sql.push_str(&format!(
        "INSERT INTO exactly_once_log (table_name, kind, row, changed, {}) VALUES ({name}, '{kind}', \
         {}, {changed}, {}); SELECT RAISE(ABORT, 'more than {MAX_CHANGES} row changes can''t be \
         staged in one transaction') WHERE last_insert_rowid() > {MAX_CHANGES}; ",
        value_names(0, width * rows.len()),
        row_id(table, row),
        all.join(", ")
    ));
    for slot in rows.iter().flat_map(|row| slots(row, table)) {
        // Without a unique key: the conflict clause of the user's statement would rule here.
        sql.push_str(&format!(
            "INSERT INTO exactly_once_log_slot SELECT {name}, {slot} WHERE ({slot}) IS NOT NULL; "
        ));
    }
    sql
}

/// `1` where the column has another value, bit by bit; a zero may have changed its sign.
fn changed(old: &str, new: &str, column: &str) -> String {
    format!(
        "({new}.{column} IS NOT {old}.{column} COLLATE BINARY OR typeof({new}.{column}) <> \
         typeof({old}.{column}) OR (typeof({new}.{column}) = 'real' AND {new}.{column} = 0.0))"
    )
}

/// What a reservation can't stand for.
fn refusals(table: &Table, row: &str) -> String {
    let mut sql = String::new();
    // Not in a row id, which is an integer.
    let rowid = |key: &Key| table.rowid_column && table.identity.as_ref() == Some(key);
    for key in table.identity.iter().chain(&table.unique) {
        if rowid(key) {
            let column = key.columns.iter().map(|column| ident(&column.name));
            for column in column {
                sql.push_str(&raise(
                    table,
                    "the row id -1 stands for every new row",
                    &format!("{row}.{column} = -1"),
                ));
            }
            continue;
        }
        for column in &key.columns {
            let value = format!("{row}.{}", ident(&column.name));
            sql.push_str(&raise(
                table,
                "versions of SQLite write a REAL in a unique key otherwise",
                &format!(
                    "typeof({value}) = 'real' AND NOT ({value} BETWEEN -9.0e15 AND 9.0e15 AND \
                     {value} = CAST({value} AS INTEGER))"
                ),
            ));
        }
    }
    sql
}
