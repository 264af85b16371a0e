//! Staged work: run, logged row by row, undone, and stored with reservations until it is decided.
//!
//! SQLite has no PREPARE. The work runs on a connection whose TEMP triggers log the values of each
//! row that changes, and the slots of each row: its identity and every unique key, before and after.
//! At prepare the work is undone, and the log becomes a redo of statements with typed values. The redo
//! is applied once and undone again, so that what would fail at the commit fails here. Redo and slots
//! are stored. Persistent triggers on the tables refuse every write into a reserved slot. Commit
//! applies the redo with triggers off (what they did is in the redo) and checks that each statement
//! changes exactly one row, which is still as the work saw it.
//!
//! # Layout
//! - [`table`]: what of a table matters for staging, and why some can't be staged.
//! - [`sql`]: the pieces of SQL that the triggers are made of.
//! - [`trigger`]: the TEMP triggers of one table.
//! - [`capture`]: making them fit the schema, and reading their log.
//! - [`reservation`]: the persistent triggers, and the reserved slots.
//! - [`redo`]: making, trying, storing and applying the redo.

pub(super) mod capture;
pub(super) mod redo;
pub(super) mod reservation;
mod sql;
pub(super) mod table;
mod trigger;
