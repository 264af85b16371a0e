//! The matrix of engines, on one without a journal, over the store in memory.

#[path = "support/deliveries.rs"]
mod deliveries;
#[path = "support/place_memory.rs"]
mod place;

use std::time::Duration;

use deliveries::{Message, Undone};
use exactly_once_conformance::{
    CaseResult, Harness,
    engines::{Ended, EngineHarness, EngineStore, Job, on_a_thread},
};

struct Deliveries;

impl<H> EngineHarness<H> for Deliveries
where
    H: Harness,
    H::Store: EngineStore,
{
    fn name(&self) -> &str {
        "queue"
    }

    fn journals(&self) -> bool {
        false
    }

    async fn run(&self, job: Job<H>) -> CaseResult<Ended> {
        let message = Message::new(job.run());
        let cancelled = message.clone();
        job.faults().on_cancel(move || cancelled.cancel());
        on_a_thread(async move || {
            loop {
                let delivery = message.deliver();
                let attempt = job.attempt(&delivery);
                let ended = match job.faults().until_crash(attempt).await {
                    Err(_crashed) => continue,
                    Ok(Ok(value)) => Ended::Value(value),
                    Ok(Err(Undone::PutAside(refusal))) => Ended::Refused(refusal),
                    Ok(Err(Undone::Cancelled)) => Ended::Cancelled,
                    Ok(Err(again)) => {
                        let pause = again.after().unwrap_or(Duration::from_millis(1));
                        tokio::time::sleep(pause).await;
                        continue;
                    }
                };
                return Ok(ended);
            }
        })
        .await
    }
}

fn main() -> std::process::ExitCode {
    exactly_once_conformance::engines::run(Deliveries, place::Memory)
}
