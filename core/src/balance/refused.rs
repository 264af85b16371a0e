//! A refused operation, as it is recorded under its key.

use std::fmt;

use crate::{
    error::{Error, ErrorKind, Result},
    refusal_text,
};

/// The refusal of an operation, in the form in which a store keeps it beside the operation's
/// fingerprint.
///
/// It is recorded so that it stays true: a caller that received *insufficient funds* acts on it, and a
/// message of an earlier attempt may still be under way. Without the record it would be applied after
/// all, as soon as money comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(String);

impl Refused {
    /// What is to be recorded; `None` for an error that is no refusal by the [`rules`](crate::adapter::rules),
    /// such as a mismatch, a reservation or a lost connection.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        if !is_refusal(error.kind()) {
            return None;
        }
        let mut text = String::new();
        refusal_text::write(&mut text, error.kind(), &error.text()).ok()?;
        Some(Self(text))
    }

    /// Reads what was stored, for adapters; `None` if this crate did not write it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, _) = refusal_text::parse(0, text)?;
        is_refusal(kind).then(|| Self(text.to_owned()))
    }

    /// What is stored: a line of text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The refusal again, as the first call received it.
    #[must_use]
    pub fn to_error(&self, operation: &'static str, store: &'static str) -> Error {
        match refusal_text::parse(0, &self.0) {
            Some((kind, reason)) => Error::new(kind, operation, store).with_message(reason),
            // Can't be: both ways to make one have read it.
            None => Error::new(ErrorKind::Invalid, operation, store).with_message(self.0.clone()),
        }
    }

    /// As the answer of a replay.
    ///
    /// # Errors
    /// Always: the refusal.
    pub fn replay<T>(&self, operation: &'static str, store: &'static str) -> Result<T> {
        Err(self.to_error(operation, store))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Conflict { .. }
            | ErrorKind::InsufficientFunds
            | ErrorKind::Overflow
            | ErrorKind::UnknownAccount
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Version;

    #[test]
    fn it_is_read_back_as_it_was_told() {
        let current = Version::new(7).ok();
        for kind in [
            ErrorKind::Conflict { current },
            ErrorKind::Conflict { current: None },
            ErrorKind::InsufficientFunds,
            ErrorKind::Overflow,
            ErrorKind::UnknownAccount,
        ] {
            let told = Error::new(kind, "adjust", "t").with_message("a: b; current=3");
            let read = Refused::parse(Refused::of(&told).unwrap().as_str()).unwrap();
            let again = read.to_error("adjust", "t");
            assert_eq!(again.kind(), kind);
            assert_eq!(again.to_string(), told.to_string());
        }
    }

    #[test]
    fn nothing_else_is_recorded_or_read() {
        for kind in [
            ErrorKind::Mismatch,
            ErrorKind::Reserved,
            ErrorKind::Ambiguous,
            ErrorKind::Invalid,
        ] {
            assert_eq!(Refused::of(&Error::new(kind, "adjust", "t")), None);
        }
        for text in ["", "no", "exactly-once/lost: x", "exactly-once/busy: x"] {
            assert_eq!(Refused::parse(text), None, "{text}");
        }
    }
}
