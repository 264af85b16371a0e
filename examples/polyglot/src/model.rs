//! What is asked and answered, the same for both recipes and both languages.

use serde::{Deserialize, Serialize};

/// The language of a till.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    /// TypeScript.
    Ts,
    /// Python.
    Py,
}

impl Language {
    /// The service of its till.
    #[must_use]
    pub const fn service(self) -> &'static str {
        match self {
            Self::Ts => "TillTs",
            Self::Py => "TillPy",
        }
    }

    /// As its till writes it into the table.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ts => "ts",
            Self::Py => "py",
        }
    }
}

/// How a till pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// One effect after the other; a refusal of the second one pays the first one back.
    Steps,
    /// One transaction over both databases.
    AtOnce,
}

impl How {
    /// The handler.
    #[must_use]
    pub const fn handler(self) -> &'static str {
        match self {
            Self::Steps => "pay",
            Self::AtOnce => "payAtOnce",
        }
    }
}

/// An order, as a till takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name: the ingress key, and what the rows are found by.
    pub order: String,
    /// What is bought, one piece.
    pub item: String,
    /// The price.
    pub cents: i64,
}

/// What a till answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The number that the database gave the payment; none of a transaction.
    pub payment: Option<i64>,
    /// Whether the piece was taken. If not, nothing is paid.
    pub taken: bool,
}

/// An order, with the till that it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The till's language.
    pub language: Language,
    /// How it pays.
    pub how: How,
    /// What is ordered.
    pub order: Order,
}

/// The final answer that a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A receipt.
    Done(Receipt),
    /// Something else, with the HTTP status.
    Failed {
        /// The status.
        status: u16,
        /// The message.
        message: String,
    },
    /// Nothing, for as long as the client had patience.
    Silence,
}
