//! Guides: how to use what is here, and what to do when something is wrong.
//!
//! - [`retries`]: what a caller does with each answer, and why the key must outlive the crash.
//! - [`without_an_engine`]: HTTP services and consumers of queues.
//! - [`testing_a_handler`]: crash a handler everywhere, without a server.
//! - [`add_an_engine`]: what an engine's glue has to do, and how to prove it.
//! - [`choosing`]: which form of effect fits, and where its key comes from.
//! - [`serve`]: effects for handlers in TypeScript, Python, Go and Java.
//! - [`operating_postgres`]: roles, monitoring, growth and restore.
//! - [`on_call`]: a symptom, the command, and what it means.
//! - [`glossary`]: the terms of this project.

#[doc = include_str!("retries.md")]
pub mod retries {}

#[doc = include_str!("without_an_engine.md")]
pub mod without_an_engine {}

#[doc = include_str!("testing_a_handler.md")]
pub mod testing_a_handler {}

#[doc = include_str!("add_an_engine.md")]
pub mod add_an_engine {}

#[doc = include_str!("on_call.md")]
pub mod on_call {}

#[doc = include_str!("choosing.md")]
pub mod choosing {}

#[doc = include_str!("operating_postgres.md")]
pub mod operating_postgres {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[doc = include_str!("serve.md")]
pub mod serve {}
