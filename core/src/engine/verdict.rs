//! The table of kinds: what an engine is to do about an error.

use std::time::Duration;

use crate::error::{Advice, Error, ErrorKind};

/// What an engine does about an error of a store: the same on every engine.
///
/// | the store [advises](crate::ErrorKind::advice) | verdict |
/// |---|---|
/// | stop, alarm | never: the same answer on each attempt; the run ends, or handles it |
/// | retry after a time | retry after that time, with the same key |
/// | retry, retry with the same key | retry, with the same key |
/// | fix the configuration | retry: it succeeds once the configuration is fixed |
///
/// To ensure correctness, an engine must not turn *retry* into a final failure while it knows a way
/// to try again: an [ambiguous](ErrorKind::Ambiguous) effect may be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every attempt gets the same answer.
    Never,
    /// Another attempt with the same key may succeed, when the engine likes.
    Retry,
    /// As [`Self::Retry`], and not before this time has passed.
    RetryAfter(Duration),
}

impl Verdict {
    /// The verdict on a kind; there is one for each.
    #[must_use]
    pub const fn of(kind: ErrorKind) -> Self {
        match kind.advice() {
            Advice::Stop { .. } | Advice::Alarm => Self::Never,
            Advice::Retry { after: Some(after) } => Self::RetryAfter(after),
            Advice::Retry { after: None } | Advice::RetrySameKey | Advice::Fix => Self::Retry,
        }
    }

    /// Whether another attempt may get another answer.
    #[must_use]
    pub const fn is_retry(self) -> bool {
        !matches!(self, Self::Never)
    }
}

/// An error that another attempt with the same key may not see: what a
/// [journal](super::Engine::journal) must not keep.
#[derive(Debug)]
pub struct Retry(Error);

impl Retry {
    /// The error; its verdict is never [`Verdict::Never`].
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.0
    }

    /// How long to wait at least.
    #[must_use]
    pub fn after(&self) -> Option<Duration> {
        match Verdict::of(self.0.kind()) {
            Verdict::RetryAfter(after) => Some(after),
            Verdict::Retry | Verdict::Never => None,
        }
    }

    /// The error itself.
    #[must_use]
    pub fn into_error(self) -> Error {
        self.0
    }

    pub(super) fn new(error: Error) -> Self {
        Self(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new kind does not compile before it is decided here, and each row is compared with the
    /// table that engines use.
    fn table(kind: ErrorKind) -> Verdict {
        match kind {
            ErrorKind::InProgress { retry_after } => Verdict::RetryAfter(retry_after),
            ErrorKind::Ambiguous
            | ErrorKind::Unavailable
            | ErrorKind::Busy
            | ErrorKind::Reserved
            | ErrorKind::WorkFailed
            | ErrorKind::Unreadable
            | ErrorKind::Configuration => Verdict::Retry,
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
            | ErrorKind::Lost => Verdict::Never,
        }
    }

    #[test]
    fn each_kind_has_the_verdict_of_the_table() {
        let retry_after = Duration::from_millis(1_500);
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
            // 503 invites a retry; the work has said no all the same.
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
            assert_eq!(Verdict::of(kind), table(kind), "{kind:?}");
            let settled = super::super::Settled::<()>::decide(Err(Error::new(kind, "t", "t")));
            assert_eq!(settled.is_err(), table(kind).is_retry(), "{kind:?}");
            if let Err(retry) = settled {
                let after = matches!(kind, ErrorKind::InProgress { .. }).then_some(retry_after);
                assert_eq!(retry.after(), after, "{kind:?}");
            }
        }
    }
}
