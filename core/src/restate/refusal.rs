//! What becomes a terminal error, and how it is read back.

use restate_sdk::errors::{HandlerError, HandlerResult, TerminalError};

pub use crate::engine::Refusal;
/// How an effect ended, as it is journaled.
pub(super) use crate::engine::Settled as Journaled;
use crate::{error::Result, names::InvalidName};

/// # In Restate
/// A [`TerminalError`] has but a code and a message, so the kind is written into the message. It
/// survives calls from service to service, and the ingress.
///
/// ```
/// # use exactly_once_core::{ErrorKind, restate::Refusal};
/// # use restate_sdk::errors::TerminalError;
/// let conflict = TerminalError::new_with_code(409, "exactly-once/conflict;current=7: too late");
/// let refusal = Refusal::of(&conflict).ok_or("it is one")?;
/// assert!(matches!(refusal.kind(), ErrorKind::Conflict { current: Some(_) }));
/// assert_eq!(refusal.message(), "too late");
///
/// // What the SDK says of a cancelled invocation has the same code:
/// let cancelled = TerminalError::new_with_code(409, "cancelled");
/// assert!(Refusal::of(&cancelled).is_none());
/// # Ok::<(), &str>(())
/// ```
impl Refusal {
    /// Reads a refusal back from a terminal error; `None` where it is another one, such as a
    /// cancellation or the user's own.
    #[must_use]
    pub fn of(error: &TerminalError) -> Option<Self> {
        Self::parse(error.code(), error.message())
    }
}

impl From<Refusal> for TerminalError {
    fn from(refusal: Refusal) -> Self {
        Self::new_with_code(refusal.http_status(), refusal.to_string())
    }
}

/// So that `AccountId::new(name)?` in a handler that returns a [`TerminalError`] answers 400.
///
/// In a handler that returns a [`HandlerError`], `?` would make it retryable, and the handler would
/// run for ever: write `.map_err(TerminalError::from)?` there.
impl From<InvalidName> for TerminalError {
    fn from(error: InvalidName) -> Self {
        Refusal::from_error(&error.into()).into()
    }
}

impl<T> Journaled<T> {
    /// What the verdict calls final is journaled; everything else Restate tries again.
    pub(super) fn from_answer(answer: Result<T>) -> HandlerResult<Self> {
        Self::decide(answer).map_err(|retry| HandlerError::from(retry.into_error()))
    }

    pub(super) fn into_answer(self) -> Result<T, TerminalError> {
        self.into_result().map_err(TerminalError::from)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        amount::Version,
        error::{Error, ErrorKind},
        rejection::Rejection,
    };

    fn told(error: Error) -> TerminalError {
        let journaled = Journaled::<()>::from_answer(Err(error)).expect("it must be journaled");
        // As the journal keeps it.
        let text = serde_json::to_string(&journaled).unwrap();
        let read: Journaled<()> = serde_json::from_str(&text).unwrap();
        read.into_answer().expect_err("it is a refusal")
    }

    #[test]
    fn a_refusal_is_read_back_as_it_was() {
        let current = Some(Version::new(7).unwrap());
        for kind in [
            ErrorKind::Mismatch,
            ErrorKind::Conflict { current },
            ErrorKind::Conflict { current: None },
            ErrorKind::InsufficientFunds,
            ErrorKind::Overflow,
            ErrorKind::UnknownAccount,
            ErrorKind::Invalid,
            ErrorKind::TooLarge,
            ErrorKind::Refused,
            ErrorKind::Fenced,
            ErrorKind::NotPrepared,
            ErrorKind::RolledBack,
            ErrorKind::Committed,
            ErrorKind::Forgotten,
            ErrorKind::Unsupported,
            ErrorKind::Heuristic,
            ErrorKind::Lost,
        ] {
            let terminal = told(Error::new(kind, "adjust", "memory").with_message("a: b"));
            assert_eq!(terminal.code(), kind.http_status());
            let refusal = Refusal::of(&terminal).expect("it is one");
            assert_eq!(refusal.kind(), kind);
            assert!(refusal.message().ends_with("a: b"), "{refusal}");
        }
    }

    #[test]
    fn a_rejection_keeps_the_works_own_words_and_status() {
        let rejection = Rejection::new(451, "no; current=3: and that's it");
        let terminal = told(Error::rejected(rejection, "execute_once", "memory"));
        assert_eq!(terminal.code(), 451);
        let refusal = Refusal::of(&terminal).expect("it is one");
        assert_eq!(refusal.kind(), ErrorKind::Rejected { status: 451 });
        assert_eq!(refusal.message(), "no; current=3: and that's it");
    }

    #[test]
    fn what_may_succeed_later_is_never_terminal() {
        let retry_after = Duration::from_secs(1);
        for kind in [
            ErrorKind::Ambiguous,
            ErrorKind::Unavailable,
            ErrorKind::Busy,
            ErrorKind::Reserved,
            ErrorKind::InProgress { retry_after },
            ErrorKind::WorkFailed,
            ErrorKind::Unreadable,
            ErrorKind::Configuration,
        ] {
            let answer = Journaled::<()>::from_answer(Err(Error::new(kind, "adjust", "memory")));
            let error = answer.expect_err("it must be retried");
            let error: &(dyn std::error::Error + 'static) = error.as_ref();
            assert!(error.to_string().starts_with("Retryable"), "{error}");
            assert!(error.to_string().contains(kind.as_str()), "{error}");
        }
    }

    /// The match does not compile when a kind is added, so that nobody forgets to decide (and to add
    /// it below).
    fn is_to_be_retried(kind: ErrorKind) -> bool {
        match kind {
            ErrorKind::Ambiguous
            | ErrorKind::Unavailable
            | ErrorKind::Busy
            | ErrorKind::Reserved
            | ErrorKind::InProgress { .. }
            | ErrorKind::WorkFailed
            | ErrorKind::Unreadable
            | ErrorKind::Configuration => true,
            ErrorKind::Mismatch
            | ErrorKind::Conflict { .. }
            | ErrorKind::InsufficientFunds
            | ErrorKind::Overflow
            | ErrorKind::UnknownAccount
            | ErrorKind::Invalid
            | ErrorKind::TooLarge
            | ErrorKind::Refused
            | ErrorKind::Rejected { .. }
            | ErrorKind::Fenced
            | ErrorKind::NotPrepared
            | ErrorKind::RolledBack
            | ErrorKind::Committed
            | ErrorKind::Forgotten
            | ErrorKind::Unsupported
            | ErrorKind::Heuristic
            | ErrorKind::Lost => false,
        }
    }

    #[test]
    fn a_kind_is_journaled_if_and_only_if_it_is_not_to_be_retried() {
        let retry_after = Duration::ZERO;
        for kind in [
            ErrorKind::Ambiguous,
            ErrorKind::Unavailable,
            ErrorKind::Busy,
            ErrorKind::Reserved,
            ErrorKind::InProgress { retry_after },
            ErrorKind::WorkFailed,
            ErrorKind::Unreadable,
            ErrorKind::Configuration,
            ErrorKind::Mismatch,
            ErrorKind::Conflict { current: None },
            ErrorKind::InsufficientFunds,
            ErrorKind::Overflow,
            ErrorKind::UnknownAccount,
            ErrorKind::Invalid,
            ErrorKind::TooLarge,
            ErrorKind::Refused,
            ErrorKind::Rejected { status: 503 },
            ErrorKind::Fenced,
            ErrorKind::NotPrepared,
            ErrorKind::RolledBack,
            ErrorKind::Committed,
            ErrorKind::Forgotten,
            ErrorKind::Unsupported,
            ErrorKind::Heuristic,
            ErrorKind::Lost,
        ] {
            let answer = Journaled::<()>::from_answer(Err(Error::new(kind, "adjust", "memory")));
            assert_eq!(answer.is_err(), is_to_be_retried(kind), "{kind:?}");
            // What is terminal is read back, and what is not never looks like a refusal.
            let text = format!("exactly-once/{}: why", kind.as_str());
            let read = Refusal::parse(kind.http_status(), &text);
            assert_eq!(read.is_none(), is_to_be_retried(kind), "{kind:?}");
        }
    }

    #[test]
    fn a_rejection_is_final_whatever_its_status_says() {
        // 503 invites to retry; the work has said no all the same.
        let rejection = Rejection::new(503, "closed on Sundays");
        let terminal = told(Error::rejected(rejection, "execute_once", "memory"));
        assert_eq!(terminal.code(), 503);
        assert!(Refusal::of(&terminal).is_some());
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let error = crate::AccountId::new("a\0").map_err(TerminalError::from);
        let refusal = Refusal::of(&error.unwrap_err()).expect("it is one");
        assert_eq!(refusal.kind(), ErrorKind::Invalid);
        assert!(refusal.message().contains("NUL"), "{refusal}");
    }

    #[test]
    fn what_others_say_is_no_refusal() {
        for (code, message) in [
            (409, "cancelled"),
            (409, "conflict: mine"),
            (409, "exactly-once/conflict"),
            (409, "exactly-once/no_such_kind: x"),
            (503, "exactly-once/busy: x"),
            (500, ""),
        ] {
            assert_eq!(Refusal::parse(code, message), None, "{message}");
        }
    }
}
