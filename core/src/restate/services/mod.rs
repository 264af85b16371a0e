//! Services to bind as they are, generic over a store.
//!
//! - [`KeyExpiry`]: removes keys whose retention has passed.
//! - [`InDoubtSweep`]: ends what dead coordinators left in doubt, and forgets what has expired.
//! - [`Account`]: an account as a virtual object.
//!
//! ```no_run
//! # use exactly_once_core::{BalanceStore, DecisionRegister, IdempotencyStore, PreparedTransactions,
//! #     two_phase::Sweeper, restate::{serve, shutdown_signal, services::{Account, InDoubtSweep, KeyExpiry}}};
//! # use restate_sdk::prelude::Endpoint;
//! # async fn run<S>(store: S) -> Result<(), Box<dyn std::error::Error>>
//! # where S: IdempotencyStore + BalanceStore + PreparedTransactions + DecisionRegister {
//! let sweeper = Sweeper::new(store.clone()).participant("orders", store.clone())?;
//! let endpoint = Endpoint::builder()
//!     .bind(KeyExpiry::new(store.clone()))
//!     .bind(InDoubtSweep::new(sweeper))
//!     .bind(Account::new(store))
//!     .build();
//! serve(endpoint, ([0, 0, 0, 0], 9080).into(), shutdown_signal()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The first two have a schedule of their own. It is started once, by the deployment:
//!
//! ```sh
//! curl localhost:8080/restate/call/KeyExpiry/payments/start --json '{"every_ms": 60000}'
//! curl localhost:8080/restate/call/InDoubtSweep/orders/start --json '{"every_ms": 10000}'
//! curl localhost:8080/restate/call/KeyExpiry/payments/status
//! ```
//!
//! The object's key names the schedule; the namespace is a good one. See [`Schedule`] for what
//! holds of all of them.
//!
//! # Layout
//! - `schedule`: turns that follow each other by delayed sends, and can't multiply.
//! - `expiry`, `sweep`, `account`: the three services.

// The SDK generates clients without documentation.
#![allow(missing_docs)]

mod account;
mod expiry;
mod schedule;
mod sweep;

pub use account::{
    Account, AccountClient, AccountIngressClient, Adjustment, Closing, HistoryQuery, Opening,
    Sending, Setting,
};
pub use expiry::{KeyExpiry, KeyExpiryClient, KeyExpiryIngressClient};
pub use schedule::{DEFAULT_BATCH, MAX_BATCH, MAX_ROUNDS, Report, Schedule, Status, Turn};
pub use sweep::{InDoubtSweep, InDoubtSweepClient, InDoubtSweepIngressClient};
