//! What is stored, and what it means to the next call: pure functions, so that every backend decides
//! alike and says the same words.
//!
//! A store reads and writes; it decides nothing. Each rule takes what the transaction sees and the
//! store's own clock, and gives what to do, or the refusal. Where a server decides by itself, in a
//! script or by the condition of a statement, that condition is the rule's, and what it refuses goes
//! through the rule for the answer.
//!
//! - [`keys`]: idempotency keys and leases.
//! - [`participants`]: two-phase participants, and the register's decisions.
//! - Balances have theirs in [`balance::rules`](crate::balance::rules).

pub mod keys;
pub mod participants;

#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod participants_tests;
