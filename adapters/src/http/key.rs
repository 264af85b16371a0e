//! The key in the header: a string of the structured fields (RFC 9651), as `"8e03978e-40d5"`.

use exactly_once_core::IdempotencyKey;
use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Item, Parser};

/// The header's name.
pub(super) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// What the header holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Key(IdempotencyKey),
    Missing,
    /// With what is wrong, for the client.
    Malformed(String),
}

/// The key of a request. Lines of the same header are one value, as HTTP has it; two keys are none.
///
/// `bare` takes a value that does not begin with a quote as it stands.
pub(super) fn find(headers: &HeaderMap, bare: bool) -> Found {
    let mut lines = headers.get_all(HEADER).into_iter();
    let Some(first) = lines.next() else {
        return Found::Missing;
    };
    if lines.next().is_some() {
        return Found::Malformed("there is more than one key".to_owned());
    }
    let value = first.as_bytes().trim_ascii();
    let key = if bare && !value.starts_with(b"\"") {
        IdempotencyKey::from_bytes(value)
    } else {
        match Parser::new(value).parse::<Item>() {
            // Parameters are for extensions: what is not known is passed over.
            Ok(item) => match item.bare_item {
                BareItem::String(text) => IdempotencyKey::new(text.as_str()),
                _ => return Found::Malformed(NO_STRING.to_owned()),
            },
            Err(_) => return Found::Malformed(NO_STRING.to_owned()),
        }
    };
    key.map_or_else(|error| Found::Malformed(error.to_string()), Found::Key)
}

const NO_STRING: &str = "the key is no string of the structured fields: put it in double quotes, \
                         as in Idempotency-Key: \"8e03978e-40d5-43dd-bc93-6894a57f9324\"";

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(lines: &[&str], bare: bool) -> Found {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        find(&headers, bare)
    }

    fn key(text: &str) -> Found {
        Found::Key(IdempotencyKey::new(text).unwrap())
    }

    #[test]
    fn a_string_is_read_as_the_structured_fields_say() {
        assert_eq!(of(&[r#""a b""#], false), key("a b"));
        assert_eq!(of(&[r#"  "k"  "#], false), key("k"));
        assert_eq!(
            of(&[r#""quote \" and \\""#], false),
            key(r#"quote " and \"#)
        );
        assert_eq!(of(&[r#""k";v=1;w="x, y""#], false), key("k"), "parameters");
    }

    #[test]
    fn everything_else_is_malformed() {
        for line in [
            "",
            "bare",
            "17",
            "?1",
            ":YWJj:",
            r#"""#,
            r#""open"#,
            r#""k" x"#,
            r#""a", "b""#,
            r#""bad \n escape""#,
            "\"\u{e9}\"",
            r#""""#,
            r#""k";;"#,
            "(\"k\")",
        ] {
            assert!(matches!(of(&[line], false), Found::Malformed(_)), "{line}");
        }
        assert!(matches!(
            of(&[r#""a""#, r#""a""#], false),
            Found::Malformed(_)
        ));
        let long = format!("\"{}\"", "k".repeat(256));
        assert!(matches!(of(&[&long], false), Found::Malformed(_)));
        assert_eq!(of(&[], false), Found::Missing);
    }

    #[test]
    fn bare_keys_only_where_they_were_asked_for() {
        assert_eq!(of(&["8e03978e-40d5"], true), key("8e03978e-40d5"));
        assert_eq!(of(&[r#""k""#], true), key("k"), "quotes are still quotes");
        assert!(matches!(of(&[r#""open"#], true), Found::Malformed(_)));
        assert!(matches!(of(&[""], true), Found::Malformed(_)));
    }
}
