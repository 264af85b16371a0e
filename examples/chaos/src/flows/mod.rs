//! Two flows with two registers over one shared store.
//!
//! The first flow writes to orders and stock and decides in orders; the second one writes to shipping
//! and stock and decides in shipping. Attempts are dropped half way and are retried or not, some with
//! other participants. Each flow has sweepers, of which some are configured wrongly: one that knows a
//! part of the participants, one that knows every store, and one with the other flow's register. One
//! store at a time is away for longer than the deadline.
//!
//! Then all comes to rest, the right sweepers run, and plain drivers read the stores: each transaction
//! took effect in all its stores or in none, as its answer says, and nothing is in doubt.
//!
//! # Layout
//! - [`stores`]: the three stores, and what takes them away.
//! - [`load`]: which transactions there are, by the seed alone.
//! - [`clients`]: run them, drop attempts half way, and retry.
//! - [`sweepers`]: the right ones, the wrong ones, and one that is broken on purpose.
//! - [`audit`]: what must hold, read without this library.

pub mod audit;
pub mod clients;
pub mod load;
pub mod report;
pub mod stores;
pub mod sweepers;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use exactly_once_conformance::seed::Seed;
use tokio::task::JoinSet;

use self::{clients::Clients, report::Report, stores::World, sweepers::Sweepers};

/// How long a transaction has to be decided.
pub const DEADLINE: Duration = Duration::from_millis(1_500);
/// How much longer its records are kept: no attempt lives as long, and no sweep takes as long on a busy
/// machine. A commit that is not finished by then can't be confirmed, which is an alarm.
pub const KEPT: Duration = Duration::from_secs(300);
/// How long a client goes on with one transaction.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A store is away for longer than the deadline by this, at least and at most.
const AWAY_MS: [i64; 2] = [300, 1_500];
/// One outage per 1,500 transactions; more often in a short run.
const PER_OUTAGE: usize = 1_500;
const FEWEST_OUTAGES: usize = 6;

/// What the run of the flows is given.
#[derive(Args, Clone, Debug)]
pub struct FlowsOptions {
    /// How many transactions
    #[arg(long, default_value_t = 2_000)]
    pub operations: usize,
    /// Which transactions and which faults
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A sweeper of each flow rolls back what its register does not know: must fail
    #[arg(long)]
    pub any_register: bool,
}

/// Runs the flows under the faults, lets all come to rest, and audits.
///
/// # Errors
/// Where a server can't be started or the audit can't read; an anomaly is no error but a finding.
pub async fn run(options: &FlowsOptions) -> Result<Report> {
    let seed = Seed::new(options.seed);
    let world = Arc::new(World::start().await?);
    let clients = Arc::new(Clients::new(
        &world,
        load::plan(options.operations, seed),
        seed,
    ));
    let sweepers = Arc::new(Sweepers::new(&world)?);
    let started = Instant::now();
    let mut background = JoinSet::new();
    sweepers.start(&mut background, options.any_register);
    let every = PER_OUTAGE.min(options.operations / FEWEST_OUTAGES).max(1);
    let (cases, outages) = tokio::join!(
        clients.clone().run(),
        outages(&world, &clients, seed, every)
    );
    let outages = outages?;
    let took = started.elapsed();
    sweepers.stop();
    background.join_all().await;
    tokio::time::sleep(DEADLINE + Duration::from_millis(100)).await;
    let mut anomalies = sweepers.come_to_rest().await;
    anomalies.extend(audit::anomalies(&cases, &audit::read(&world).await?));
    Ok(Report {
        options: options.clone(),
        took,
        outages,
        dropped: clients.dropped.load(Ordering::Relaxed),
        swept: sweepers.counts(),
        cases,
        anomalies,
    })
}

/// Takes one store after the other away, in rounds, for longer than the deadline.
async fn outages(world: &World, clients: &Clients, seed: Seed, every: usize) -> Result<[usize; 3]> {
    let mut random = seed.derive("outages").rng();
    let (mut counts, mut due, mut left) = ([0; 3], every / 2, Vec::new());
    while clients.reached(due).await {
        if left.is_empty() {
            left = vec![0, 1, 2];
            random.shuffle(&mut left);
        }
        let store = left.pop().unwrap_or_default();
        let longer = random.within(AWAY_MS[0]..=AWAY_MS[1]).unsigned_abs();
        world
            .away(store, DEADLINE + Duration::from_millis(longer))
            .await?;
        counts[store] += 1;
        due += every;
    }
    Ok(counts)
}
