//! Servers, load, kills, audit, report.

pub mod client;
pub mod killer;
pub mod load;
pub mod report;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use exactly_once_servers::{Restate, Service, launch::Launch, service};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use self::{client::Client, killer::Killer, load::Load, report::Report};
use crate::{
    audit::{self, Anomaly, Answer, Kind, Request},
    control::{Control, Counter},
    naive,
    process::Recipe,
};

/// The arguments of the demo.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// How many payments, refunds and transfers
    #[arg(long, default_value_t = 2_000)]
    pub payments: usize,
    /// How often the service is killed
    #[arg(long, default_value_t = 30)]
    pub kills: usize,
    /// Which load and which kills; the same seed gives the same
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How the service makes its effects happen once
    #[arg(long, value_enum, default_value_t)]
    pub recipe: Recipe,
    /// The program that has the subcommand `service`; this one by default
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
}

impl DemoOptions {
    /// So many payments and kills, by this library.
    #[must_use]
    pub fn new(payments: usize, kills: usize, seed: u64) -> Self {
        Self {
            payments,
            kills,
            seed,
            recipe: Recipe::Ours,
            program: None,
        }
    }

    /// How long a client asks again before it gives up. A request that waits for a service which
    /// is killed all the time takes seconds; one that is stuck takes for ever.
    fn patience(&self) -> Duration {
        match self.recipe {
            Recipe::Ours => Duration::from_secs(60),
            Recipe::Naive => Duration::from_secs(4),
        }
    }
}

/// Runs the load under the kills, and audits.
///
/// # Errors
/// Where a server can't be started or the audit can't read; an anomaly is no error but a finding.
pub async fn run(options: &DemoOptions) -> Result<Report> {
    let folder = tempfile::tempdir().context("can't make a temporary folder")?;
    let control = Control::new(folder.path());
    let database = folder.path().join("payments.sqlite");
    let launch = launch(options, folder.path(), &database)?;
    let (restate, service) = tokio::try_join!(Restate::start(), Service::start(launch))?;
    restate.register(&service.url()).await?;
    let client = Client::new(&restate.ingress_url())?;
    let load = Load::new(options.payments, options.seed);
    client.open_accounts(&load.accounts).await?;
    let sum_before = load.sum();

    let started = Instant::now();
    let service = Arc::new(service);
    let done = Arc::new(AtomicU64::new(0));
    let killer = Killer::new(options, service.clone(), control.clone(), done.clone());
    let (answers, kills) = tokio::try_join!(send(load, &client, options, &done), killer.run())?;
    let unfinished = unfinished(&restate, options).await?;
    let took = started.elapsed();

    // The service stops first, so that the audit reads what is there at rest.
    service.stop().await?;
    restate.stop().await?;
    let evidence = match options.recipe {
        Recipe::Ours => audit::evidence::read(&database)?,
        Recipe::Naive => naive::evidence::read(&database)?,
    };
    let mut anomalies = audit::anomalies(&answers, &evidence, sum_before);
    explain(&mut anomalies, unfinished, &answers);
    Ok(Report {
        options: options.clone(),
        took,
        requests: answers.len(),
        refused: answers
            .iter()
            .filter(|(_, answer)| matches!(answer, Answer::Refused { .. }))
            .count(),
        sent: client.sent(),
        kills,
        attempts: control.counted(Counter::Attempts),
        replays: control.counted(Counter::Replays),
        effects: evidence.effects(),
        sum_before,
        sum_after: evidence.sum(),
        in_doubt: evidence.in_doubt,
        anomalies,
    })
}

fn launch(options: &DemoOptions, folder: &Path, database: &Path) -> Result<Launch> {
    let program = service::program(options.program.as_deref())?;
    Ok(Launch::new(program, folder)
        .log(folder.join("service.log"))
        .argument("service")
        .argument("--database")
        .argument(database)
        .argument("--control")
        .argument(folder)
        .argument("--recipe")
        .argument(options.recipe.name()))
}

/// What each client asked, and what it got.
type Answers = Vec<(Request, Answer)>;

/// All clients, each with its own share of the load, one request after the other.
async fn send(
    load: Load,
    client: &Client,
    options: &DemoOptions,
    done: &Arc<AtomicU64>,
) -> Result<Answers> {
    let progress = ProgressBar::new(load.requests() as u64);
    progress.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    progress.set_message(format!("requests, {} kills on the way", options.kills));
    let mut clients = JoinSet::new();
    for share in load.shares {
        let (client, done, progress) = (client.clone(), done.clone(), progress.clone());
        let patience = options.patience();
        clients.spawn(async move {
            let mut answers = Vec::with_capacity(share.len());
            for planned in share {
                let answer = client.ask(&planned, patience).await;
                answers.push((planned.request, answer));
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

/// An invocation that has not ended: its ingress key, and why it fails.
type Unfinished = (String, String);

/// Waits until nothing is under way in Restate, for a while.
async fn unfinished(restate: &Restate, options: &DemoOptions) -> Result<Vec<Unfinished>> {
    let deadline = Instant::now() + options.patience();
    loop {
        let rows = restate
            .query(
                "SELECT idempotency_key, target, last_failure FROM sys_invocation \
                 WHERE status <> 'completed'",
            )
            .await?;
        if rows.is_empty() || Instant::now() > deadline {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            return Ok(rows
                .iter()
                .map(|row| (text(&row["idempotency_key"]), text(&row["last_failure"])))
                .collect());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Adds what Restate knows: why a silent request is stuck, and what has not ended although its
/// client was answered.
fn explain(anomalies: &mut Vec<Anomaly>, unfinished: Vec<Unfinished>, answers: &Answers) {
    let silent = |key: &str| {
        answers
            .iter()
            .any(|(request, answer)| request.name() == key && *answer == Answer::Silence)
    };
    for (key, failure) in unfinished {
        let beginning = format!("{key}, ");
        let known = anomalies
            .iter_mut()
            .find(|found| found.kind == Kind::Stuck && found.what.starts_with(&beginning));
        match known {
            Some(known) => known
                .what
                .push_str(&format!("; Restate tries again on: {failure}")),
            None if silent(&key) => {}
            None => anomalies.push(Anomaly {
                kind: Kind::Stuck,
                what: format!("{key}: {failure}"),
            }),
        }
    }
}
