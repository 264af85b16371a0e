//! An answer: the rows of a statement as JSON of the declared types, the same on every backend.
//!
//! Text is handed on as the store kept it, so no digit is lost on the way. Four types are written
//! alike everywhere: SQLite keeps truth values as 0 and 1 and JSON as text, a moment is in UTC with a `Z`,
//! and a `numeric` becomes a JSON string, because most languages read a JSON number as a float.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::config::{Answer, Field};
use crate::{Error, ErrorKind, Rejection, Timestamp, ValueType, WorkError};

/// Rows as a store returned them.
type Row = BTreeMap<String, Box<RawValue>>;

/// The JSON that answers with these rows. `sqlite` says that JSON is kept as text.
pub(super) fn of_rows(answer: &Answer, rows: &str, sqlite: bool) -> Result<String, WorkError> {
    let rows: Vec<Row> = serde_json::from_str(rows).map_err(|_| {
        // The library's own text; no value of a row is shown.
        Error::new(ErrorKind::Unreadable, "serve", "answer")
            .with_message("the rows that are stored can't be read")
    })?;
    let objects: Vec<String> = rows
        .iter()
        .map(|row| object(answer.columns(), row, sqlite))
        .collect();
    match (answer, objects.as_slice()) {
        (Answer::Nothing, _) => Ok("null".to_owned()),
        (Answer::Rows(_), rows) => Ok(format!("[{}]", rows.join(","))),
        (Answer::Row(_) | Answer::Optional(_), [row]) => Ok(row.clone()),
        (Answer::Optional(_), []) => Ok("null".to_owned()),
        (Answer::Row(_), []) => Err(Rejection::new(404, "there is no such row").into()),
        (Answer::Row(_) | Answer::Optional(_), rows) => Err(Rejection::new(
            409,
            format!("there are {} such rows, and the answer is one", rows.len()),
        )
        .into()),
    }
}

fn object(columns: &[Field], row: &Row, sqlite: bool) -> String {
    let mut text = String::from("{");
    for (number, column) in columns.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        // A name is an identifier: nothing in it to escape.
        text.push_str(&format!("\"{}\":", column.name));
        match row.get(&column.name) {
            Some(value) => text.push_str(&cell(&column.of, value.get(), sqlite)),
            None => text.push_str("null"),
        }
    }
    text.push('}');
    text
}

fn cell(of: &ValueType, value: &str, sqlite: bool) -> String {
    let plain_number = value.starts_with(|char: char| char.is_ascii_digit() || char == '-');
    match of {
        ValueType::Bool if value == "0" => "false".to_owned(),
        ValueType::Bool if value == "1" => "true".to_owned(),
        ValueType::Numeric if plain_number => format!("\"{value}\""),
        ValueType::Timestamp => moment(value).unwrap_or_else(|| value.to_owned()),
        ValueType::Json if sqlite => inner_json(value),
        ValueType::Array(of) if sqlite => items(of, &inner_json(value)),
        ValueType::Array(of) => items(of, value),
        _ => value.to_owned(),
    }
}

/// The items of an array, of any dimension; what is none stays as it is.
fn items(of: &ValueType, value: &str) -> String {
    let Ok(all) = serde_json::from_str::<Vec<&RawValue>>(value) else {
        return value.to_owned();
    };
    let item = |item: &RawValue| match item.get().starts_with('[') && *of != ValueType::Json {
        true => items(of, item.get()),
        false => cell(of, item.get(), false),
    };
    let all: Vec<_> = all.into_iter().map(item).collect();
    format!("[{}]", all.join(","))
}

/// A moment in UTC. SQLite's own functions write no offset, and mean UTC.
fn moment(value: &str) -> Option<String> {
    let text: String = serde_json::from_str(value).ok()?;
    let moment: Timestamp = text.parse().or_else(|_| format!("{text}Z").parse()).ok()?;
    Some(format!("\"{moment}\""))
}

/// What a text of JSON holds; the text itself where it holds none.
fn inner_json(value: &str) -> String {
    let inner = serde_json::from_str::<String>(value).ok();
    inner
        .filter(|inner| serde_json::from_str::<&RawValue>(inner).is_ok())
        .unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(of: &str, value: &str, sqlite: bool) -> String {
        let column = Field {
            name: "it".to_owned(),
            of: of.parse().unwrap(),
            optional: false,
        };
        let rows = format!(r#"[{{"it":{value}}}]"#);
        let json = of_rows(&Answer::Row(vec![column]), &rows, sqlite).unwrap();
        json[r#"{"it":"#.len()..json.len() - 1].to_owned()
    }

    #[test]
    fn a_value_is_written_alike_whatever_kept_it() {
        let noon = r#""2026-01-31T12:00:00.000000Z""#;
        for (of, postgres, sqlite, same) in [
            ("bool", "true", "1", "true"),
            ("numeric", "12.50", r#""12.50""#, r#""12.50""#),
            ("json", r#"{"a":[1]}"#, r#""{\"a\":[1]}""#, r#"{"a":[1]}"#),
            ("timestamptz", r#""2026-01-31T12:00:00+00:00""#, noon, noon),
            ("timestamptz", noon, r#""2026-01-31 12:00:00""#, noon),
            ("timestamptz", "null", "null", "null"),
            ("int8[]", "[1,null]", r#""[1,null]""#, "[1,null]"),
            (
                "numeric[]",
                "[1.0,null]",
                r#""[\"1.0\",null]""#,
                r#"["1.0",null]"#,
            ),
            ("int8[]", "[[1],[2]]", r#""[[1],[2]]""#, "[[1],[2]]"),
            ("json[]", "[[1],{}]", r#""[[1],{}]""#, "[[1],{}]"),
        ] {
            assert_eq!(answer(of, postgres, false), same, "{of} {postgres}");
            assert_eq!(answer(of, sqlite, true), same, "{of} {sqlite}");
        }
        // Not every moment has a form of ours.
        assert_eq!(
            answer("timestamptz", r#""infinity""#, false),
            r#""infinity""#
        );
    }
}
