//! Concurrent histories: recorded while clients race, judged afterwards.
//!
//! * [`Recorder`] notes when each call began and ended, and what it answered.
//! * [`linearizability`] searches for an order of the calls that a single, sequential store could
//!   have produced.
//!
//! A call whose answer was lost is *maybe*: it took effect at some moment after it began, perhaps
//! long after its caller had given up, or it never did.

pub mod linearizability;

mod record;

pub use self::record::{Call, History, Operation, Outcome, Recorder};
