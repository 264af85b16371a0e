//! The pieces of SQL that triggers and redo are made of. Names and texts are always quoted.

use super::table::{Collation, KeyColumn, Table};

/// A name, quoted.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// An expression for the slot of a unique key in a row; NULL where a part is NULL, because then
/// the key is equal to no other.
pub(super) fn slot(row: &str, key: &[KeyColumn]) -> String {
    let tag: Vec<String> = key.iter().map(tag).collect();
    let missing: Vec<String> = key
        .iter()
        .map(|column| format!("{row}.{} IS NULL", ident(&column.name)))
        .collect();
    let parts: Vec<String> = key.iter().map(|column| part(row, column)).collect();
    format!(
        "CASE WHEN {} THEN NULL ELSE {} || {} END",
        missing.join(" OR "),
        text(&format!("{}=", tag.join(","))),
        parts.join(" || ',' || ")
    )
}

fn tag(column: &KeyColumn) -> String {
    let name = column.name.to_ascii_lowercase();
    match column.collation {
        Collation::Binary => name,
        Collation::NoCase => format!("{name} nocase"),
        Collation::RTrim => format!("{name} rtrim"),
    }
}

/// Values that the index holds for equal must come out equal.
fn part(row: &str, column: &KeyColumn) -> String {
    let value = format!("{row}.{}", ident(&column.name));
    let folded = match column.collation {
        Collation::Binary => value.clone(),
        Collation::NoCase => {
            format!("CASE typeof({value}) WHEN 'text' THEN lower({value}) ELSE {value} END")
        }
        Collation::RTrim => {
            format!("CASE typeof({value}) WHEN 'text' THEN rtrim({value}, ' ') ELSE {value} END")
        }
    };
    if !column.numeric {
        return format!("quote({folded})");
    }
    format!(
        "CASE WHEN typeof({value}) = 'real' AND {value} = CAST({value} AS INTEGER) THEN \
         quote(CAST({value} AS INTEGER)) ELSE quote({folded}) END"
    )
}

/// The slots of a row: its identity, where that is no hidden row id, and each unique key.
pub(super) fn slots(row: &str, table: &Table) -> Vec<String> {
    let keys = table.identity.iter().chain(&table.unique);
    keys.map(|key| slot(row, &key.columns)).collect()
}

/// `a COLLATE BINARY = x.a AND …`: whether the row at hand has the key of another one.
pub(super) fn same_key(row: &str, key: &[KeyColumn]) -> String {
    let parts: Vec<String> = key
        .iter()
        .map(|column| {
            let name = ident(&column.name);
            let collation = match column.collation {
                Collation::Binary => "BINARY",
                Collation::NoCase => "NOCASE",
                Collation::RTrim => "RTRIM",
            };
            format!("{name} COLLATE {collation} = {row}.{name}")
        })
        .collect();
    format!("({})", parts.join(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// What an expression gives for a row `NEW` of one column `a`.
    fn eval(expression: &str, value: &str) -> String {
        Connection::open_in_memory()
            .unwrap()
            .query_row(
                &format!("SELECT {expression} FROM (SELECT {value} AS a) AS NEW"),
                [],
                |row| {
                    row.get::<_, Option<String>>(0)
                        .map(Option::unwrap_or_default)
                },
            )
            .unwrap()
    }

    fn column(collation: Collation, numeric: bool) -> Vec<KeyColumn> {
        vec![KeyColumn {
            name: "a".to_owned(),
            collation,
            numeric,
        }]
    }

    #[test]
    fn slots_are_equal_exactly_where_the_index_says_so() {
        let binary = slot("NEW", &column(Collation::Binary, true));
        assert_eq!(eval(&binary, "1"), eval(&binary, "1.0"));
        assert_eq!(eval(&binary, "0"), eval(&binary, "-0.0"));
        assert_ne!(eval(&binary, "1"), eval(&binary, "'1'"));
        assert_ne!(eval(&binary, "'a'"), eval(&binary, "'A'"));
        assert_ne!(eval(&binary, "'a'"), eval(&binary, "x'61'"));
        assert_eq!(eval(&binary, "NULL"), "");
        let folded = slot("NEW", &column(Collation::NoCase, false));
        assert_eq!(eval(&folded, "'Ab'"), eval(&folded, "'aB'"));
        let trimmed = slot("NEW", &column(Collation::RTrim, false));
        assert_eq!(eval(&trimmed, "'a '"), eval(&trimmed, "'a'"));
    }

    #[test]
    fn quotes_cannot_be_broken_out_of() {
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(text("a'b"), "'a''b'");
    }
}
