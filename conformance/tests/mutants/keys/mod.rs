//! Mutants of keys that transactions, one-shot effects and leases share.

mod forms;
mod one_shot;
mod retention;
mod tokens;
