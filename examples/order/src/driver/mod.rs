//! Servers, load, kills, sweep, audit, report.

pub mod client;
pub mod killer;
pub mod load;
pub mod report;
pub mod servers;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Args;
use exactly_once::two_phase::SweepReport;
use exactly_once_servers::restate::Action;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use self::{client::Client, killer::Killer, load::Load, report::Report, servers::Servers};
use crate::{
    audit::{self, Anomaly, Answer, Kind, evidence},
    control::CrashPoint,
    model::Order,
    stores::Stores,
};

/// How long an order has to be decided, here: short, so that the demo need not wait for it.
pub const DEADLINE: Duration = Duration::from_secs(4);
/// How often the service sweeps.
pub const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// How long a client asks again before it gives up.
const PATIENCE: Duration = Duration::from_secs(90);

/// The arguments of the demo.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// How many orders
    #[arg(long, default_value_t = 1_000)]
    pub orders: usize,
    /// How often something is killed: the service, Postgres or Redis
    #[arg(long, default_value_t = 30)]
    pub kills: usize,
    /// Which load and which kills; the same seed gives the same
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The program that has the subcommand `service`; this one by default
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
}

/// Runs the load under the kills, sweeps once, and audits.
///
/// # Errors
/// Where a server can't be started or the audit can't read; an anomaly is no error but a finding.
pub async fn run(options: &DemoOptions) -> Result<Report> {
    let servers = Arc::new(Servers::start(options.program.clone()).await?);
    let load = Load::new(options.orders, options.seed);
    let seeds = load.seeds.clone();
    servers.seed(&seeds).await?;
    let client = Client::new(&servers.restate.ingress_url())?;

    let started = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let killer = Killer::new(options, servers.clone(), done.clone());
    let (mut answers, kills) = tokio::try_join!(send(load, &client, options, &done), killer.run())?;
    let unfinished = unfinished(&servers).await?;
    let took = started.elapsed();

    answers.extend(abandon(&servers, &client, options.seed).await?);
    tokio::time::sleep(DEADLINE + Duration::from_millis(100)).await;
    let before = evidence::read(&servers.addresses).await?;
    let sweep = sweep(&servers).await?;
    let evidence = evidence::read(&servers.addresses).await?;
    let mut anomalies = audit::anomalies(&answers, &evidence, &seeds);
    anomalies.extend(complaints(&sweep));
    let stuck = |what| Anomaly::new(Kind::Stuck, what);
    anomalies.extend(unfinished.into_iter().map(stuck));
    Ok(Report {
        options: options.clone(),
        took,
        orders: answers.len(),
        refused: count(&answers, |answer| matches!(answer, Answer::Refused { .. })),
        abandoned: count(&answers, |answer| *answer == Answer::Abandoned),
        sent: client.sent(),
        kills,
        rows: [&evidence.orders, &evidence.shipments, &evidence.uses].map(Vec::len),
        before_sweep: before.left_behind,
        swept: [sweep.committed, sweep.rolled_back],
        left_behind: evidence.left_behind,
        anomalies,
    })
}

/// What each client asked, and what it got.
type Answers = Vec<(Order, Answer)>;

fn count(answers: &Answers, which: impl Fn(&Answer) -> bool) -> usize {
    answers.iter().filter(|(_, answer)| which(answer)).count()
}

/// All clients, each with its own share of the load, one order after the other.
async fn send(
    load: Load,
    client: &Client,
    options: &DemoOptions,
    done: &Arc<AtomicU64>,
) -> Result<Answers> {
    let progress = ProgressBar::new(load.orders() as u64);
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    progress.set_message(format!("orders, {} kills on the way", options.kills));
    let mut clients = JoinSet::new();
    for share in load.shares {
        let (client, done, progress) = (client.clone(), done.clone(), progress.clone());
        clients.spawn(async move {
            let mut answers = Vec::with_capacity(share.len());
            for planned in share {
                let answer = client.ask(&planned, PATIENCE).await;
                answers.push((planned.order, answer));
                done.fetch_add(1, Ordering::Relaxed);
                progress.inc(1);
            }
            answers
        });
    }
    let answers = clients.join_all().await.into_iter().flatten().collect();
    progress.finish_and_clear();
    Ok(answers)
}

/// What has not ended in Restate, and why; waits for a while until nothing is under way.
async fn unfinished(servers: &Servers) -> Result<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rows = servers
            .restate
            .query(
                "SELECT idempotency_key, last_failure FROM sys_invocation \
                 WHERE status <> 'completed'",
            )
            .await?;
        if rows.is_empty() || Instant::now() > deadline {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            return Ok(rows
                .iter()
                .map(|row| {
                    let (key, failure) = (&row["idempotency_key"], &row["last_failure"]);
                    format!("{}: {}", text(key), text(failure))
                })
                .collect());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The end of the world: some orders are begun, the service dies among them and stays dead, and
/// their invocations are killed, so that only a sweeper comes back for them.
async fn abandon(servers: &Servers, client: &Client, seed: u64) -> Result<Answers> {
    servers.control.arm(CrashPoint::AfterDecision)?;
    let orders = Load::abandoned(seed);
    let mut invocations = Vec::new();
    for order in &orders {
        invocations.push(client.send(order).await?);
    }
    if !servers.service.died(PATIENCE).await? {
        bail!("the service has not died after a decision");
    }
    for invocation in invocations {
        // One that has ended already can't be killed.
        let _ = servers.restate.act(Action::Kill, &invocation).await;
    }
    let abandoned = |order| (order, Answer::Abandoned);
    Ok(orders.into_iter().map(abandoned).collect())
}

/// One sweep, by a process that has nothing to do with the service.
async fn sweep(servers: &Servers) -> Result<SweepReport> {
    let stores = Stores::connect(&servers.addresses).await?;
    Ok(stores.sweeper()?.sweep().await?)
}

/// What a sweep past every deadline must not say.
fn complaints(sweep: &SweepReport) -> Vec<Anomaly> {
    let mut told = Vec::new();
    let mut complain = |what: String| told.push(Anomaly::new(Kind::Sweep, what));
    if sweep.waiting > 0 {
        complain(format!("{} are not past their deadline", sweep.waiting));
    }
    for (transaction, participant) in &sweep.unfinished {
        complain(format!("{participant} knows nothing of {transaction}"));
    }
    for error in sweep.alarms.iter().chain(&sweep.failed) {
        complain(error.to_string());
    }
    told
}
