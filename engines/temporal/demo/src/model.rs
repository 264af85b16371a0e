//! What is asked and answered, the same for both recipes.

use clap::ValueEnum;
use exactly_once_temporal::TransactionIdentity;
use serde::{Deserialize, Serialize};

/// The account that is credited.
pub const MERCHANT: &str = "merchant";

/// The most that one payment may be; the charge refuses more for good.
pub const LIMIT: i64 = 10_000;

/// How the activities make their effects happen once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Recipe {
    /// With this library.
    #[default]
    Ours,
    /// As in the usual guides.
    Naive,
}

/// The input of a workflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Names the order, and its workflow.
    pub name: String,
    /// The account that is charged.
    pub customer: String,
    /// How much, in minor units.
    pub cents: i64,
    /// Whether something is shipped: an effect in two databases.
    pub ships: bool,
    /// By which activities.
    pub recipe: Recipe,
}

/// The input of the activity that ships.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shipment {
    /// The order.
    pub order: Order,
    /// Name and deadlines of the two-phase commit: in the history, so the same on every attempt.
    pub identity: TransactionIdentity,
}

/// What a charge did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The number of the payment's row.
    pub row: i64,
    /// The balance after it.
    pub left: i64,
}

/// The result of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Charged, credited, and shipped if it was to be.
    Done(Receipt),
    /// The charge was refused, and nothing was done.
    Refused {
        /// The kind in one word.
        kind: String,
        /// The HTTP status.
        status: u16,
    },
}
