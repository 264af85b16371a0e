//! One order over three databases: its row in Postgres, its stock in SQLite, its quota in Redis.
//! All or none, whatever is killed.
//!
//! The handler is some thirty lines: it names the three databases and the work in each. A driver
//! sends orders through Restate's ingress while it kills the service (at named points and at
//! random), Postgres and Redis, and at the end reads the three databases by plain drivers: each
//! order in all of them or in none, nothing in doubt, nothing locked.
//!
//! # Layout
//! - [`service`]: the handler and the work in each database. **Read this one first.**
//! - [`model`]: what is asked and answered.
//! - [`stores`]: how the three databases are opened, and who sweeps them.
//! - [`control`], [`crash_store`]: crash points, and a store that passes them.
//! - [`process`]: the service as a process of its own.
//! - [`driver`]: servers, load, kills, report.
//! - [`audit`]: what must hold in the three databases, read without this library.

pub mod audit;
pub mod control;
pub mod crash_store;
pub mod driver;
pub mod model;
pub mod process;
pub mod service;
pub mod stores;
