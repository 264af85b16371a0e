//! An engine without a journal: a queue that delivers a message until it is done.

use std::{
    collections::HashSet,
    future::{Future, ready},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use exactly_once::{
    Error, ErrorKind, IdempotencyKey,
    engine::{Engine, Entered, KeyedBy, Refusal, Retry, Step, Timer, key_of},
};
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

/// Marks deliveries among the engines.
#[derive(Debug)]
pub(crate) enum Queue {}

/// A message, through all of its deliveries.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    name: String,
    cancelled: Arc<AtomicBool>,
}

impl Message {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cancelled: Arc::default(),
        }
    }

    // Each test target uses what it needs.
    #[allow(dead_code)]
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    pub(crate) fn deliver(&self) -> Delivery {
        Delivery {
            message: self.clone(),
            names: Arc::default(),
        }
    }
}

/// One delivery of a message.
#[derive(Debug)]
pub(crate) struct Delivery {
    message: Message,
    names: Arc<Mutex<HashSet<String>>>,
}

/// What the consumer does with the message.
#[derive(Debug)]
pub(crate) enum Undone {
    PutAside(Refusal),
    Redeliver(Retry),
    Cancelled,
}

impl Undone {
    // Each test target uses what it needs.
    #[allow(dead_code)]
    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            Self::Redeliver(retry) => retry.after(),
            Self::PutAside(_) | Self::Cancelled => None,
        }
    }
}

impl<'run> Engine<'run, Queue> for Delivery {
    type Failure = Undone;

    fn name(&self) -> &'static str {
        "queue"
    }

    fn identity<'a>(&'a self, step: &'a Step) -> BoxFuture<'a, Result<IdempotencyKey, Undone>>
    where
        'run: 'a,
    {
        let key = key_of(&[&self.message.name, step.name()]);
        let refused = |error: Error| self.refused(Refusal::from_error(&error));
        Box::pin(ready(key.map_err(|error| refused(error.into()))))
    }

    fn journal<'a, T, F, Fut>(&'a self, _: String, run: F) -> BoxFuture<'a, Result<T, Undone>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run,
    {
        Box::pin(async move { run().await.map_err(Undone::Redeliver) })
    }

    fn has_journal(&self) -> bool {
        false
    }

    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<Undone>>
    where
        'run: 'a,
    {
        let cancelled = self.message.cancelled.load(Ordering::SeqCst);
        Box::pin(ready(cancelled.then_some(Undone::Cancelled)))
    }

    fn refused(&self, refusal: Refusal) -> Undone {
        Undone::PutAside(refusal)
    }

    fn timer(&self) -> Timer {
        Arc::new(|duration| Box::pin(tokio::time::sleep(duration)))
    }

    fn enter(&self, step: &Step, keyed_by: KeyedBy) -> Result<Entered, Undone> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if keyed_by != KeyedBy::Engine || names.insert(step.name().to_owned()) {
            return Ok(Entered::default());
        }
        let error = Error::new(ErrorKind::Invalid, "step", "queue").with_message(format!(
            "two steps of one message are named `{}`",
            step.name()
        ));
        Err(self.refused(Refusal::from_error(&error)))
    }
}
