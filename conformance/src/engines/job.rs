//! A handler of the matrix, on stores of its own, and what it has done.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use exactly_once_core::{
    AccountId, Amount, BalanceStore, IdempotencyKey, OpenAccount, Retention, Store,
    engine::{
        Engine, TransactionIdentity,
        script::{Faults, Faulty},
    },
};
use serde_json::Value;

use super::{EngineStore, effects::Form};
use crate::{CaseResult, Harness};

/// A place of a store, and a handle on it.
pub(super) struct Bench<H: Harness> {
    guard: H::Guard,
    pub(super) store: H::Store,
}

/// One run of a handler, with its faults. Clones are the same run.
pub struct Job<H: Harness> {
    name: String,
    pub(super) harness: Arc<H>,
    pub(super) first: Arc<Bench<H>>,
    pub(super) second: Arc<Bench<H>>,
    pub(super) form: Form,
    pub(super) transaction: TransactionIdentity,
    pub(super) tally: Arc<Tally>,
    faults: Faults,
}

impl<H: Harness> Clone for Job<H> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            harness: self.harness.clone(),
            first: self.first.clone(),
            second: self.second.clone(),
            form: self.form,
            transaction: self.transaction.clone(),
            tally: self.tally.clone(),
            faults: self.faults.clone(),
        }
    }
}

/// What the attempts of a run have done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    attempts: AtomicU64,
    executions: AtomicU64,
    /// How many executions of the work fail before one succeeds.
    pub(super) failing: u64,
    /// Whether the store knew of the effect when the step failed.
    pub(super) known: Mutex<Option<bool>>,
}

impl Tally {
    /// Counts an execution of the work; its number, from 1.
    pub(super) fn executed(&self) -> u64 {
        self.executions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A value that no other execution gives, also none of a replay.
    pub(super) fn value() -> u64 {
        static VALUES: AtomicU64 = AtomicU64::new(1);
        VALUES.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn executions(&self) -> u64 {
        self.executions.load(Ordering::Relaxed)
    }

    pub(super) fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(super) fn known(&self) -> Option<bool> {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Harness> Job<H>
where
    H::Store: EngineStore,
{
    /// A run of this form, on empty stores with the accounts that it needs.
    pub(super) async fn new(
        harness: &Arc<H>,
        form: Form,
        faults: Faults,
        failing: u64,
    ) -> CaseResult<Self> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{run}", std::process::id());
        let (first, second) = (Bench::new(&**harness).await?, Bench::new(&**harness).await?);
        for (account, amount) in [("alice", 100), ("bob", 0)] {
            let key = IdempotencyKey::new(format!("set-up/{account}"))?;
            let open = OpenAccount::new(key, AccountId::new(account)?);
            let open = open.with_amount(Amount::new(amount));
            first.store.open_account(&open).await?;
        }
        let transaction = TransactionIdentity::new(
            IdempotencyKey::new(format!("{name}/order"))?,
            first.store.now().await?,
            Duration::from_secs(60),
            Retention::default(),
        )?;
        let tally = Tally {
            failing,
            ..Tally::default()
        };
        Ok(Self {
            name,
            harness: harness.clone(),
            first: Arc::new(first),
            second: Arc::new(second),
            form,
            transaction,
            tally: Arc::new(tally),
            faults,
        })
    }

    /// The name of the run, another one for each run of this process.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.name
    }

    /// What goes wrong in this run.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// One attempt of the run, with the engine's context.
    ///
    /// # Errors
    /// What a handler of this engine fails with: hand it on to the engine.
    pub async fn attempt<'run, M, E>(&self, engine: &E) -> Result<Value, E::Failure>
    where
        E: Engine<'run, M>,
    {
        self.tally.attempts.fetch_add(1, Ordering::Relaxed);
        self.faults.point().await;
        let context = Faulty::new(engine, self.faults.clone());
        self.perform(&context).await
    }

    /// The same run without further faults; what it does is counted apart.
    pub(super) fn replay(&self) -> Self {
        Self {
            faults: Faults::none(),
            tally: Arc::default(),
            ..self.clone()
        }
    }

    /// What the run has left in the stores, in words.
    pub(super) async fn left(&self) -> CaseResult<String> {
        let mut left = String::new();
        for bench in [&self.first, &self.second] {
            let rows = self.harness.count_effects(&bench.guard, ROW).await?;
            left.push_str(&format!("{rows} "));
        }
        for account in ["alice", "bob", "carol"] {
            let state = self.first.store.balance(&AccountId::new(account)?).await?;
            left.push_str(&match state {
                Some(state) if state.open => {
                    format!("{account}={}@{} ", state.amount.get(), state.version.get())
                }
                Some(state) => format!("{account} closed@{} ", state.version.get()),
                None => String::new(),
            });
        }
        Ok(left.trim_end().to_owned())
    }

    pub(super) fn guard(&self) -> &H::Guard {
        &self.first.guard
    }
}

impl<H: Harness> Bench<H> {
    async fn new(harness: &H) -> CaseResult<Self> {
        let guard = harness.fresh().await?;
        let store = harness.open(&guard).await?;
        Ok(Self { guard, store })
    }
}

/// The effect of the work.
pub(super) const ROW: &str = "row";
