//! Load, kills, audit, report.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::{Args, ValueEnum};
use exactly_once_servers::{Call, Ingress, Reply, service};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    audit, evidence,
    killer::Killer,
    load::Load,
    model::{Answer, Request},
    report::Report,
    world::World,
};

/// How the tills make their effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Recipe {
    /// Through `exactly-once serve`.
    #[default]
    Ours,
    /// With a database client of their own, in a step.
    Naive,
}

impl Recipe {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Naive => "naive",
        }
    }
}

/// The arguments of the demo.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// How many orders, half of them by each language
    #[arg(long, default_value_t = 2_000)]
    pub payments: usize,
    /// How often something is killed
    #[arg(long, default_value_t = 30)]
    pub kills: usize,
    /// Which load and which kills; the same seed gives the same
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How the tills make their effects
    #[arg(long, value_enum, default_value_t)]
    pub recipe: Recipe,
    /// The program that has the subcommand `serve`; this one by default
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
}

impl DemoOptions {
    /// How long a client asks again before it gives up. A server that was killed on a busy machine may need
    /// minutes to come back; with the usual recipe some orders never end.
    fn patience(&self) -> Duration {
        match self.recipe {
            Recipe::Ours => Duration::from_secs(300),
            Recipe::Naive => Duration::from_secs(20),
        }
    }
}

/// Runs the load under the kills, and audits.
///
/// # Errors
/// Where a server can't be started or the audit can't read; an anomaly is no error but a finding.
pub async fn run(options: &DemoOptions) -> Result<Report> {
    let program = service::program(options.program.as_deref())?;
    let load = Load::new(
        options.payments,
        options.seed,
        options.recipe == Recipe::Ours,
    );
    let (orders, pieces) = (load.orders(), load.pieces);
    let world = Arc::new(World::start(&program, options.recipe, pieces).await?);
    let client = Ingress::new(&world.restate.ingress_url())?;
    let started = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let killer = Killer::new(options, world.clone(), done.clone());
    let (answers, kills) = tokio::try_join!(send(load, &client, options, &done), killer.run())?;
    rest(&world, options).await?;
    let took = started.elapsed();
    let replays = world.replays().await;
    world.stop().await?;
    let mut evidence = evidence::read(&world.ledger(), &world.stock()).await?;
    if options.recipe == Recipe::Ours {
        evidence.in_doubt += evidence::staged(&world.stock()).await?;
    }
    let refused = |answer: &Answer| matches!(answer, Answer::Done(receipt) if !receipt.taken);
    Ok(Report {
        options: options.clone(),
        took,
        orders,
        refused: answers.iter().filter(|(_, answer)| refused(answer)).count(),
        sent: client.sent(),
        kills,
        replays,
        rows: evidence.rows(),
        anomalies: audit::anomalies(&answers, &evidence, pieces),
    })
}

/// What each client asked, and what it got.
type Answers = Vec<(Request, Answer)>;

/// All clients, each with its own share of the load, one request after the other.
async fn send(
    load: Load,
    client: &Ingress,
    options: &DemoOptions,
    done: &Arc<AtomicU64>,
) -> Result<Answers> {
    let progress = ProgressBar::new(load.orders() as u64);
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    progress.set_message(format!("orders, {} kills on the way", options.kills));
    let mut clients = JoinSet::new();
    for share in load.shares {
        let (client, done, progress) = (client.clone(), done.clone(), progress.clone());
        let patience = options.patience();
        clients.spawn(async move {
            let mut answers = Vec::with_capacity(share.len());
            for request in share {
                let answer = ask(&client, &request, patience).await;
                answers.push((request, answer));
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

async fn ask(client: &Ingress, request: &Request, patience: Duration) -> Answer {
    let path = format!("{}/{}", request.language.service(), request.how.handler());
    let call = Call {
        path: &path,
        key: &request.order.order,
        body: &json!(request.order),
    };
    match client.ask(call, None, patience).await {
        None => Answer::Silence,
        Some(Reply { status: 200, text }) => match serde_json::from_str(&text) {
            Ok(receipt) => Answer::Done(receipt),
            Err(error) => Answer::Failed {
                status: 200,
                message: format!("no receipt but {text}: {error}"),
            },
        },
        Some(Reply { status, text }) => Answer::Failed {
            status,
            message: text,
        },
    }
}

/// Waits until nothing is under way in Restate, for a while. A schedule is always under way.
async fn rest(world: &World, options: &DemoOptions) -> Result<()> {
    let deadline = Instant::now() + options.patience();
    let under_way = "SELECT id FROM sys_invocation WHERE status <> 'completed' \
                     AND target_service_name NOT IN ('KeyExpiry', 'InDoubtSweep')";
    while !world.restate.query(under_way).await?.is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
