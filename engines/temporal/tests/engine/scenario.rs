//! What a workflow does, as data: its input, and the same in the history of every test.

use std::time::Duration;

use exactly_once::IdempotencyKey;
use serde::{Deserialize, Serialize};

/// A workflow's steps, one after the other.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub steps: Vec<Do>,
    /// How many times the run continues as new when it is through.
    pub continued: u32,
    /// The run fails when it is through, by a failure that can't be retried.
    pub fails: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Do {
    Pay(Box<Pay>),
    /// Waits for the signal `go`; a reset to before it waits once more.
    Wait,
    /// In a child workflow without an id.
    Child(Plan),
}

/// Which key a payment has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Recipe {
    /// None: the usual `INSERT` of an activity.
    Bare,
    /// The run id and the activity id: the obvious key.
    RunId,
    /// The workflow id and the activity id.
    WorkflowId,
    /// A random one, drawn in the workflow.
    Uuid,
    /// This library's, made in the activity.
    #[default]
    Ours,
    /// This library's, made in the workflow.
    Keys,
    /// This library's, with the order's own number.
    Business,
    /// "The first attempt needs no look-up."
    FirstAttempt,
}

/// A payment: one row, and its id as the receipt.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pay {
    pub recipe: Recipe,
    /// What the workflow made, for those recipes.
    pub key: Option<IdempotencyKey>,
    /// What distinguishes payments of one test.
    pub cents: i64,
    pub call: Call,
    pub faults: Faults,
}

/// How the workflow calls the activity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Call {
    pub local: bool,
    pub activity_id: Option<String>,
    /// Zero is without a bound.
    pub attempts: u32,
    pub timeout: Option<Duration>,
    pub heartbeat: Option<Duration>,
    pub waits_for_cancellation: bool,
    pub timer_threshold: Option<Duration>,
    pub first_retry: Option<Duration>,
}

/// What goes wrong in the first so many calls of a payment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Faults {
    pub fail_after_commit: u32,
    pub kill_after_commit: u32,
    pub hang_after_commit: u32,
    /// In the transaction.
    pub asleep_inside: (u32, Duration),
    pub asleep_before: (u32, Duration),
    /// The work says no.
    pub rejects: bool,
    pub panics: u32,
    /// The store's error as it is, past this library's mapping.
    pub question_mark: bool,
    /// A second step of the same name.
    pub twice: bool,
    /// A request type with one more optional field, from the second call.
    pub new_version: Option<NewField>,
    /// How long the key is remembered.
    pub retention: Option<Duration>,
    /// The step's heartbeats are sent by `Heartbeats`, after this was recorded.
    pub heartbeats: Option<String>,
}

/// What a new version of the program serializes of a field that is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NewField {
    Null,
    Skipped,
}

impl Pay {
    pub(crate) fn by(recipe: Recipe) -> Self {
        Self {
            recipe,
            cents: 100,
            ..Self::default()
        }
    }

    pub(crate) fn ours() -> Self {
        Self::by(Recipe::Ours)
    }

    pub(crate) fn cents(mut self, cents: i64) -> Self {
        self.cents = cents;
        self
    }

    pub(crate) fn local(mut self) -> Self {
        self.call.local = true;
        self
    }

    pub(crate) fn activity_id(mut self, id: impl Into<String>) -> Self {
        self.call.activity_id = Some(id.into());
        self
    }

    pub(crate) fn call(mut self, change: impl FnOnce(&mut Call)) -> Self {
        change(&mut self.call);
        self
    }

    pub(crate) fn faults(mut self, change: impl FnOnce(&mut Faults)) -> Self {
        change(&mut self.faults);
        self
    }
}

impl Plan {
    pub(crate) fn of(steps: impl IntoIterator<Item = Do>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Payments only.
    pub(crate) fn pays(payments: impl IntoIterator<Item = Pay>) -> Self {
        Self::of(payments.into_iter().map(Box::new).map(Do::Pay))
    }
}

/// What an activity was given of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub cents: i64,
    pub workflow: String,
    pub run: String,
    pub activity: String,
    pub attempt: i64,
}
