//! Reading a file without leaving anything beside it.
//!
//! SQLite makes a log (`-wal`) and its index (`-shm`) for a reader too, and a reader that can't write does
//! not remove them. Left by an operator, they belong to that user, and the service can't open its file
//! any more. So a file that no program has open is read as it is, and no lock is taken.

use std::path::{Path, PathBuf};

use exactly_once_core::{ErrorKind, Result};

use super::error::error;

/// SQLite keeps them beside the file itself, wherever a symbolic link to it is.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = real.into_os_string();
    name.push(end);
    PathBuf::from(name)
}

/// Whether no program has the file open, nor has left a log that is to be taken in.
///
/// # Errors
/// [Configuration](ErrorKind::Configuration) where a log is left that only a program which writes may take
/// in.
pub(crate) fn alone(path: &Path) -> Result<bool> {
    let is_there = |end| beside(path, end).exists();
    if is_there("-wal") && !is_there("-shm") {
        return Err(error(
            ErrorKind::Configuration,
            "open",
            format!(
                "{0} was not closed, and its log {0}-wal is still to be taken in: to read it would make a \
                 file that belongs to this user. Start the service, or run a command that writes, as the \
                 service's user: `exactly-once migrate`",
                path.display()
            ),
        ));
    }
    Ok(!is_there("-wal") && !is_there("-journal"))
}

/// The name by which SQLite opens a file as it is.
pub(crate) fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri + "?immutable=1"
}

/// Whether a program has opened the file since it was read as it is: what was read may be torn.
pub(crate) fn opened_since(path: &Path) -> bool {
    beside(path, "-wal").exists()
}
