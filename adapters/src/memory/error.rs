//! The errors of this store: there is no driver, so each is made here.

use exactly_once_core::{
    BoxError, Error, ErrorKind,
    adapter::{chain, refusals},
};

/// The store's name in errors.
pub(super) const BACKEND: &str = "memory";

/// An error of this store.
pub(super) fn error(kind: ErrorKind, operation: &'static str, message: &str) -> Error {
    Error::new(kind, operation, BACKEND).with_message(message)
}

/// Another transaction was first; what the loser did is discarded.
pub(super) fn busy(operation: &'static str) -> Error {
    error(
        ErrorKind::Busy,
        operation,
        "what this transaction read was changed by another one meanwhile: try again",
    )
}

/// A prepared transaction stands in the way.
pub(super) fn reserved(operation: &'static str, holder: &str) -> Error {
    refusals::reserved("the row", holder, operation, BACKEND)
}

/// What an error of the user's work means; there is no driver whose errors could be distinguished.
pub(super) fn classify(operation: &'static str, source: BoxError) -> Error {
    chain::classify(operation, BACKEND, source, |_, _| None)
}
