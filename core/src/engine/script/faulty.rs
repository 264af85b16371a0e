//! Any engine, with faults at the points of its journal.

use std::future::Future;

use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

use super::Faults;
use crate::{
    engine::{Engine, Entered, KeyedBy, Refusal, Retry, Step, Timer},
    error::{Error, ErrorKind},
    names::IdempotencyKey,
};

/// An engine whose runs crash, are cancelled or lose a reply where a script says so.
///
/// It forwards to the engine, which never sees it: so the same faults happen on each engine. A crash
/// ends the future that [`Faults::until_crash`] drives.
#[derive(Debug)]
pub struct Faulty<'e, E: ?Sized> {
    engine: &'e E,
    faults: Faults,
}

impl<'e, E: ?Sized> Faulty<'e, E> {
    /// This engine, with these faults.
    #[must_use]
    pub fn new(engine: &'e E, faults: Faults) -> Self {
        Self { engine, faults }
    }

    /// The faults, for work that has [points](Faults::point) of its own.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl<'run, M, E: Engine<'run, M> + ?Sized> Engine<'run, M> for Faulty<'_, E> {
    type Failure = E::Failure;

    fn name(&self) -> &'static str {
        self.engine.name()
    }

    fn identity<'a>(&'a self, step: &'a Step) -> BoxFuture<'a, Result<IdempotencyKey, E::Failure>>
    where
        'run: 'a,
    {
        self.engine.identity(step)
    }

    fn journal<'a, T, F, Fut>(
        &'a self,
        name: String,
        run: F,
    ) -> BoxFuture<'a, Result<T, E::Failure>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run,
    {
        let faults = self.faults.clone();
        Box::pin(async move {
            faults.point().await;
            let inside = faults.clone();
            let entry = self.engine.journal(name, move || async move {
                let answer = run().await?;
                match inside.answered().await {
                    false => Ok(answer),
                    true => Err(Retry::new(lost())),
                }
            });
            let answer = entry.await?;
            faults.point().await;
            Ok(answer)
        })
    }

    fn has_journal(&self) -> bool {
        self.engine.has_journal()
    }

    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<E::Failure>>
    where
        'run: 'a,
    {
        self.engine.cancelled()
    }

    fn refused(&self, refusal: Refusal) -> E::Failure {
        self.engine.refused(refusal)
    }

    fn timer(&self) -> Timer {
        self.engine.timer()
    }

    fn enter(&self, step: &Step, keyed_by: KeyedBy) -> Result<Entered, E::Failure> {
        self.engine.enter(step, keyed_by)
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Ambiguous, "step", "script").with_message("the reply was lost, by script")
}
