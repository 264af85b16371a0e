//! Values as SQL text that needs no quoting.
//!
//! Our own statements go over the simple protocol, several in one message: that is one round trip
//! with either driver, a failed statement keeps the following ones from running at all (a pipelined
//! `COMMIT` would run), and there is no prepared statement that a transaction pooler could misplace.
//! So values stand in the text. Bytes are written in hexadecimal, whatever they are: no byte of a
//! name, a receipt or a message is ever part of the SQL, and no setting of the server
//! (`standard_conforming_strings`, `backslash_quote`) can change what is meant.

use std::fmt::Write as _;

use exactly_once_core::Value;

/// Bytes, as an expression of type `bytea`.
pub(super) fn bytes(bytes: &[u8]) -> String {
    format!("pg_catalog.decode('{}','hex')", hex(bytes))
}

/// Text, as an expression of type `text`.
pub(super) fn text(text: &str) -> String {
    format!(
        "pg_catalog.convert_from({}, 'UTF8')",
        bytes(text.as_bytes())
    )
}

/// A number, as an expression of type `int8`; in quotes, as `--5` would begin a comment and
/// `-9223372036854775808` would be `numeric`.
pub(super) fn int(number: i64) -> String {
    format!("'{number}'::int8")
}

/// A number or NULL.
pub(super) fn optional_int(number: Option<i64>) -> String {
    number.map_or_else(|| "NULL::int8".to_owned(), int)
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = vec![0; bytes.len() * 2];
    // Quicker than `hex::encode`, which pushes letter by letter: much of a group's text is this.
    let encoded = hex::encode_to_slice(bytes, &mut text);
    match (encoded, String::from_utf8(text)) {
        (Ok(()), Ok(text)) => text,
        // Never: the length fits, and hexadecimal is text.
        _ => hex::encode(bytes),
    }
}

/// Bytes from hexadecimal, as `encode(…, 'hex')` gives them.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok()
}

/// A parameter of the user's in the text form that the server reads for any type; `None` is NULL.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(if *flag { "t" } else { "f" }.to_owned()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) if number.is_nan() => Some("NaN".to_owned()),
        Value::Float(number) if number.is_infinite() => Some(
            if *number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }
            .to_owned(),
        ),
        // The shortest text that reads back as the same number.
        Value::Float(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::Bytes(bytes) => Some(format!("\\x{}", hex(bytes))),
        Value::Array(items) => Some(array(items)),
        value => value.as_text(),
    }
}

/// An array, as the server reads it for any type of its items.
pub(super) fn array<'a>(items: impl IntoIterator<Item = &'a Value>) -> String {
    let mut text = "{".to_owned();
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        match (item, plain(item)) {
            (_, None) => text.push_str("NULL"),
            // A further dimension stands as it is.
            (Value::Array(_), Some(plain)) => text.push_str(&plain),
            (_, Some(plain)) => {
                text.push('"');
                for letter in plain.chars() {
                    if matches!(letter, '"' | '\\') {
                        text.push('\\');
                    }
                    text.push(letter);
                }
                text.push('"');
            }
        }
    }
    text.push('}');
    text
}

/// A parameter of the user's as a literal whose type the server infers.
pub(super) fn untyped(parameter: &Value) -> String {
    plain(parameter).map_or_else(|| "NULL".to_owned(), |text| escaped(&text))
}

/// An escape string. A quote, a backslash, and whatever is not printable ASCII is written as an escape,
/// so that no setting of the server can change where the literal ends.
pub(super) fn escaped(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 3);
    quoted.push_str("E'");
    for letter in text.chars() {
        if matches!(letter, ' '..='~') && !matches!(letter, '\'' | '\\') {
            quoted.push(letter);
        } else {
            // Writing to a String can't fail.
            let _ = write!(quoted, "\\U{:08X}", u32::from(letter));
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_of_a_value_reaches_the_sql() {
        let all: Vec<u8> = (0..=255).collect();
        let text = bytes(&all);
        let inner = text
            .strip_prefix("pg_catalog.decode('")
            .and_then(|rest| rest.strip_suffix("','hex')"))
            .unwrap();
        assert!(inner.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(unhex(inner).unwrap(), all);
    }

    #[test]
    fn numbers_at_the_edges_stay_whole() {
        assert_eq!(int(i64::MIN), "'-9223372036854775808'::int8");
        assert_eq!(optional_int(None), "NULL::int8");
    }

    #[test]
    fn broken_hexadecimal_is_refused() {
        assert_eq!(unhex("abc"), None);
        assert_eq!(unhex("zz"), None);
        assert_eq!(unhex("0x00"), None);
        assert_eq!(unhex(""), Some(Vec::new()));
    }
}
