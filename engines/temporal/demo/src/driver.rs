//! Servers, load, kills, audit, report.

mod hands;
mod load;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use exactly_once::sqlite::SqliteStore;
use exactly_once_servers::{Temporal, launch::Launch, service};
use rusqlite::Connection;

use self::hands::Hands;
pub use crate::audit::Anomaly;
use crate::{
    audit,
    control::Control,
    model::Recipe,
    till::{BANK, WAREHOUSE},
};

/// The arguments of the demo.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// How many orders
    #[arg(long, default_value_t = 2_000)]
    pub payments: usize,
    /// How often a worker or the server is killed
    #[arg(long, default_value_t = 30)]
    pub kills: usize,
    /// Which load and which kills; the same seed gives the same
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How the activities make their effects happen once
    #[arg(long, value_enum, default_value_t)]
    pub recipe: Recipe,
    /// The program that has the subcommand `worker`; this one by default
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
}

/// How often something was killed, by where.
pub type Kills = BTreeMap<&'static str, usize>;

/// What a run found.
#[derive(Debug)]
pub struct Report {
    /// What was run.
    pub options: DemoOptions,
    /// How long the load took.
    pub took: Duration,
    /// How many orders there were.
    pub orders: usize,
    /// How many of them were refused for good.
    pub refused: usize,
    /// The kills.
    pub kills: Kills,
    /// How many activities were attempted.
    pub attempts: u64,
    /// How many rows there are of payments, invoices and parcels.
    pub effects: u64,
    /// The sum of all balances, before and after.
    pub sums: (i64, i64),
    /// What is wrong.
    pub anomalies: Vec<Anomaly>,
}

/// Runs the load under the kills, and audits.
///
/// # Errors
/// Where a server can't be started or the audit can't read; an anomaly is no error but a finding.
pub async fn run(options: &DemoOptions) -> Result<Report> {
    let folder = tempfile::tempdir().context("can't make a temporary folder")?;
    let control = Control::new(folder.path());
    let orders = load::orders(options);
    let opening = load::opening();
    prepare(folder.path(), &opening).await?;

    let server = Temporal::start().await?;
    let launch = Launch::new(service::program(options.program.as_deref())?, folder.path())
        .log(folder.path().join("worker.log"))
        .argument("worker")
        .argument("--url")
        .argument(server.url())
        .argument("--folder")
        .argument(folder.path());
    let done = Arc::new(AtomicUsize::new(0));
    let hands = Hands::hire(launch, &server, control.clone())?;
    let started = Instant::now();
    let url = server.url();
    let load = load::send(&url, orders, &done);
    let kills = hands.kill(options, &done);
    let all = async { tokio::try_join!(load, kills) };
    // The hands also replace workers that ended by themselves.
    let (asked, kills) = tokio::select! {
        both = all => both?,
        failed = hands.keep() => failed?,
    };
    let took = started.elapsed();
    // Everything stops first, so that the audit reads what is there at rest.
    hands.dismiss().await;
    server.stop().await?;
    let evidence = audit::read(folder.path(), options.recipe)?;
    let refused = asked
        .iter()
        .filter(|(_, answer)| matches!(answer, Ok(crate::model::Answer::Refused { .. })))
        .count();
    Ok(Report {
        options: options.clone(),
        took,
        orders: asked.len(),
        refused,
        kills,
        attempts: control.attempts(),
        effects: evidence.effects(),
        sums: (opening.values().sum(), evidence.sum()),
        anomalies: audit::anomalies(&asked, &opening, &evidence),
    })
}

/// Makes the tables and opens the accounts, for both recipes. No table has a unique key: a second row
/// must be there for the audit to see.
async fn prepare(folder: &std::path::Path, opening: &BTreeMap<String, i64>) -> Result<()> {
    let bank = SqliteStore::open(folder.join(BANK)).await?;
    let warehouse = SqliteStore::open(folder.join(WAREHOUSE)).await?;
    load::open_accounts(&bank, opening).await?;
    for store in [bank, warehouse] {
        exactly_once::Store::close(&store).await?;
    }
    let file = Connection::open(folder.join(BANK))?;
    file.execute_batch(
        "CREATE TABLE payment (
            number INTEGER PRIMARY KEY, order_name TEXT NOT NULL, cents INTEGER NOT NULL) STRICT;
         CREATE TABLE invoice (order_name TEXT NOT NULL) STRICT;
         CREATE TABLE account (name TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT;",
    )?;
    for account in opening {
        file.execute("INSERT INTO account VALUES (?1, ?2)", account)?;
    }
    Connection::open(folder.join(WAREHOUSE))?
        .execute_batch("CREATE TABLE parcel (order_name TEXT NOT NULL) STRICT")?;
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EXAMPLES: usize = 5;
        writeln!(f, "orders                       {:>8}", self.orders)?;
        writeln!(f, "  refused for good           {:>8}", self.refused)?;
        let kills: usize = self.kills.values().sum();
        writeln!(f, "kills (SIGKILL)              {kills:>8}")?;
        for (at, count) in &self.kills {
            writeln!(f, "  {at:<35}{count:>8}")?;
        }
        writeln!(f, "attempts of activities       {:>8}", self.attempts)?;
        writeln!(f, "rows in both databases       {:>8}", self.effects)?;
        writeln!(
            f,
            "sum of balances              {:>8} before, {} after",
            self.sums.0, self.sums.1
        )?;
        writeln!(
            f,
            "seconds                      {:>8.1}",
            self.took.as_secs_f64()
        )?;
        let mut kinds: BTreeMap<_, Vec<&Anomaly>> = BTreeMap::new();
        for anomaly in &self.anomalies {
            kinds.entry(anomaly.kind).or_default().push(anomaly);
        }
        for (kind, anomalies) in kinds {
            writeln!(f, "ANOMALY: {}: {}", kind.words(), anomalies.len())?;
            for anomaly in anomalies.iter().take(EXAMPLES) {
                writeln!(f, "- {}", anomaly.what)?;
            }
        }
        let (verdict, seed, recipe) = match self.anomalies.is_empty() {
            true => ("PASSED", self.options.seed, self.options.recipe),
            false => ("FAILED", self.options.seed, self.options.recipe),
        };
        let (orders, anomalies) = (self.orders, self.anomalies.len());
        write!(
            f,
            "{verdict}: recipe {recipe:?}, seed {seed}: {orders} orders, {anomalies} anomalies"
        )
    }
}
