//! A refusal as text: how it is recorded under a key, and how it is reported where there is only room
//! for a message.

use std::fmt;

use crate::{amount::Version, error::ErrorKind};

/// What every such text begins with.
const PREFIX: &str = "exactly-once/";
const CURRENT: &str = ";current=";

/// `exactly-once/conflict;current=7: the account is open already`.
pub(crate) fn write(f: &mut impl fmt::Write, kind: ErrorKind, message: &str) -> fmt::Result {
    write!(f, "{PREFIX}{}", kind.as_str())?;
    if let ErrorKind::Conflict {
        current: Some(version),
    } = kind
    {
        write!(f, "{CURRENT}{version}")?;
    }
    write!(f, ": {message}")
}

/// Reads it back; `status` is that of a [rejection](ErrorKind::Rejected), whose text has none.
pub(crate) fn parse(status: u16, text: &str) -> Option<(ErrorKind, &str)> {
    let (head, message) = text.strip_prefix(PREFIX)?.split_once(": ")?;
    let (word, current) = match head.split_once(CURRENT) {
        Some((word, version)) => (word, Version::new(version.parse().ok()?).ok()),
        None => (head, None),
    };
    Some((kind(word, status, current)?, message))
}

/// The kinds that end an effect, by their words.
fn kind(word: &str, status: u16, current: Option<Version>) -> Option<ErrorKind> {
    [
        ErrorKind::Mismatch,
        ErrorKind::Conflict { current },
        ErrorKind::InsufficientFunds,
        ErrorKind::Overflow,
        ErrorKind::UnknownAccount,
        ErrorKind::Invalid,
        ErrorKind::TooLarge,
        ErrorKind::Refused,
        ErrorKind::Rejected { status },
        ErrorKind::Fenced,
        ErrorKind::NotPrepared,
        ErrorKind::RolledBack,
        ErrorKind::Committed,
        ErrorKind::Forgotten,
        ErrorKind::Unsupported,
        ErrorKind::Heuristic,
        ErrorKind::Lost,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == word)
}
