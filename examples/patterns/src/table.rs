//! The rows of the page, as a run gives them.

use std::fmt;

use crate::{
    control::Point,
    driver::Seen,
    patterns::{Pattern, Way},
};

/// The head of the table.
pub const HEAD: &str = "\
| pattern | | dies before the commit | after the commit, before the journal | after the journal |
|---|---|---|---|---|";

/// One row: a pattern in one way, and what came of a crash at each point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pattern: &'static str,
    way: &'static str,
    cells: Vec<Seen>,
}

impl Row {
    /// The row of a pattern; `first` is the first of its crash points.
    #[must_use]
    pub fn new(pattern: Pattern, way: Way, first: Point, cells: Vec<Seen>) -> Self {
        let (pattern, recipe, ours) = match (pattern, first) {
            (Pattern::Simple, _) => ("simple access", "`ctx.run(insert)`", "`execute_once`"),
            (Pattern::Read, _) => (
                "durable read",
                "read in the handler, write if absent",
                "`durable_read`, `execute_once`",
            ),
            (Pattern::Version, _) => (
                "versioned update",
                "set where the version is as read, else 409",
                "`compare_and_set`",
            ),
            (Pattern::Key, _) => (
                "idempotency key",
                "insert the key, unique, in the transaction",
                "`execute_once` with a key",
            ),
            (Pattern::TwoPhase, Point::BeforePrepare) => (
                "two-phase commit, at PREPARE",
                "`ctx.run(PREPARE)`",
                "`two_phase`",
            ),
            (Pattern::TwoPhase, _) => (
                "two-phase commit, at COMMIT",
                "`ctx.run(COMMIT PREPARED)`",
                "`two_phase`",
            ),
            (Pattern::State, _) => (
                "a counter",
                "in a database, `ctx.run(update)`",
                "Restate's own state, `ctx.set`",
            ),
        };
        let way = match way {
            Way::Recipe => recipe,
            Way::Ours => ours,
        };
        Self {
            pattern,
            way,
            cells,
        }
    }

    /// What came of each crash.
    #[must_use]
    pub fn cells(&self) -> &[Seen] {
        &self.cells
    }
}

/// As a line of the table.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} |", self.pattern, self.way)?;
        for cell in &self.cells {
            write!(f, " {cell} |")?;
        }
        Ok(())
    }
}
