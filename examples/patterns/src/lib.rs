//! The usual patterns for a database behind Restate handlers: each by the usual recipe and by this
//! library, and what each does when its process dies.
//!
//! ```sh
//! ./dev demo patterns
//! ```
//!
//! runs all of them on the real Restate server, aborts the service's process at each crash point,
//! and prints the table of [PATTERNS.md](https://github.com/exactly-once/exactly-once/blob/main/examples/patterns/PATTERNS.md).
//! A test holds the page to it.
//!
//! # Layout
//! - [`patterns`]: the handlers, one file for each pattern, recipe and library side by side.
//! - [`control`]: crash points; [`crash_store`]: where they lie in a store.
//! - [`plain`]: SQLite as the recipes use it.
//! - [`process`]: a pattern's service as a process of its own.
//! - [`driver`]: starts the servers, aborts the processes, and reads what came of it.
//! - [`table`]: the rows of the page.

pub mod control;
pub mod crash_store;
pub mod driver;
pub mod patterns;
pub mod plain;
pub mod process;
pub mod table;
