//! What SQLite's codes mean: the kind, and what to add to its own words.

use exactly_once_core::ErrorKind;
use rusqlite::ffi;

use super::Phase;

pub(super) fn by_code(phase: Phase, code: i32, text: &str) -> (ErrorKind, Option<&'static str>) {
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
