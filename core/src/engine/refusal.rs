//! The final answers: how they are kept in a journal, and how they read back.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::verdict::{Retry, Verdict};
use crate::{
    amount::Version,
    error::{Advice, Error, ErrorKind, Result},
    refusal_text,
};

/// A final answer of a store, or of the work: nothing was applied (unless its kind says
/// otherwise), and every retry gets the same answer.
///
/// Its text is `exactly-once/conflict;current=7: the account is open already`, for engines whose
/// failures have but a message. Engines with typed failures carry [`Details`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Refusal {
    kind: ErrorKind,
    message: String,
}

/// How a refusal is journaled: as it is reported.
#[derive(Serialize, Deserialize)]
struct Wire {
    code: u16,
    message: String,
}

impl From<Refusal> for Wire {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.http_status(),
            message: refusal.to_string(),
        }
    }
}

impl TryFrom<Wire> for Refusal {
    type Error = &'static str;
    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        Self::parse(wire.code, &wire.message).ok_or("the journaled refusal is none")
    }
}

/// A failure of an engine, as its handlers get it: it may carry a [`Refusal`].
///
/// `M` is the marker type of the engine's glue, as in [`Engine`](super::Engine).
pub trait Carries<M> {
    /// The refusal; `None` where the failure is another one: a cancellation, a timeout, the user's own.
    fn refusal(&self) -> Option<Refusal>;
}

impl Refusal {
    /// Reads a refusal back from a failure of the engine: from Restate's `TerminalError`, from what
    /// Temporal's `execute_activity` returns.
    #[must_use]
    pub fn of<M>(failure: &impl Carries<M>) -> Option<Self> {
        failure.refusal()
    }

    /// Reads a refusal back from a status and a message, as an ingress client has them.
    #[must_use]
    pub fn parse(code: u16, message: &str) -> Option<Self> {
        let (kind, message) = refusal_text::parse(code, message)?;
        Some(Self {
            kind,
            message: message.to_owned(),
        })
    }

    /// Reads a refusal back from the details of a failure and its message; `None` where the kind is
    /// one that is retried, or unknown.
    #[must_use]
    pub fn from_details(details: &Details, message: &str) -> Option<Self> {
        let current = details
            .current
            .and_then(|version| Version::new(version).ok());
        let text = |current: Option<Version>| match current {
            Some(version) => format!("exactly-once/{};current={version}: ", details.kind),
            None => format!("exactly-once/{}: ", details.kind),
        };
        let (kind, _) = refusal_text::parse(details.http_status, &text(current))?;
        Some(Self {
            kind,
            message: message.to_owned(),
        })
    }

    /// The refusal that an error is, whatever its kind: for an engine that refuses a step by itself.
    #[must_use]
    pub fn from_error(error: &Error) -> Self {
        Self {
            kind: error.kind(),
            message: words(error),
        }
    }

    /// What was refused and why, as a kind; never a retryable one.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text for people; of a [rejection](ErrorKind::Rejected), the work's own words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status to answer a caller with.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.kind.http_status()
    }

    /// What a typed failure carries beside the message.
    #[must_use]
    pub fn details(&self) -> Details {
        Details::of(self.kind)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        refusal_text::write(f, self.kind, &self.message)
    }
}

/// The message of a failure: of a [rejection](ErrorKind::Rejected), the work's own words.
fn words(error: &Error) -> String {
    error.rejection().map_or_else(
        || error.to_string(),
        |rejection| rejection.message().to_owned(),
    )
}

/// What a failure of an engine says beside its message, as JSON:
/// `{"kind":"conflict","http_status":409,"current":7}`. The same in every language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Details {
    /// The kind in [one stable word](ErrorKind::as_str).
    pub kind: String,
    /// The HTTP status to answer a caller with.
    pub http_status: u16,
    /// Of a [conflict](ErrorKind::Conflict), the account's current version where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<i64>,
}

impl Details {
    /// The details of a failure of this kind.
    #[must_use]
    pub fn of(kind: ErrorKind) -> Self {
        let current = match kind {
            ErrorKind::Conflict { current } => current.map(Version::get),
            _ => None,
        };
        Self {
            kind: kind.as_str().to_owned(),
            http_status: kind.http_status(),
            current,
        }
    }

    /// The type of such a failure: `exactly-once/<kind>`.
    #[must_use]
    pub fn failure_type(&self) -> String {
        format!("exactly-once/{}", self.kind)
    }
}

/// How an effect ended, as a journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settled<T> {
    /// With this value.
    Value(T),
    /// With a refusal, which each retry gets as well.
    Refused(Refusal),
}

impl<T> Settled<T> {
    /// Decides by the [verdict](Verdict) on the error's kind, and nothing else.
    ///
    /// # Errors
    /// What another attempt may not see, so no journal may keep it.
    pub fn decide(answer: Result<T>) -> Result<Self, Retry> {
        let error = match answer {
            Ok(value) => return Ok(Self::Value(value)),
            Err(error) => error,
        };
        match error.kind().advice() {
            Advice::Alarm => {
                tracing::error!(%error, "data may be inconsistent; the effect ends");
            }
            Advice::Fix => {
                tracing::error!(%error, "fix the configuration; the engine tries again");
            }
            _ => {}
        }
        match Verdict::of(error.kind()) {
            Verdict::Never => Ok(Self::Refused(Refusal::from_error(&error))),
            Verdict::Retry | Verdict::RetryAfter(_) => Err(Retry::new(error)),
        }
    }

    /// The value, or the refusal.
    ///
    /// # Errors
    /// The refusal.
    pub fn into_result(self) -> Result<T, Refusal> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rejection::Rejection;

    #[test]
    fn a_refusal_survives_the_journal_and_the_details() {
        let current = Some(Version::new(7).unwrap());
        for (kind, message) in [
            (ErrorKind::Conflict { current }, "a: b"),
            (ErrorKind::Conflict { current: None }, "too late"),
            (ErrorKind::InsufficientFunds, ""),
            (ErrorKind::Rejected { status: 451 }, "exactly-once/lost: x"),
            (ErrorKind::Heuristic, "c"),
        ] {
            let refusal = Refusal {
                kind,
                message: message.to_owned(),
            };
            let journal = serde_json::to_string(&Settled::<()>::Refused(refusal.clone())).unwrap();
            let read: Settled<()> = serde_json::from_str(&journal).unwrap();
            assert_eq!(read.into_result(), Err(refusal.clone()), "{journal}");
            let details = serde_json::to_string(&refusal.details()).unwrap();
            let details: Details = serde_json::from_str(&details).unwrap();
            assert_eq!(Refusal::from_details(&details, message), Some(refusal));
        }
    }

    #[test]
    fn what_is_retried_is_no_refusal() {
        for kind in [
            ErrorKind::Ambiguous,
            ErrorKind::Busy,
            ErrorKind::Unreadable,
            ErrorKind::Configuration,
        ] {
            assert_eq!(Refusal::from_details(&Details::of(kind), "x"), None);
        }
    }

    #[test]
    fn the_message_is_the_rejections_own() {
        let rejection = Rejection::new(402, "card declined");
        let settled = Settled::<()>::decide(Err(Error::rejected(rejection, "t", "t"))).unwrap();
        let refusal = settled.into_result().unwrap_err();
        assert_eq!(refusal.message(), "card declined");
        assert_eq!(refusal.details().failure_type(), "exactly-once/rejected");
        assert_eq!(refusal.http_status(), 402);
    }
}
