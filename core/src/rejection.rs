//! The work's own "no": a terminal answer that is recorded and replayed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Advice, Error, ErrorKind},
    refusal_text,
};

/// A **terminal** refusal by the user's own work: the answer on this attempt and on every retry.
///
/// Recorded under the key while all of the work's writes are undone. Return it only for what can
/// never succeed by trying again (the card is declined, the order is closed); anything transient is
/// a store error or another error, which is retried and never recorded.
///
/// The message is the work's own, whatever it says: one that reads like an error of this crate,
/// forwarded from another service say, does not become that error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Rejection(Reason);

/// What a rejection says. Also its `source()`, by which it is found inside a transparent wrapper: see
/// [`crate::chain`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reason {
    status: u16,
    message: String,
    /// Whether it is the record of a store's refusal.
    refusal: bool,
}

/// How it is written.
#[derive(Serialize, Deserialize)]
struct Stored {
    status: u16,
    message: String,
}

impl From<Rejection> for Stored {
    fn from(rejection: Rejection) -> Self {
        Self {
            status: rejection.stored_status(),
            message: rejection.0.message,
        }
    }
}

impl From<Stored> for Rejection {
    fn from(stored: Stored) -> Self {
        Self::from_stored(stored.status, stored.message)
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self(reason)
    }
}

/// What is added to the status of a store's refusal where it is stored: no status of a rejection is
/// that high, so no text of the user's makes one.
const REFUSAL: u16 = 1000;

/// The longest message of a rejection, in bytes; a longer one is cut at a character's edge.
pub const MAX_REJECTION_BYTES: usize = 4096;

impl Rejection {
    /// A rejection with an HTTP status, 400 to 599, and a text for people.
    ///
    /// Another status becomes 422; a text over [`MAX_REJECTION_BYTES`] is cut.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        let status = if (400..=599).contains(&status) {
            status
        } else {
            422
        };
        let mut message: String = message.into();
        let end = message.floor_char_boundary(MAX_REJECTION_BYTES);
        message.truncate(end);
        Self(Reason {
            status,
            message,
            refusal: false,
        })
    }

    /// For adapters: a rejection that was stored, from [`Self::stored_status`] and
    /// [`Self::message`].
    #[must_use]
    pub fn from_stored(status: u16, message: impl Into<String>) -> Self {
        let refusal = status >= REFUSAL;
        let mut rejection = Self::new(status % REFUSAL, message);
        rejection.0.refusal = refusal;
        rejection
    }

    /// For adapters: the number to store beside the [message](Self::message), and to give to
    /// [`Self::from_stored`].
    ///
    /// To ensure correctness, store it as it is, and not [`Self::status`]: it also says whether the
    /// store refused the effect or the work did. Otherwise a replay is another error than the first
    /// answer.
    #[must_use]
    pub const fn stored_status(&self) -> u16 {
        match self.0.refusal {
            true => self.0.status + REFUSAL,
            false => self.0.status,
        }
    }

    /// What is recorded under the key when a *store* refused the effect for good, by a constraint
    /// say; `None` for an error that a retry may not see again, and for what is no answer to this
    /// request (*mismatch*, a missing setting, an alarm).
    ///
    /// Why it is recorded: the caller of a refusal acts on it, and a message of an earlier attempt
    /// may still be under way. Without a record it would be applied after all, once the refusal's
    /// reason is gone. [`Error::rejected`] makes an error of the same kind of it again.
    #[must_use]
    pub fn of_refusal(error: &Error) -> Option<Self> {
        if let Some(rejection) = error.rejection() {
            return Some(rejection.clone());
        }
        let kind = error.kind();
        if !is_final(kind) {
            return None;
        }
        let mut text = String::new();
        refusal_text::write(&mut text, kind, &error.text()).ok()?;
        let mut rejection = Self::new(kind.http_status(), text);
        rejection.0.refusal = true;
        Some(rejection)
    }

    /// Kind and reason, if this records the refusal of a store.
    pub(crate) fn refusal(&self) -> Option<(ErrorKind, &str)> {
        let Reason {
            status,
            message,
            refusal,
        } = &self.0;
        let read = refusal_text::parse(*status, message).filter(|_| *refusal);
        read.filter(|(kind, _)| is_final(*kind))
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.0.status
    }

    /// The text for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

/// Whether it is the answer to this request, now and later.
fn is_final(kind: ErrorKind) -> bool {
    matches!(kind.advice(), Advice::Stop { .. })
        && !matches!(
            kind,
            ErrorKind::Mismatch | ErrorKind::Fenced | ErrorKind::Rejected { .. }
        )
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rejected with status {}: {}",
            self.0.status, self.0.message
        )
    }
}

impl std::error::Error for Rejection {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Reason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_refusal_is_the_same_error_again() {
        let current = crate::Version::new(7).ok();
        for kind in [ErrorKind::Conflict { current }, ErrorKind::Refused] {
            let refused = Error::new(kind, "adjust", "memory").with_message("a: b");
            let recorded = Rejection::of_refusal(&refused).unwrap();
            let told = Error::rejected(recorded, "adjust", "memory");
            assert_eq!(told.kind(), kind);
            assert_eq!(told.to_string(), refused.to_string());
        }
        let own = Error::rejected(Rejection::new(451, "no"), "adjust", "memory");
        assert_eq!(Rejection::of_refusal(&own), Some(Rejection::new(451, "no")));
        for kind in [ErrorKind::Busy, ErrorKind::Mismatch, ErrorKind::Lost] {
            assert_eq!(Rejection::of_refusal(&Error::new(kind, "t", "t")), None);
        }
    }

    #[test]
    fn a_rejection_that_speaks_of_an_alarm_is_no_alarm() {
        for text in ["exactly-once/lost: x", "exactly-once/insufficient_funds: x"] {
            let own = Rejection::new(422, text);
            let stored = Rejection::from_stored(own.stored_status(), own.message());
            assert_eq!(stored, own);
            let answer = Error::rejected(stored, "t", "t");
            assert_eq!(answer.kind(), ErrorKind::Rejected { status: 422 });
        }
    }

    #[test]
    fn a_refusal_survives_being_stored() {
        let refused = Error::new(ErrorKind::Overflow, "adjust", "memory").with_message("x");
        let recorded = Rejection::of_refusal(&refused).unwrap();
        let stored = Rejection::from_stored(recorded.stored_status(), recorded.message());
        assert_eq!(stored, recorded);
        let text = serde_json::to_string(&recorded).unwrap();
        assert_eq!(serde_json::from_str::<Rejection>(&text).unwrap(), recorded);
        let long = Error::new(ErrorKind::Refused, "t", "t").with_message("é".repeat(5000));
        let again = Error::rejected(Rejection::of_refusal(&long).unwrap(), "t", "t");
        assert_eq!(again.to_string(), long.to_string());
    }

    #[test]
    fn odd_input_is_tamed() {
        assert_eq!(Rejection::new(200, "x").status(), 422);
        let long = Rejection::new(409, "é".repeat(MAX_REJECTION_BYTES));
        assert_eq!(long.message().len(), MAX_REJECTION_BYTES);
    }
}
