//! The rows of the page, as a run gives them.

use std::fmt;

use crate::{
    control::Point,
    driver::{Answer, Seen},
    patterns::{Pattern, Way},
};

/// The head of the table.
pub const HEAD: &str = "\
| pattern | | dies before the commit | after the commit, before the journal | after the journal |
|---|---|---|---|---|";

/// The head of the table of restarts.
pub const RESTARTS_HEAD: &str = "\
| pattern | restarted as new, keeping the journal up to | what came of it |
|---|---|---|";

/// A pattern of ours, restarted as new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    pattern: Pattern,
    kept: String,
    more: i64,
    seen: Seen,
}

impl Restart {
    /// With the last entry that was kept, how many effects came of it, and what was seen.
    #[must_use]
    pub fn new(pattern: Pattern, kept: String, more: i64, seen: Seen) -> Self {
        Self {
            pattern,
            kept,
            more,
            seen,
        }
    }
}

/// As a line of the table.
impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, kept) = (self.pattern.name(), &self.kept);
        write!(f, "| {name} | `{kept}` | ")?;
        match (&self.seen.answer, self.more) {
            (Answer::Value(_), 0) => f.write_str("the same effect, the same answer |"),
            (Answer::Value(_), 1) => f.write_str("a new effect |"),
            (Answer::Refused(status, _), 0) => write!(f, "answered {status}, no effect |"),
            (Answer::Value(_), -1) => f.write_str("set again to what was read then |"),
            _ => write!(f, "**{} effects, {:?}** |", self.more, self.seen.answer),
        }
    }
}

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
        let (name, recipe, ours) = match (pattern, first) {
            (Pattern::Simple, _) => (pattern.name(), "`ctx.run(insert)`", "`execute_once`"),
            (Pattern::Read, _) => (
                pattern.name(),
                "read in the handler, write if absent",
                "`durable_read`, `execute_once`",
            ),
            (Pattern::Version, _) => (
                pattern.name(),
                "set where the version is as read, else 409",
                "`compare_and_set`",
            ),
            (Pattern::Key, _) => (
                pattern.name(),
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
                pattern.name(),
                "in a database, `ctx.run(update)`",
                "Restate's own state, `ctx.set`",
            ),
        };
        let way = match way {
            Way::Recipe => recipe,
            Way::Ours => ours,
        };
        Self {
            pattern: name,
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
