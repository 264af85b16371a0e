//! What an error of SQLite means: ambiguous, retry, stop, or fix the configuration.
//!
//! The same code means different things before a commit and at it: before, nothing is stored and
//! the caller may simply try again; at it, a failed disk leaves the outcome open.
//!
//! # Layout
//! - [`said`]: SQLite's code and words, found in a chain of errors.
//! - [`code`]: what the codes mean.

mod code;
mod said;

use std::{error::Error as StdError, fmt, sync::Arc};

use exactly_once_core::{BoxError, Error, ErrorKind, adapter::chain};

pub(super) use said::Said;

/// The backend's name in errors, spans and metrics.
pub(super) const STORE: &str = "sqlite";

/// What the guard triggers raise begins like this; the table's name follows.
pub(super) const RESERVED: &str = "exactly-once: reserved by a prepared transaction";

/// Where in a transaction's life an error came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// While opening the file or a connection.
    Open,
    /// Before the commit: nothing is stored.
    Statement,
    /// At the commit.
    Commit,
}

/// What one failed commit was, reported to every caller whose effect was in it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: ErrorKind,
    message: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// A source that several errors share.
#[derive(Debug)]
struct Shared(Arc<dyn StdError + Send + Sync>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Shared {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

impl Failure {
    pub(super) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the disk is full or failing.
    pub(super) fn is_of_the_disk(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable | ErrorKind::Ambiguous)
    }

    /// A failure that no error of the driver explains.
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: Some(message.into()),
            source: None,
        }
    }

    /// The meaning of a driver's error in this phase.
    pub(super) fn of(phase: Phase, source: rusqlite::Error) -> Self {
        let (kind, text) = meaning(phase, &source);
        Self {
            kind,
            message: Some(text),
            source: Some(Arc::new(source)),
        }
    }

    /// An error for every caller that it concerns.
    pub(super) fn of_error(source: Error) -> Self {
        Self {
            kind: source.kind(),
            message: source
                .message()
                .map(str::to_owned)
                .or_else(|| source.cause().map(ToString::to_string)),
            source: Some(Arc::new(source)),
        }
    }

    /// The error for one of the callers.
    pub(super) fn error(&self, operation: &'static str) -> Error {
        let mut error = Error::new(self.kind, operation, STORE);
        if let Some(message) = &self.message {
            error = error.with_message(message.clone());
        }
        match &self.source {
            Some(source) => error.with_hidden_source(Shared(source.clone())),
            None => error,
        }
    }
}

/// An error of this store.
pub(super) fn error(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Error {
    Error::new(kind, operation, STORE).with_message(message)
}

/// The error of a statement before the commit.
pub(super) fn statement(operation: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| map(operation, Phase::Statement, source)
}

/// The error of a statement in this phase, with its source.
pub(super) fn map(operation: &'static str, phase: Phase, source: rusqlite::Error) -> Error {
    let (kind, text) = meaning(phase, &source);
    error(kind, operation, text).with_hidden_source(source)
}

/// What an error in the user's own work means: see [`exactly_once_core::Transactional::classify`].
pub(super) fn classify(operation: &'static str, source: BoxError) -> Error {
    chain::classify(operation, STORE, source, |link, wrapper| {
        let (kind, text) = match link.downcast_ref::<rusqlite::Error>() {
            Some(error) => meaning(Phase::Statement, error),
            None => match Said::of(link, wrapper) {
                Some(said) => said.meaning(Phase::Statement),
                None => (ErrorKind::WorkFailed, unconverted(&link.to_string())?),
            },
        };
        Some(error(kind, operation, text))
    })
}

fn meaning(phase: Phase, source: &rusqlite::Error) -> (ErrorKind, String) {
    if let Some(said) = Said::of(source, None) {
        return said.meaning(phase);
    }
    let kind = match source {
        rusqlite::Error::MultipleStatement
        | rusqlite::Error::InvalidParameterCount(..)
        | rusqlite::Error::InvalidParameterName(_)
        | rusqlite::Error::NulError(_) => ErrorKind::Invalid,
        _ => ErrorKind::WorkFailed,
    };
    (kind, of_the_driver(source))
}

/// What the driver says by itself, without the value that it could not convert.
fn of_the_driver(source: &rusqlite::Error) -> String {
    match source {
        rusqlite::Error::IntegralValueOutOfRange(column, _) => {
            format!("column {column} holds a number that the type it is read as can't hold")
        }
        rusqlite::Error::FromSqlConversionFailure(column, kind, _) => {
            format!("column {column} ({kind}) does not convert to the type that it is read as")
        }
        rusqlite::Error::ToSqlConversionFailure(_) => {
            "a parameter does not convert to a value of SQLite".to_owned()
        }
        other => other.to_string(),
    }
}

/// What may be shown of a wrapper around the driver's error of a value, whose text quotes the value.
fn unconverted(text: &str) -> Option<String> {
    if text.starts_with("Conversion error from type ") {
        return Some("a column does not convert to the type that it is read as".to_owned());
    }
    let of_a_number = text.starts_with("Integer ") && text.contains(" out of range");
    of_a_number.then(|| "a column holds a number that the type it is read as can't hold".to_owned())
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn failure(code: i32, text: &str) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(text.to_owned()))
    }

    fn kind(phase: Phase, code: i32) -> ErrorKind {
        map("test", phase, failure(code, "")).kind()
    }

    #[test]
    fn the_table_of_codes() {
        for code in [5, 517, 6, 261, 773] {
            assert_eq!(kind(Phase::Statement, code), ErrorKind::Busy, "{code}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_IOERR_FSYNC] {
            assert_eq!(kind(Phase::Commit, code), ErrorKind::Ambiguous);
            assert_eq!(kind(Phase::Statement, code), ErrorKind::Unavailable);
        }
        for code in [1555, 2067, 275, 787] {
            assert_eq!(kind(Phase::Statement, code), ErrorKind::Refused, "{code}");
        }
        for code in [8, 14, 11, 26, 21] {
            assert_eq!(kind(Phase::Open, code), ErrorKind::Configuration, "{code}");
        }
        assert_eq!(
            kind(Phase::Statement, ffi::SQLITE_TOOBIG),
            ErrorKind::TooLarge
        );
    }

    #[test]
    fn only_a_number_out_of_range_is_an_overflow() {
        let number = failure(3091, "cannot store REAL value in INTEGER column a.b");
        assert_eq!(
            map("t", Phase::Statement, number).kind(),
            ErrorKind::Overflow
        );
        let text = failure(3091, "cannot store TEXT value in INTEGER column a.b");
        assert_eq!(map("t", Phase::Statement, text).kind(), ErrorKind::Refused);
    }

    #[test]
    fn a_reservation_is_told_from_a_trigger_of_the_users() {
        let code = ffi::SQLITE_CONSTRAINT_TRIGGER;
        let ours = failure(code, &format!("{RESERVED}, table stock"));
        let said = Said::find(&ours).unwrap();
        assert_eq!(said.reserved_table(), Some("stock"));
        assert_eq!(map("t", Phase::Statement, ours).kind(), ErrorKind::Reserved);
        let theirs = failure(code, "stock must not be negative");
        assert_eq!(
            map("t", Phase::Statement, theirs).kind(),
            ErrorKind::Refused
        );
    }

    #[test]
    fn what_a_value_does_not_fit_is_no_configuration() {
        let of = |code, text| map("t", Phase::Statement, failure(code, text));
        assert_eq!(of(1, "integer overflow").kind(), ErrorKind::Overflow);
        let json = of(1, "bad JSON path: \'4711\'");
        assert_eq!(json.kind(), ErrorKind::Invalid);
        assert!(!json.to_string().contains("4711"), "{json}");
        assert_eq!(of(1, "malformed JSON").kind(), ErrorKind::Invalid);
        assert_eq!(of(21, "not an error").kind(), ErrorKind::Invalid);
        assert_eq!(of(1, "no such table: a").kind(), ErrorKind::Configuration);
    }

    #[derive(Debug)]
    struct Transparent(rusqlite::Error);

    impl fmt::Display for Transparent {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }

    impl StdError for Transparent {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.0.source()
        }
    }

    #[test]
    fn a_transparent_wrapper_changes_nothing() {
        let trigger = format!("{RESERVED}, table stock");
        for (code, text) in [
            (275, "CHECK constraint failed: amount > 0"),
            (1555, "UNIQUE constraint failed: payments.id"),
            (ffi::SQLITE_CONSTRAINT_TRIGGER, trigger.as_str()),
            (5, "database is locked"),
        ] {
            let plain = classify("t", failure(code, text).into());
            let wrapped = classify("t", Transparent(failure(code, text)).into());
            assert_eq!(wrapped.kind(), plain.kind(), "{text}");
            assert_eq!(wrapped.to_string(), plain.to_string(), "{text}");
        }
    }

    #[test]
    fn sources_are_kept() {
        let error = Failure::of(Phase::Commit, failure(10, "disk I/O error")).error("complete");
        assert_eq!(error.operation(), "complete");
        assert!(error.cause().is_some());
        assert!(error.to_string().contains("disk I/O error"), "{error}");
        let foreign = classify("work", "boom".into());
        assert_eq!(foreign.kind(), ErrorKind::WorkFailed);
        assert!(foreign.to_string().contains("boom"));
    }
}
