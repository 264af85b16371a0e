//! Mutants of keys that transactions, one-shot effects and leases share.

mod forms;
mod late;
mod one_shot;
mod owners;
mod retention;
mod tokens;
