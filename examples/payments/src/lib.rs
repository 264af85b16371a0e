//! A payment service on Restate and SQLite, and a driver that kills it and then audits its
//! database.
//!
//! The service writes its own `payments` table in the same transaction as the idempotency key and
//! the change of the customer's balance. The driver sends a load through Restate's ingress while it
//! kills the service with SIGKILL, at named points and at random, and at the end reads the database
//! directly: every payment there exactly once, every answer true, no money made or lost.
//!
//! The same load can be run on a service that follows the recipes of the usual guides
//! (`--recipe naive`); there the audit finds what they do under a crash.
//!
//! # Layout
//! - [`model`]: what is asked and answered, the same for both recipes.
//! - [`service`]: the payment service with this library. **Read this one first.**
//! - [`naive`]: the same by check-then-insert and compare-by-value.
//! - [`control`]: crash points, and counters that survive a SIGKILL.
//! - [`process`]: the service as a process of its own.
//! - [`driver`]: servers, load, kills, report.
//! - [`audit`]: what must hold in the database, read with plain SQL.

pub mod audit;
pub mod control;
pub mod driver;
pub mod model;
pub mod naive;
pub mod process;
pub mod service;
