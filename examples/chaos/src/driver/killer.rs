//! SIGKILL to service processes, the Restate server, Postgres and Redis.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Result;
use exactly_once_conformance::seed::{CaseRng, Seed};
use exactly_once_order::control::CrashPoint;
use tokio::time::sleep;

use super::{progress::Progress, world::World};

/// How long an armed crash point waits for an attempt to pass; then it is a kill at random.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long something stays away, at most.
const AWAY_MS: i64 = 700;

/// How often what was killed.
pub type Kills = BTreeMap<&'static str, usize>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Effects,
    Orders,
    /// At a named point of the two-phase protocol.
    OrdersAtPoint,
    Postgres,
    Redis,
    Restate,
}

/// Each round has all of them, in an order of its own.
const ROUND: [Victim; 7] = [
    Victim::Effects,
    Victim::Orders,
    Victim::OrdersAtPoint,
    Victim::Postgres,
    Victim::Redis,
    Victim::Restate,
    Victim::Effects,
];

/// Kills as the load goes on.
pub struct Killer {
    world: Arc<World>,
    progress: Arc<Progress>,
    random: CaseRng,
    left: Vec<Victim>,
    points: Vec<CrashPoint>,
}

impl Killer {
    /// By this seed.
    #[must_use]
    pub fn new(world: Arc<World>, progress: Arc<Progress>, seed: Seed) -> Self {
        Self {
            world,
            progress,
            random: seed.derive("kills").rng(),
            left: Vec::new(),
            points: Vec::new(),
        }
    }

    /// Kills once in so many operations, until the load has ended.
    ///
    /// # Errors
    /// Where what was killed does not come back.
    pub async fn run(mut self, every: u64) -> Result<Kills> {
        let mut kills = Kills::new();
        let mut due = every;
        while self.progress.reached(due).await {
            let first = self.next();
            // Misfortunes seldom come singly.
            let second = self.random.one_in(4).then(|| self.next());
            let second = second.filter(|second| *second != first);
            let (one, two) = (self.fate(), self.fate());
            let world = &self.world;
            let (one, two) = tokio::try_join!(world.kill(first, one), async {
                match second {
                    Some(second) => world.kill(second, two).await.map(Some),
                    None => Ok(None),
                }
            })?;
            for killed in [Some(one), two].into_iter().flatten() {
                *kills.entry(killed).or_default() += 1;
            }
            self.progress.killed();
            due += every;
        }
        Ok(kills)
    }

    fn next(&mut self) -> Victim {
        if self.left.is_empty() {
            self.left = ROUND.to_vec();
            self.random.shuffle(&mut self.left);
        }
        self.left.pop().unwrap_or(Victim::Effects)
    }

    fn fate(&mut self) -> Fate {
        if self.points.is_empty() {
            self.points = CrashPoint::all();
            self.random.shuffle(&mut self.points);
        }
        Fate {
            moment: Duration::from_micros(self.random.within(0..=20_000).unsigned_abs()),
            away: Duration::from_millis(self.random.within(0..=AWAY_MS).unsigned_abs()),
            point: self.points.pop(),
        }
    }
}

/// What the seed has for one kill.
struct Fate {
    moment: Duration,
    away: Duration,
    point: Option<CrashPoint>,
}

impl World {
    async fn kill(&self, victim: Victim, fate: Fate) -> Result<&'static str> {
        sleep(fate.moment).await;
        match victim {
            Victim::Effects => {
                self.effects.kill().await;
                self.effects.restart().await?;
                Ok("service")
            }
            Victim::Orders => {
                self.orders.kill().await;
                self.orders.restart().await?;
                Ok("service")
            }
            Victim::OrdersAtPoint => self.at_point(fate.point).await,
            Victim::Postgres => {
                self.postgres.kill();
                sleep(fate.away).await;
                self.postgres.restart().await?;
                Ok("Postgres")
            }
            Victim::Redis => {
                self.redis.kill();
                sleep(fate.away).await;
                self.redis.restart().await?;
                Ok("Redis")
            }
            Victim::Restate => {
                self.restate.kill();
                sleep(fate.away).await;
                self.restate.restart().await?;
                Ok("Restate")
            }
        }
    }

    async fn at_point(&self, point: Option<CrashPoint>) -> Result<&'static str> {
        let mut died = false;
        if let Some(point) = point {
            self.control.arm(point)?;
            died = self.orders.died(PATIENCE).await?;
            self.control.disarm(point);
        }
        if !died {
            self.orders.kill().await;
        }
        self.orders.restart().await?;
        Ok(if died {
            "service, in the protocol"
        } else {
            "service"
        })
    }
}
