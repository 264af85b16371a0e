//! Producers that send twice, consumers that are killed, and an audit.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use exactly_once_servers::{Process, Redis, launch::Launch};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    audit::anomalies,
    consumer::{DOOMED, TAKEN},
    queue::{Message, Queue},
};

/// All has to be consumed within this.
const LIMIT: Duration = Duration::from_secs(120);
const CONSUMERS: usize = 2;

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// Messages; some of them are sent twice
    #[arg(long, default_value_t = 400)]
    pub messages: usize,
    /// Consumers killed between effect and acknowledgement, and as many at random
    #[arg(long, default_value_t = 12)]
    pub kills: usize,
    /// The same seed kills alike
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// The consumer's program; this one if left out
    #[arg(skip)]
    pub program: Option<PathBuf>,
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// Entries in the stream, copies included.
    pub entries: usize,
    /// How often one was taken by a consumer.
    pub taken: usize,
    /// Consumers that died.
    pub deaths: usize,
    /// Messages among the dead letters.
    pub dead: usize,
    /// What is not there once.
    pub anomalies: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} entries, delivered {} times; {} consumers killed; {} dead letters",
            self.entries, self.taken, self.deaths, self.dead
        )?;
        for anomaly in &self.anomalies {
            writeln!(f, "{anomaly}")?;
        }
        match self.anomalies.len() {
            0 => write!(f, "each message took effect once"),
            count => write!(f, "{count} ANOMALIES"),
        }
    }
}

/// Sends, kills, waits and audits.
///
/// # Errors
/// Where a server can't be had, or the queue is not consumed in time.
pub async fn run(options: &DemoOptions) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let server = Redis::start().await?;
    let mut queue = Queue::connect(&server.url()).await?;
    let mut random = StdRng::seed_from_u64(options.seed);
    let sent: Vec<Message> = (0..options.messages)
        .map(|number| message(number, &mut random))
        .collect();
    let mut entries = 0;
    for message in &sent {
        // A producer that did not hear back.
        for _ in 0..if random.random_bool(0.2) { 2 } else { 1 } {
            queue.send(message).await?;
            entries += 1;
        }
    }
    queue.count(DOOMED, options.kills.try_into()?).await?;
    let mut consumers = Consumers::start(options, &server, &folder)?;
    let deadline = Instant::now() + LIMIT;
    let mut random_kills = options.kills;
    while queue.open().await? > 0 {
        if Instant::now() > deadline {
            bail!(
                "the queue is not empty after {LIMIT:?}:\n{}",
                consumers.logs()
            );
        }
        sleep(Duration::from_millis(random.random_range(20..120))).await;
        if random_kills > 0 {
            random_kills -= 1;
            consumers.kill(random.random_range(0..CONSUMERS));
        }
        consumers.restart()?;
    }
    Ok(Report {
        entries,
        taken: queue.count(TAKEN, 0).await?.try_into()?,
        deaths: consumers.deaths,
        dead: queue.dead().await?.len(),
        anomalies: anomalies(&folder.path().join("effects.db"), &sent)?,
    })
}

fn message(number: usize, random: &mut StdRng) -> Message {
    Message {
        id: format!("payment-{number}"),
        account: format!("account-{}", random.random_range(0..10)),
        // One in twenty is refused by the work.
        cents: if number % 20 == 19 {
            0
        } else {
            random.random_range(1..1_000)
        },
    }
}

/// The consumers' processes.
struct Consumers {
    launches: Vec<Launch>,
    processes: Vec<Process>,
    deaths: usize,
}

impl Consumers {
    fn start(options: &DemoOptions, server: &Redis, folder: &TempDir) -> Result<Self> {
        let program = match &options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("which program is this?")?,
        };
        let launches: Vec<Launch> = (0..CONSUMERS)
            .map(|number| {
                Launch::new(&program, folder.path())
                    .log(folder.path().join(format!("consumer-{number}.log")))
                    .variable("QUEUE_URL", server.url())
                    .argument("consumer")
                    .argument("--database")
                    .argument(folder.path().join("effects.db"))
                    .argument("--name")
                    .argument(format!("consumer-{number}"))
            })
            .collect();
        let processes = launches.iter().map(Process::start).collect::<Result<_>>()?;
        Ok(Self {
            launches,
            processes,
            deaths: 0,
        })
    }

    fn kill(&mut self, number: usize) {
        self.processes[number].kill();
    }

    /// Starts those that have ended again, as a supervisor does: killed, or by an error of theirs.
    fn restart(&mut self) -> Result<()> {
        for (launch, process) in self.launches.iter().zip(&mut self.processes) {
            if let Some(status) = process.ended()? {
                self.deaths += usize::from(status.code().is_none());
                *process = Process::start(launch)?;
            }
        }
        Ok(())
    }

    fn logs(&self) -> String {
        self.processes.iter().map(Process::log_tail).collect()
    }
}
