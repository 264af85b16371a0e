//! One attempt of a scripted run: an engine whose journal is in memory.

use std::{
    future::{Future, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Failure, Script,
    signal::{Signal, lock},
    timer::sleep,
};
use crate::{
    engine::{Engine, Entered, KeyedBy, Refusal, Retry, Step, Timer, key_of},
    error::{Error, ErrorKind},
    names::IdempotencyKey,
};

/// Marks the contexts of a [`Script`] among those that are an [`Engine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scripted {}

/// A step that is journaled, or the moment of a cancellation.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Step { name: String, result: Value },
    Cancelled,
}

/// One attempt of a [`Script`]'s run. It reads the journal from its start, entry by entry, and
/// appends where there is none left.
#[derive(Debug)]
pub struct Attempt {
    script: Script,
    next: AtomicUsize,
    under_way: Arc<AtomicBool>,
    pub(super) retry: Signal<Retry>,
}

impl Attempt {
    pub(super) fn new(script: Script) -> Self {
        Self {
            script,
            next: AtomicUsize::new(0),
            under_way: Arc::default(),
            retry: Signal::default(),
        }
    }

    fn position(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    fn journaled(&self) -> Option<Entry> {
        lock(&self.script.journal).get(self.position()).cloned()
    }

    fn append(&self, entry: Entry) {
        lock(&self.script.journal).push(entry);
        self.advance();
    }

    fn advance(&self) {
        self.next.fetch_add(1, Ordering::Relaxed);
    }

    /// The result of this step, if the journal has one at this position.
    fn replay<T: DeserializeOwned>(&self, step: &str) -> Option<Result<T, Failure>> {
        let entry = self.journaled()?;
        let read = match entry {
            Entry::Step { name, result } if name == step => {
                serde_json::from_value(result).map_err(|error| format!("{error}"))
            }
            Entry::Step { name, .. } => Err(format!("the journal has step `{name}`")),
            Entry::Cancelled => Err("the journal has a cancellation".to_owned()),
        };
        let replayed = read.map_err(|found| Failure::Diverged {
            step: step.to_owned(),
            found,
        });
        self.advance();
        Some(replayed)
    }
}

impl Attempt {
    /// Once, at the first step that begins after it; journaled, so that each attempt sees it there.
    fn sees_cancellation(&self) -> bool {
        match self.journaled() {
            Some(Entry::Cancelled) => self.advance(),
            Some(Entry::Step { .. }) => return false,
            None => {
                let known = |entry: &Entry| matches!(entry, Entry::Cancelled);
                if !self.script.faults.cancelled() || lock(&self.script.journal).iter().any(known) {
                    return false;
                }
                self.append(Entry::Cancelled);
            }
        }
        true
    }
}

impl<'run> Engine<'run, Scripted> for Attempt {
    type Failure = Failure;

    fn name(&self) -> &'static str {
        "script"
    }

    /// The run, the step's name, and its position in the journal.
    fn identity<'a>(&'a self, step: &'a Step) -> BoxFuture<'a, Result<IdempotencyKey, Failure>>
    where
        'run: 'a,
    {
        let position = self.position().to_string();
        let key = key_of(&[&self.script.run, step.name(), &position]);
        let key = key.map_err(|error| Failure::Refused(Refusal::from_error(&error.into())));
        Box::pin(ready(key))
    }

    fn journal<'a, T, F, Fut>(&'a self, name: String, run: F) -> BoxFuture<'a, Result<T, Failure>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run,
    {
        Box::pin(async move {
            if let Some(replayed) = self.replay(&name) {
                return replayed;
            }
            let value = match run().await {
                Ok(value) => value,
                Err(retry) => return self.retry.stop(retry).await,
            };
            match serde_json::to_value(&value) {
                Ok(result) => self.append(Entry::Step { name, result }),
                Err(error) => {
                    let error = Error::new(ErrorKind::Invalid, "journal", "script")
                        .with_message(format!("the result of step `{name}` is no JSON: {error}"));
                    return Err(Failure::Refused(Refusal::from_error(&error)));
                }
            }
            Ok(value)
        })
    }

    fn has_journal(&self) -> bool {
        true
    }

    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<Failure>>
    where
        'run: 'a,
    {
        Box::pin(ready(
            self.sees_cancellation().then_some(Failure::Cancelled),
        ))
    }

    fn refused(&self, refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }

    fn timer(&self) -> Timer {
        Arc::new(sleep)
    }

    /// Positions count, so steps can't run side by side.
    fn enter(&self, step: &Step, _: KeyedBy) -> Result<Entered, Failure> {
        if self.under_way.swap(true, Ordering::AcqRel) {
            let error = Error::new(ErrorKind::Unsupported, "step", "script").with_message(format!(
                "step `{}` was made while another step of the run was under way: await that one first",
                step.name()
            ));
            return Err(Failure::Refused(Refusal::from_error(&error)));
        }
        Ok(Entered::holding(UnderWay(self.under_way.clone())))
    }
}

struct UnderWay(Arc<AtomicBool>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
