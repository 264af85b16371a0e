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
//! # Why triggers, and when they are made
//! SQLite's preupdate hook reports each change of a row without a trigger, but also those of a statement that
//! fails half way or of a savepoint that is rolled back, and nothing reports that they were undone. A log in
//! TEMP tables is undone together with them. (The driver has that hook only with bindings that are made
//! while it is built, which needs libclang on every machine that builds it.)
//!
//! Undoing the work would undo triggers that were made inside of its transaction, so they are made before.
//! Which tables known statements write is asked of SQLite, by compiling them: those alone have triggers then. A
//! closure's statements are compiled while it runs, where the authorizer sees their tables, but must not
//! change the connection, and a closure that was refused can't be run a second time. So before a
//! closure each table has its triggers; they are written into the TEMP schema and read at once.
//!
//! # Layout
//! - [`table`]: what of a table matters for staging, and why some can't be staged.
//! - [`sql`]: the pieces of SQL that the triggers are made of.
//! - [`trigger`]: the TEMP triggers of one table.
//! - [`capture`]: making them fit the schema, and reading their log.
//! - [`reservation`]: the persistent triggers, and the reserved slots.
//! - [`plan`]: making the redo of what the log says.
//! - [`redo`]: trying, storing and applying it.

pub(super) mod capture;
pub(super) mod plan;
pub(super) mod redo;
pub(super) mod reservation;
mod sql;
pub(super) mod table;
mod trigger;
