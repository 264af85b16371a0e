//! The cost of an operation by how much is stored, and what a waiting caller takes.

use std::{fmt, sync::Arc, time::Instant};

use anyhow::Result;
use futures_util::future::BoxFuture;

use crate::{
    case::{Bench, Operation},
    counts::memory,
    options::Options,
    results::{Report, ScaleRow},
    rounds::turn,
    slice::{self, run_calls},
    statistics::{Spread, latency, quantile},
};

/// Keys that one batch of expiry removes.
pub const BATCH: u32 = 1_000;

/// Batches that are timed at each size.
const BATCHES: u64 = 10;

/// Callers that fill.
const FILLERS: usize = 128;

/// Callers of the cases.
const CALLERS: usize = 8;

/// Removes a batch of what is past its retention; says how many keys it removed.
pub type Expire = Arc<dyn Fn(u32) -> BoxFuture<'static, Result<u64>> + Send + Sync>;

/// What is stored, in bytes.
pub type Storage = Arc<dyn Fn() -> BoxFuture<'static, Result<u64>> + Send + Sync>;

/// What is measured at each size.
#[derive(Clone)]
pub struct Scale {
    /// Floors and cases.
    pub bench: Bench,
    /// Adds one key whose retention is soon over.
    pub fill: Operation,
    /// Removes some of them.
    pub expire: Expire,
    /// What they take.
    pub storage: Storage,
}

impl fmt::Debug for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scale").finish_non_exhaustive()
    }
}

/// Fills by powers of ten, and measures at each.
///
/// # Errors
/// The first error of a call.
pub async fn measure(scale: &Scale, options: &Options, report: &mut Report) -> Result<()> {
    let mut stored = 0;
    let mut keys = 10_000;
    let empty = (scale.storage)().await?;
    while keys <= options.keys {
        run_calls(&scale.fill, FILLERS, keys - stored).await?;
        let bytes = (scale.storage)().await?.saturating_sub(empty);
        #[allow(clippy::cast_precision_loss)]
        let bytes_per_key = bytes as f64 / keys as f64;
        progress(&report.adapter, keys);
        for case in scale
            .bench
            .cases
            .iter()
            .filter(|case| options.wants(&case.name))
        {
            let floor = scale.bench.floor_of(case)?;
            let (mut ratios, mut p50s, mut p99s) = (Vec::new(), Vec::new(), Vec::new());
            turn(&floor, &case.operation, CALLERS, options.slice() / 4).await?;
            for _ in 0..options.rounds {
                let pair = turn(&floor, &case.operation, CALLERS, options.slice()).await?;
                let (p50, p99) = latency(pair.case_latencies());
                ratios.push(pair.ratio());
                p50s.push(p50);
                p99s.push(p99);
            }
            report.scale.push(ScaleRow {
                keys,
                case: case.name.clone(),
                p50: Spread::of(&p50s).median,
                p99: Spread::of(&p99s).median,
                ratio: Spread::of(&ratios).median,
                bytes_per_key: Some(bytes_per_key),
            });
        }
        let removed = expire(scale, keys, options, report).await?;
        stored = keys - removed.min(keys);
        keys *= 10;
    }
    Ok(())
}

/// Batches of expiry, each beside the first floor with one caller: so many keys are removed in the
/// time of one bare write.
async fn expire(scale: &Scale, keys: u64, options: &Options, report: &mut Report) -> Result<u64> {
    let floor = scale.bench.floors.first().map(|(_, floor)| floor);
    let (mut removed, mut times, mut ratios) = (0, Vec::new(), Vec::new());
    for _ in 0..BATCHES.min(keys / u64::from(BATCH)) {
        let floor = match floor {
            Some(floor) => Some(slice::run(floor, 1, options.slice() / 4).await?.rate()),
            None => None,
        };
        let begun = Instant::now();
        let batch = (scale.expire)(BATCH).await?;
        let seconds = begun.elapsed().as_secs_f64();
        removed += batch;
        times.push(seconds * 1e6);
        #[allow(clippy::cast_precision_loss)] // a thousand
        ratios.extend(floor.map(|floor| batch as f64 / seconds / floor));
    }
    times.sort_by(f64::total_cmp);
    report.scale.push(ScaleRow {
        keys,
        case: format!("expire, {BATCH} a batch"),
        p50: quantile(&times, 0.5),
        p99: quantile(&times, 0.99),
        ratio: Spread::of(&ratios).median,
        ..ScaleRow::default()
    });
    Ok(removed)
}

/// What a caller that waits takes in memory, in bytes, its task and its future included. `hold`
/// must keep all of them waiting until it is dropped.
///
/// # Errors
/// None of its own; calls that fail are not looked at.
pub async fn memory_per_waiting_caller(operation: &Operation, callers: u64) -> Option<f64> {
    let before = memory()?;
    let first = u64::MAX / 2;
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let turn = crate::case::Turn {
                caller: usize::try_from(caller).unwrap_or_default(),
                number: first + caller,
            };
            tokio::spawn(operation(turn))
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let after = memory()?;
    for task in tasks {
        task.abort();
    }
    #[allow(clippy::cast_precision_loss)]
    Some(after.saturating_sub(before) as f64 / callers as f64)
}

#[allow(clippy::print_stderr)]
fn progress(adapter: &str, keys: u64) {
    eprintln!("{adapter}: {keys} keys are stored");
}
