//! What Postgres says of a statement: the types of its parameters and columns.

use super::{Column, Described, Known};
use crate::{ValueType, WorkError, serve::config::Field};

#[cfg(feature = "tokio-postgres")]
pub(super) async fn describe(
    tx: &crate::postgres::TokioPostgresTx,
    text: &str,
) -> Result<Described, WorkError> {
    let statement = tx.client()?.prepare(text).await?;
    let parameters = statement.params().iter().map(|of| of.name().to_owned());
    let columns = statement
        .columns()
        .iter()
        .map(|column| (column.name().to_owned(), column.type_().name().to_owned()));
    Ok(described(text, parameters, columns))
}

#[cfg(feature = "sqlx-postgres")]
pub(super) async fn describe_by_sqlx(
    tx: &mut crate::postgres::SqlxPostgresTx,
    text: &str,
) -> Result<Described, WorkError> {
    use sqlx::{AssertSqlSafe, Column as _, Either, Executor, SqlSafeStr, Statement, TypeInfo};
    let connection = tx.connection()?;
    let sql = AssertSqlSafe(text.to_owned()).into_sql_str();
    let statement = connection.prepare(sql).await?;
    let parameters: Vec<_> = match statement.parameters() {
        Some(Either::Left(types)) => types.iter().map(|of| plain(of.name())).collect(),
        _ => Vec::new(),
    };
    let columns = statement
        .columns()
        .iter()
        .map(|column| (column.name().to_owned(), plain(column.type_info().name())));
    Ok(described(text, parameters.into_iter(), columns))
}

/// The server's own name of a type, from sqlx's: `TEXT[]` is `_text`.
#[cfg(feature = "sqlx-postgres")]
fn plain(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_suffix("[]") {
        Some(item) => format!("_{item}"),
        None => name,
    }
}

fn described(
    text: &str,
    parameters: impl Iterator<Item = String>,
    columns: impl Iterator<Item = (String, String)>,
) -> Described {
    Described {
        parameters: parameters
            .map(|name| Some(Known { name, takes: binds }))
            .collect(),
        columns: columns
            .map(|(name, of)| Column {
                name,
                of: Some(Known {
                    name: of,
                    takes: reads,
                }),
            })
            .collect(),
        writes: writes(text),
    }
}

/// By its first word. What `WITH` hides does no harm: a query is rolled back.
fn writes(text: &str) -> Option<bool> {
    let word: String = text
        .trim_start_matches(|char: char| char.is_whitespace() || char == '(')
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    ["insert", "update", "delete", "merge", "truncate", "copy"]
        .contains(&word.to_ascii_lowercase().as_str())
        .then_some(true)
}

/// Whether a value of the declared type can be bound there. A whole number that does not fit is an
/// overflow at the call.
fn binds(known: &Known, field: &Field) -> bool {
    fits(&known.name, &field.of, false)
}

/// Whether what is there can be read as the declared type, every value of it.
fn reads(known: &Known, field: &Field) -> bool {
    fits(&known.name, &field.of, true)
}

/// Types that a text can't stand for.
const NO_TEXT: [&str; 16] = [
    "bool",
    "bytea",
    "date",
    "float4",
    "float8",
    "int2",
    "int4",
    "int8",
    "interval",
    "json",
    "jsonb",
    "numeric",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
];

fn fits(name: &str, declared: &ValueType, whole: bool) -> bool {
    if let ValueType::Array(item) = declared {
        return name
            .strip_prefix('_')
            .is_some_and(|name| fits(name, item, whole));
    }
    match declared {
        ValueType::Int2 if whole => name == "int2",
        ValueType::Int4 if whole => ["int2", "int4"].contains(&name),
        ValueType::Int2 | ValueType::Int4 | ValueType::Int8 => {
            ["int2", "int4", "int8"].contains(&name)
                || !whole && ["numeric", "float4", "float8"].contains(&name)
        }
        ValueType::Float4 if whole => name == "float4",
        ValueType::Float4 | ValueType::Float8 => ["float4", "float8"].contains(&name),
        ValueType::Numeric => name == "numeric",
        ValueType::Bool => name == "bool",
        ValueType::Bytes => name == "bytea",
        ValueType::Uuid => name == "uuid",
        ValueType::Timestamp => name == "timestamptz",
        ValueType::DateTime => name == "timestamp",
        ValueType::Date => name == "date",
        ValueType::Time => name == "time",
        ValueType::Json => ["json", "jsonb"].contains(&name),
        // Also an enum, and what an extension adds.
        _ => !name.starts_with('_') && !NO_TEXT.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_type_stands_for_those_that_can_hold_each_of_its_values() {
        let of = |word: &str| word.parse::<ValueType>().unwrap();
        for (name, declared, binds, reads) in [
            ("int4", "int8", true, true),
            ("int8", "int4", true, false),
            ("numeric", "int8", true, false),
            ("text", "int8", false, false),
            ("varchar", "text", true, true),
            ("mood", "text", true, true),
            ("int4", "text", false, false),
            ("timestamptz", "timestamp", false, false),
            ("jsonb", "json", true, true),
            ("_text", "text[]", true, true),
            ("text", "text[]", false, false),
            ("_text", "text", false, false),
        ] {
            assert_eq!(fits(name, &of(declared), false), binds, "{name} {declared}");
            assert_eq!(fits(name, &of(declared), true), reads, "{name} {declared}");
        }
    }

    #[test]
    fn a_statement_that_writes_is_known_by_its_first_word() {
        for text in ["insert into t", "  UPDATE t", "(DELETE FROM t)"] {
            assert_eq!(writes(text), Some(true), "{text}");
        }
        assert_eq!(writes("SELECT updated FROM t"), None);
    }
}
