//! What a balance operation answers, and what the history keeps.

use serde::{Deserialize, Serialize};

use crate::{
    amount::{Amount, Version},
    names::{AccountId, IdempotencyKey},
};

/// The least balance that an account may be left with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Floor {
    /// Not below this amount; the default is zero.
    At(Amount),
    /// No floor: down to `i64::MIN`.
    None,
}

impl Floor {
    /// Whether a balance may be left at this amount.
    #[must_use]
    pub fn allows(self, amount: Amount) -> bool {
        match self {
            Self::At(floor) => amount >= floor,
            Self::None => true,
        }
    }
}

impl Default for Floor {
    fn default() -> Self {
        Self::At(Amount::ZERO)
    }
}

/// What an account holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccountState {
    /// The balance in minor units.
    pub amount: Amount,
    /// How many changes there were.
    pub version: Version,
    /// Its floor.
    pub floor: Floor,
    /// Whether it is open; a closed account keeps its version.
    pub open: bool,
}

/// Which operation made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// The account was opened.
    Open,
    /// The account was closed.
    Close,
    /// A delta was added.
    Adjust,
    /// The amount was set.
    CompareAndSet,
    /// A leg of a transfer.
    Transfer,
}

impl ChangeKind {
    /// One stable word, for storing.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Adjust => "adjust",
            Self::CompareAndSet => "compare_and_set",
            Self::Transfer => "transfer",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Open,
            Self::Close,
            Self::Adjust,
            Self::CompareAndSet,
            Self::Transfer,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == word)
    }
}

/// One applied change: the receipt of a balance operation, and a line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Change {
    /// The operation's key.
    pub key: IdempotencyKey,
    /// The account.
    pub account: AccountId,
    /// Which operation it was.
    pub kind: ChangeKind,
    /// What was added; `after - before`, always.
    pub delta: Amount,
    /// The balance before, in minor units.
    pub before: Amount,
    /// The balance after, in minor units.
    pub after: Amount,
    /// The account's version after it.
    pub version: Version,
}

/// The answer to an operation on one account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Applied {
    /// The change, as it was applied **the first time**.
    pub change: Change,
    /// Whether an earlier call applied it.
    pub replayed: bool,
}

/// The answer to a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transferred {
    /// The changes, one for each leg, in the order of the legs.
    pub changes: Vec<Change>,
    /// Whether an earlier call applied it.
    pub replayed: bool,
}

/// A page of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Changes, oldest first.
    pub changes: Vec<Change>,
    /// What to pass as `after` for the next page; `None` where this page is the last for now.
    pub next: Option<Version>,
}
