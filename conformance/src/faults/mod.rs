//! What goes wrong on purpose.
//!
//! * [`proxy`]: the network: cut before or after a request, delayed, or silent.
//! * [`polls`]: the task: dropped at its k-th poll, for every k.
//! * [`barrier`]: the schedule: an attempt held at a named point while others overtake it.

pub mod barrier;
pub mod polls;
pub mod proxy;
