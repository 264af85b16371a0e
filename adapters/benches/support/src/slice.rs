//! Callers that call for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use crate::case::{Operation, Turn};

/// Numbers for fresh keys; no two turns of a process share one.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// What the callers of one slice did.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// Calls that ended while the slice lasted.
    pub done: u64,
    /// How long it lasted.
    pub elapsed: Duration,
    /// How long each call took, in microseconds.
    pub latencies: Vec<f32>,
}

impl Slice {
    /// Calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // no slice has 2^52 calls
        let done = self.done as f64;
        done / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Lets `callers` repeat the operation for `time`.
///
/// # Errors
/// The first error of a call: a benchmark of failures would say nothing.
pub async fn run(operation: &Operation, callers: usize, time: Duration) -> Result<Slice> {
    let start = Arc::new(tokio::sync::Barrier::new(callers));
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (operation, start) = (operation.clone(), start.clone());
        tasks.spawn(async move {
            start.wait().await;
            repeat(&operation, caller, time).await
        });
    }
    let mut slice = Slice {
        elapsed: time,
        ..Slice::default()
    };
    while let Some(ended) = tasks.join_next().await {
        let (latencies, in_time) = ended.context("a caller panicked")??;
        slice.done += in_time;
        slice.latencies.extend(latencies);
    }
    Ok(slice)
}

/// The latencies of one caller, and how many of its calls ended in time.
async fn repeat(operation: &Operation, caller: usize, time: Duration) -> Result<(Vec<f32>, u64)> {
    let (mut latencies, mut in_time) = (Vec::new(), 0);
    let begun = Instant::now();
    let mut before = Duration::ZERO;
    while before < time {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        operation(Turn { caller, number }).await?;
        let now = begun.elapsed();
        latencies.push((now - before).as_secs_f32() * 1e6);
        in_time += u64::from(now <= time);
        before = now;
    }
    Ok((latencies, in_time))
}

/// Lets `callers` repeat the operation, `calls` times in all; time is not measured.
///
/// # Errors
/// The first error of a call.
pub async fn run_calls(operation: &Operation, callers: usize, calls: u64) -> Result<()> {
    let left = Arc::new(AtomicU64::new(calls));
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (operation, left) = (operation.clone(), left.clone());
        let take = |left: u64| left.checked_sub(1);
        tasks.spawn(async move {
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
                operation(Turn { caller, number }).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a caller panicked")??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::operation;

    #[tokio::test]
    async fn every_call_has_a_number_of_its_own() {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let numbers = seen.clone();
        let call = operation(move |turn| {
            numbers.lock().unwrap().push(turn.number);
            async { Ok(()) }
        });
        run_calls(&call, 3, 100).await.unwrap();
        let mut seen = seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 100);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
    }

    #[tokio::test]
    async fn an_error_of_a_call_ends_the_slice() {
        let call = operation(|_| async { anyhow::bail!("refused") });
        assert!(run(&call, 2, Duration::from_secs(60)).await.is_err());
    }
}
