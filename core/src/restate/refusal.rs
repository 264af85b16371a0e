//! What becomes a terminal error, and how it is read back.

use restate_sdk::errors::TerminalError;

use super::engine::Restate;
use crate::{
    engine::{Carries, Refusal},
    names::InvalidName,
};

/// # From Restate
/// A [`TerminalError`] has but a code and a message, so the kind is written into the message. It
/// survives calls from service to service, and the ingress.
///
/// ```
/// # use exactly_once_core::{engine::Refusal, ErrorKind};
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
impl Carries<Restate> for TerminalError {
    fn refusal(&self) -> Option<Refusal> {
        Refusal::parse(self.code(), self.message())
    }
}

impl From<Refusal> for TerminalError {
    fn from(refusal: Refusal) -> Self {
        Self::new_with_code(refusal.http_status(), refusal.to_string())
    }
}

/// So that `AccountId::new(name)?` in a handler that returns a [`TerminalError`] answers 400.
///
/// In a handler that returns a `HandlerError`, `?` would make it retryable, and the handler would
/// run for ever: write `.map_err(TerminalError::from)?` there.
impl From<InvalidName> for TerminalError {
    fn from(error: InvalidName) -> Self {
        Refusal::from_error(&error.into()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        amount::Version,
        engine::{Settled, Verdict},
        error::{Error, ErrorKind},
        rejection::Rejection,
    };

    /// What Restate is given, as the journal keeps it.
    fn terminal(error: Error) -> TerminalError {
        let settled = Settled::<()>::decide(Err(error)).expect("it is final");
        let text = serde_json::to_string(&settled).unwrap();
        let read: Settled<()> = serde_json::from_str(&text).unwrap();
        read.into_result().expect_err("it is a refusal").into()
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
            assert_eq!(Verdict::of(kind), Verdict::Never);
            let terminal = terminal(Error::new(kind, "adjust", "memory").with_message("a: b"));
            assert_eq!(terminal.code(), kind.http_status());
            let refusal = Refusal::of(&terminal).expect("it is one");
            assert_eq!(refusal.kind(), kind);
            assert!(refusal.message().ends_with("a: b"), "{refusal}");
        }
    }

    #[test]
    fn a_rejection_keeps_the_works_own_words_and_status() {
        // 503 invites to retry; the work has said no all the same.
        for status in [451, 503] {
            let rejection = Rejection::new(status, "no; current=3: and that's it");
            let terminal = terminal(Error::rejected(rejection, "execute_once", "memory"));
            assert_eq!(terminal.code(), status);
            let refusal = Refusal::of(&terminal).expect("it is one");
            assert_eq!(refusal.kind(), ErrorKind::Rejected { status });
            assert_eq!(refusal.message(), "no; current=3: and that's it");
        }
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
            let error = TerminalError::new_with_code(code, message);
            assert!(Refusal::of(&error).is_none(), "{message}");
        }
    }
}
