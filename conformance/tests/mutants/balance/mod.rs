//! Mutants of the balance store.

mod concurrency;
mod numbers;
mod records;
mod refusals;
mod replay;
