//! The work's own "no": a terminal answer that is recorded and replayed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A **terminal** refusal by the user's own work: the answer on this attempt and on every retry.
///
/// Recorded under the key while all of the work's writes are undone. Return it only for what can
/// never succeed by trying again (the card is declined, the order is closed); anything transient is
/// a store error or another error, which is retried and never recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rejection {
    status: u16,
    message: String,
}

/// The longest message of a rejection, in bytes; a longer one is cut at a character's edge.
pub const MAX_REJECTION_BYTES: usize = 4096;

impl Rejection {
    /// A rejection with an HTTP status, 400 to 599, and a text for people.
    ///
    /// Another status becomes 422; a text over [`MAX_REJECTION_BYTES`] is cut.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        let status = if (400..=599).contains(&status) {
            status
        } else {
            422
        };
        let mut message: String = message.into();
        if message.len() > MAX_REJECTION_BYTES {
            let end = (0..=MAX_REJECTION_BYTES)
                .rev()
                .find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or(0));
        }
        Self { status, message }
    }

    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The text for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rejected with status {}: {}", self.status, self.message)
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_input_is_tamed() {
        assert_eq!(Rejection::new(200, "x").status(), 422);
        let long = Rejection::new(409, "é".repeat(MAX_REJECTION_BYTES));
        assert_eq!(long.message().len(), MAX_REJECTION_BYTES);
    }
}
