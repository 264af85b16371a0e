//! Kills the service at named crash points and at random, Postgres, and Redis, in turn.

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

use super::{DemoOptions, servers::Servers};
use crate::control::CrashPoint;

/// How long an armed crash point waits for an attempt to pass; then it is a kill at random.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often what was killed, and where.
pub type Kills = BTreeMap<String, usize>;

const AT_RANDOM: &str = "service, at random";

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    AtPoint,
    Service,
    PostgresKilled,
    PostgresStopped,
    Redis,
}

/// Half of the kills are at named points; the others take turns.
const TURNS: [Victim; 12] = [
    Victim::AtPoint,
    Victim::PostgresKilled,
    Victim::AtPoint,
    Victim::Redis,
    Victim::AtPoint,
    Victim::Service,
    Victim::AtPoint,
    Victim::PostgresStopped,
    Victim::AtPoint,
    Victim::Redis,
    Victim::AtPoint,
    Victim::Service,
];

/// Kills as the load goes on.
#[derive(Debug)]
pub struct Killer {
    servers: Arc<Servers>,
    done: Arc<AtomicU64>,
    kills: usize,
    orders: usize,
    random: StdRng,
}

impl Killer {
    /// Spreads the kills evenly over the orders.
    #[must_use]
    pub fn new(options: &DemoOptions, servers: Arc<Servers>, done: Arc<AtomicU64>) -> Self {
        Self {
            servers,
            done,
            kills: options.kills,
            orders: options.orders,
            random: StdRng::seed_from_u64(options.seed ^ 0x6b69_6c6c),
        }
    }

    /// Kills as often as was asked, and counts.
    ///
    /// # Errors
    /// Where what was killed does not come back.
    pub async fn run(mut self) -> Result<Kills> {
        let mut kills = Kills::new();
        let points = CrashPoint::all();
        // Every seed begins elsewhere: some seeds together pass all points.
        let first = self.random.random_range(0..points.len());
        let mut points = points.into_iter().cycle().skip(first);
        for number in 1..=self.kills {
            let due = (self.orders * number / (self.kills + 1)) as u64;
            while self.done.load(Ordering::Relaxed) < due {
                sleep(Duration::from_millis(1)).await;
            }
            let point = match TURNS[(number - 1) % TURNS.len()] {
                Victim::AtPoint => points.next(),
                _ => None,
            };
            let what = match point {
                Some(point) => self.at_point(point).await?,
                None => self.at_random(TURNS[(number - 1) % TURNS.len()]).await?,
            };
            *kills.entry(what).or_default() += 1;
        }
        Ok(kills)
    }

    async fn at_point(&self, point: CrashPoint) -> Result<String> {
        let servers = &self.servers;
        servers.control.arm(point)?;
        let died = servers.service.died(PATIENCE).await?;
        if !died {
            servers.control.disarm(point);
            servers.service.kill().await;
        }
        servers.service.restart().await?;
        Ok(if died {
            format!("service, {}", point.moment())
        } else {
            AT_RANDOM.to_owned()
        })
    }

    async fn at_random(&mut self, victim: Victim) -> Result<String> {
        let moment = Duration::from_micros(self.random.random_range(0..20_000));
        let away = Duration::from_millis(self.random.random_range(0..500));
        sleep(moment).await;
        let servers = &self.servers;
        let what = match victim {
            Victim::AtPoint | Victim::Service => {
                servers.service.kill().await;
                servers.service.restart().await?;
                AT_RANDOM
            }
            Victim::PostgresKilled => {
                servers.postgres.kill();
                sleep(away).await;
                servers.postgres.restart().await?;
                "Postgres, kill -9"
            }
            Victim::PostgresStopped => {
                servers.postgres.stop_immediate().await?;
                sleep(away).await;
                servers.postgres.restart().await?;
                "Postgres, immediate stop"
            }
            Victim::Redis => {
                servers.redis.kill();
                sleep(away).await;
                servers.redis.restart().await?;
                "Redis, kill -9"
            }
        };
        Ok(what.to_owned())
    }
}
