//! What an operator does to invocations: cancel, kill, pause and resume, restart from a step.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use exactly_once_conformance::seed::{CaseRng, Seed};
use exactly_once_servers::{Ingress, Reply, restate::Action};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{PATIENCE, progress::Progress, world::World};
use crate::{audit::Restarted, model::Operation};

/// How many of those that have ended are remembered for a restart.
const REMEMBERED: usize = 200;

/// What was done to an operation's invocation.
pub type Deeds = BTreeMap<String, Vec<Deed>>;

/// One thing that was done, or at least asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// Cancelled.
    Cancel,
    /// Killed.
    Kill,
    /// Paused, and resumed.
    Pause,
    /// Restarted as new from a step, when it had ended.
    Restart,
}

/// An invocation that can be acted upon.
#[derive(Clone, Debug)]
struct Known {
    operation: Operation,
    invocation: String,
}

/// Which invocations there are, reported by the clients.
#[derive(Debug, Default)]
pub struct Board(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    running: BTreeMap<String, Known>,
    ended: VecDeque<Known>,
    deeds: Deeds,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has begun.
    pub fn begun(&self, operation: &Operation, invocation: String) {
        let known = Known {
            operation: operation.clone(),
            invocation,
        };
        self.lock().running.insert(operation.name.clone(), known);
    }

    /// A client was answered; only what was done can be restarted.
    pub fn ended(&self, operation: &Operation, done: bool) {
        let mut lists = self.lock();
        let known = lists.running.remove(&operation.name);
        if let Some(known) = known.filter(|_| done) {
            lists.ended.push_back(known);
            if lists.ended.len() > REMEMBERED {
                lists.ended.pop_front();
            }
        }
    }

    /// What was done to which.
    #[must_use]
    pub fn deeds(&self) -> Deeds {
        self.lock().deeds.clone()
    }

    fn pick_running(&self, random: &mut CaseRng, deed: Deed) -> Option<Known> {
        let mut lists = self.lock();
        let at = random.below(lists.running.len());
        let known = lists.running.values().nth(at)?.clone();
        lists.note(&known, deed);
        Some(known)
    }

    fn pick_ended(&self, random: &mut CaseRng) -> Option<Known> {
        let mut lists = self.lock();
        let at = random.below(lists.ended.len());
        let known = lists.ended.remove(at)?;
        lists.note(&known, Deed::Restart);
        Some(known)
    }
}

impl Lists {
    /// Before it is done: its answer may come at once, or never.
    fn note(&mut self, known: &Known, deed: Deed) {
        let name = known.operation.name.clone();
        self.deeds.entry(name).or_default().push(deed);
    }
}

/// Acts on invocations.
pub struct Operator {
    /// Whose Restate it is.
    pub world: Arc<World>,
    /// Who can be acted upon.
    pub board: Arc<Board>,
    /// Waits for the answers of what was restarted.
    pub ingress: Ingress,
}

/// What an operator has done with success.
#[derive(Debug, Default)]
pub struct Done {
    /// How often, by what.
    pub counts: BTreeMap<Deed, usize>,
    /// What was restarted, and how it was answered.
    pub restarted: Vec<Restarted>,
}

impl Operator {
    /// Acts once in so many operations, until the load has ended.
    pub async fn run(self, progress: Arc<Progress>, seed: Seed, every: u64) -> Done {
        let mut random = seed.derive("operator").rng();
        let (mut done, mut due) = (Done::default(), every);
        let (mut resuming, mut restarted) = (JoinSet::new(), JoinSet::new());
        while progress.reached(due).await {
            due += every;
            let deed = match random.below(8) {
                0 | 1 => Deed::Cancel,
                2 => Deed::Kill,
                3 | 4 => Deed::Pause,
                _ => Deed::Restart,
            };
            // The server may be down; then nothing was done.
            let acted = match deed {
                Deed::Cancel => self.act(Action::Cancel, deed, &mut random).await.1,
                Deed::Kill => self.act(Action::Kill, deed, &mut random).await.1,
                Deed::Pause => {
                    let (known, acted) = self.act(Action::Pause, deed, &mut random).await;
                    if let Some(known) = known {
                        // Also where no answer came: the server may have been killed after it had
                        // taken the request to heart.
                        let pause = random.within(50..=800).unsigned_abs();
                        let pause = Duration::from_millis(pause);
                        resuming.spawn(resume(self.world.clone(), known.invocation, pause));
                    }
                    acted
                }
                Deed::Restart => match self.restart(&mut random).await {
                    Ok((name, invocation)) => {
                        let ingress = self.ingress.clone();
                        restarted.spawn(answer(ingress, name, invocation));
                        true
                    }
                    Err(_) => false,
                },
            };
            if acted {
                *done.counts.entry(deed).or_default() += 1;
            }
        }
        resuming.join_all().await;
        done.restarted = restarted.join_all().await;
        done
    }

    /// On which it acted, or tried to, and whether that was confirmed.
    async fn act(&self, action: Action, deed: Deed, random: &mut CaseRng) -> (Option<Known>, bool) {
        let Some(known) = self.board.pick_running(random, deed) else {
            return (None, false);
        };
        let acted = self.world.restate.act(action, &known.invocation).await;
        (Some(known), acted.is_ok())
    }

    /// Restarts what has ended from its last effect, or from anywhere after it. What lies before
    /// has no key yet, and would be a new effect by intention.
    async fn restart(&self, random: &mut CaseRng) -> Result<(String, String)> {
        let known = self.board.pick_ended(random).context("nothing has ended")?;
        let (invocation, step) = (&known.invocation, known.operation.step());
        let sql = format!(
            "SELECT \"index\", name FROM sys_journal WHERE id = '{invocation}' ORDER BY \"index\""
        );
        let rows = self.world.restate.query(&sql).await?;
        let index = |row: &serde_json::Value| row["index"].as_i64();
        let effect = rows.iter().filter(|row| row["name"] == step);
        let effect = effect.filter_map(index).next_back().context("no effect")?;
        let last = rows.iter().filter_map(index).next_back().unwrap_or(effect);
        let from = random.within(effect - 1..=(last - 1).max(effect - 1));
        let from = u32::try_from(from)?;
        let new = self.world.restate.restart_as_new(invocation, from).await?;
        Ok((known.operation.name, new))
    }
}

/// Lets it go on after the pause; until it has ended, since it may be running when it is asked to
/// pause, and do so later.
async fn resume(world: Arc<World>, invocation: String, pause: Duration) {
    let sql = format!("SELECT status FROM sys_invocation WHERE id = '{invocation}'");
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        sleep(pause).await;
        // The server may be down.
        let Ok(rows) = world.restate.query(&sql).await else {
            continue;
        };
        match rows.first().and_then(|row| row["status"].as_str()) {
            Some("paused") => {
                let _ = world.restate.act(Action::Resume, &invocation).await;
            }
            Some("completed") => return,
            // A server that has just come up may not know its invocations yet.
            None | Some(_) => {}
        }
    }
}

async fn answer(ingress: Ingress, name: String, invocation: String) -> Restarted {
    let answer = ingress.attach(&invocation, PATIENCE).await;
    let told = answer.map(|Reply { status, text }| (status, text));
    Restarted { name, told }
}
