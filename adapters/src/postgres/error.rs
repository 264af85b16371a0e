//! Errors of the drivers, as errors of this crate.

use std::error::Error as StdError;

use exactly_once_core::{BoxError, Error, ErrorKind};

use super::{
    STORE,
    driver::{Driver, DriverError},
    sqlstate::{self, Stage},
};

/// What a driver's error means at this stage.
pub(super) fn convert(error: DriverError, operation: &'static str, stage: Stage) -> Error {
    let kind = sqlstate::kind(&error.cause, stage);
    let mut converted = Error::new(kind, operation, STORE);
    if let Some(hint) = sqlstate::hint(&error.cause) {
        converted = converted.with_message(hint);
    }
    match error.source {
        Some(source) => converted.with_source(source),
        None => converted,
    }
}

/// An error with a text.
pub(super) fn error(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Error {
    Error::new(kind, operation, STORE).with_message(message)
}

pub(super) fn mismatch(operation: &'static str) -> Error {
    error(
        ErrorKind::Mismatch,
        operation,
        "the name was used with another request, or with other deadlines",
    )
}

/// What the server sent is none of our rows: another program writes in our schema, or a bug.
pub(super) fn garbled(operation: &'static str) -> Error {
    error(
        ErrorKind::Configuration,
        operation,
        "a row of the store's own tables is not in its format: does another version or program \
         write to this schema?",
    )
}

/// What an error that the user's statement met means; the driver's own may be wrapped.
pub(super) fn classify<D: Driver>(operation: &'static str, source: BoxError) -> Error {
    let source = match source.downcast::<Error>() {
        Ok(error) => return *error,
        Err(source) => source,
    };
    let mut link: Option<&(dyn StdError + 'static)> = Some(&*source);
    while let Some(error) = link {
        if let Some(cause) = D::cause_of(error) {
            return convert(DriverError::new(cause, source), operation, Stage::Before);
        }
        link = error.source();
    }
    Error::new(ErrorKind::WorkFailed, operation, STORE).with_source(source)
}

/// A key's claim is committed without an outcome.
pub(super) fn ended_by_work(operation: &'static str) -> Error {
    error(
        ErrorKind::Invalid,
        operation,
        "the work of an earlier attempt ended its transaction itself (COMMIT or ROLLBACK): what it \
         committed stays and has no receipt; look at what it did, then forget the key",
    )
}

/// The transaction has lost its connection before, and with it all that it wrote.
pub(super) fn connection_lost() -> Error {
    error(
        ErrorKind::Unavailable,
        "work",
        "this transaction lost its connection in an earlier call, whose error was ignored; nothing \
         of it is stored",
    )
}
