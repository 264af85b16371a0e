//! Mutants of the balance store.

mod concurrency;
mod inside;
mod numbers;
mod records;
mod refusals;
mod replay;
mod siblings;
