//! Values that statements bind, and their conversions.
//!
//! # Layout
//! - `civil`: dates and times without a zone.
//! - `numeric`: decimal numbers with all their digits.
//! - `declared`: the types that a configuration names.
//! - `json`: values from JSON of a declared type, and back.
//! - `foreign`: conversions from the types of other crates, each with the feature of that name.

mod civil;
mod declared;
mod foreign;
pub(crate) mod json;
mod numeric;

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;

pub use civil::{Date, DateTime, InvalidMoment, TimeOfDay};
pub use declared::{UnknownType, ValueType};
pub use json::InvalidValue;
pub use numeric::{InvalidNumeric, Numeric};

use crate::{error::Error, error::ErrorKind, time::Timestamp};

/// A parameter of a [`Statement`](crate::Statement).
///
/// Each backend stores a value as its own type where it has one. Postgres gets the text of the value,
/// and its server reads that as the type of the column: no cast is needed. SQLite and Redis have fewer
/// types:
///
/// | value | Postgres | SQLite | Redis |
/// |---|---|---|---|
/// | `Null` | `NULL` | `NULL` | the empty string |
/// | `Bool` | `bool` | 1 or 0 | `1` or `0` |
/// | `Integer` | `int2`, `int4`, `int8` | `INTEGER` | digits |
/// | `Float` | `float4`, `float8` | `REAL` | digits |
/// | `Text` | `text`, an enum, any other type by its text | `TEXT` | the text |
/// | `Bytes` | `bytea` | `BLOB` | the bytes |
/// | `Uuid` | `uuid` | `TEXT`, in lower case with hyphens | the same text |
/// | `Numeric` | `numeric` | `TEXT`, all digits | the same text |
/// | `Timestamp` | `timestamptz` | `TEXT`, `2026-03-01T12:30:00.000250Z` | the same text |
/// | `DateTime` | `timestamp` | `TEXT`, `2026-03-01T12:30:00.000250` | the same text |
/// | `Date` | `date` | `TEXT`, `2026-03-01` | the same text |
/// | `Time` | `time` | `TEXT`, `12:30:00.000250` | the same text |
/// | `Json` | `json`, `jsonb` | `TEXT` | the same text |
/// | `Array` | an array | `TEXT`, an array of JSON | the same text |
///
/// Texts of one type have one length, so that SQLite sorts times as text. A column of SQLite whose
/// declared type is `NUMERIC` or `DECIMAL` turns text into a float: declare it `TEXT`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// A UUID.
    Uuid([u8; 16]),
    /// A decimal number with all its digits.
    Numeric(Numeric),
    /// A moment.
    Timestamp(Timestamp),
    /// A date and a time, without a zone.
    DateTime(DateTime),
    /// A date.
    Date(Date),
    /// A time of day, without a zone.
    Time(TimeOfDay),
    /// JSON, as its text.
    Json(String),
    /// An array, of one type.
    Array(Vec<Value>),
}

/// How deep arrays may nest: as deep as PostgreSQL's.
const MAX_DIMENSIONS: usize = 6;

impl Value {
    /// Anything as JSON.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) where it can't be written as JSON.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        let text = serde_json::to_string(value).map_err(|_| {
            Error::new(ErrorKind::Invalid, "json", "core")
                .with_message("the value can't be written as JSON")
        })?;
        Ok(Self::Json(text))
    }

    /// Its text, for a backend that has no type for it; `None` for what every backend has a type for.
    #[must_use]
    pub fn as_text(&self) -> Option<String> {
        Some(match self {
            Self::Null
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Bytes(_) => return None,
            Self::Uuid(bytes) => hyphenated(bytes),
            Self::Numeric(number) => number.to_string(),
            Self::Timestamp(moment) => moment.to_string(),
            Self::DateTime(moment) => moment.to_string(),
            Self::Date(date) => date.to_string(),
            Self::Time(time) => time.to_string(),
            Self::Json(text) => text.clone(),
            Self::Array(_) => self.to_json().to_string(),
        })
    }

    /// What no backend could keep as it is, if it is that.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        self.mistake_within(0)
    }

    fn mistake_within(&self, dimensions: usize) -> Option<&'static str> {
        const YEARS: &str = "is not within the years 1 to 9999";
        match self {
            Self::Timestamp(moment) => (!civil::has_form(moment.as_micros())).then_some(YEARS),
            Self::DateTime(moment) => (!moment.has_form()).then_some(YEARS),
            Self::Date(date) => (!date.has_form()).then_some(YEARS),
            Self::Array(_) if dimensions == MAX_DIMENSIONS => {
                Some("nests arrays deeper than 6 dimensions")
            }
            Self::Array(items) => items
                .iter()
                .find_map(|item| item.mistake_within(dimensions + 1)),
            _ => None,
        }
    }
}

/// A UUID in its usual form, in lower case.
fn hyphenated(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

macro_rules! value_from {
    ($($from:ty => |$value:ident| $to:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $to
            }
        }
    )*};
}

value_from! {
    bool => |value| Value::Bool(value),
    i16 => |value| Value::Integer(value.into()),
    i32 => |value| Value::Integer(value.into()),
    i64 => |value| Value::Integer(value),
    u16 => |value| Value::Integer(value.into()),
    u32 => |value| Value::Integer(value.into()),
    f32 => |value| Value::Float(value.into()),
    f64 => |value| Value::Float(value),
    &str => |value| Value::Text(value.to_owned()),
    String => |value| Value::Text(value),
    Vec<u8> => |value| Value::Bytes(value.into()),
    Bytes => |value| Value::Bytes(value),
    Numeric => |value| Value::Numeric(value),
    Timestamp => |value| Value::Timestamp(value),
    DateTime => |value| Value::DateTime(value),
    Date => |value| Value::Date(value),
    TimeOfDay => |value| Value::Time(value),
    serde_json::Value => |value| Value::Json(value.to_string()),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// An array. (`Vec<u8>` is bytes.)
impl<T> From<Vec<T>> for Value
where
    Value: From<T>,
{
    fn from(items: Vec<T>) -> Self {
        Self::Array(items.into_iter().map(Value::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_arrays_and_lists_of_bytes_are_bytes() {
        let array = Value::from(vec![Some(1_i64), None]);
        assert_eq!(array, Value::Array(vec![Value::Integer(1), Value::Null]));
        assert_eq!(array.as_text().unwrap(), "[1,null]");
        assert_eq!(
            Value::from(vec![1_u8]),
            Value::Bytes(Bytes::from_static(&[1]))
        );
        let nested = Value::from(vec![vec!["a"], vec!["b"]]);
        assert_eq!(nested.as_text().unwrap(), r#"[["a"],["b"]]"#);
    }

    #[test]
    fn what_has_no_text_is_a_mistake() {
        let (first, last) = (-62_135_596_800_000_000, 253_402_300_799_999_999);
        for (micros, good) in [
            (first, true),
            (first - 1, false),
            (last, true),
            (last + 1, false),
        ] {
            let moment = Value::Timestamp(Timestamp::from_micros(micros));
            assert_eq!(moment.mistake().is_none(), good, "{micros}");
            assert_eq!(Value::from(vec![micros]).mistake(), None);
            assert_eq!(Value::Array(vec![moment]).mistake().is_none(), good);
        }
        let nest = |dimensions| {
            (0..dimensions).fold(Value::Integer(1), |inner, _| Value::Array(vec![inner]))
        };
        assert_eq!(nest(6).mistake(), None);
        assert!(nest(7).mistake().is_some());
    }

    #[test]
    fn a_uuid_has_its_usual_text() {
        let bytes: [u8; 16] = std::array::from_fn(|at| u8::try_from(at * 17).unwrap());
        let text = Value::Uuid(bytes).as_text().unwrap();
        assert_eq!(text, "00112233-4455-6677-8899-aabbccddeeff");
    }
}
