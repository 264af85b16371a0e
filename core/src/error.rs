//! The one error of this crate. Its [kind](ErrorKind) answers: *what do I do next?*

use std::{error::Error as StdError, fmt, time::Duration};

use crate::{amount::Version, rejection::Rejection};

/// A boxed source of an error.
pub type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// The result of an operation of a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and (by its [`kind`](Error::kind)) what to do next.
///
/// Its text is the same at the first answer and at each replay, and `Debug` shows no more than it:
/// no connection URL, no password, no value of a row, and of a server's answer the primary message
/// with the names of the constraint and the table, never its `DETAIL` or `HINT`. What the driver
/// said in full is kept as [`Error::cause`].
pub struct Error(Box<Body>);

/// What an error says. Also its `source()`: a transparent wrapper around an [`Error`] hides the
/// error and shows its source, by which [the walk along the chain](crate::chain) finds it.
pub(crate) struct Body {
    kind: ErrorKind,
    operation: &'static str,
    store: &'static str,
    message: Option<String>,
    source: Option<BoxError>,
    /// Whether the source's text belongs to the error's, or may hold values of rows.
    hidden: bool,
}

/// The longest text behind kind, operation and store, in bytes: what is recorded of a refusal has
/// to be the whole of it.
const MAX_TEXT_BYTES: usize = 3072;

/// Kinds are chosen by what the caller does next; see [`ErrorKind::advice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The reply was lost: the effect may or may not have been applied. Retry with the **same key**
    /// and the same request, nothing else.
    Ambiguous,
    /// The store can't be reached or is starting. Surely nothing was executed. Retry.
    Unavailable,
    /// The store is busy: lock timeout, serialization failure, pool exhausted, no free slot. Surely
    /// nothing was executed. Retry.
    Busy,
    /// A prepared transaction holds a row or key that is needed. Nothing was executed. Retry.
    Reserved,
    /// Another attempt holds the key. Nothing was executed. Retry after the time given.
    InProgress {
        /// When a retry may find the key free.
        retry_after: Duration,
    },
    /// The work failed with an error that is none of the store's and no rejection; it was rolled
    /// back. Retry, as the engine does with any unknown error.
    WorkFailed,
    /// The effect **was applied**, but this program can't read the receipt that an attempt stored: the
    /// receipt's type has changed. Deploy a version that reads it; then the same call gives the
    /// value.
    Unreadable,
    /// The key was used with another request. Stop.
    Mismatch,
    /// A foreign change won. Stop; read the current state and decide again **under a new key**.
    Conflict {
        /// The account's current version, where there is one.
        current: Option<Version>,
    },
    /// The change would take the balance below its floor. Nothing was changed. Stop.
    InsufficientFunds,
    /// The change would leave the range of `i64`. Nothing was changed. Stop.
    Overflow,
    /// There is no such account, or it is closed. Stop.
    UnknownAccount,
    /// The request is malformed. Stop; the message says what the limit is.
    Invalid,
    /// A name or receipt is too large. Stop; the message says what the limit is.
    TooLarge,
    /// The user's own statement was refused for good, by a constraint say. Stop.
    Refused,
    /// The work rejected the request, and the rejection is recorded: it is the answer on every
    /// retry. Stop; [`Error::rejection`] has the status and the text.
    Rejected {
        /// The HTTP status that the work chose.
        status: u16,
    },
    /// The lease has expired and another attempt holds the key, or it was completed. Stop: what this
    /// attempt did outside must not be reported as done.
    Fenced,
    /// No such transaction is prepared. Stop.
    NotPrepared,
    /// The transaction was rolled back (or its deadline has passed, so that it will be). Stop.
    RolledBack,
    /// The transaction was committed, so it can't be rolled back. Stop.
    Committed,
    /// The record was removed at the end of its time; what happened is not known any more. Stop.
    Forgotten,
    /// Participants disagree: a heuristic outcome. Stop, and raise an alarm.
    Heuristic,
    /// Acknowledged data is gone: a failover or a restore lost it. Stop, and raise an alarm.
    Lost,
    /// A setting must be fixed; the message names it and the command. Retrying can't help before.
    Configuration,
    /// This backend can't do it, by its nature. Use another backend or another method.
    Unsupported,
}

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Retry with the same key and request; anything else could double the effect.
    RetrySameKey,
    /// Nothing was executed: retry as it is, after the time given if there is one.
    Retry {
        /// How long to wait at least.
        after: Option<Duration>,
    },
    /// Retrying gives the same answer: stop, and answer with this HTTP status.
    Stop {
        /// The status to answer with.
        http_status: u16,
    },
    /// Stop, answer 500, and raise an alarm: data may be inconsistent.
    Alarm,
    /// Stop until the configuration or the program is fixed; then the same call goes on.
    Fix,
}

impl ErrorKind {
    /// What to do next.
    #[must_use]
    pub const fn advice(self) -> Advice {
        match self {
            Self::Ambiguous => Advice::RetrySameKey,
            Self::Unavailable | Self::Busy | Self::Reserved | Self::WorkFailed => {
                Advice::Retry { after: None }
            }
            Self::InProgress { retry_after } => Advice::Retry {
                after: Some(retry_after),
            },
            Self::Mismatch
            | Self::Conflict { .. }
            | Self::Refused
            | Self::Fenced
            | Self::NotPrepared
            | Self::RolledBack
            | Self::Committed => Advice::Stop { http_status: 409 },
            Self::InsufficientFunds => Advice::Stop { http_status: 402 },
            Self::Overflow => Advice::Stop { http_status: 422 },
            Self::UnknownAccount => Advice::Stop { http_status: 404 },
            Self::Invalid => Advice::Stop { http_status: 400 },
            Self::TooLarge => Advice::Stop { http_status: 413 },
            Self::Rejected { status } => Advice::Stop {
                http_status: status,
            },
            Self::Forgotten => Advice::Stop { http_status: 410 },
            Self::Unsupported => Advice::Stop { http_status: 501 },
            Self::Heuristic | Self::Lost => Advice::Alarm,
            Self::Unreadable | Self::Configuration => Advice::Fix,
        }
    }

    /// The kind in one stable word, for logs, metrics and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
            Self::Reserved => "reserved",
            Self::InProgress { .. } => "in_progress",
            Self::WorkFailed => "work_failed",
            Self::Unreadable => "unreadable",
            Self::Mismatch => "mismatch",
            Self::Conflict { .. } => "conflict",
            Self::InsufficientFunds => "insufficient_funds",
            Self::Overflow => "overflow",
            Self::UnknownAccount => "unknown_account",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Rejected { .. } => "rejected",
            Self::Fenced => "fenced",
            Self::NotPrepared => "not_prepared",
            Self::RolledBack => "rolled_back",
            Self::Committed => "committed",
            Self::Forgotten => "forgotten",
            Self::Heuristic => "heuristic",
            Self::Lost => "lost",
            Self::Configuration => "configuration",
            Self::Unsupported => "unsupported",
        }
    }

    /// The HTTP status to answer with: the one of [`Advice::Stop`], 503 where a retry is due, 500
    /// for an alarm or a configuration error.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self.advice() {
            Advice::Stop { http_status } => http_status,
            Advice::RetrySameKey | Advice::Retry { .. } => 503,
            Advice::Alarm | Advice::Fix => 500,
        }
    }

    /// Whether a retry with the same key and request may succeed.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self.advice(), Advice::RetrySameKey | Advice::Retry { .. })
    }
}

impl Error {
    /// An error of the kind, in an operation of a store.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str, store: &'static str) -> Self {
        Self(Box::new(Body {
            kind,
            operation,
            store,
            message: None,
            source: None,
            hidden: false,
        }))
    }

    /// Adds what exactly was wrong, the limit, and what to do. Must hold no secret.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.0.message = Some(message.into());
        self
    }

    /// Keeps the cause. Its text becomes part of the error's: it must hold no secret and no value of
    /// a row.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self.0.hidden = false;
        self
    }

    /// Keeps the cause for [`Error::cause`] and shows nothing of it: the way to keep what a server
    /// answered. What may be shown of it belongs into the [message](Self::with_message).
    #[must_use]
    pub fn with_hidden_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self.0.hidden = true;
        self
    }

    /// As an answer of another operation, or of another store: a replay names the call that was made,
    /// not the step in it that was refused, and so does the first answer.
    #[must_use]
    pub fn reported_by(mut self, operation: &'static str, store: &'static str) -> Self {
        self.0.operation = operation;
        self.0.store = store;
        self
    }

    /// The recorded rejection of the work, as the error that every attempt gets; of a recorded
    /// [refusal](Rejection::of_refusal), the refusal itself.
    #[must_use]
    pub fn rejected(rejection: Rejection, operation: &'static str, store: &'static str) -> Self {
        if let Some((kind, reason)) = rejection.refusal() {
            let error = Self::new(kind, operation, store);
            return match reason {
                "" => error,
                reason => error.with_message(reason),
            };
        }
        Self::new(
            ErrorKind::Rejected {
                status: rejection.status(),
            },
            operation,
            store,
        )
        .with_source(rejection)
    }

    /// What to do next, as a kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed, as `"complete"`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The backend, as `"sqlite"`.
    #[must_use]
    pub fn store(&self) -> &'static str {
        self.0.store
    }

    /// What exactly was wrong, where there is more to say than the kind says.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// The work's own rejection, if this is [`ErrorKind::Rejected`].
    #[must_use]
    pub fn rejection(&self) -> Option<&Rejection> {
        self.0
            .source
            .as_ref()
            .and_then(|source| source.downcast_ref())
    }

    /// What the driver or the work said, in full, for a debugger. It may hold values of rows, such as
    /// a server's `DETAIL`: to ensure that they stay where they are, answer with the error's own text
    /// and log that.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }

    /// Whether a retry with the same key and request may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    /// All that is shown behind kind, operation and store.
    pub(crate) fn text(&self) -> String {
        self.0.text()
    }

    pub(crate) fn body(&self) -> &Body {
        &self.0
    }
}

impl Body {
    fn shown(&self) -> Option<&BoxError> {
        self.source.as_ref().filter(|_| !self.hidden)
    }

    fn text(&self) -> String {
        let mut text = self.message.clone().unwrap_or_default();
        if let Some(source) = self.shown() {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&source.to_string());
        }
        let end = text.floor_char_boundary(MAX_TEXT_BYTES);
        text.truncate(end);
        text
    }

    /// The same error, as far as it is shown.
    pub(crate) fn again(&self) -> Error {
        let rejection = self
            .source
            .as_ref()
            .and_then(|source| source.downcast_ref::<Rejection>());
        if let Some(rejection) = rejection {
            return Error::rejected(rejection.clone(), self.operation, self.store);
        }
        let error = Error::new(self.kind, self.operation, self.store);
        match self.text() {
            text if text.is_empty() => error,
            text => error.with_message(text),
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl StdError for Body {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.shown()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Body {
            kind,
            operation,
            store,
            ..
        } = &*self.0;
        write!(f, "{} in {operation} ({store})", kind.as_str())?;
        if let ErrorKind::Conflict {
            current: Some(version),
        } = kind
        {
            write!(f, ": the current version is {version}")?;
        }
        match self.text() {
            text if text.is_empty() => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

/// What `Display` says, and the kind in full.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("store", &self.0.store)
            .field("text", &self.text())
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

impl From<crate::names::InvalidName> for Error {
    fn from(error: crate::names::InvalidName) -> Self {
        let kind = match error {
            crate::names::InvalidName::TooLong { .. } => ErrorKind::TooLarge,
            _ => ErrorKind::Invalid,
        };
        Self::new(kind, "name", "core").with_source(error)
    }
}

impl From<crate::time::InvalidDuration> for Error {
    fn from(error: crate::time::InvalidDuration) -> Self {
        Self::new(ErrorKind::Invalid, "duration", "core").with_source(error)
    }
}

impl From<crate::amount::InvalidVersion> for Error {
    fn from(error: crate::amount::InvalidVersion) -> Self {
        Self::new(ErrorKind::Invalid, "version", "core").with_source(error)
    }
}
