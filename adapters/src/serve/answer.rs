//! An answer: the rows of a statement as JSON of the declared types, the same on every backend.
//!
//! Text is handed on as the store kept it, so no digit is lost on the way. Three types are written
//! alike everywhere: SQLite keeps truth values as 0 and 1 and JSON as text, and a `numeric` becomes a
//! JSON string, because most languages read a JSON number as a float.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::config::{Answer, Field};
use crate::{Error, ErrorKind, Rejection, ValueType, WorkError};

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
            Some(value) => text.push_str(&cell(column, value.get(), sqlite)),
            None => text.push_str("null"),
        }
    }
    text.push('}');
    text
}

fn cell(column: &Field, value: &str, sqlite: bool) -> String {
    let plain_number = value.starts_with(|char: char| char.is_ascii_digit() || char == '-');
    match &column.of {
        ValueType::Bool if value == "0" => "false".to_owned(),
        ValueType::Bool if value == "1" => "true".to_owned(),
        ValueType::Numeric if plain_number => format!("\"{value}\""),
        ValueType::Json if sqlite => inner_json(value),
        _ => value.to_owned(),
    }
}

/// What a text of JSON holds; the text itself where it holds none.
fn inner_json(value: &str) -> String {
    let inner = serde_json::from_str::<String>(value).ok();
    inner
        .filter(|inner| serde_json::from_str::<&RawValue>(inner).is_ok())
        .unwrap_or_else(|| value.to_owned())
}
