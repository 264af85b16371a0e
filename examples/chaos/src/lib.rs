//! Chaos: Restate services on Postgres, SQLite and Redis at once, and a driver that does to them
//! what production does, all of it at random and by one seed.
//!
//! Service processes, the Restate server, Postgres and Redis are killed by SIGKILL; connections are
//! cut and delayed; invocations are cancelled, killed, paused, and restarted from a step. Then all
//! comes to rest, one sweep is made, and the databases are read by plain drivers: every operation
//! was applied exactly once, or at most once where it was cut short, and as its answer says.
//!
//! # Layout
//! - [`model`]: what is asked and answered.
//! - [`service`]: the handlers; every form of effect, on each store.
//! - [`stores`]: how the three stores are opened.
//! - [`outside`]: the world outside, for leased effects.
//! - [`process`]: the services as processes of their own.
//! - [`driver`]: servers, load, faults, rest, report.
//! - [`audit`]: what must hold in the three databases, read without this library.
//! - [`flows`]: two flows with two registers over one shared store, and sweepers that are configured
//!   wrongly; a run of its own, without Restate.

pub mod audit;
pub mod driver;
pub mod flows;
pub mod model;
pub mod outside;
pub mod process;
pub mod service;
pub mod stores;
