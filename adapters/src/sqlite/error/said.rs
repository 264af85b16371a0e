//! What SQLite says of a failure, found in a chain of errors.

use std::error::Error as StdError;

use exactly_once_core::ErrorKind;
use rusqlite::ffi;

use super::{Phase, RESERVED, Shared, code::by_code};

/// An answer of SQLite: its code, and what it says.
pub(in crate::sqlite) struct Said {
    code: i32,
    text: String,
}

impl Said {
    /// The first one in a chain of errors.
    pub(in crate::sqlite) fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut wrapper = None;
        let mut next = Some(error);
        while let Some(link) = next {
            if let Some(said) = Self::of(link, wrapper) {
                return Some(said);
            }
            wrapper = Some(link);
            next = link.source();
        }
        None
    }

    /// The answer that this error is; inside a transparent wrapper there is only the code, and the
    /// wrapper shows the text.
    pub(super) fn of(
        link: &(dyn StdError + 'static),
        wrapper: Option<&(dyn StdError + 'static)>,
    ) -> Option<Self> {
        if let Some(Shared(source)) = link.downcast_ref::<Shared>() {
            return Self::of(&**source, wrapper);
        }
        let (error, text) = match link.downcast_ref::<rusqlite::Error>() {
            Some(rusqlite::Error::SqliteFailure(error, text)) => (error, text.clone()),
            // Not its `Display`: that holds the whole statement.
            Some(rusqlite::Error::SqlInputError { error, msg, .. }) => (error, Some(msg.clone())),
            Some(_) => return None,
            None => (
                link.downcast_ref::<ffi::Error>()?,
                wrapper.map(|wrapper| without_statement(&wrapper.to_string()).to_owned()),
            ),
        };
        Some(Self {
            code: error.extended_code,
            text: text.unwrap_or_else(|| ffi::code_to_str(error.extended_code).to_owned()),
        })
    }

    /// SQLite's own words.
    pub(in crate::sqlite) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the guard's authorizer refused the statement.
    pub(in crate::sqlite) fn is_denied(&self) -> bool {
        self.code & 0xff == ffi::SQLITE_AUTH
    }

    /// The table, if this is the guard triggers' "reserved".
    pub(in crate::sqlite) fn reserved_table(&self) -> Option<&str> {
        if self.code != ffi::SQLITE_CONSTRAINT_TRIGGER {
            return None;
        }
        let rest = self.text.strip_prefix(RESERVED)?;
        Some(rest.trim_start_matches(", table "))
    }

    /// The kind, and what may be shown: SQLite's own words, and what we have to add.
    pub(super) fn meaning(&self, phase: Phase) -> (ErrorKind, String) {
        if self.reserved_table().is_some() {
            let text = "a prepared transaction holds the row: try again when it is decided";
            return (ErrorKind::Reserved, text.to_owned());
        }
        let (kind, message) = by_code(phase, self.code, &self.text);
        // What a value does not fit is quoted behind such a text.
        let said = match kind {
            ErrorKind::Invalid => {
                let said = self.text.split(['\'', '"', '[']).next();
                said.unwrap_or_default().trim_end_matches([':', ' '])
            }
            _ => &self.text,
        };
        match message {
            Some(message) => (kind, format!("{said}: {message}")),
            None => (kind, said.to_owned()),
        }
    }
}

/// The driver shows a statement that could not be compiled as a whole, with each value that stands
/// in it: `near "x": syntax error in SELECT … at offset 7`.
fn without_statement(text: &str) -> &str {
    let is_offset = |offset: &str| offset.bytes().all(|digit| digit.is_ascii_digit());
    match text.rsplit_once(" at offset ") {
        Some((said, offset)) if is_offset(offset) => {
            said.split_once(" in ").map_or(said, |(said, _)| said)
        }
        _ => text,
    }
}
