//! Exactly-once effects for durable handlers, on the database you already run.
//!
//! This crate has the backends, one feature each, and re-exports everything of
//! `exactly-once-core`: the traits, the values, and the extension traits that people use.
//!
//! | feature | what it adds |
//! |---|---|
//! | `tokio-postgres` | PostgreSQL by `tokio-postgres` and a `deadpool` pool |
//! | `sqlx-postgres` | PostgreSQL by `sqlx`, over your own `PgPool` |
//! | `tokio-postgres-tls`, `sqlx-postgres-tls` | the same over TLS, by rustls with ring |
//! | `rusqlite` | SQLite, bundled |
//! | `redis` | Redis and Valkey, one node or a cluster |
//! | `memory` | the reference store, for doctests and unit tests |
//! | `cli` | the command `exactly-once`, for people on call |
//! | `metrics` | counters and histograms of [`observe`], by the `metrics` facade |
//! | `tower` | [`http`]: the layer for the HTTP header `Idempotency-Key` |
//! | `restate` | the glue to `restate-sdk` |
//!
//! The [`guide`] says what to do with each answer, how to go without an engine, and what to do at
//! three in the morning.
//!
//! No feature is on by default, and none pulls in the dependencies of another.

#[cfg(any(feature = "rusqlite", feature = "tower"))]
mod alarm;
#[cfg(feature = "cli")]
pub mod cli;
mod connect;

pub use connect::ConnectByUrl;
pub use exactly_once_core::*;

pub mod guide;
#[cfg(feature = "tower")]
pub mod http;
#[cfg(feature = "memory")]
pub mod memory;
pub mod observe;
#[cfg(feature = "postgres-shared")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "postgres-shared", feature = "redis"))]
mod runtime;
#[cfg(feature = "rusqlite")]
pub mod sqlite;

/// The README's own examples compile, with the features that they need.
#[cfg(all(
    doctest,
    feature = "restate",
    feature = "rusqlite",
    feature = "tokio-postgres",
    feature = "tower"
))]
#[doc = include_str!("../../README.md")]
struct Readme;
