//! Errors of the drivers, as errors of this crate.

use exactly_once_core::{BoxError, Error, ErrorKind, adapter::chain};

use super::{
    STORE,
    driver::{Cause, Driver, DriverError},
    said,
    sqlstate::{self, Stage},
};

/// What a driver's error means at this stage.
pub(super) fn convert(error: DriverError, operation: &'static str, stage: Stage) -> Error {
    let converted = meaning(&error, operation, stage);
    match error.source {
        Some(source) => converted.with_hidden_source(source),
        None => converted,
    }
}

/// Its kind, and what may be shown of it: what the server said, and what we have to add.
fn meaning(error: &DriverError, operation: &'static str, stage: Stage) -> Error {
    let converted = Error::new(sqlstate::kind(&error.cause, stage), operation, STORE);
    let said = match (&error.said, &error.source) {
        (Some(said), _) => Some(said.clone()),
        (None, Some(source)) => Some(said::chain(&**source)),
        (None, None) => None,
    };
    match (said, sqlstate::hint(&error.cause)) {
        (Some(said), Some(hint)) => converted.with_message(format!("{said}: {hint}")),
        (Some(text), None) => converted.with_message(text),
        (None, Some(hint)) => converted.with_message(hint),
        (None, None) => converted,
    }
}

/// An error with a text.
pub(super) fn error(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Error {
    Error::new(kind, operation, STORE).with_message(message)
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
    chain::classify(operation, STORE, source, |error, _| {
        let (cause, said) = match D::cause_of(error) {
            Some(found) => found,
            // Inside of a transparent wrapper there is only why, and the wrapper shows the text.
            None => (Cause::Driver, Some(said::undecoded(&error.to_string())?)),
        };
        let said = said.or_else(|| Some(said::chain(error)));
        let found = DriverError::bare(cause).saying(said);
        Some(meaning(&found, operation, Stage::Before))
    })
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
