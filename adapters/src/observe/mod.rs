//! What a store does, seen from outside: spans, counters and durations, over any store.
//!
//! [`Observed`] wraps a store and implements the same traits. Each call runs in a `tracing` span
//! with the OpenTelemetry names for database clients (`db.system.name`, `db.operation.name`,
//! `db.namespace`, and `error.type` where it failed). With the feature `metrics` it also counts,
//! through the `metrics` facade:
//!
//! | metric | kind | labels | unit |
//! |---|---|---|---|
//! | `exactly_once_operations_total` | counter | `backend`, `operation`, `outcome` | calls |
//! | `exactly_once_operation_duration_seconds` | histogram | `backend`, `operation` | seconds |
//! | `exactly_once_in_doubt` | gauge | `backend`, `namespace`, `place` | transactions in doubt |
//! | `exactly_once_in_doubt_oldest_seconds` | gauge | `backend`, `namespace`, `place` | seconds |
//! | `exactly_once_group_size` | histogram | `backend` | effects that shared one commit |
//!
//! The group size comes from the store itself, so it is counted without this layer too (SQLite's
//! writer is the one that groups). The gauges are as of the last listing by
//! [`in_doubt`](crate::PreparedTransactions::in_doubt) that reached its last page: list all pages now
//! and then. `place` distinguishes two stores of one backend.
//!
//! `outcome` is `ok`, or what the answer was (`fresh`, `replayed`, `in_progress`, `mismatch`,
//! `recorded`, `superseded`, `applied`, `granted`, …), or the [kind](crate::ErrorKind::as_str) of the
//! error (`ambiguous`, `conflict`, …). No key, receipt or parameter is ever a label or a field.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> exactly_once::Result<()> {
//! use exactly_once::{Store, memory::MemoryStore, observe::Observed};
//!
//! let store = Observed::new(MemoryStore::new());
//! store.now().await?; // counted, and in a span
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```
//!
//! # Layout
//! - `call`: one observed call.
//! - `outcome`: what an answer is called.
//! - `forward`: the traits.
//! - `listing`: what is in doubt, over the pages of a listing.

mod call;
mod forward;
mod listing;
mod outcome;

/// How many effects shared one commit. No layer can see that from outside.
#[cfg(all(feature = "rusqlite", feature = "metrics"))]
pub(crate) fn group_size(backend: &'static str, size: usize) {
    // A group has fewer members than f64 can count.
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    metrics::histogram!("exactly_once_group_size", "backend" => backend).record(f64::from(size));
}

#[cfg(all(feature = "rusqlite", not(feature = "metrics")))]
pub(crate) fn group_size(_: &'static str, _: usize) {}

/// A store whose every call is observed. It adds nothing to the contract and takes nothing away.
#[derive(Clone, Debug)]
pub struct Observed<S>(S, listing::Listings);

impl<S> Observed<S> {
    /// Observes this store.
    pub fn new(store: S) -> Self {
        Self(store, listing::Listings::default())
    }

    /// The store itself.
    pub const fn inner(&self) -> &S {
        &self.0
    }
}
