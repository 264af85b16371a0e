//! The suite, checked: each deliberately broken store fails the case whose name says why, and the
//! right store passes that case.
//!
//! Where a mistake is not one store's to make, it is caught elsewhere: a coordinator's and a sweeper's
//! (deciding without the register, committing by themselves, not looking again) in the model beside
//! the machines, `core/tests/two_phase_model`; names that would not fit an identifier of the database
//! in the names' own tests, as only digests reach a store; what a power cut takes in each adapter's.
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
mod words;
