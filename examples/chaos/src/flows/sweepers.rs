//! The sweepers of both flows: the right ones, the wrong ones, and one that is broken on purpose.

use std::{
    sync::Arc,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use exactly_once::{
    AnyStore, Decision, DecisionRegister, ErrorKind, PreparedTransactions, Store,
    two_phase::{SweepReport, Sweeper},
};
use tokio::{task::JoinSet, time::sleep};

use super::{
    audit::{Anomaly, Kind},
    load::Flow,
    stores::{NAMES, STOCK, World},
};

/// How long each sweeper rests after a turn. The wrong ones are quicker, so that they are often first.
const RIGHT: Duration = Duration::from_millis(900);
const WRONG: Duration = Duration::from_millis(150);
const RECORDS: u32 = 500;
/// How many turns a right sweeper has to end everything, once all stores are back.
const TURNS: usize = 20;

/// What the sweepers have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Participants committed, as had been decided.
    pub committed: u64,
    /// Participants rolled back.
    pub rolled_back: u64,
    /// Entries of another register, left alone.
    pub foreign: u64,
    /// Decisions left unfinished, since a participant had not confirmed.
    pub unfinished: u64,
    /// Records removed.
    pub forgotten: u64,
}

#[derive(Debug, Default)]
struct Seen {
    stopped: AtomicBool,
    committed: AtomicU64,
    rolled_back: AtomicU64,
    foreign: AtomicU64,
    unfinished: AtomicU64,
    forgotten: AtomicU64,
    alarms: Mutex<Vec<String>>,
}

/// All sweepers.
pub struct Sweepers {
    stores: [AnyStore; 3],
    seen: Arc<Seen>,
}

impl Sweepers {
    /// On these stores.
    ///
    /// # Errors
    /// Where a store can't be swept.
    pub fn new(world: &World) -> Result<Self> {
        let sweepers = Self {
            stores: world.stores.clone(),
            seen: Arc::default(),
        };
        for flow in Flow::ALL {
            sweepers.over(flow.own(), &[flow.own(), STOCK])?;
        }
        Ok(sweepers)
    }

    fn over(&self, register: usize, known: &[usize]) -> exactly_once::Result<Sweeper<AnyStore>> {
        let mut sweeper = Sweeper::new(self.stores[register].clone());
        for store in known {
            sweeper = sweeper.participant(NAMES[*store], self.stores[*store].clone())?;
        }
        Ok(sweeper)
    }

    /// Starts the sweepers of both flows.
    pub fn start(&self, tasks: &mut JoinSet<()>, any_register: bool) {
        for flow in Flow::ALL {
            let (own, other) = (flow.own(), flow.other().own());
            let configured: [(usize, &[usize], Duration); 5] = [
                (own, &[own, STOCK, other], RIGHT),
                // A part of the participants, each.
                (own, &[own], WRONG),
                (own, &[STOCK], WRONG),
                // The register of the other flow.
                (other, &[own, STOCK], WRONG),
                (other, &[own, STOCK, other], WRONG),
            ];
            for (register, known, rest) in configured {
                let Ok(sweeper) = self.over(register, known) else {
                    continue;
                };
                let seen = self.seen.clone();
                tasks.spawn(async move { turns(&sweeper, &seen, rest).await });
            }
            if any_register {
                let (register, stock) = (self.stores[own].clone(), self.stores[STOCK].clone());
                let seen = self.seen.clone();
                tasks.spawn(async move {
                    rolls_back_what_it_does_not_know(&register, &stock, &seen).await
                });
            }
        }
    }

    /// Ends them, after their turn.
    pub fn stop(&self) {
        self.seen.stopped.store(true, Ordering::Relaxed);
    }

    /// What they have done.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            committed: read(&self.seen.committed),
            rolled_back: read(&self.seen.rolled_back),
            foreign: read(&self.seen.foreign),
            unfinished: read(&self.seen.unfinished),
            forgotten: read(&self.seen.forgotten),
        }
    }

    /// The right sweepers, until nothing is left; gives what they could not end, and all alarms.
    pub async fn come_to_rest(&self) -> Vec<Anomaly> {
        let mut anomalies = Vec::new();
        for flow in Flow::ALL {
            let mut last = None;
            for _ in 0..TURNS {
                let report = match self.over(flow.own(), &[flow.own(), STOCK, flow.other().own()]) {
                    Ok(sweeper) => sweeper.sweep().await,
                    Err(error) => Err(error),
                };
                let (at_rest, left) = match &report {
                    Ok(report) => {
                        self.seen.count(report);
                        let failed = report.failed.is_empty() && report.waiting == 0;
                        (
                            failed && report.unfinished.is_empty(),
                            format!("{report:?}"),
                        )
                    }
                    Err(error) => (false, error.to_string()),
                };
                last = (!at_rest).then_some(left);
                if at_rest {
                    break;
                }
                sleep(RIGHT).await;
            }
            anomalies.extend(last.map(|what| Anomaly::new(Kind::Sweep, what)));
        }
        let alarms = self
            .seen
            .alarms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        anomalies.extend(alarms.iter().map(|alarm| Anomaly::new(Kind::Alarm, alarm)));
        anomalies
    }
}

impl Seen {
    fn count(&self, report: &SweepReport) {
        let add = |count: &AtomicU64, more| count.fetch_add(more, Ordering::Relaxed);
        add(&self.committed, report.committed);
        add(&self.rolled_back, report.rolled_back);
        add(&self.foreign, report.foreign.len() as u64);
        add(&self.unfinished, report.unfinished.len() as u64);
        let mut alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner);
        for alarm in report.alarms.iter().map(ToString::to_string) {
            // Each sweep reports it.
            if !alarms.contains(&alarm) {
                alarms.push(alarm);
            }
        }
    }
}

async fn turns(sweeper: &Sweeper<AnyStore>, seen: &Seen, rest: Duration) {
    while !seen.stopped.load(Ordering::Relaxed) {
        // A register that is away: the next turn.
        if let Ok(report) = sweeper.sweep().await {
            seen.count(&report);
        }
        let forgotten = sweeper.forget(RECORDS).await.removed;
        seen.forgotten.fetch_add(forgotten, Ordering::Relaxed);
        sleep(rest).await;
    }
}

/// Broken on purpose: it takes its register's silence for a rollback, whichever register an entry
/// names.
async fn rolls_back_what_it_does_not_know(register: &AnyStore, stock: &AnyStore, seen: &Seen) {
    while !seen.stopped.load(Ordering::Relaxed) {
        let page = stock.in_doubt(None, 1_000).await;
        let now = stock.now().await;
        if let (Ok(page), Ok(now)) = (page, now) {
            for entry in page.entries {
                let work = &entry.participation;
                let stands = register.decision(work).await;
                let commits = match &stands {
                    Ok(Some(entry)) => entry.decision == Decision::Commit,
                    Ok(None) => false,
                    Err(error) => error.kind() != ErrorKind::Configuration,
                };
                if now > work.not_after() && !commits {
                    // What comes of it, the audit finds.
                    let _ = stock.rollback_prepared(work).await;
                }
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}
