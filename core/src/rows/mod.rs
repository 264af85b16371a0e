//! What statements return: rows, as the JSON that is stored with the key.
//!
//! # Layout
//! - `returned`: rows and value of an effect, in one receipt.
//! - `writer`: makes rows of a backend's values, within their limits.
//! - `row`, `cell`: read rows as types of the program's own.

mod cell;
pub(crate) mod returned;
mod row;
mod writer;

use std::{any::type_name, borrow::Cow, fmt};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub use returned::Returned;
pub use writer::RowsWriter;

use crate::error::{Error, ErrorKind, Result};
use row::Columns;

/// The rows that a statement returned, as JSON: a list with an object for each row, its columns in
/// order.
///
/// Numbers have all their digits. UUIDs, times and enums are text, times as in ISO 8601 and those with a
/// zone in UTC; bytes are `\x` and hexadecimal digits; JSON and arrays are as they are. Settings of the
/// session, such as `TimeZone` or `bytea_output` of Postgres, change none of it. A backend without such types
/// gives what it stores: see [`Value`](crate::Value).
///
/// ```
/// # use exactly_once_core::Rows;
/// let rows = Rows::from_json(r#"[{"id":7,"price":2.50},{"id":8,"price":null}]"#)?;
/// let pairs: Vec<(i64, Option<String>)> = rows.decode()?;
/// assert_eq!(pairs, [(7, Some("2.50".to_owned())), (8, None)]);
///
/// #[derive(serde::Deserialize)]
/// struct Payment {
///     id: i64,
/// }
/// let payments: Vec<Payment> = rows.decode()?;
/// assert_eq!(payments[1].id, 8);
/// # Ok::<(), exactly_once_core::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rows(Box<RawValue>);

impl Rows {
    /// No row.
    #[must_use]
    pub fn none() -> Self {
        Self(RawValue::from_string("[]".to_owned()).unwrap_or_default())
    }

    /// For adapters: rows that the database has written as JSON.
    ///
    /// # Errors
    /// [Unreadable](ErrorKind::Unreadable) where it is no list of objects.
    pub fn from_json(json: impl Into<String>) -> Result<Self> {
        let rows = RawValue::from_string(json.into()).map(Self);
        let rows = rows.map_err(|_| unreadable("what is stored as rows is no JSON".to_owned()))?;
        rows.read().map(drop)?;
        Ok(rows)
    }

    /// The JSON as it is stored: the same bytes for each attempt.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().map_or(0, |rows| rows.len())
    }

    /// No row at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the columns, in order; none where there is no row.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let rows = self.read().unwrap_or_default();
        let first = rows.into_iter().next().unwrap_or_default();
        first.names().map(str::to_owned).collect()
    }

    /// Each row as a type of the program's own: a struct by the names of the columns, a tuple by their
    /// places, or the value of the only column.
    ///
    /// Text is read as a number and a number as text, 0 and 1 as `bool`, `\x…` as `Vec<u8>`, and text
    /// that holds JSON as a list or a struct: what a backend without such types stores reads as what it
    /// was. A number that an `f64` can't hold exactly is given as text to types that take either, such
    /// as `rust_decimal::Decimal`.
    ///
    /// # Errors
    /// [Unreadable](ErrorKind::Unreadable) with row and column: the effect was applied, and a version of
    /// the program whose type reads its rows gets them.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let rows = self.read()?;
        rows.iter()
            .enumerate()
            .map(|(at, row)| {
                row.decode::<T>()
                    .map_err(|place| unread::<T>(at + 1, &place))
            })
            .collect()
    }

    /// The only row.
    ///
    /// # Errors
    /// As [`Self::decode`]; also where there is another number of rows. Require the number by
    /// [`Statement::expecting_rows`](crate::Statement::expecting_rows), which refuses the effect before it
    /// is applied.
    pub fn one<T: DeserializeOwned>(&self) -> Result<T> {
        let found = self.len();
        self.optional()?
            .ok_or_else(|| unreadable(format!("there are {found} rows, not one")))
    }

    /// The only row, or `None` where there is none.
    ///
    /// # Errors
    /// As [`Self::decode`]; also where there are several.
    pub fn optional<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let mut rows = self.decode()?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            found => Err(unreadable(format!("there are {found} rows, not one"))),
        }
    }

    fn read(&self) -> Result<Vec<Columns<'_>>> {
        serde_json::from_str(self.0.get())
            .map_err(|_| unreadable("what is stored as rows is no list of objects".to_owned()))
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Rows {}

/// The length only: rows may hold what does not belong in a log.
impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({} of {} bytes)", self.len(), self.as_json().len())
    }
}

/// What one statement did within a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ran {
    /// How many rows it changed; of a statement that returns rows, how many it returned.
    pub changed: u64,
    /// What it returned, if it [returns](crate::Statement::returning) rows.
    pub rows: Rows,
}

impl Ran {
    /// For adapters: of a statement without rows.
    #[must_use]
    pub fn changed(changed: u64) -> Self {
        Self {
            changed,
            rows: Rows::none(),
        }
    }

    /// For adapters: of a statement that returned these.
    #[must_use]
    pub fn returned(rows: Rows) -> Self {
        Self {
            changed: rows.len() as u64,
            rows,
        }
    }
}

fn unreadable(message: String) -> Error {
    Error::new(ErrorKind::Unreadable, "rows", "core").with_message(message)
}

fn unread<T>(row: usize, place: &row::Place) -> Error {
    let place = match place {
        row::Place::Column(name) => Cow::from(format!("row {row}, column `{name}`")),
        row::Place::Missing(field) => Cow::from(format!("row {row} has no column `{field}` and")),
        row::Place::Row => Cow::from(format!("row {row}")),
    };
    unreadable(format!(
        "{place} does not read as `{}`: deploy a version whose type reads it",
        type_name::<T>()
    ))
}

#[cfg(test)]
mod tests;
