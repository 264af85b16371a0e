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

/// An expression for the value of a column as a literal that reads back as exactly that value.
///
/// `quote` is exact for integers, floats and blobs; of a text it stops at a NUL, so such a text
/// goes as bytes.
pub(super) fn literal(row: &str, column: &str) -> String {
    let value = format!("{row}.{}", ident(column));
    format!(
        "CASE WHEN typeof({value}) = 'text' AND instr(CAST({value} AS BLOB), x'00') THEN \
         'CAST(' || quote(CAST({value} AS BLOB)) || ' AS TEXT)' ELSE quote({value}) END"
    )
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

/// The slots of a row: its identity, and each unique key.
pub(super) fn slots(row: &str, table: &Table) -> Vec<String> {
    std::iter::once(&table.identity)
        .chain(&table.unique)
        .map(|key| slot(row, key))
        .collect()
}

/// The slots of a row that its log names at once: the identity of a row with a hidden row id shows
/// only in the order of the changes.
pub(super) fn logged_slots(row: &str, table: &Table) -> Vec<String> {
    let hidden = usize::from(table.hidden_rowid.is_some());
    slots(row, table).split_off(hidden)
}

/// The slot of a hidden row id, as [`slots`] has it in a trigger.
pub(super) fn row_slot(table: &Table, row: i64) -> Option<String> {
    table.hidden_rowid.map(|name| format!("{name}={row}"))
}

/// `a IS 1 AND b IS 'x'`, as an expression that builds it: the whole row as it was. A hidden row id
/// is bound when it is applied.
fn unchanged(table: &Table) -> String {
    let hidden = table
        .hidden_rowid
        .map(|name| text(&format!("{name} IS ?1")));
    let columns = table.columns.iter().map(|column| {
        format!(
            "{} || ({})",
            text(&format!("{} IS ", ident(column))),
            literal("OLD", column)
        )
    });
    let parts: Vec<String> = hidden.into_iter().chain(columns).collect();
    parts.join(" || ' AND ' || ")
}

/// An expression for the statement that inserts the new row.
pub(super) fn redo_insert(table: &Table) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| ident(column)).collect();
    let values: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("({})", literal("NEW", column)))
        .collect();
    let head = format!(
        "INSERT INTO main.{} ({}) VALUES (",
        ident(&table.name),
        columns.join(", ")
    );
    format!("{} || {} || ')'", text(&head), values.join(" || ', ' || "))
}

/// An expression for the statement that makes the old row the new one.
pub(super) fn redo_update(table: &Table) -> String {
    let set: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            format!(
                "{} || ({})",
                text(&format!("{} = ", ident(column))),
                literal("NEW", column)
            )
        })
        .collect();
    let head = format!("UPDATE main.{} SET ", ident(&table.name));
    format!(
        "{} || {} || ' WHERE ' || {}",
        text(&head),
        set.join(" || ', ' || "),
        unchanged(table)
    )
}

/// An expression for the statement that deletes the old row.
pub(super) fn redo_delete(table: &Table) -> String {
    let head = format!("DELETE FROM main.{} WHERE ", ident(&table.name));
    format!("{} || {}", text(&head), unchanged(table))
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
    fn literals_read_back_exactly() {
        let connection = Connection::open_in_memory().unwrap();
        for value in [
            "NULL",
            "9223372036854775807",
            "-9223372036854775808",
            "0.1",
            "1e300",
            "-0.0",
            "9e999",
            "'it''s'",
            "''",
            "'é\u{1F600}'",
            "CAST(x'610062' AS TEXT)",
            "x''",
            "x'00ff'",
        ] {
            let text = eval(&literal("NEW", "a"), value);
            let same: bool = connection
                .query_row(
                    &format!(
                        "SELECT ({text}) IS ({value}) AND typeof({text}) = typeof({value}) AND \
                         CAST({text} AS BLOB) IS CAST({value} AS BLOB)"
                    ),
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            assert!(same, "{value} came back as {text}");
        }
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
