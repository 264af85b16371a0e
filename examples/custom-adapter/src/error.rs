//! What redb's errors mean: each is a kind, which says what the caller does next.

use exactly_once_core::{BoxError, Error, ErrorKind, Result, adapter::chain};
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
    chain::classify(operation, BACKEND, source, |link, _| {
        let kind = if let Some(error) = link.downcast_ref::<redb::Error>() {
            kind(error)
        } else if let Some(error) = link.downcast_ref::<StorageError>() {
            stored(error)
        } else if let Some(error) = link.downcast_ref::<TableError>() {
            match error {
                TableError::Storage(error) => stored(error),
                TableError::TableAlreadyOpen(..) => ErrorKind::WorkFailed,
                _ => ErrorKind::Configuration,
            }
        } else {
            match link.downcast_ref::<TransactionError>()? {
                TransactionError::Storage(error) => stored(error),
                _ => ErrorKind::WorkFailed,
            }
        };
        Some(error(kind, operation, &link.to_string()))
    })
}

fn stored(error: &StorageError) -> ErrorKind {
    match error {
        StorageError::ValueTooLarge(_) => ErrorKind::TooLarge,
        StorageError::Corrupted(_) => ErrorKind::Configuration,
        _ => ErrorKind::Unavailable,
    }
}
