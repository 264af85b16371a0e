//! Kills the service: at each named crash point in turn, and at random in between.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use exactly_once_servers::Service;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::DemoOptions;
use crate::control::{Control, CrashPoint, Handler};

/// How long an armed crash point waits for an attempt to pass; then it is a kill at random.
const PATIENCE: Duration = Duration::from_secs(10);
/// Every so many kills, one is at random.
const RANDOM_EVERY: usize = 3;

/// How often the service was killed, by where.
pub type Kills = BTreeMap<&'static str, usize>;

const AT_RANDOM: &str = "at random";

/// Kills as the load goes on.
#[derive(Debug)]
pub struct Killer {
    service: Arc<Service>,
    control: Control,
    done: Arc<AtomicU64>,
    kills: usize,
    requests: usize,
    random: StdRng,
}

impl Killer {
    /// Spreads the kills evenly over the requests.
    #[must_use]
    pub fn new(
        options: &DemoOptions,
        service: Arc<Service>,
        control: Control,
        done: Arc<AtomicU64>,
    ) -> Self {
        Self {
            service,
            control,
            done,
            kills: options.kills,
            requests: options.payments,
            random: StdRng::seed_from_u64(options.seed ^ 0x6b69_6c6c),
        }
    }

    /// Kills as often as was asked, and counts.
    ///
    /// # Errors
    /// Where the service does not come back.
    pub async fn run(mut self) -> Result<Kills> {
        let mut kills = Kills::new();
        let mut named = points().into_iter().cycle();
        for number in 1..=self.kills {
            let due = (self.requests * number / (self.kills + 1)) as u64;
            while self.done.load(Ordering::Relaxed) < due {
                sleep(Duration::from_millis(1)).await;
            }
            let at = if number % RANDOM_EVERY == 0 {
                self.at_random().await
            } else if let Some((point, handler)) = named.next() {
                self.at(point, handler).await?
            } else {
                AT_RANDOM
            };
            *kills.entry(at).or_default() += 1;
            self.service.restart().await?;
        }
        Ok(kills)
    }

    async fn at(&self, point: CrashPoint, handler: Handler) -> Result<&'static str> {
        self.control.arm(point, handler)?;
        if self.service.died(PATIENCE).await? {
            return Ok(point.name());
        }
        self.control.disarm(point, handler);
        self.service.kill().await;
        Ok(AT_RANDOM)
    }

    async fn at_random(&mut self) -> &'static str {
        let moment = Duration::from_micros(self.random.random_range(0..20_000));
        sleep(moment).await;
        self.service.kill().await;
        AT_RANDOM
    }
}

/// Every crash point in every handler. A transfer is one call of the store, with nothing of ours
/// between its work and its commit.
fn points() -> Vec<(CrashPoint, Handler)> {
    CrashPoint::ALL
        .into_iter()
        .flat_map(|point| Handler::ALL.map(|handler| (point, handler)))
        .filter(|at| *at != (CrashPoint::BeforeCommit, Handler::Transfer))
        .collect()
}
