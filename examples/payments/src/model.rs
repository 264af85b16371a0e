//! What is asked and answered, the same for both recipes.

use serde::{Deserialize, Serialize};

/// The service's name in Restate.
pub const SERVICE: &str = "Payments";

/// Who is paid.
pub const MERCHANT: &str = "merchant";

/// The most that one payment may be; above it, the service says no for good.
pub const LIMIT: i64 = 10_000;

/// Takes money from a customer for the merchant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Names the payment.
    pub payment: String,
    /// Who pays.
    pub account: String,
    /// How much, in minor units.
    pub amount: i64,
}

/// Gives a payment back, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Which request this is; a payment may be asked back several times, and is given back once.
    pub request: String,
    /// The payment.
    pub payment: String,
}

/// Moves money between two customers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferOrder {
    /// Names the transfer.
    pub order: String,
    /// Who pays.
    pub from: String,
    /// Who gets it.
    pub to: String,
    /// How much, in minor units.
    pub amount: i64,
}

/// The answer to a charge, a refund or a transfer: what it did to the customer who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The payment, or the transfer.
    pub name: String,
    /// Whose balance it is about.
    pub account: String,
    /// What was added to it; negative for a payment.
    pub delta: i64,
    /// The balance after it.
    pub left: i64,
    /// The account's version after it; 0 where the recipe has none.
    pub version: i64,
}

/// One line of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What was added.
    pub delta: i64,
    /// The balance after it.
    pub after: i64,
    /// The account's version after it.
    pub version: i64,
}
