//! What is asked and answered.

use serde::{Deserialize, Serialize};

/// The service's name in Restate.
pub const SERVICE: &str = "Orders";

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Names the order.
    pub name: String,
    /// Who orders, and whose quota it is taken from.
    pub customer: String,
    /// What is taken from stock.
    pub item: String,
    /// How many.
    pub units: i64,
}

/// The answer to an order that was placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The order.
    pub name: String,
    /// How many are on their way.
    pub units: i64,
}
