//! What an error of SQLite means: ambiguous, retry, stop, or fix the configuration.
//!
//! The same code means different things before a commit and at it: before, nothing is stored and
//! the caller may simply try again; at it, a failed disk leaves the outcome open.

use std::{error::Error as StdError, fmt, sync::Arc};

use exactly_once_core::{BoxError, Error, ErrorKind, adapter::chain};
use rusqlite::ffi;

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

/// An answer of SQLite: its code, and what it says.
pub(super) struct Said {
    code: i32,
    text: String,
}

impl Said {
    /// The first one in a chain of errors.
    pub(super) fn find(error: &(dyn StdError + 'static)) -> Option<Self> {
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
    fn of(
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
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the guard's authorizer refused the statement.
    pub(super) fn is_denied(&self) -> bool {
        self.code & 0xff == ffi::SQLITE_AUTH
    }

    /// The table, if this is the guard triggers' "reserved".
    pub(super) fn reserved_table(&self) -> Option<&str> {
        if self.code != ffi::SQLITE_CONSTRAINT_TRIGGER {
            return None;
        }
        let rest = self.text.strip_prefix(RESERVED)?;
        Some(rest.trim_start_matches(", table "))
    }

    /// The kind, and what may be shown: SQLite's own words, and what we have to add.
    fn meaning(&self, phase: Phase) -> (ErrorKind, String) {
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

fn by_code(phase: Phase, code: i32, text: &str) -> (ErrorKind, Option<&'static str>) {
    match code & 0xff {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => (
            ErrorKind::Busy,
            Some("another connection holds the database's write lock"),
        ),
        ffi::SQLITE_INTERRUPT | ffi::SQLITE_SCHEMA => (ErrorKind::Busy, None),
        ffi::SQLITE_NOMEM => (ErrorKind::Unavailable, None),
        ffi::SQLITE_FULL | ffi::SQLITE_IOERR => match phase {
            Phase::Commit => (
                ErrorKind::Ambiguous,
                Some("the disk failed at the commit: ask again with the same key"),
            ),
            Phase::Statement | Phase::Open => (
                ErrorKind::Unavailable,
                Some("the disk is full or failing: nothing was stored"),
            ),
        },
        ffi::SQLITE_TOOBIG => (
            ErrorKind::TooLarge,
            Some("a value or statement is over SQLite's length limit"),
        ),
        ffi::SQLITE_CONSTRAINT => constraint(code, text),
        ffi::SQLITE_AUTH => (ErrorKind::Refused, Some(REFUSED_STATEMENT)),
        ffi::SQLITE_MISMATCH => (ErrorKind::Refused, None),
        ffi::SQLITE_ERROR => by_text(text),
        ffi::SQLITE_RANGE => (ErrorKind::Invalid, None),
        // Of a statement's text: one that is empty is no statement to SQLite.
        ffi::SQLITE_MISUSE if phase == Phase::Statement => (
            ErrorKind::Invalid,
            Some("the statement is empty, or was not used as one"),
        ),
        other => (ErrorKind::Configuration, Some(advice(other))),
    }
}

/// The code for everything else says nothing: a function that a value does not fit, and that the
/// same request will never get through, has it in common with a table that is not there yet.
fn by_text(text: &str) -> (ErrorKind, Option<&'static str>) {
    if text.contains("integer overflow") {
        return (ErrorKind::Overflow, Some(OUT_OF_RANGE));
    }
    let of_a_value = [
        "malformed JSON",
        "JSON path error",
        "bad JSON path",
        "JSON cannot hold BLOB values",
        "json_object() labels must be TEXT",
        "invalid Unicode escape",
        "LIKE or GLOB pattern too complex",
        "ESCAPE expression must be a single character",
        "argument of ntile must be",
        "second argument to nth_value must be",
        "frame starting offset must be",
        "frame ending offset must be",
        // Of a query of the text search.
        "fts5: ",
        "unterminated string",
        "malformed MATCH expression",
    ];
    if of_a_value.iter().any(|begin| text.starts_with(begin)) {
        return (
            ErrorKind::Invalid,
            Some("a value does not fit the function that it was given to"),
        );
    }
    (ErrorKind::Configuration, Some(advice(ffi::SQLITE_ERROR)))
}

const OUT_OF_RANGE: &str = "the number leaves the range of a 64-bit integer";

const REFUSED_STATEMENT: &str = "the store owns the transaction, the connection and its own \
    tables: COMMIT, ROLLBACK, ATTACH, VACUUM, temporary objects, most PRAGMAs and writes to \
    exactly_once_* tables are refused in work";

fn constraint(code: i32, text: &str) -> (ErrorKind, Option<&'static str>) {
    // A sum past the range of i64 becomes a REAL, which a STRICT table refuses.
    if code == ffi::SQLITE_CONSTRAINT_DATATYPE && text.contains("REAL value in INT") {
        return (ErrorKind::Overflow, Some(OUT_OF_RANGE));
    }
    if code == ffi::SQLITE_CONSTRAINT_COMMITHOOK {
        return (ErrorKind::Refused, Some(REFUSED_STATEMENT));
    }
    (ErrorKind::Refused, None)
}

/// What to fix, for the codes that no retry can help with.
fn advice(code: i32) -> &'static str {
    match code {
        ffi::SQLITE_READONLY => {
            "the database can't be written: give this user write permission on the file AND its \
             folder (WAL needs both), and mount it read-write"
        }
        ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM => {
            "the file can't be opened: check that its folder exists and that this user may write it"
        }
        ffi::SQLITE_CORRUPT => {
            "the database file is damaged: stop writing, restore a backup, or save what is left \
             with `sqlite3 FILE .recover`"
        }
        ffi::SQLITE_NOTADB => "the file is no SQLite database: name another path",
        ffi::SQLITE_MISUSE => "the library was misused: please report this",
        _ => "the statement does not fit the database's schema",
    }
}

#[cfg(test)]
mod tests {
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
