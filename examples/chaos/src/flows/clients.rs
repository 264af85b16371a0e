//! The clients: they run transactions, drop attempts half way, and retry some of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use exactly_once::{
    AnyStore, ErrorKind, Fingerprint, Participation, Statement, Store, TransactionId,
    two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
};
use exactly_once_conformance::seed::{CaseRng, Seed};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    DEADLINE, KEPT, PATIENCE,
    load::{Members, Planned},
    stores::{NAMES, World},
};

const CLIENTS: usize = 24;
const PAUSE: Duration = Duration::from_millis(60);

/// How a transaction was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Committed, with these participants.
    Committed(Members),
    /// Rolled back.
    RolledBack,
    /// The client dropped its last attempt, or had no more patience.
    Dropped,
    /// An error that is none of the expected ones.
    Failed(String),
}

/// A transaction and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What was run.
    pub planned: Planned,
    /// What it answered.
    pub answer: Answer,
}

/// The clients that run the transactions.
#[derive(Debug)]
pub struct Clients {
    stores: [AnyStore; 3],
    planned: Vec<Planned>,
    seed: Seed,
    next: AtomicUsize,
    done: AtomicUsize,
    /// How many attempts were dropped half way.
    pub dropped: AtomicUsize,
}

impl Clients {
    /// For these transactions.
    #[must_use]
    pub fn new(world: &World, planned: Vec<Planned>, seed: Seed) -> Self {
        Self {
            stores: world.stores.clone(),
            planned,
            seed,
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        }
    }

    /// Waits until `due` transactions have an answer; returns false if there are fewer.
    pub async fn reached(&self, due: usize) -> bool {
        while self.done.load(Ordering::Relaxed) < due {
            if self.done.load(Ordering::Relaxed) >= self.planned.len() {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
        due < self.planned.len()
    }

    /// Runs all of them.
    pub async fn run(self: Arc<Self>) -> Vec<Case> {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(self.clone().one());
        }
        clients.join_all().await.into_iter().flatten().collect()
    }

    async fn one(self: Arc<Self>) -> Vec<Case> {
        let mut cases = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(planned) = self.planned.get(number) else {
                return cases;
            };
            let mut random = self.seed.derive(&planned.name).rng();
            let answer = self.answer(planned, &mut random).await;
            cases.push(Case {
                planned: planned.clone(),
                answer,
            });
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn answer(&self, planned: &Planned, random: &mut CaseRng) -> Answer {
        let until = Instant::now() + PATIENCE;
        let Some(work) = self.participation(planned, until).await else {
            return Answer::Dropped;
        };
        let mut crossed = planned.crossed;
        while Instant::now() < until {
            let members = if crossed && random.one_in(3) {
                crossed = false;
                Members::Crossed
            } else {
                Members::Usual
            };
            // So far into the attempt that any of its steps may be the last one.
            let moment = Duration::from_micros(random.within(0..=40_000).unsigned_abs());
            let patience = if random.one_in(5) { moment } else { PATIENCE };
            let run = self.attempt(planned, members, &work).run();
            match timeout(patience, run).await {
                Ok(Ok(TwoPhaseOutcome::Committed)) => return Answer::Committed(members),
                Ok(Ok(TwoPhaseOutcome::RolledBack { .. })) => return Answer::RolledBack,
                Ok(Err(error)) if error.is_retryable() => sleep(PAUSE).await,
                // The other participants were first; or the records are gone.
                Ok(Err(error)) if error.kind() == ErrorKind::Mismatch && planned.crossed => {
                    if members == Members::Usual {
                        return Answer::Dropped;
                    }
                }
                Ok(Err(error)) => return Answer::Failed(format!("{error:?}")),
                Err(_) => {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                    if random.one_in(2) {
                        return Answer::Dropped;
                    }
                }
            }
        }
        Answer::Dropped
    }

    /// By the register's clock, once it can be read.
    async fn participation(&self, planned: &Planned, until: Instant) -> Option<Participation> {
        let register = &self.stores[planned.flow.own()];
        while Instant::now() < until {
            if let Ok(now) = register.now().await {
                let not_after = now.checked_add(DEADLINE)?;
                let name = TransactionId::new(planned.name.as_str()).ok()?;
                let fingerprint = Fingerprint::of("flow", &planned.name).ok()?;
                let forget_after = not_after.checked_add(KEPT)?;
                return Participation::new(&name, fingerprint, not_after, forget_after).ok();
            }
            sleep(PAUSE).await;
        }
        None
    }

    fn attempt(
        &self,
        planned: &Planned,
        members: Members,
        work: &Participation,
    ) -> TwoPhaseCommit<'static, AnyStore> {
        let [own, second] = members.of(planned.flow);
        let (first, other) = (&self.stores[own], &self.stores[second]);
        let refused = statements(second, planned, members, planned.refused);
        TwoPhaseCommit::new(first, work.clone())
            .one_shot_participant(NAMES[own], first, statements(own, planned, members, false))
            .one_shot_participant(NAMES[second], other, refused)
    }
}

/// A row that names the transaction and its participants.
fn statements(store: usize, planned: &Planned, members: Members, refused: bool) -> Vec<Statement> {
    let mut statements = Vec::new();
    if store == 2 {
        let entry = format!("{} {}", planned.name, members.word());
        statements.push(Statement::new("RPUSH").bind("work").bind(entry));
        if refused {
            // Refuses: it is no list.
            statements.push(Statement::new("INCR").bind("work"));
        }
        return statements;
    }
    let insert = Statement::new("INSERT INTO work (name, members) VALUES ($1, $2)");
    let insert = insert.bind(planned.name.as_str()).bind(members.word());
    statements.push(insert.expecting_rows(1));
    if refused {
        let update = "UPDATE missing SET name = name WHERE name = $1";
        let update = Statement::new(update).bind(planned.name.as_str());
        statements.push(update.expecting_rows(1));
    }
    statements
}
