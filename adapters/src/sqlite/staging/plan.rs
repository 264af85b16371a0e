//! Making the redo: a statement with typed values for each row that the work changed.

use std::collections::{HashMap, HashSet};

use exactly_once_core::{ErrorKind, Result};

use super::{
    capture::{Captured, Datum, Kind},
    redo::Step,
    sql::ident,
    table::Table,
};
use crate::sqlite::error::error;

/// A statement and its values, in the making.
#[derive(Default)]
struct Draft {
    values: Vec<Datum>,
}

impl Draft {
    fn bind(&mut self, value: &Datum) -> String {
        self.values.push(value.clone());
        format!("?{}", self.values.len())
    }

    /// `a = ?1 AND b = ?2`, by the keys of a row that was there before the work; `None` where it has
    /// none.
    fn find(&mut self, table: &Table, row: &[Datum]) -> Option<String> {
        let key = table.keys().find_map(|key| {
            let columns = key.iter().map(|column| {
                let at = table.position(&column.name)?;
                let value = row.get(at).filter(|value| **value != Datum::Null)?;
                Some((&column.name, value))
            });
            columns.collect::<Option<Vec<_>>>()
        })?;
        let parts: Vec<String> = key
            .into_iter()
            .map(|(name, value)| format!("{} = {}", ident(name), self.bind(value)))
            .collect();
        Some(parts.join(" AND "))
    }

    /// The whole row as it was, bit by bit.
    fn unchanged(&mut self, table: &Table, row: &[Datum]) -> String {
        let parts: Vec<String> = table
            .columns
            .iter()
            .zip(row)
            .map(|(column, value)| {
                format!("{} IS {} COLLATE BINARY", ident(column), self.bind(value))
            })
            .collect();
        parts.join(" AND ")
    }
}

/// Makes the redo of what the work did.
///
/// # Errors
/// [Refused](ErrorKind::Refused) where a row that was there before can't be found again.
pub(in crate::sqlite) fn plan(
    captured: &Captured,
    tables: &HashMap<String, Table>,
    operation: &'static str,
) -> Result<Vec<Step>> {
    // Rows with a hidden row id that the work made itself.
    let mut born: HashSet<(&str, i64)> = HashSet::new();
    let mut steps = Vec::with_capacity(captured.changes.len());
    for change in &captured.changes {
        let name = change.table.as_str();
        let table = tables.get(name).ok_or_else(|| {
            let message = format!("the table {name} came up while the work ran");
            error(ErrorKind::Busy, operation, message)
        })?;
        let target = format!("main.{}", ident(name));
        let mut draft = Draft::default();
        let own = change.row.filter(|row| born.contains(&(name, *row)));
        let found = |draft: &mut Draft, old: &[Datum]| -> Result<String> {
            let same = draft.unchanged(table, old);
            let known = match (own, table.hidden_rowid) {
                // Bound when it is applied, behind all others.
                (Some(_), Some(rowid)) => Some(format!("{rowid} = ?{}", draft.values.len() + 1)),
                _ => draft.find(table, old),
            };
            let known = known.ok_or_else(|| no_key(operation, name))?;
            Ok(format!("{known} AND {same}"))
        };
        let (statement, new_row) = match &change.kind {
            Kind::Insert { new } => {
                let columns: Vec<String> = table.columns.iter().map(|name| ident(name)).collect();
                let values: Vec<String> = new.iter().map(|value| draft.bind(value)).collect();
                born.extend(change.row.map(|row| (name, row)));
                let statement = format!(
                    "INSERT OR ABORT INTO {target} ({}) VALUES ({})",
                    columns.join(", "),
                    values.join(", ")
                );
                (statement, change.row)
            }
            Kind::Update { old, new, changed } => {
                let set: Vec<String> = table
                    .columns
                    .iter()
                    .zip(new)
                    .zip(changed)
                    .filter(|(_, changed)| **changed)
                    .map(|((column, value), _)| {
                        format!("{} = {}", ident(column), draft.bind(value))
                    })
                    .collect();
                if set.is_empty() {
                    continue;
                }
                let row = found(&mut draft, old)?;
                let set = set.join(", ");
                let statement = format!("UPDATE OR ABORT {target} SET {set} WHERE {row}");
                (statement, own)
            }
            Kind::Delete { old } => {
                let row = found(&mut draft, old)?;
                (format!("DELETE FROM {target} WHERE {row}"), None)
            }
        };
        if matches!(change.kind, Kind::Delete { .. })
            && let Some(row) = own
        {
            born.remove(&(name, row));
        }
        let old_row = match change.kind {
            Kind::Insert { .. } => None,
            _ => own,
        };
        steps.push(Step {
            table: change.table.clone(),
            statement,
            values: draft.values,
            old_row,
            new_row,
        });
    }
    Ok(steps)
}

fn no_key(operation: &'static str, table: &str) -> exactly_once_core::Error {
    error(
        ErrorKind::Refused,
        operation,
        format!(
            "a row of the table {table} can't be staged: it has no unique key without NULL, and \
             VACUUM changes its hidden row id. Give the table a PRIMARY KEY"
        ),
    )
}
