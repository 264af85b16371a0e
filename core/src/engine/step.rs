//! The name of a step, and what may be said about its key.

use std::time::Duration;

use crate::{names::IdempotencyKey, time::Retention};

/// How long a two-phase commit may take to prepare and decide, by default.
const DEADLINE: Duration = Duration::from_secs(60);

/// A step of a handler: its name in the journal, and optionally the key of its effect.
///
/// Wherever a step is asked for, a plain string will do.
///
/// ```
/// # use exactly_once_core::{IdempotencyKey, engine::Step};
/// let plain: Step = "charge".into();
/// let keyed = Step::named("charge").with_key(IdempotencyKey::new("order-17")?);
/// # Ok::<(), exactly_once_core::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    name: String,
    key: Option<IdempotencyKey>,
    retention: Retention,
    deadline: Duration,
}

impl Step {
    /// A step whose key is made from the invocation, and journaled.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key: None,
            retention: Retention::default(),
            deadline: DEADLINE,
        }
    }

    /// With a key of the caller's own, from the request say: then *other invocations* with the same
    /// key are the same effect too.
    ///
    /// To ensure correctness it must be the same on every retry: from the handler's input or from
    /// an earlier step's result, never from a clock or a random number of the moment.
    pub fn with_key(mut self, key: IdempotencyKey) -> Self {
        self.key = Some(key);
        self
    }

    /// With another deduplication window, for steps that store a receipt, and for two-phase commits;
    /// balance operations keep their keys as long as the history.
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// With another deadline for a two-phase commit; 60 seconds if not said. Until then a crashed
    /// attempt may be gone on with, and its rows stay locked; after it, what is not decided is
    /// rolled back.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The name in the journal.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key, if it is [given](Self::with_key) or fixed by the engine's glue.
    #[must_use]
    pub fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }

    /// The deduplication window.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// The time that a two-phase commit has to prepare and decide.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl From<&str> for Step {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl From<String> for Step {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}
