//! The worker processes, and what kills them and the server.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use exactly_once_servers::{Process, Temporal, launch::Launch};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};

use super::{DemoOptions, Kills};
use crate::control::{Control, CrashPoint};

/// How many worker processes there are.
const WORKERS: usize = 2;
/// How long an armed crash point waits for an attempt to pass; then it is a kill at random.
const PATIENCE: Duration = Duration::from_secs(10);
/// Every so many kills, one is of a worker at random, and one is of the server.
const EVERY: usize = 5;

/// The workers.
pub(super) struct Hands<'s> {
    launch: Launch,
    server: &'s Temporal,
    control: Control,
    workers: Mutex<Vec<Process>>,
}

impl<'s> Hands<'s> {
    pub(super) fn hire(launch: Launch, server: &'s Temporal, control: Control) -> Result<Self> {
        let workers = (0..WORKERS).map(|_| Process::start(&launch));
        let workers = Mutex::new(workers.collect::<Result<_>>()?);
        Ok(Self {
            launch,
            server,
            control,
            workers,
        })
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Process>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces each worker that has died; ends with an error only.
    pub(super) async fn keep<T>(&self) -> Result<T> {
        loop {
            for worker in self.workers().iter_mut() {
                if worker.ended()?.is_some() {
                    *worker = Process::start(&self.launch)?;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills as often as was asked, spread evenly over the orders, and counts.
    pub(super) async fn kill(&self, options: &DemoOptions, done: &AtomicUsize) -> Result<Kills> {
        let mut random = StdRng::seed_from_u64(options.seed ^ 0x6b69_6c6c);
        let mut kills = Kills::new();
        let mut named = CrashPoint::ALL.into_iter().cycle();
        for number in 1..=options.kills {
            let due = options.payments * number / (options.kills + 1);
            while done.load(Ordering::Relaxed) < due {
                sleep(Duration::from_millis(2)).await;
            }
            let at = match number % EVERY {
                0 => self.the_server(&mut random).await?,
                1 => self.at_random(&mut random).await,
                _ => match named.next() {
                    Some(point) => self.at(point, &mut random).await?,
                    None => self.at_random(&mut random).await,
                },
            };
            *kills.entry(at).or_default() += 1;
        }
        Ok(kills)
    }

    async fn at(&self, point: CrashPoint, random: &mut StdRng) -> Result<&'static str> {
        self.control.arm(point)?;
        let deadline = Instant::now() + PATIENCE;
        while !self.control.passed(point) {
            if Instant::now() > deadline && self.control.disarm(point) {
                return Ok(self.at_random(random).await);
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(point.name())
    }

    async fn at_random(&self, random: &mut StdRng) -> &'static str {
        sleep(Duration::from_micros(random.random_range(0..50_000))).await;
        let worker = random.random_range(0..WORKERS);
        if let Some(worker) = self.workers().get_mut(worker) {
            worker.kill();
        }
        "a worker, at random"
    }

    async fn the_server(&self, random: &mut StdRng) -> Result<&'static str> {
        self.server.kill();
        sleep(Duration::from_millis(random.random_range(0..500))).await;
        self.server.restart().await?;
        Ok("the Temporal server")
    }

    /// Ends all workers.
    pub(super) async fn dismiss(&self) {
        self.workers().clear();
    }
}
