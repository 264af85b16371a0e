//! What may be shown of a server's answer: its primary message, the SQLSTATE, and the names of the
//! constraint and the table. Never `DETAIL` or `HINT`, which quote rows.

use std::{error::Error as StdError, fmt::Write as _};

/// The fields of a server's error that are shown.
pub(super) struct Answer<'a> {
    pub(super) message: &'a str,
    pub(super) code: &'a str,
    pub(super) constraint: Option<&'a str>,
    pub(super) table: Option<&'a str>,
}

impl Answer<'_> {
    /// `new row for relation "a" violates check constraint "b" (SQLSTATE 23514)`; names that the
    /// message does not hold are added.
    pub(super) fn text(&self) -> String {
        let mut text = match self.code.get(..2) {
            // A value that does not fit is quoted, and so are the texts that hold it.
            Some("22") => without_quoted(self.message),
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

fn without_quoted(message: &str) -> String {
    let Some((head, rest)) = message.split_once('"') else {
        return message.to_owned();
    };
    // A quoted value may hold quotes itself: all between the first and the last one.
    let tail = rest.rsplit_once('"').map_or("", |(_, tail)| tail);
    format!("{head}\"…\"{tail}")
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
    }
}
