//! Values from JSON of a declared type, and back. No digit is ever lost: what JSON holds is read as
//! text, and a number that the type can't hold exactly is refused.

use serde_json::value::RawValue;

use super::{Value, ValueType, hyphenated};
use crate::time::Timestamp;

/// JSON that is not of the declared type. The text never shows the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} for the type {declared}")]
pub struct InvalidValue {
    /// The declared type.
    pub declared: ValueType,
    /// The form that its values have in JSON.
    pub expected: &'static str,
}

/// How deep arrays nest at most, as declared.
const MAX_DEPTH: usize = super::MAX_DIMENSIONS;

impl Value {
    /// Reads JSON as a declared type; `null` is NULL for each.
    ///
    /// It takes the text of the JSON, because a parsed number may have lost digits.
    ///
    /// ```
    /// # use exactly_once_core::{Value, ValueType};
    /// # use serde_json::value::RawValue;
    /// let json = |text: &str| RawValue::from_string(text.to_owned());
    /// assert_eq!(Value::from_json(&json("7")?, &ValueType::Int8)?, Value::Integer(7));
    /// for lossy in ["7.5", "1e3", "\"1e3\"", "100000000000000000000"] {
    ///     assert!(Value::from_json(&json(lossy)?, &ValueType::Int8).is_err());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// | type | JSON |
    /// |---|---|
    /// | `bool` | `true`, `false` |
    /// | `int2`, `int4`, `int8` | a whole number in range, or its digits as a string |
    /// | `numeric` | a number without an exponent, or the same as a string |
    /// | `float4`, `float8` | a number of 17 significant digits at most; `"NaN"`, `"Infinity"`, `"-Infinity"` |
    /// | `text`, `uuid`, `timestamptz`, `timestamp`, `date`, `time` | a string |
    /// | `bytea` | a string: `\x` and hexadecimal digits |
    /// | `json` | anything |
    /// | arrays | an array |
    ///
    /// # Errors
    /// [`InvalidValue`] says which form was expected.
    pub fn from_json(json: &RawValue, declared: &ValueType) -> Result<Self, InvalidValue> {
        read(json, declared, 0)
    }

    /// As JSON: numbers as numbers where JSON's readers keep them, a [`Numeric`](super::Numeric) as a
    /// string; times and UUIDs as strings, bytes as `\x` and hexadecimal digits.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Bool(flag) => (*flag).into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) if number.is_finite() => (*number).into(),
            Self::Float(number) => non_finite(*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Bytes(bytes) => hexadecimal(bytes).into(),
            Self::Uuid(bytes) => hyphenated(bytes).into(),
            // It was checked as it was made; what it is not, stays text.
            Self::Json(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone()))
            }
            Self::Array(items) => items.iter().map(Self::to_json).collect(),
            Self::Numeric(_)
            | Self::Timestamp(_)
            | Self::DateTime(_)
            | Self::Date(_)
            | Self::Time(_) => self.as_text().into(),
        }
    }
}

/// As PostgreSQL writes them.
pub(crate) fn non_finite(number: f64) -> &'static str {
    match number {
        number if number.is_nan() => "NaN",
        number if number > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

/// `\x` and two digits for each byte, as PostgreSQL writes bytes.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// Reads what [`hexadecimal`] writes.
pub(crate) fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|it| u8::try_from(it).ok())
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    bytes.filter(|_| rest.is_empty())
}

fn read(json: &RawValue, declared: &ValueType, depth: usize) -> Result<Value, InvalidValue> {
    let text = json.get();
    if text == "null" {
        return Ok(Value::Null);
    }
    let (expected, value) = match declared {
        ValueType::Bool => ("true or false", bool_of(text)),
        ValueType::Int2 => (
            "a whole number from -32768 to 32767",
            integer(text, -32_768..=32_767),
        ),
        ValueType::Int4 => (
            "a whole number of 32 bits",
            integer(text, i64::from(i32::MIN)..=i64::from(i32::MAX)),
        ),
        ValueType::Int8 => (
            "a whole number of 64 bits",
            integer(text, i64::MIN..=i64::MAX),
        ),
        ValueType::Float4 | ValueType::Float8 => (
            "a number of 17 significant digits at most, or \"NaN\", \"Infinity\", \"-Infinity\"",
            float(text),
        ),
        ValueType::Text => (
            "a string without a NUL character",
            string(text).and_then(plain_text),
        ),
        ValueType::Bytes => (
            "a string of \\x and hexadecimal digits",
            string(text).and_then(|it| bytes_of(&it)).map(Value::from),
        ),
        ValueType::Uuid => (
            "a string as 00112233-4455-6677-8899-aabbccddeeff",
            string(text).and_then(|it| uuid(&it)).map(Value::Uuid),
        ),
        ValueType::Numeric => (
            "a decimal number without an exponent, or the same as a string",
            parsed(&string(text).unwrap_or_else(|| text.to_owned())).map(Value::Numeric),
        ),
        ValueType::Timestamp => (
            "a string as 2026-03-01T12:30:00.000250Z",
            string(text)
                .and_then(|it| parsed::<Timestamp>(&it))
                .map(Value::Timestamp),
        ),
        ValueType::DateTime => (
            "a string as 2026-03-01T12:30:00.000250, without a zone",
            string(text).and_then(|it| parsed(&it)).map(Value::DateTime),
        ),
        ValueType::Date => (
            "a string as 2026-03-01",
            string(text).and_then(|it| parsed(&it)).map(Value::Date),
        ),
        ValueType::Time => (
            "a string as 12:30:00.000250",
            string(text).and_then(|it| parsed(&it)).map(Value::Time),
        ),
        ValueType::Json => ("JSON", Some(Value::Json(text.to_owned()))),
        ValueType::Array(item) => {
            let expected = "an array";
            let items = serde_json::from_str::<Vec<&RawValue>>(text).ok();
            let items = items.filter(|_| depth < MAX_DEPTH).ok_or(InvalidValue {
                declared: declared.clone(),
                expected,
            })?;
            let items: Result<Vec<Value>, InvalidValue> = items
                .into_iter()
                .map(|one| read(one, item, depth + 1))
                .collect();
            (expected, Some(Value::Array(items?)))
        }
    };
    value.ok_or_else(|| InvalidValue {
        declared: declared.clone(),
        expected,
    })
}

fn bool_of(text: &str) -> Option<Value> {
    text.parse().ok().map(Value::Bool)
}

fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// No database keeps a NUL in text.
fn plain_text(text: String) -> Option<Value> {
    (!text.contains('\0')).then_some(Value::Text(text))
}

fn parsed<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn integer(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<Value> {
    let digits = string(text).unwrap_or_else(|| text.to_owned());
    let unsigned = digits.strip_prefix('-').unwrap_or(&digits);
    let plain = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = plain.then(|| digits.parse().ok()).flatten()?;
    range.contains(&number).then_some(Value::Integer(number))
}

/// Fewer digits than a float holds read back as they are.
const FLOAT_DIGITS: usize = 17;

fn float(text: &str) -> Option<Value> {
    if let Some(word) = string(text) {
        let number = match word.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => return None,
        };
        return Some(Value::Float(number));
    }
    let (mantissa, _) = text.split_once(['e', 'E']).unwrap_or((text, ""));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0').trim_end_matches('0');
    let number: f64 = serde_json::from_str(text).ok()?;
    let vanished = number == 0.0 && !digits.is_empty();
    (digits.len() <= FLOAT_DIGITS && number.is_finite() && !vanished)
        .then_some(Value::Float(number))
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    (groups == [8, 4, 4, 4, 12]).then_some(())?;
    bytes_of(&format!("\\x{}", text.replace('-', "")))?
        .try_into()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, declared: &str) -> Result<Value, InvalidValue> {
        let json = RawValue::from_string(text.to_owned()).unwrap();
        Value::from_json(&json, &declared.parse().unwrap())
    }

    #[test]
    fn each_type_reads_its_own_form() {
        for (declared, text, back) in [
            ("bool", "true", "true"),
            ("int2", "-32768", "-32768"),
            ("int8", "9223372036854775807", "9223372036854775807"),
            ("bigint", "\"-9223372036854775808\"", "-9223372036854775808"),
            ("float8", "0.1", "0.1"),
            ("float8", "1e300", "1e+300"),
            ("real", "\"-Infinity\"", "\"-Infinity\""),
            ("text", "\"1e3\"", "\"1e3\""),
            ("bytea", "\"\\\\x00fF\"", "\"\\\\x00ff\""),
            (
                "numeric",
                "12345678901234567890.50",
                "\"12345678901234567890.50\"",
            ),
            ("decimal", "\"2.50\"", "\"2.50\""),
            ("date", "\"2026-03-01\"", "\"2026-03-01\""),
            ("time", "\"12:30:00\"", "\"12:30:00.000000\""),
            (
                "timestamp",
                "\"2026-03-01 12:30:00.25\"",
                "\"2026-03-01T12:30:00.250000\"",
            ),
            (
                "timestamptz",
                "\"2026-03-01T14:30:00+02:00\"",
                "\"2026-03-01T12:30:00.000000Z\"",
            ),
            ("json", "{\"a\":[1,2]}", "{\"a\":[1,2]}"),
            ("text[]", "[\"a\",null]", "[\"a\",null]"),
            ("int4[][]", "[[1],[2]]", "[[1],[2]]"),
            (
                "uuid",
                "\"00112233-4455-6677-8899-AABBCCDDEEFF\"",
                "\"00112233-4455-6677-8899-aabbccddeeff\"",
            ),
            ("int8", "null", "null"),
        ] {
            let value = read(text, declared).unwrap();
            assert_eq!(value.to_json().to_string(), back, "{declared} {text}");
        }
    }

    #[test]
    fn what_would_lose_digits_is_refused() {
        for (declared, text) in [
            ("int8", "7.5"),
            ("int8", "7.0"),
            ("int8", "1e3"),
            ("int8", "\"1e3\""),
            ("int8", "\" 7\""),
            ("int8", "\"\""),
            ("int8", "12345678901234567890"),
            ("int4", "2147483648"),
            ("int2", "true"),
            ("numeric", "1e3"),
            ("numeric", "\"1e3\""),
            ("float8", "12345678901234567890"),
            ("float8", "1e400"),
            ("float8", "1e-400"),
            ("float8", "\"1\""),
            ("bool", "1"),
            ("bool", "\"true\""),
            ("text", "1"),
            ("text", "\"\\u0000\""),
            ("bytea", "\"abc\""),
            ("bytea", "\"\\\\x0\""),
            ("uuid", "\"0011223344556677-8899-aabbccddeeff\""),
            ("date", "\"2026-02-30\""),
            ("timestamptz", "\"2026-03-01T12:30:00\""),
            ("timestamp", "\"2026-03-01T12:30:00Z\""),
            ("time", "\"12:30:00.1234567\""),
            ("text[]", "\"a\""),
            ("int4[]", "[1,\"x\"]"),
        ] {
            let error = read(text, declared).unwrap_err();
            assert!(error.to_string().contains("expected"), "{declared} {text}");
        }
    }

    #[test]
    fn names_of_types_read_back() {
        for name in ["int8", "timestamptz", "text[]", "numeric[][]"] {
            let declared: ValueType = name.parse().unwrap();
            assert_eq!(declared.to_string(), name);
        }
        let unknown = "tekst".parse::<ValueType>().unwrap_err();
        assert!(unknown.to_string().contains("tekst"), "{unknown}");
    }
}
