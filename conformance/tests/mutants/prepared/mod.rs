//! Mutants of two-phase commit: the participant and the decision register.
//!
//! Mistakes of a coordinator or sweeper are not a store's: they are made in the model of the
//! protocol, beside the machines in `core`.

mod alone;
mod apart;
mod entitled;
mod late;
mod neighbours;
mod one_shot;
mod outcomes;
mod protocol;
mod register;
mod staged;
mod undecided;
