//! Writes a backend's values as rows, and stops where they exceed their limits.

use crate::{
    error::Result,
    refusals,
    rows::Rows,
    statement::Returning,
    value::{
        Value,
        json::{hexadecimal, non_finite},
    },
};

/// Makes [`Rows`] of the values of a backend: for adapters, row by row.
///
/// ```
/// # use exactly_once_core::{Returning, Value, adapter::RowsWriter};
/// let mut rows = RowsWriter::new(1, Returning::rows(2), "execute_one_shot", "sql");
/// rows.row([("id", Value::Integer(7)), ("at", Value::Null)])?;
/// assert_eq!(rows.finish()?.as_json(), r#"[{"id":7,"at":null}]"#);
/// # Ok::<(), exactly_once_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RowsWriter {
    statement: usize,
    limits: Returning,
    operation: &'static str,
    store: &'static str,
    json: String,
    rows: u32,
}

impl RowsWriter {
    /// For the rows of a statement; statements count from 1.
    #[must_use]
    pub fn new(
        statement: usize,
        limits: Returning,
        operation: &'static str,
        store: &'static str,
    ) -> Self {
        Self {
            statement,
            limits,
            operation,
            store,
            json: "[".to_owned(),
            rows: 0,
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [Too large](crate::ErrorKind::TooLarge): roll back.
    pub fn row<'c>(&mut self, columns: impl IntoIterator<Item = (&'c str, Value)>) -> Result<()> {
        if self.rows == self.limits.max_rows() {
            return Err(refusals::too_many_rows(
                self.statement,
                self.limits,
                self.operation,
                self.store,
            ));
        }
        if self.rows > 0 {
            self.json.push(',');
        }
        self.rows += 1;
        self.json.push('{');
        for (at, (name, value)) in columns.into_iter().enumerate() {
            if at > 0 {
                self.json.push(',');
            }
            text(&mut self.json, name);
            self.json.push(':');
            write(&mut self.json, &value);
        }
        self.json.push('}');
        // With the end of the list.
        self.check_bytes(1)
    }

    /// The rows.
    ///
    /// # Errors
    /// [Too large](crate::ErrorKind::TooLarge).
    pub fn finish(mut self) -> Result<Rows> {
        self.json.push(']');
        self.check_bytes(0)?;
        Rows::from_json(self.json)
    }

    fn check_bytes(&self, more: usize) -> Result<()> {
        let limit = usize::try_from(self.limits.max_bytes()).unwrap_or(usize::MAX);
        if self.json.len() + more <= limit {
            return Ok(());
        }
        Err(refusals::rows_too_large(
            self.statement,
            self.limits,
            self.operation,
            self.store,
        ))
    }
}

fn text(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

fn write(json: &mut String, value: &Value) {
    match value {
        Value::Float(number) if !number.is_finite() => text(json, non_finite(*number)),
        Value::Bytes(bytes) => text(json, &hexadecimal(bytes)),
        // Whatever the digits are.
        Value::Numeric(number) => text(json, number.as_str()),
        Value::Json(raw) => json.push_str(raw),
        value => json.push_str(&value.to_json().to_string()),
    }
}
