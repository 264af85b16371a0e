#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod activity;
mod bounded;
mod ended;
mod failure;
mod heartbeats;
mod identity;
mod keys;
mod names;
mod recorded;
mod run;

pub use exactly_once_core::engine::{
    BalanceOperation, Details, Effect, Effects, Permit, Refusal, Step, TransactionIdentity,
    ValuedEffect,
};
pub use heartbeats::Heartbeats;
pub use keys::EffectKeys;
pub use recorded::recorded_identity;

/// The engine's name in errors.
const ENGINE: &str = "temporal";

/// Marks the contexts of `temporalio-sdk` among those that are an
/// [`Engine`](exactly_once_core::engine::Engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporal {}
