//! What is asked and answered.

use exactly_once::Change;
use exactly_once_order::model::{Order, Placed};
use serde::{Deserialize, Serialize};

/// The service with everything but orders and objects.
pub const SERVICE: &str = "Effects";
/// The virtual object that keeps a versioned balance.
pub const OBJECT: &str = "Versioned";
/// An amount above this is refused by the work itself.
pub const LIMIT: i64 = 1_000;
/// The namespace of everything but the orders.
pub const NAMESPACE: &str = "chaos";

/// Which store an operation is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// Postgres, through tokio-postgres.
    Postgres,
    /// A SQLite file, shared by two processes.
    Sqlite,
    /// Redis.
    Redis,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Sqlite, Self::Redis];
}

/// One operation. Its name is the ingress key, and is in every key and row that it leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Names it.
    pub name: String,
    /// The store; an order is on all three.
    pub place: Place,
    /// Whether its idempotency key is the caller's own, or journaled.
    pub own_key: bool,
    /// What it does.
    pub what: What,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A row in one transaction with the key: execute once.
    Row {
        /// What the row says.
        amount: i64,
    },
    /// A row by a statement that is known up front.
    OneShot {
        /// What the row says.
        amount: i64,
    },
    /// A delta on a balance.
    Adjust {
        /// Whose.
        account: String,
        /// How much.
        delta: i64,
    },
    /// From one balance to another.
    Transfer {
        /// Who gives.
        from: String,
        /// Who gets.
        to: String,
        /// How much.
        amount: i64,
    },
    /// A durable read, then a compare-and-set at the version read.
    CompareAndSet {
        /// Whose balance.
        account: String,
        /// How much more it shall be.
        delta: i64,
    },
    /// The same in a virtual object, whose balance no other changes.
    Object {
        /// The object's key, and whose balance.
        account: String,
        /// How much more it shall be.
        delta: i64,
    },
    /// An effect outside, under a lease.
    Outside {
        /// What the work refuses if it is too much.
        amount: i64,
    },
    /// A two-phase order over all three stores.
    Order(Order),
}

impl What {
    /// In one word, for the report.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Row { .. } => "execute once",
            Self::OneShot { .. } => "one-shot",
            Self::Adjust { .. } => "adjust",
            Self::Transfer { .. } => "transfer",
            Self::CompareAndSet { .. } => "compare-and-set",
            Self::Object { .. } => "versioned object",
            Self::Outside { .. } => "leased effect",
            Self::Order(_) => "two-phase order",
        }
    }
}

/// What an operation answers when it was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Receipt {
    /// A row was written.
    Row(Row),
    /// Balances were changed.
    Changes(Vec<Line>),
    /// It went outside.
    Outside(Sent),
    /// An order was placed.
    Placed(Placed),
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The operation.
    pub name: String,
    /// What it says.
    pub amount: i64,
    /// Drawn by the attempt that wrote it: two attempts never write the same row.
    pub stamp: i64,
}

/// What was sent outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// The fencing token that went with it.
    pub token: i64,
    /// Where the outside put it.
    pub entry: u64,
}

/// A change of a balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Whose.
    pub account: String,
    /// The version after it.
    pub version: i64,
    /// What was added.
    pub delta: i64,
    /// The balance before.
    pub before: i64,
    /// The balance after.
    pub after: i64,
}

impl From<&Change> for Line {
    fn from(change: &Change) -> Self {
        Self {
            account: change.account.as_str().to_owned(),
            version: change.version.get(),
            delta: change.delta.get(),
            before: change.before.get(),
            after: change.after.get(),
        }
    }
}

/// The operation in an idempotency key: `own/<name>`, `<invocation>/<name>/<ordinal>`.
#[must_use]
pub fn name_in(key: &str) -> Option<&str> {
    key.split('/').nth(1)
}
