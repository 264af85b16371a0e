//! Servers, load, faults, rest, audit, report.

pub mod killer;
pub mod load;
pub mod operator;
pub mod progress;
pub mod report;
pub mod rest;
pub mod trouble;
pub mod world;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use exactly_once::engine::Refusal;
use exactly_once_conformance::seed::Seed;
use exactly_once_servers::{Call, Ingress, Reply};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use self::{
    killer::Killer,
    load::{Load, Planned},
    operator::{Board, Operator},
    progress::Progress,
    report::Report,
    world::World,
};
use crate::{
    audit::{self, Answer, Case, Told},
    service::Recipe,
};

/// How long an order has to be decided, here: short, so that the end need not wait for it.
pub const DEADLINE: Duration = Duration::from_secs(3);
/// How long a client asks again before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How many clients send at once.
const CLIENTS: usize = 24;
/// How long an impatient client waits the first time.
const MOMENT: Duration = Duration::from_millis(30);
/// How many operations there are unless it is said, and how many one minute could take at most.
const OPERATIONS: usize = 2_000;
const A_MINUTE: usize = 15_000;
/// One kill in so many operations, unless it is said.
const PER_KILL: usize = 185;
const FEWEST_KILLS: usize = 8;
/// One trouble of the network, and one deed of the operator, in so many operations.
const PER_TROUBLE: u64 = 20;
const PER_DEED: u64 = 25;

/// The arguments of chaos.
#[derive(Args, Clone, Debug, Default)]
pub struct ChaosOptions {
    /// How long to go on sending; until all operations are sent if not said
    #[arg(long)]
    pub minutes: Option<f64>,
    /// How many operations; 2,000 if neither this nor a time is said
    #[arg(long)]
    pub operations: Option<usize>,
    /// How many kills; one in 185 operations, and at least 8, if not said
    #[arg(long)]
    pub kills: Option<usize>,
    /// Which load and which faults; the same seed gives the same
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How effects are named; `naive` is broken on purpose, and must fail
    #[arg(long, value_enum, default_value_t)]
    pub recipe: Recipe,
    /// The program that has the subcommand `service`; this one by default
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
}

impl ChaosOptions {
    /// How many operations there are at most.
    #[must_use]
    pub fn planned(&self) -> usize {
        match (self.operations, self.minutes) {
            (Some(operations), _) => operations,
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            (None, Some(minutes)) => (minutes.max(0.0) * A_MINUTE as f64) as usize,
            (None, None) => OPERATIONS,
        }
    }

    /// One kill in so many operations.
    fn per_kill(&self) -> u64 {
        let planned = self.planned();
        let kills = self.kills.unwrap_or((planned / PER_KILL).max(FEWEST_KILLS));
        (planned / (kills + 1)).max(1) as u64
    }

    fn until(&self) -> Option<Instant> {
        let minutes = Duration::try_from_secs_f64(self.minutes? * 60.0).ok()?;
        Instant::now().checked_add(minutes)
    }
}

/// Runs the load under the faults, lets all come to rest, and audits.
///
/// # Errors
/// Where a server can't be started or the audit can't read; an anomaly is no error but a finding.
pub async fn run(options: &ChaosOptions) -> Result<Report> {
    let seed = Seed::new(options.seed);
    let load = Load::new(options.planned(), seed);
    let world = Arc::new(World::start(options, &load.accounts, &load.seeds).await?);
    let ingress = Ingress::new(&world.restate.ingress_url())?;
    let (progress, board) = (Arc::new(Progress::default()), Arc::new(Board::default()));

    let started = Instant::now();
    let killer = Killer::new(world.clone(), progress.clone(), seed);
    let operator = Operator {
        world: world.clone(),
        board: board.clone(),
        ingress: ingress.clone(),
    };
    let clients = Clients {
        world: world.clone(),
        planned: Arc::new(load.planned),
        next: Arc::default(),
        ingress: ingress.clone(),
        progress: progress.clone(),
        board: board.clone(),
        until: options.until(),
        per_kill: options.per_kill(),
    };
    let (cases, kills, troubles, done) = tokio::try_join!(
        async { Ok(clients.run().await) },
        killer.run(options.per_kill()),
        async { Ok(trouble::run(world.clone(), progress.clone(), seed, PER_TROUBLE).await) },
        async { Ok(operator.run(progress.clone(), seed, PER_DEED).await) },
    )?;
    let took = started.elapsed();

    let rest = rest::come_to_rest(&world).await?;
    let told = Told {
        cases,
        deeds: board.deeds(),
        restarted: done.restarted,
    };
    let evidence = audit::evidence::read(&world).await?;
    let mut anomalies = audit::anomalies(&told, &evidence, &load.seeds);
    anomalies.extend(rest.anomalies);
    Ok(Report {
        options: options.clone(),
        took,
        sent: ingress.sent(),
        kills,
        troubles,
        deeds: done.counts,
        swept: rest.swept,
        prevented: world.prevented.count(),
        fenced: evidence.fenced,
        cases: told.cases,
        logs: [world.effects.log(), world.orders.log()],
        anomalies,
    })
}

/// Those who send.
#[derive(Clone)]
struct Clients {
    world: Arc<World>,
    planned: Arc<Vec<Planned>>,
    next: Arc<AtomicUsize>,
    ingress: Ingress,
    progress: Arc<Progress>,
    board: Arc<Board>,
    until: Option<Instant>,
    per_kill: u64,
}

impl Clients {
    async fn run(self) -> Vec<Case> {
        let bar = bar(self.planned.len(), self.until);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(self.clone().one(bar.clone()));
        }
        let cases = clients.join_all().await.into_iter().flatten().collect();
        self.progress.end();
        bar.finish_and_clear();
        cases
    }

    async fn one(self, bar: ProgressBar) -> Vec<Case> {
        let mut cases = Vec::new();
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(planned) = self.planned.get(next) else {
                return cases;
            };
            if self.until.is_some_and(|until| Instant::now() > until) {
                return cases;
            }
            // Not ahead of the kills, or there would be fewer of them.
            let due = (next as u64 / self.per_kill).saturating_sub(1);
            self.progress.kills(due).await;
            let answer = self.ask(planned).await;
            cases.push(Case {
                operation: planned.operation.clone(),
                answer,
            });
            self.progress.count();
            bar.inc(1);
        }
    }

    async fn ask(&self, planned: &Planned) -> Answer {
        let operation = &planned.operation;
        let (path, body) = (operation.path(), operation.body());
        let call = Call {
            path: &path,
            key: &operation.name,
            body: &body,
        };
        if planned.watched
            && let Ok(invocation) = self.ingress.send(call).await
        {
            self.board.begun(operation, invocation);
        }
        let moment = planned.impatient.then_some(MOMENT);
        let reply = self.ingress.ask(call, moment, PATIENCE).await;
        let answer = match reply {
            Some(reply) => judge(reply),
            None => Answer::Silence {
                status: self.status(&operation.name).await,
            },
        };
        self.board
            .ended(operation, matches!(answer, Answer::Done(_)));
        answer
    }
}

impl Clients {
    /// What Restate says of an operation's invocation.
    async fn status(&self, key: &str) -> String {
        let sql = format!(
            "SELECT id, status, retry_count, last_failure \
             FROM sys_invocation WHERE idempotency_key = '{key}'"
        );
        match self.world.restate.query(&sql).await {
            Ok(rows) => format!("{rows:?}"),
            Err(error) => format!("nothing: {error:#}"),
        }
    }
}

fn judge(Reply { status, text }: Reply) -> Answer {
    if status == 200 {
        return Answer::Done(text);
    }
    match Refusal::parse(status, &text) {
        Some(refusal) => Answer::Refused(refusal),
        None => Answer::CutShort { status, text },
    }
}

fn bar(planned: usize, until: Option<Instant>) -> ProgressBar {
    let template = if until.is_some() {
        "{elapsed} {pos} operations"
    } else {
        "{bar:40} {pos}/{len} operations"
    };
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(planned as u64).with_style(style.unwrap_or(ProgressStyle::default_bar()))
}
