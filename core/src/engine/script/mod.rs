//! Tests of a handler without a server: its effects on a real store, its journal in memory.
//!
//! A [`Script`] is one run of a handler, through all of its attempts. It crashes, is cancelled or
//! loses a reply at one point; [`at_each_point`] tries every point there is. The handler is a
//! function over any [`Engine`](super::Engine), which the service calls with its engine's context.
//!
//! ```
//! use exactly_once_core::{
//!     AccountId, Amount, BalanceStore,
//!     engine::{Answer, Effects, Engine, script::{self, Fault}},
//! };
//!
//! /// What the service calls with its context, and the test with a script's.
//! fn pay<'a, 'run: 'a, M: 'a, E, S>(
//!     ctx: &'a E,
//!     bank: &'a S,
//!     from: &'a AccountId,
//! ) -> Answer<'a, i64, E::Failure>
//! where
//!     E: Engine<'run, M>,
//!     S: BalanceStore,
//! {
//!     Box::pin(async move {
//!         ctx.open_account(bank, "open", from, Amount::new(1_000)).await?;
//!         let paid = ctx.adjust(bank, "pay", from, Amount::new(-300)).await?;
//!         Ok(paid.change.after.get())
//!     })
//! }
//!
//! async fn one_payment_wherever_it_crashes<S: BalanceStore>(new_bank: impl Fn() -> S, alice: AccountId) {
//!     let points = script::at_each_point(Fault::Crash, async |script| {
//!         let bank = new_bank();
//!         let left = script.run(async |ctx| pay(ctx, &bank, &alice).await).await;
//!         assert_eq!(left, Ok(700));
//!     })
//!     .await;
//!     assert!(points >= 12); // two steps, two entries each, three points around each
//! }
//! ```
//!
//! The guide page *Testing a handler* has such a test with `MemoryStore`.
//!
//! [`Faulty`] puts the same faults around another engine.

mod faults;
mod faulty;
mod journal;
mod signal;
mod timer;

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

pub use faults::{Crashed, Fault, Faults};
pub use faulty::Faulty;
pub use journal::{Attempt, Scripted};

use self::{journal::Entry, signal::lock};
use super::{Refusal, Retry};

/// The most attempts of one run: a store that is never available must not hang a test.
const ATTEMPTS_MAX: usize = 100;

/// One run of a handler: a name, a journal that outlives its attempts, and at most one fault.
///
/// Clones are the same run.
#[derive(Clone, Debug)]
pub struct Script {
    run: String,
    journal: Arc<Mutex<Vec<Entry>>>,
    faults: Faults,
}

/// What a handler of a [`Script`] fails with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// A refusal of the store or of the work: final.
    Refused(Refusal),
    /// The run was cancelled. What it did before may have been applied.
    Cancelled,
    /// The handler is not deterministic: this attempt made another step than the journal has.
    Diverged {
        /// The step that was made.
        step: String,
        /// What the journal has instead.
        found: String,
    },
    /// The run was given up after 100 attempts; handlers never see this one.
    Unfinished {
        /// Why its last attempt was to be retried.
        last: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Cancelled => f.write_str("the run was cancelled"),
            Self::Diverged { step, found } => write!(
                f,
                "the handler is not deterministic: it made step `{step}`, and {found}"
            ),
            Self::Unfinished { last } => {
                write!(f, "not finished after {ATTEMPTS_MAX} attempts: {last}")
            }
        }
    }
}

impl std::error::Error for Failure {}

/// How one attempt of a run ended.
#[derive(Debug)]
pub enum Ended<T> {
    /// The handler returned.
    Returned(Result<T, Failure>),
    /// A step has to be retried; the handler was dropped at that step, as engines do.
    Retry(Retry),
    /// The process is gone.
    Crashed,
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Script {
    /// A run without a fault, of a name of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::with_faults(Faults::none())
    }

    /// A run with this fault at the point of this number, counted from 0.
    #[must_use]
    pub fn with_fault(fault: Fault, point: usize) -> Self {
        Self::with_faults(Faults::at(fault, point))
    }

    fn with_faults(faults: Faults) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        Self {
            run: format!("run-{}", RUNS.fetch_add(1, Ordering::Relaxed)),
            journal: Arc::default(),
            faults,
        }
    }

    /// With a name: two runs of one name have the same keys, as a run whose journal was lost.
    #[must_use]
    pub fn named(mut self, run: impl Into<String>) -> Self {
        self.run = run.into();
        self
    }

    /// The faults of this run, and how far it has come.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Cancels the run: the first step that begins after it fails with [`Failure::Cancelled`], once.
    pub fn cancel(&self) {
        self.faults.cancel();
    }

    /// The names of the journaled steps, in order.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let entries = lock(&self.journal);
        let name = |entry: &Entry| match entry {
            Entry::Step { name, .. } => Some(name.clone()),
            Entry::Cancelled => None,
        };
        entries.iter().filter_map(name).collect()
    }

    /// Makes one attempt.
    pub async fn attempt<T, H>(&self, handler: H) -> Ended<T>
    where
        H: AsyncFnOnce(&Faulty<'_, Attempt>) -> Result<T, Failure>,
    {
        let attempt = Attempt::new(self.clone());
        let context = Faulty::new(&attempt, self.faults.clone());
        let process = attempt.retry.unless_stopped(handler(&context));
        match self.faults.until_crash(process).await {
            Ok(Ok(returned)) => Ended::Returned(returned),
            Ok(Err(retry)) => Ended::Retry(retry),
            Err(Crashed) => Ended::Crashed,
        }
    }

    /// Makes attempts until the handler returns. A second call replays the journal.
    ///
    /// A retry waits as long as the store asks for, and otherwise not at all.
    ///
    /// # Errors
    /// What the handler returned, or [`Failure::Unfinished`].
    pub async fn run<T, H>(&self, handler: H) -> Result<T, Failure>
    where
        H: AsyncFn(&Faulty<'_, Attempt>) -> Result<T, Failure>,
    {
        let mut last = "the process crashed".to_owned();
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(&handler).await {
                Ended::Returned(returned) => return returned,
                Ended::Crashed => {}
                Ended::Retry(retry) => {
                    last = retry.error().to_string();
                    if let Some(after) = retry.after() {
                        timer::sleep(after).await;
                    }
                }
            }
        }
        Err(Failure::Unfinished { last })
    }
}

/// Calls the test with a run that has this fault at point 0, 1, 2, …, up to and including one that
/// ends before it comes to its point, and returns how many points there were.
///
/// Each call should use a store of its own.
pub async fn at_each_point<T>(fault: Fault, test: T) -> usize
where
    T: AsyncFn(Script),
{
    let mut point = 0;
    loop {
        let script = Script::with_fault(fault, point);
        test(script.clone()).await;
        if !script.faults.fired() {
            return point;
        }
        point += 1;
    }
}
