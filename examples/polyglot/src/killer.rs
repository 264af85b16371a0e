//! SIGKILL to `serve`, both tills, Postgres and Restate, as the load goes on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use crate::{
    driver::{DemoOptions, Recipe},
    world::{Victim, World},
};

/// How often what was killed.
pub type Kills = BTreeMap<Victim, usize>;

/// How long an armed till may take to die by itself; then it is killed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long something stays away, at most.
const AWAY_MS: u64 = 300;

/// Each round has all of these. `serve` is where effects are made, so it is killed most.
const OURS: [Victim; 6] = [
    Victim::Serve,
    Victim::Ts,
    Victim::Serve,
    Victim::Postgres,
    Victim::Py,
    Victim::Restate,
];
const NAIVE: [Victim; 6] = [
    Victim::Ts,
    Victim::Py,
    Victim::Ts,
    Victim::Postgres,
    Victim::Py,
    Victim::Restate,
];

/// Kills as the load goes on.
#[derive(Debug)]
pub struct Killer {
    world: Arc<World>,
    done: Arc<AtomicU64>,
    recipe: Recipe,
    kills: usize,
    orders: usize,
    random: StdRng,
}

impl Killer {
    /// Spreads the kills evenly over the orders.
    #[must_use]
    pub fn new(options: &DemoOptions, world: Arc<World>, done: Arc<AtomicU64>) -> Self {
        Self {
            world,
            done,
            recipe: options.recipe,
            kills: options.kills,
            orders: options.payments,
            random: StdRng::seed_from_u64(options.seed ^ 0x6b69_6c6c),
        }
    }

    /// Kills as often as was asked, and counts.
    ///
    /// # Errors
    /// Where what was killed does not come back.
    pub async fn run(mut self) -> Result<Kills> {
        let mut kills = Kills::new();
        let victims = match self.recipe {
            Recipe::Ours => OURS,
            Recipe::Naive => NAIVE,
        };
        for (number, victim) in (1..=self.kills).zip(victims.into_iter().cycle()) {
            let due = (self.orders * number / (self.kills + 1)) as u64;
            while self.done.load(Ordering::Relaxed) < due {
                sleep(Duration::from_millis(1)).await;
            }
            if self.recipe == Recipe::Naive {
                self.world.arm(victim)?;
                self.world.died(victim, PATIENCE).await?;
            } else {
                let moment = self.random.random_range(0..20_000);
                sleep(Duration::from_micros(moment)).await;
            }
            let away = Duration::from_millis(self.random.random_range(0..AWAY_MS));
            self.world.kill(victim, away).await?;
            *kills.entry(victim).or_default() += 1;
        }
        Ok(kills)
    }
}
