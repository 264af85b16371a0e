//! Mutants of stores of keys, by what they do wrong.

mod abandoned;
mod answers;
mod atomicity;
mod fingerprint;
mod lease;
mod limits;
mod network;
mod one_shot;
mod place;
mod replay;
mod rows;
mod shared;
mod time;
