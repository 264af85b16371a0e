//! `exactly-once serve`: one handler per effect of a file, on the real Restate server, Postgres and SQLite.
//!
//! - `calls`: rows, refusals, keys, queries, transactions, accounts, and what discovery shows.
//! - `bad_file`, `bad_call`: each mistake is a clear error, and nothing is half done.
//! - `again`: killed right after the commit, ended and reloaded amid a call.
//! - `schedules`: maintenance that `serve` itself starts, through Restate's ingress.
//! - `process`: ports, health, metrics, logs, types.
#![cfg(all(feature = "serve", feature = "rusqlite", feature = "tokio-postgres"))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod again;
mod bad_call;
mod bad_file;
mod bench;
mod calls;
mod process;
mod schedules;
