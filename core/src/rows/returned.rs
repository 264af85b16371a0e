//! Value and rows of an effect, in one receipt.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    error::{Error, ErrorKind, Result},
    receipt::Receipt,
    rows::Rows,
};

/// What an effect whose statements return rows is answered with: its value and, for each of these
/// statements, its rows. It is stored as JSON, `{"value":…,"rows":[[{…}],…]}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Returned {
    value: Box<RawValue>,
    rows: Vec<Rows>,
}

/// What separates the rows of two statements in a receipt, for adapters whose database writes it.
pub const SEPARATOR: &str = ",";

/// What ends such a receipt.
pub const END: &str = "]}";

/// What begins it.
///
/// # Errors
/// [Invalid](ErrorKind::Invalid) where the value is no JSON: rows could not stand beside it. A receipt
/// without a byte is `null`.
pub fn head(value: &Receipt) -> Result<String> {
    let value = match value.as_bytes() {
        [] => "null",
        json => {
            let json = std::str::from_utf8(json).map_err(|_| no_json())?;
            serde_json::from_str::<&RawValue>(json)
                .map_err(|_| no_json())?
                .get()
        }
    };
    Ok(format!("{{\"value\":{value},\"rows\":["))
}

fn no_json() -> Error {
    Error::new(ErrorKind::Invalid, "receipt", "core").with_message(
        "the receipt of an effect that returns rows is no JSON, so they can't stand beside it: make \
         it with `Receipt::json`, or leave it empty",
    )
}

impl Returned {
    /// The receipt of a value and rows, for adapters.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) where the value is no JSON.
    pub fn receipt<'r>(
        value: &Receipt,
        rows: impl IntoIterator<Item = &'r Rows>,
    ) -> Result<Receipt> {
        let mut json = head(value)?;
        for (at, rows) in rows.into_iter().enumerate() {
            if at > 0 {
                json.push_str(SEPARATOR);
            }
            json.push_str(rows.as_json());
        }
        json.push_str(END);
        Ok(Receipt::from_bytes(Bytes::from(json)))
    }

    /// Reads such a receipt.
    ///
    /// # Errors
    /// [Unreadable](ErrorKind::Unreadable): an earlier version of the program stored another receipt.
    pub fn of(receipt: &Receipt) -> Result<Self> {
        receipt.decode()
    }

    /// The value that the effect was given.
    ///
    /// # Errors
    /// [Unreadable](ErrorKind::Unreadable) where it is of another type.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        Receipt::from_bytes(self.value.get().as_bytes().to_vec()).decode()
    }

    /// The rows of each statement that returns rows, in order.
    #[must_use]
    pub fn all(&self) -> &[Rows] {
        &self.rows
    }

    /// The rows of the last of them; none where there is no such statement.
    #[must_use]
    pub fn into_last(mut self) -> Rows {
        self.rows.pop().unwrap_or_else(Rows::none)
    }
}
