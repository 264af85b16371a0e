#![cfg_attr(
    all(
        feature = "memory",
        feature = "redis",
        feature = "restate",
        feature = "rusqlite",
        feature = "sqlx-postgres",
        feature = "tower"
    ),
    doc = include_str!("guide/first_page.md")
)]
#![cfg_attr(
    not(all(
        feature = "memory",
        feature = "redis",
        feature = "restate",
        feature = "rusqlite",
        feature = "sqlx-postgres",
        feature = "tower"
    )),
    doc = "Exactly-once effects for durable handlers, on the database you already run. The first page \
           of the documentation needs the features that its examples use: build it with `--all-features`."
)]

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
#[cfg(feature = "serve")]
mod serve;
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
