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
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rejection {
    status: u16,
    message: String,
}

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
        if message.len() > MAX_REJECTION_BYTES {
            let end = (0..=MAX_REJECTION_BYTES)
                .rev()
                .find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or(0));
        }
        Self { status, message }
    }

    /// What is recorded under the key when a *store* refused the effect for good, by a constraint
    /// say; `None` for an error that a retry may not see again, and for what is no answer to this
    /// request (*mismatch*, a missing setting, an alarm).
    ///
    /// Why it is recorded: whoever was told a refusal acts on it, and a message of an earlier attempt
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
        refusal_text::write(&mut text, kind, &refusal_text::reason(error)).ok()?;
        Some(Self::new(kind.http_status(), text))
    }

    /// Kind and reason, if this records the refusal of a store.
    pub(crate) fn refusal(&self) -> Option<(ErrorKind, &str)> {
        refusal_text::parse(self.status, &self.message).filter(|(kind, _)| is_final(*kind))
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The text for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
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
        write!(f, "rejected with status {}: {}", self.status, self.message)
    }
}

impl std::error::Error for Rejection {}

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
        let told = Error::rejected(Rejection::new(422, "exactly-once/lost: x"), "t", "t");
        assert_eq!(told.kind(), ErrorKind::Rejected { status: 422 });
    }

    #[test]
    fn odd_input_is_tamed() {
        assert_eq!(Rejection::new(200, "x").status(), 422);
        let long = Rejection::new(409, "é".repeat(MAX_REJECTION_BYTES));
        assert_eq!(long.message().len(), MAX_REJECTION_BYTES);
    }
}
