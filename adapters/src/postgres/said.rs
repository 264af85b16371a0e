//! What may be shown of a server's answer: its primary message, the SQLSTATE, and the names of the
//! constraint and the table. Never `DETAIL` or `HINT`, which quote rows.

use std::{error::Error as StdError, fmt::Write as _};

use super::sqlstate;

/// The fields of a server's error that are shown.
pub(super) struct Answer<'a> {
    pub(super) message: &'a str,
    pub(super) code: &'a str,
    /// Whether it names a place in the text of a statement.
    pub(super) placed: bool,
    pub(super) constraint: Option<&'a str>,
    pub(super) table: Option<&'a str>,
}

impl Answer<'_> {
    /// `new row for relation "a" violates check constraint "b" (SQLSTATE 23514)`; names that the
    /// message does not hold are added.
    pub(super) fn text(&self) -> String {
        let mut text = match sqlstate::counted(self.code, self.placed).get(..2) {
            // Such texts quote the value that does not fit, or hold its numbers.
            Some("22" | "54") => without_values(self.message),
            _ => self.message.to_owned(),
        };
        let mut more = format!("SQLSTATE {}", self.code);
        for (what, name) in [("constraint", self.constraint), ("table", self.table)] {
            if let Some(name) = name.filter(|name| !text.contains(&format!("\"{name}\""))) {
                let _ = write!(more, ", {what} \"{name}\"");
            }
        }
        let _ = write!(text, " ({more})");
        text
    }
}

/// Without what is quoted, and without each word that has a number. What stands in parentheses stays:
/// it is what the type or the server allows.
fn without_values(message: &str) -> String {
    let text = without_quoted(message);
    let words = text.split(' ').map(|word| {
        let before = word.split('(').next().unwrap_or_default();
        if before.bytes().any(|byte| byte.is_ascii_digit()) {
            "…"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The quotation marks of the languages that a server may speak.
const QUOTES: [char; 9] = ['"', '«', '»', '„', '“', '”', '‹', '›', '「'];

fn without_quoted(message: &str) -> String {
    // A quoted value may hold quotes itself: all between the first and the last one.
    let (Some(first), Some(last)) = (message.find(QUOTES), message.rfind(QUOTES)) else {
        return message.to_owned();
    };
    let opening = message[first..].chars().next().map_or(0, char::len_utf8);
    let tail = if last > first { &message[last..] } else { "" };
    format!("{}…{tail}", &message[..first + opening])
}

/// What may be shown of a driver's text, if it is of a value that could not be read or written: why may
/// quote the value.
pub(super) fn undecoded(text: &str) -> Option<String> {
    const OF_A_VALUE: [&str; 4] = [
        "error deserializing column",
        "error serializing parameter",
        "error occurred while decoding",
        "error occurred while encoding",
    ];
    const OF_TYPES: [&str; 2] = ["mismatched types; Rust type", "unexpected null"];
    OF_A_VALUE.iter().find(|begin| text.starts_with(**begin))?;
    let shown = match text.split_once(": ") {
        Some((head, why)) if !OF_TYPES.iter().any(|begin| why.starts_with(begin)) => head,
        _ => text,
    };
    Some(shown.to_owned())
}

/// What an error says that is no answer of the server, with its sources: some drivers say what was
/// wrong only there.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(link) = next {
        let more = link.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = link.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(code: &str, message: &str, constraint: Option<&str>, table: Option<&str>) -> String {
        Answer {
            message,
            code,
            placed: false,
            constraint,
            table,
        }
        .text()
    }

    #[test]
    fn names_are_told_once_and_values_never() {
        assert_eq!(
            text(
                "23505",
                "duplicate key value violates unique constraint \"payments_pkey\"",
                Some("payments_pkey"),
                Some("payments"),
            ),
            "duplicate key value violates unique constraint \"payments_pkey\" \
             (SQLSTATE 23505, table \"payments\")"
        );
        assert_eq!(
            text(
                "22P02",
                "invalid input syntax for type integer: \"47\"11\"",
                None,
                None
            ),
            "invalid input syntax for type integer: \"…\" (SQLSTATE 22P02)"
        );
        assert_eq!(
            text(
                "22003",
                "value \"4711\" is out of range for type smallint",
                None,
                None
            ),
            "value \"…\" is out of range for type smallint (SQLSTATE 22003)"
        );
        for (code, message, shown) in [
            (
                "22008",
                "date out of range: 4711-13-01",
                "date out of range: …",
            ),
            (
                "22001",
                "value too long for type character varying(3)",
                "value too long for type character varying(3)",
            ),
            (
                "22003",
                "setval: value 4711 is out of bounds for sequence \"s\" (1..100)",
                "setval: value … is out of bounds for sequence \"…\" (1..100)",
            ),
            (
                "54000",
                "requested character too large for encoding: 4711",
                "requested character too large for encoding: …",
            ),
            (
                "22P02",
                "ungültige Eingabesyntax für Typ integer: »47»11«",
                "ungültige Eingabesyntax für Typ integer: »…«",
            ),
            (
                "42601",
                "syntax error in tsquery: \"secret word\"",
                "syntax error in tsquery: \"…\"",
            ),
        ] {
            let shown = format!("{shown} (SQLSTATE {code})");
            assert_eq!(text(code, message, None, None), shown);
        }
    }
}
