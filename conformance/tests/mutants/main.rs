//! The suite, checked: each deliberately broken store fails the case whose name says why, and the
//! right store passes that case.
//!
//! A mutant is a [`Patch`](patch::Patch): the reference store with one method done wrong.

// Helpers of a test may fail it; clippy knows only functions marked `#[test]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod balance;
mod harness;
mod idempotency;
mod keys;
mod patch;
mod prepared;
