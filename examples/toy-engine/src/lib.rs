//! A durable engine in one file: its journal is a text file per run.
//!
//! A [`run`] calls a handler with an [`Attempt`]. Each step of the handler is a line of the journal:
//! its name and its result as JSON, written and synced before the handler sees the result. After a
//! crash, the next attempt reads the lines instead of running the steps, and goes on where they end.
//!
//! Between a step's commit in the database and its line in the journal lies the gap that no engine
//! can close. So [`Attempt`] implements [`Engine`], and gets
//! [`Effects`](exactly_once::engine::Effects): `execute_once`, balances, two-phase commits.
//!
//! | question | answer |
//! |---|---|
//! | identity of a step | the run's name, the step's name, the step's position in the journal |
//! | journal | a line, appended and synced; a torn last line is cut off, its step runs again |
//! | retry | the attempt ends; the next one comes after 20 ms, or when the store says |
//! | never | a [refusal](Failure::Refused), journaled like a value |
//! | cancellation | a file beside the journal; the first step that begins after it fails, once |
//!
//! Start the [program](../src/toy_engine/main.rs.html) twice and kill it in between:
//!
//! ```text
//! cargo run -p exactly-once-toy-engine -- order-17
//! ```
//!
//! One process at a time drives a run: an engine for real locks the journal, or fences.

use std::{
    fs::{File, OpenOptions},
    future::{Future, ready},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exactly_once::{
    Error, ErrorKind, IdempotencyKey,
    engine::{Engine, Entered, KeyedBy, Refusal, Retry, Step, Timer, key_of},
};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// How long to wait before a retry, where the store does not say.
const PAUSE: Duration = Duration::from_millis(20);

/// What a handler fails with.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Final: each attempt gets the same.
    #[error("{0}")]
    Refused(Refusal),
    /// The run was cancelled; what it did before may have been applied.
    #[error("the run was cancelled")]
    Cancelled,
    /// This attempt has ended, and another one will come, whatever the handler makes of it.
    #[error("{0}; the run will be tried again")]
    Again(String),
}

/// A line of the journal.
#[derive(Clone, Serialize, Deserialize)]
enum Entry {
    Step { name: String, result: Value },
    Cancelled,
}

/// One attempt of a run.
pub struct Attempt {
    run: String,
    cancel: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    journal: File,
    entries: Vec<Entry>,
    next: usize,
    under_way: bool,
    /// How long to wait for the next attempt, once this one has ended.
    over: Option<Duration>,
}

/// Runs a handler to its end, through as many attempts as it takes; a finished run replays its
/// journal and returns the same.
///
/// # Errors
/// Where the journal can't be read or written.
pub async fn run<T, H>(folder: &Path, run: &str, handler: H) -> io::Result<Result<T, Failure>>
where
    H: AsyncFn(&Attempt) -> Result<T, Failure>,
{
    loop {
        let attempt = Attempt::open(folder, run)?;
        let returned = handler(&attempt).await;
        let over = attempt.state().over;
        match over {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return Ok(returned),
        }
    }
}

/// Cancels a run, from any process.
///
/// # Errors
/// Where the folder is not there.
pub fn cancel(folder: &Path, run: &str) -> io::Result<()> {
    File::create(folder.join(format!("{run}.cancel")))?.sync_all()
}

impl Attempt {
    /// Reads the journal; cuts off a last line that a crash has torn.
    fn open(folder: &Path, run: &str) -> io::Result<Self> {
        let path = folder.join(format!("{run}.journal"));
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines = text[..whole].split_inclusive(|byte| *byte == b'\n');
        let entries = lines
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()?;
        let journal = OpenOptions::new().create(true).append(true).open(&path)?;
        journal.set_len(whole as u64)?;
        journal.sync_all()?;
        let state = State {
            journal,
            entries,
            next: 0,
            under_way: false,
            over: None,
        };
        Ok(Self {
            run: run.to_owned(),
            cancel: folder.join(format!("{run}.cancel")),
            state: Arc::new(Mutex::new(state)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn append(&mut self, entry: &Entry) -> Result<(), Failure> {
        let written = serde_json::to_string(entry)
            .map_err(io::Error::from)
            .and_then(|line| {
                self.journal.write_all(format!("{line}\n").as_bytes())?;
                self.journal.sync_data()
            });
        self.next += 1;
        written.map_err(|error| self.again(PAUSE, format!("the journal can't be written: {error}")))
    }

    /// Once, at the first step that begins after it; each attempt sees it there.
    fn cancelled(&mut self, requested: bool) -> Option<Failure> {
        match self.entries.get(self.next) {
            Some(Entry::Cancelled) => self.next += 1,
            Some(Entry::Step { .. }) => return None,
            None => {
                let seen = |entry: &Entry| matches!(entry, Entry::Cancelled);
                if !requested || self.entries.iter().any(seen) {
                    return None;
                }
                if let Err(failure) = self.append(&Entry::Cancelled) {
                    return Some(failure);
                }
                self.entries.push(Entry::Cancelled);
            }
        }
        Some(Failure::Cancelled)
    }

    /// Ends this attempt: the journal has no line for the step, so no other step may come after it.
    fn again(&mut self, pause: Duration, why: String) -> Failure {
        self.over = Some(pause);
        Failure::Again(why)
    }
}

impl<'run> Engine<'run, Attempt> for Attempt {
    type Failure = Failure;

    fn name(&self) -> &'static str {
        "toy"
    }

    fn identity<'a>(&'a self, step: &'a Step) -> BoxFuture<'a, Result<IdempotencyKey, Failure>>
    where
        'run: 'a,
    {
        let position = self.state().next.to_string();
        let key = key_of(&[&self.run, step.name(), &position]);
        Box::pin(ready(key.map_err(|error| {
            self.refused(Refusal::from_error(&error.into()))
        })))
    }

    fn journal<'a, T, F, Fut>(&'a self, name: String, run: F) -> BoxFuture<'a, Result<T, Failure>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run,
    {
        Box::pin(async move {
            let journaled = {
                let mut state = self.state();
                let entry = state.entries.get(state.next).cloned();
                state.next += usize::from(entry.is_some());
                entry
            };
            if let Some(entry) = journaled {
                return replay(entry, &name);
            }
            let answer = run().await;
            let mut state = self.state();
            match answer {
                Ok(value) => {
                    let result =
                        serde_json::to_value(&value).map_err(|error| diverged(&name, error))?;
                    state.append(&Entry::Step { name, result })?;
                    Ok(value)
                }
                Err(retry) => {
                    Err(state.again(retry.after().unwrap_or(PAUSE), retry.error().to_string()))
                }
            }
        })
    }

    fn has_journal(&self) -> bool {
        true
    }

    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<Failure>>
    where
        'run: 'a,
    {
        Box::pin(ready(self.state().cancelled(self.cancel.exists())))
    }

    fn refused(&self, refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }

    fn timer(&self) -> Timer {
        Arc::new(|duration| Box::pin(tokio::time::sleep(duration)))
    }

    fn enter(&self, step: &Step, _: KeyedBy) -> Result<Entered, Failure> {
        let mut state = self.state();
        if state.over.is_some() {
            return Err(Failure::Again("this attempt has ended".to_owned()));
        }
        if state.under_way {
            return Err(diverged(
                step.name(),
                "another step is under way: await it first",
            ));
        }
        state.under_way = true;
        Ok(Entered::holding(UnderWay(self.state.clone())))
    }
}

/// The step of an attempt that is under way, until this is dropped.
struct UnderWay(Arc<Mutex<State>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        lock(&self.0).under_way = false;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn replay<T: DeserializeOwned>(entry: Entry, step: &str) -> Result<T, Failure> {
    match entry {
        Entry::Step { name, result } if name == step => {
            serde_json::from_value(result).map_err(|error| diverged(step, error))
        }
        Entry::Step { name, .. } => Err(diverged(step, format!("the journal has `{name}`"))),
        Entry::Cancelled => Err(diverged(step, "the journal has a cancellation")),
    }
}

/// The handler's code can't go on with this journal.
fn diverged(step: &str, why: impl std::fmt::Display) -> Failure {
    let error = Error::new(ErrorKind::Unsupported, "step", "toy");
    let error = error.with_message(format!("step `{step}` can't run: {why}"));
    Failure::Refused(Refusal::from_error(&error))
}
