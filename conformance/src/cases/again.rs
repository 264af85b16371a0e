//! A case whose verdict depended on a moment that the machine has slept through is run again, with
//! longer times. A failure on a machine that kept up is a failure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};

use crate::{CaseFailure, CaseResult, context::Context, harness::Harness, runner::Case};

/// How often the machine's patience is felt.
const BEAT: Duration = Duration::from_millis(5);

/// Times longer than so many of the harness's own are not tried.
const PATIENCE_MAX: u32 = 64;

/// Measures the longest time for which this process did not get to run.
struct Pulse {
    longest_micros: Arc<AtomicU64>,
    beating: JoinHandle<()>,
}

impl Pulse {
    fn start() -> Self {
        let longest_micros = Arc::new(AtomicU64::new(0));
        let longest = Arc::clone(&longest_micros);
        let beating = tokio::spawn(async move {
            loop {
                let started = Instant::now();
                sleep(BEAT).await;
                let stalled = started.elapsed().saturating_sub(BEAT).as_micros();
                longest.fetch_max(stalled as u64, Ordering::Relaxed);
            }
        });
        Self {
            longest_micros,
            beating,
        }
    }

    fn longest_stall(&self) -> Duration {
        Duration::from_micros(self.longest_micros.load(Ordering::Relaxed))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

/// Runs the case in a fresh place; and again, with longer times, where it failed by the clock.
pub(super) async fn run_patiently<H, Fut>(
    harness: Arc<H>,
    case: Case,
    body: impl Fn(Context<H>) -> Fut,
) -> CaseResult
where
    H: Harness,
    Fut: Future<Output = CaseResult>,
{
    let mut patience = 1;
    loop {
        let pulse = Pulse::start();
        let cx = Context::start(Arc::clone(&harness), case.clone(), patience).await?;
        let (times, tick) = (cx.times(), cx.tick_unseen());
        let Err(failure) = body(cx).await else {
            return Ok(());
        };
        let slept = times.asked() && pulse.longest_stall() > tick;
        if failure.is_ignored() || patience >= PATIENCE_MAX || !(failure.is_too_slow() || slept) {
            return Err(noted(failure, patience));
        }
        patience *= 4;
        case.step(format!("again, with times {patience} times as long"));
    }
}

fn noted(failure: CaseFailure, patience: u32) -> CaseFailure {
    if patience == 1 || failure.is_ignored() {
        return failure;
    }
    failure.note(format!("with times {patience} times the harness's own"))
}
