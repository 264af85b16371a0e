//! Payments and two-database orders on Temporal, and a driver that kills workers and the server and
//! then audits the databases.
//!
//! A workflow charges a customer, credits the merchant, and ships some orders: a row in the bank's file
//! and one in the warehouse's, both or none. The driver starts the workflows while it kills worker
//! processes, at named points and at random, and the Temporal server. At the end it reads both files
//! with plain SQL: every payment there exactly once, every answer true, no money made or lost.
//!
//! The same load runs on activities as the usual guides have them (`--recipe naive`); there the audit
//! finds what they do under a crash.
//!
//! # Layout
//! - [`model`]: what is asked and answered.
//! - [`shop`]: the workflow. **Read it first**, then [`till`].
//! - [`till`]: the activities with this library; [`naive`]: the same by the usual recipe.
//! - [`control`]: crash points, and a counter that survives a SIGKILL.
//! - [`worker`]: a worker process.
//! - [`driver`]: servers, load, kills, report; [`audit`]: what must hold in the files.

pub mod audit;
pub mod control;
pub mod driver;
pub mod model;
pub mod naive;
pub mod shop;
pub mod till;
pub mod worker;
