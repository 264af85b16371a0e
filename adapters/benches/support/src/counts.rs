//! Round trips and syncs of an operation, counted in runs that are not timed: unlike times, they
//! hardly differ from run to run.

use std::{fmt, fs, sync::Arc};

use anyhow::Result;
use futures_util::future::BoxFuture;

use crate::{case::Bench, slice::run_calls};

/// What was counted up to a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    /// Round trips of all connections.
    pub trips: Option<u64>,
    /// Syncs of the log.
    pub syncs: Option<u64>,
}

/// Reads the counters.
pub type Meter = Arc<dyn Fn() -> BoxFuture<'static, Result<Reading>> + Send + Sync>;

/// Counts per operation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Round trips.
    pub trips: Option<f64>,
    /// Syncs of the log.
    pub syncs: Option<f64>,
}

/// The same cases once more, on a way on which they are counted.
#[derive(Clone)]
pub struct Counted {
    /// The cases.
    pub bench: Bench,
    /// The counters.
    pub meter: Meter,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl Counted {
    /// Counts a case. All zero if it has none of that name.
    ///
    /// # Errors
    /// Of a call, or of the meter.
    pub async fn count(&self, name: &str, callers: usize) -> Result<Counts> {
        let Some(case) = self.bench.cases.iter().find(|case| case.name == name) else {
            return Ok(Counts::default());
        };
        // Each caller's first call may open a connection or prepare a statement.
        run_calls(&case.operation, callers, 2 * callers as u64).await?;
        let calls = 30 * callers as u64 + 70;
        let before = (self.meter)().await?;
        run_calls(&case.operation, callers, calls).await?;
        let after = (self.meter)().await?;
        Ok(Counts {
            trips: per_call(before.trips, after.trips, calls),
            syncs: per_call(before.syncs, after.syncs, calls),
        })
    }
}

#[allow(clippy::cast_precision_loss)] // counts of a few thousands
fn per_call(before: Option<u64>, after: Option<u64>, calls: u64) -> Option<f64> {
    Some(after?.saturating_sub(before?) as f64 / calls as f64)
}

/// How many write calls a process has made (`/proc/<pid>/io`); `None` where we may not look.
#[must_use]
pub fn writes_of(process: u32) -> Option<u64> {
    fs::read_to_string(format!("/proc/{process}/io"))
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("syscw: "))?
        .parse()
        .ok()
}

/// How much memory this process has of its own, in bytes.
#[must_use]
pub fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt as _;

    use super::*;
    use crate::case::operation;

    #[tokio::test]
    async fn what_a_call_does_is_counted_without_the_first_calls() {
        let trips = Arc::new(AtomicU64::new(0));
        let mut bench = Bench::default();
        let counter = trips.clone();
        bench.case(
            "three",
            "none",
            operation(move |_| {
                counter.fetch_add(3, Ordering::Relaxed);
                async { Ok(()) }
            }),
        );
        let meter: Meter = Arc::new(move || {
            let trips = Some(trips.load(Ordering::Relaxed));
            async move { Ok(Reading { trips, syncs: None }) }.boxed()
        });
        let counts = Counted { bench, meter }.count("three", 4).await.unwrap();
        assert_eq!(
            counts,
            Counts {
                trips: Some(3.0),
                syncs: None
            }
        );
    }

    #[test]
    fn this_process_has_memory() {
        assert!(memory().is_none_or(|bytes| bytes > 0));
    }
}
