//! What of a table matters for staging, read from SQLite's own catalogue.

use rusqlite::{Connection, params};

/// The most columns of a table that can be staged; SQLite limits the depth of an expression.
const MAX_COLUMNS: usize = 100;

/// How a unique column tells values apart.
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

/// A table that can be staged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sqlite) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// The name of the row id, where it is no column; `None` for a table without one, and for one
    /// whose row id is a column.
    pub(super) hidden_rowid: Option<&'static str>,
    /// The columns that a row is found by.
    pub(super) identity: Vec<KeyColumn>,
    /// Its other unique keys.
    pub(super) unique: Vec<Vec<KeyColumn>>,
    /// Whether it gives out row ids from `sqlite_sequence`.
    pub(super) autoincrement: bool,
}

/// A table, or why it can't be staged.
pub(super) type Shape = Result<Table, String>;

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

/// The tables of the file, each with its shape.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<(String, Shape)>> {
    let list: Vec<(String, String, bool)> = connection
        .prepare("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let parents = parents(connection)?;
    let mut tables = Vec::new();
    for (name, kind, without_rowid) in list {
        if is_internal(&name) || kind == "view" {
            continue;
        }
        let shape = if kind == "table" {
            shape(connection, &name, without_rowid, &parents)?
        } else {
            Err(format!("it is a {kind} table"))
        };
        tables.push((name, shape));
    }
    Ok(tables)
}

/// The tables that foreign keys point to, in lower case.
fn parents(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(
            "SELECT DISTINCT lower(f.\"table\") FROM pragma_table_list AS t, \
             pragma_foreign_key_list(t.name) AS f WHERE t.schema = 'main' AND t.type = 'table'",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn shape(
    connection: &Connection,
    name: &str,
    without_rowid: bool,
    parents: &[String],
) -> rusqlite::Result<Shape> {
    let mut columns = Vec::new();
    let mut query = connection
        .prepare("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")?;
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
    let child: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM pragma_foreign_key_list(?1))",
        [name],
        |row| row.get(0),
    )?;
    if child || parents.contains(&name.to_lowercase()) {
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
    mut unique: Vec<(bool, Vec<KeyColumn>)>,
) -> rusqlite::Result<Shape> {
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let (identity, hidden_rowid) = if without_rowid {
        let Some(at) = unique.iter().position(|(primary, _)| *primary) else {
            return Ok(Err("its primary key was not found".to_owned()));
        };
        (unique.swap_remove(at).1, None)
    } else if let Some(column) = rowid_column(&columns, &unique) {
        (vec![integer(&column.name)], None)
    } else {
        let free = ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|alias| !names.iter().any(|name| name.eq_ignore_ascii_case(alias)));
        match free {
            Some(alias) => (vec![integer(alias)], Some(alias)),
            None => return Ok(Err("columns hide every name of its row id".to_owned())),
        }
    };
    let autoincrement = !without_rowid && is_autoincrement(connection, name)?;
    Ok(Ok(Table {
        name: name.to_owned(),
        columns: names,
        hidden_rowid,
        identity,
        unique: unique.into_iter().map(|(_, key)| key).collect(),
        autoincrement,
    }))
}

fn integer(name: &str) -> KeyColumn {
    KeyColumn {
        name: name.to_owned(),
        collation: Collation::Binary,
        numeric: false,
    }
}

/// The column that is the row id itself: an `INTEGER PRIMARY KEY`, which has no index of its own.
fn rowid_column<'a>(
    columns: &'a [Column],
    unique: &[(bool, Vec<KeyColumn>)],
) -> Option<&'a Column> {
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
) -> rusqlite::Result<Result<Vec<(bool, Vec<KeyColumn>)>, String>> {
    let indexes: Vec<(String, String)> = connection
        .prepare("SELECT name, origin FROM pragma_index_list(?1) WHERE \"unique\" = 1")?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut keys = Vec::new();
    for (index, origin) in indexes {
        let parts: Vec<(i64, Option<String>)> = connection
            .prepare("SELECT cid, coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno")?
            .query_map(params![index], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut key = Vec::new();
        for (cid, collation) in parts {
            let column = usize::try_from(cid).ok().and_then(|at| columns.get(at));
            let Some(column) = column else {
                return Ok(Err(format!("the unique index {index} has an expression")));
            };
            let Some(collation) = parse_collation(collation.as_deref()) else {
                return Ok(Err(format!(
                    "the unique index {index} has a collation of its own"
                )));
            };
            key.push(KeyColumn {
                name: column.name.clone(),
                collation,
                numeric: !matches!(column.declared.as_str(), "INTEGER" | "INT" | "TEXT"),
            });
        }
        keys.push((origin == "pk", key));
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
        let mut tables = all(&connection).unwrap().into_iter();
        tables.find(|(name, _)| name == "t").unwrap().1
    }

    fn names(key: &[KeyColumn]) -> Vec<&str> {
        key.iter().map(|column| column.name.as_str()).collect()
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
            (names(&alias.identity), alias.hidden_rowid),
            (vec!["id"], None)
        );
        assert!(alias.autoincrement);
        // This one is no row id, for all that its type says.
        let desc = shape_of("CREATE TABLE t (id INTEGER PRIMARY KEY DESC)").unwrap();
        assert_eq!(desc.hidden_rowid, Some("rowid"));
        let without = shape_of("CREATE TABLE t (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID").unwrap();
        assert_eq!(names(&without.identity), ["b", "a"]);
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
