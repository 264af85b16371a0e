//! What redb's errors mean: each is a kind, which says what the caller does next.

use exactly_once_core::{BoxError, Error, ErrorKind, Result};
use redb::{CommitError, StorageError, TableError, TransactionError};

/// The store's name in errors.
pub(crate) const BACKEND: &str = "redb";

/// An error of this store's own.
pub(crate) fn error(kind: ErrorKind, operation: &'static str, message: &str) -> Error {
    Error::new(kind, operation, BACKEND).with_message(message)
}

/// Says during which operation redb refused. Nothing is stored by it: that is true of everything
/// but a commit, which has [`committed`].
pub(crate) trait During<T> {
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T, E: Into<redb::Error>> During<T> for Result<T, E> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|source| from_redb(operation, source.into()))
    }
}

fn from_redb(operation: &'static str, source: redb::Error) -> Error {
    Error::new(kind(&source), operation, BACKEND).with_source(source)
}

fn kind(source: &redb::Error) -> ErrorKind {
    use redb::Error as E;
    match source {
        E::WouldBlock => ErrorKind::Busy,
        E::Io(_) | E::Backend(_) | E::PreviousIo | E::DatabaseClosed | E::LockPoisoned(_) => {
            ErrorKind::Unavailable
        }
        E::ValueTooLarge(_) => ErrorKind::TooLarge,
        E::DatabaseAlreadyOpen
        | E::LockProtocolMismatch
        | E::RepairAborted
        | E::UpgradeRequired(_)
        | E::Corrupted(_)
        | E::TableTypeMismatch { .. }
        | E::TypeDefinitionChanged { .. }
        | E::TableIsMultimap(_)
        | E::TableIsNotMultimap(_)
        | E::TableDoesNotExist(_) => ErrorKind::Configuration,
        // The rest are mistakes in the work's own code, such as a table that it left open.
        _ => ErrorKind::WorkFailed,
    }
}

/// A commit that failed: it may have reached the disk, unless redb refused it beforehand.
pub(crate) fn committed(operation: &'static str, result: Result<(), CommitError>) -> Result<()> {
    result.map_err(|source| {
        let kind = match source {
            CommitError::TransactionPoisoned => ErrorKind::WorkFailed,
            _ => ErrorKind::Ambiguous,
        };
        Error::new(kind, operation, BACKEND).with_source(redb::Error::from(source))
    })
}

/// What an error of the user's own statement means, whichever of redb's types it has.
pub(crate) fn classify(operation: &'static str, source: BoxError) -> Error {
    let source = match source.downcast::<Error>() {
        Ok(own) => return *own,
        Err(source) => source,
    };
    let source = match source.downcast::<redb::Error>() {
        Ok(error) => return from_redb(operation, *error),
        Err(source) => source,
    };
    let source = match source.downcast::<StorageError>() {
        Ok(error) => return from_redb(operation, (*error).into()),
        Err(source) => source,
    };
    let source = match source.downcast::<TableError>() {
        Ok(error) => return from_redb(operation, (*error).into()),
        Err(source) => source,
    };
    match source.downcast::<TransactionError>() {
        Ok(error) => from_redb(operation, (*error).into()),
        Err(source) => Error::new(ErrorKind::WorkFailed, operation, BACKEND).with_source(source),
    }
}
