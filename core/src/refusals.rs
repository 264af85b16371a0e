//! The one text of each refusal, for adapters: the same event has the same words on every backend, at
//! the first answer and at each replay.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// A key comes with another request than the one it was first used with; of effects and of balance
/// operations.
#[must_use]
pub fn mismatch(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Mismatch, operation, store)
        .with_message("this key was used with another request: use a new key for a new request")
}

/// Another attempt holds the key.
#[must_use]
pub fn in_progress(retry_after: Duration, operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::InProgress { retry_after }, operation, store)
        .with_message("another attempt holds this key: try again with the same key")
}

/// A lease's token is not the one that holds the key now.
#[must_use]
pub fn fenced(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Fenced, operation, store).with_message(
        "this lease is not the current one: another attempt took the key over, or it was completed \
         or released; stop, and don't report the effect as done",
    )
}

/// A statement changed another number of rows than it must; statements count from 1.
#[must_use]
pub fn rows(
    statement: usize,
    changed: u64,
    expected: u64,
    operation: &'static str,
    store: &'static str,
) -> Error {
    Error::new(ErrorKind::Refused, operation, store).with_message(format!(
        "statement {statement} changed {changed} rows and must change exactly {expected}"
    ))
}
