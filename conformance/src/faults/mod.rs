//! What goes wrong on purpose.
//!
//! * [`polls`]: the task: dropped at its k-th poll, for every k.
//! * [`barrier`]: the schedule: an attempt held at a named point while others overtake it.

pub mod barrier;
pub mod polls;
