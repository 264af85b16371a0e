//! What of a table matters for staging, read from SQLite's own catalogue.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

/// The most columns of a table that can be staged; SQLite limits the depth of an expression.
pub(super) const MAX_COLUMNS: usize = 100;

/// How a unique column distinguishes values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sqlite) enum Collation {
    Binary,
    NoCase,
    RTrim,
}

/// One column of a unique key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sqlite) struct KeyColumn {
    pub(super) name: String,
    pub(super) collation: Collation,
    /// Whether an integer and a float can be equal in it.
    pub(super) numeric: bool,
}

/// The columns of a unique key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sqlite) struct Key {
    pub(super) columns: Vec<KeyColumn>,
    /// Whether it holds for all rows, and not for those of a condition only.
    pub(super) total: bool,
}

/// A table that can be staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sqlite) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// The name of the row id, where it is no column; `None` for a table without one, and for one
    /// whose row id is a column.
    pub(super) hidden_rowid: Option<&'static str>,
    /// The row id's column or the primary key of a table without row ids; `None` for a table whose
    /// row id is hidden. `VACUUM` changes a hidden one, so nothing is found or reserved by it.
    pub(super) identity: Option<Key>,
    /// Its other unique keys.
    pub(super) unique: Vec<Key>,
    /// Whether it gives out row ids from `sqlite_sequence`.
    pub(super) autoincrement: bool,
    /// Whether it has triggers of the user's.
    pub(super) triggered: bool,
    /// Whether its identity is the row id itself, as a column.
    pub(super) rowid_column: bool,
}

impl Table {
    pub(in crate::sqlite) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::sqlite) fn is_triggered(&self) -> bool {
        self.triggered
    }

    /// The keys that a row can be found by, whatever other rows there are.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[KeyColumn]> {
        let keys = self.identity.iter().chain(&self.unique);
        keys.filter(|key| key.total)
            .map(|key| key.columns.as_slice())
    }

    /// The position of a column.
    pub(super) fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }
}

/// A table, or why it can't be staged.
pub(in crate::sqlite) type Shape = Result<Table, String>;

struct Column {
    name: String,
    declared: String,
    primary: i64,
}

/// Whether staging leaves the table alone: SQLite's own, and the store's own bookkeeping.
pub(super) fn is_internal(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let balances = ["exactly_once_account", "exactly_once_change"];
    name.starts_with("sqlite_")
        || (name.starts_with(super::super::guard::PREFIX) && !balances.contains(&name.as_str()))
}

/// What the catalogue says of a table: while it says the same, the table's shape is the same.
pub(in crate::sqlite) type Marks = BTreeMap<String, String>;

/// The marks of all tables of the file that staging looks at. The guards of prepared transactions
/// are no part of them.
pub(super) fn marks(connection: &Connection) -> rusqlite::Result<Marks> {
    let mut marks = Marks::new();
    let mut query = connection.prepare_cached(
        "SELECT tbl_name, type, name, sql FROM main.sqlite_schema WHERE type <> 'view' AND name \
         NOT LIKE 'exactly\\_once\\_guard\\_%' ESCAPE '\\' ORDER BY type, name",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let table: String = row.get(0)?;
        if is_internal(&table) {
            continue;
        }
        let (kind, name): (String, String) = (row.get(1)?, row.get(2)?);
        let sql: Option<String> = row.get(3)?;
        let mark = marks.entry(table).or_default();
        for part in [&kind, &name, &sql.unwrap_or_default()] {
            mark.push_str(part);
            mark.push('\0');
        }
    }
    let parents = parents(connection)?;
    for (name, mark) in &mut marks {
        if parents.contains(&name.to_ascii_lowercase()) {
            mark.push_str(PARENT);
        }
    }
    Ok(marks)
}

/// Marks a table that a foreign key points to.
const PARENT: &str = "parent";

/// The shape of one table.
pub(super) fn of(connection: &Connection, name: &str, mark: &str) -> rusqlite::Result<Shape> {
    let (kind, without_rowid): (String, bool) = connection
        .prepare_cached("SELECT type, wr FROM pragma_table_list(?1) WHERE schema = 'main'")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if kind != "table" {
        return Ok(Err(format!("it is a {kind} table")));
    }
    let mut shape = shape(connection, name, without_rowid, mark.ends_with(PARENT))?;
    if let Ok(table) = &mut shape {
        table.triggered = mark.contains("trigger\0");
    }
    Ok(shape)
}

/// The tables that foreign keys point to, in lower case, as SQLite folds it: ASCII only.
fn parents(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut query = connection.prepare_cached(
        "SELECT DISTINCT key.\"table\" FROM main.sqlite_schema AS child, \
         pragma_foreign_key_list(child.name) AS key WHERE child.type = 'table' AND child.sql LIKE \
         '%REFERENCES%'",
    )?;
    let parents = query.query_map([], |row| row.get::<_, String>(0))?;
    parents
        .map(|parent| parent.map(|name| name.to_ascii_lowercase()))
        .collect()
}

fn shape(
    connection: &Connection,
    name: &str,
    without_rowid: bool,
    parent: bool,
) -> rusqlite::Result<Shape> {
    let mut columns = Vec::new();
    let mut query = connection
        .prepare_cached("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")?;
    let mut rows = query.query([name])?;
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(3)? != 0 {
            return Ok(Err("it has generated columns".to_owned()));
        }
        columns.push(Column {
            name: row.get(0)?,
            declared: row.get::<_, String>(1)?.to_ascii_uppercase(),
            primary: row.get(2)?,
        });
    }
    drop(rows);
    if columns.len() > MAX_COLUMNS {
        return Ok(Err(format!("it has more than {MAX_COLUMNS} columns")));
    }
    drop(query);
    let child: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM pragma_foreign_key_list(?1))")?
        .query_row([name], |row| row.get(0))?;
    if child || parent {
        return Ok(Err(
            "a foreign key comes from it or points to it, and what other \
             transactions do to the other end can't be reserved"
                .to_owned(),
        ));
    }
    let unique = match unique_keys(connection, name, &columns)? {
        Ok(unique) => unique,
        Err(reason) => return Ok(Err(reason)),
    };
    assemble(connection, name, without_rowid, columns, unique)
}

fn assemble(
    connection: &Connection,
    name: &str,
    without_rowid: bool,
    columns: Vec<Column>,
    mut unique: Vec<(bool, Key)>,
) -> rusqlite::Result<Shape> {
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let (identity, hidden_rowid) = if without_rowid {
        let Some(at) = unique.iter().position(|(primary, _)| *primary) else {
            return Ok(Err("its primary key was not found".to_owned()));
        };
        (Some(unique.remove(at).1), None)
    } else if let Some(column) = rowid_column(&columns, &unique) {
        (Some(integer(&column.name)), None)
    } else {
        let free = ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|alias| !names.iter().any(|name| name.eq_ignore_ascii_case(alias)));
        match free {
            Some(alias) => (None, Some(alias)),
            None => return Ok(Err("columns hide every name of its row id".to_owned())),
        }
    };
    let rowid_column = !without_rowid && hidden_rowid.is_none();
    let autoincrement = !without_rowid && is_autoincrement(connection, name)?;
    Ok(Ok(Table {
        name: name.to_owned(),
        columns: names,
        hidden_rowid,
        identity,
        unique: unique.into_iter().map(|(_, key)| key).collect(),
        autoincrement,
        triggered: false,
        rowid_column,
    }))
}

fn integer(name: &str) -> Key {
    Key {
        columns: vec![KeyColumn {
            name: name.to_owned(),
            collation: Collation::Binary,
            numeric: false,
        }],
        total: true,
    }
}

/// The column that is the row id itself: an `INTEGER PRIMARY KEY`, which has no index of its own.
fn rowid_column<'a>(columns: &'a [Column], unique: &[(bool, Key)]) -> Option<&'a Column> {
    let mut primary = columns.iter().filter(|column| column.primary > 0);
    let only = primary.next().filter(|_| primary.next().is_none())?;
    let indexed = unique.iter().any(|(primary, _)| *primary);
    (only.declared == "INTEGER" && !indexed).then_some(only)
}

fn is_autoincrement(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    let sql: String = connection.query_row(
        "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1",
        [name],
        |row| row.get(0),
    )?;
    // A false hit (the word in a comment) only touches a row of sqlite_sequence too many.
    Ok(sql.to_ascii_uppercase().contains("AUTOINCREMENT"))
}

/// The unique indexes, each with whether it is the primary key's.
#[allow(clippy::type_complexity)]
fn unique_keys(
    connection: &Connection,
    table: &str,
    columns: &[Column],
) -> rusqlite::Result<Result<Vec<(bool, Key)>, String>> {
    let indexes: Vec<(String, String, bool, bool)> = connection
        .prepare_cached(
            "SELECT name, origin, \"unique\", partial FROM pragma_index_list(?1) ORDER BY origin \
             <> 'pk', seq",
        )?
        .query_map([table], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut keys = Vec::new();
    for (index, origin, unique, partial) in indexes {
        let parts: Vec<(i64, Option<String>)> = connection
            .prepare_cached(
                "SELECT cid, coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno",
            )?
            .query_map(params![index], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut key = Vec::new();
        for (cid, collation) in parts {
            // The connection that commits has no collation of a program's own.
            let Some(collation) = parse_collation(collation.as_deref()) else {
                return Ok(Err(format!("the index {index} has a collation of its own")));
            };
            if !unique {
                continue;
            }
            let column = usize::try_from(cid).ok().and_then(|at| columns.get(at));
            let Some(column) = column else {
                return Ok(Err(format!("the unique index {index} has an expression")));
            };
            key.push(KeyColumn {
                name: column.name.clone(),
                collation,
                numeric: !matches!(column.declared.as_str(), "INTEGER" | "INT" | "TEXT"),
            });
        }
        if unique {
            let total = !partial;
            keys.push((
                origin == "pk",
                Key {
                    columns: key,
                    total,
                },
            ));
        }
    }
    Ok(Ok(keys))
}

fn parse_collation(name: Option<&str>) -> Option<Collation> {
    match name?.to_ascii_uppercase().as_str() {
        "BINARY" => Some(Collation::Binary),
        "NOCASE" => Some(Collation::NoCase),
        "RTRIM" => Some(Collation::RTrim),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(sql: &str) -> Shape {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        let marks = marks(&connection).unwrap();
        of(&connection, "t", &marks["t"]).unwrap()
    }

    fn names(key: &Key) -> Vec<&str> {
        key.columns
            .iter()
            .map(|column| column.name.as_str())
            .collect()
    }

    #[test]
    fn a_row_is_found_by_its_row_id_or_its_primary_key() {
        let plain = shape_of("CREATE TABLE t (a, b UNIQUE)").unwrap();
        assert_eq!(plain.hidden_rowid, Some("rowid"));
        assert_eq!(names(&plain.unique[0]), ["b"]);
        let hidden = shape_of("CREATE TABLE t (rowid TEXT, a)").unwrap();
        assert_eq!(hidden.hidden_rowid, Some("_rowid_"));
        let alias = shape_of("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)").unwrap();
        assert_eq!(
            (names(alias.identity.as_ref().unwrap()), alias.hidden_rowid),
            (vec!["id"], None)
        );
        assert!(alias.autoincrement);
        // This one is no row id, for all that its type says.
        let desc = shape_of("CREATE TABLE t (id INTEGER PRIMARY KEY DESC)").unwrap();
        assert_eq!(desc.hidden_rowid, Some("rowid"));
        let without = shape_of("CREATE TABLE t (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID").unwrap();
        assert_eq!(names(without.identity.as_ref().unwrap()), ["b", "a"]);
        assert!(without.unique.is_empty());
    }

    #[test]
    fn what_cannot_be_reserved_is_refused() {
        for sql in [
            "CREATE TABLE t (a, b AS (a + 1))",
            "CREATE TABLE t (a); CREATE UNIQUE INDEX i ON t (a + 1)",
            "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (a REFERENCES p)",
            "CREATE TABLE t (a PRIMARY KEY); CREATE TABLE c (a REFERENCES t)",
            "CREATE TABLE t (rowid, _rowid_, oid)",
        ] {
            assert!(shape_of(sql).is_err(), "{sql}");
        }
    }
}
