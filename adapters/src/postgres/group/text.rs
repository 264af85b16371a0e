//! Parameters and arrays in a group's message.
//!
//! Our own bytes go as hexadecimal, so an array of them needs no quoting. What the user binds goes
//! as a literal whose type the server infers.

use std::fmt::Write as _;

use exactly_once_core::Value;

use crate::postgres::literal;

/// An array of what needs no quoting: hexadecimal, numbers, words.
pub(super) fn plain<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = "'{".to_owned();
    for (at, item) in items.into_iter().enumerate() {
        // Writing to a String can't fail. An empty element would be no element.
        let before = if at == 0 { "\"" } else { ",\"" };
        let _ = write!(text, "{before}{item}\"");
    }
    text.push_str("}'");
    text
}

/// An array of numbers; `None` is NULL.
pub(super) fn numbers(items: impl IntoIterator<Item = Option<i64>>) -> String {
    let mut text = "'{".to_owned();
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        let _ = match item {
            Some(number) => write!(text, "{number}"),
            None => write!(text, "NULL"),
        };
    }
    text.push_str("}'");
    text
}

/// An array of `bytea`, of bytes in hexadecimal. Each is `\x…` behind a backslash that the array
/// takes away, and both are doubled, as it is an escape string: no setting changes how that is read.
pub(super) fn bytes<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    optional_bytes(items.into_iter().map(Some))
}

/// The same; `None` is NULL.
pub(super) fn optional_bytes<T: std::fmt::Display>(
    items: impl IntoIterator<Item = Option<T>>,
) -> String {
    let mut text = "E'{".to_owned();
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        let _ = match item {
            Some(item) => write!(text, "\\\\\\\\x{item}"),
            None => write!(text, "NULL"),
        };
    }
    text.push_str("}'");
    text
}

/// One `bytea`, of bytes in hexadecimal.
pub(super) fn one_bytea(item: impl std::fmt::Display) -> String {
    format!("E'\\\\x{item}'")
}

/// One value that needs no quoting.
pub(super) fn one(item: impl std::fmt::Display) -> String {
    format!("'{item}'")
}

/// One number; `None` is NULL.
pub(super) fn number(item: Option<i64>) -> String {
    item.map_or_else(|| "NULL".to_owned(), |number| format!("'{number}'"))
}

/// Arrays as the columns of one table. (`unnest` of several arrays has no name in `pg_catalog`.)
pub(super) fn rows(parameters: &[u32]) -> String {
    let arrays: Vec<String> = parameters
        .iter()
        .map(|number| format!("pg_catalog.unnest(${number})"))
        .collect();
    format!("ROWS FROM ({})", arrays.join(", "))
}

/// An array of any type, as a literal.
pub(super) fn array<'a>(items: impl IntoIterator<Item = &'a Value>) -> String {
    literal::escaped(&literal::array(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_literal_but_its_end() {
        for nasty in [
            "'",
            "\\",
            "\\'; DROP TABLE x; --",
            "é\n\t$$",
            "E''",
            "\"},{\"",
        ] {
            let value_of = Value::Text(nasty.to_owned());
            {
                let literal = array([&value_of, &value_of]);
                let inner = literal
                    .strip_prefix("E'")
                    .and_then(|rest| rest.strip_suffix('\''))
                    .unwrap();
                assert!(!inner.contains('\''), "{literal}");
                let escapes = inner.replace("\\U", "");
                assert!(!escapes.contains('\\'), "{literal}");
                assert!(inner.is_ascii(), "{literal}");
            }
        }
    }

    #[test]
    fn arrays_know_null_from_the_word_and_from_nothing() {
        let items = [
            Value::Null,
            Value::Text("NULL".into()),
            Value::Text("".into()),
        ];
        assert_eq!(array(&items), literal::escaped("{NULL,\"NULL\",\"\"}"));
        assert_eq!(plain(["", "61"]), "'{\"\",\"61\"}'");
        assert_eq!(bytes(["", "61"]), r"E'{\\\\x,\\\\x61}'");
        assert_eq!(one_bytea("61"), r"E'\\x61'");
        assert_eq!(numbers([Some(-1), None]), "'{-1,NULL}'");
    }
}
