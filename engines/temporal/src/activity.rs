//! The SDK's activity context as an [`Engine`].

use std::{future::Future, sync::Arc, time::Duration};

use exactly_once_core::{
    IdempotencyKey,
    engine::{Engine, Entered, KeyedBy, Refusal, Retry, Step, Timer},
};
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{ENGINE, Temporal, ended, failure, identity, names};

/// # In an activity
/// With [`Effects`](crate::Effects) in scope, `ctx.execute_once(…)` and its siblings return a
/// `Result<_, ActivityError>`, so `?` hands the right failure to Temporal.
impl<'run> Engine<'run, Temporal> for ActivityContext {
    type Failure = ActivityError;

    fn name(&self) -> &'static str {
        ENGINE
    }

    fn identity<'a>(
        &'a self,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<IdempotencyKey, ActivityError>>
    where
        'run: 'a,
    {
        Box::pin(async move {
            let key = identity::identity(self, step.name()).await;
            key.map_err(|error| failure::failed(&error))
        })
    }

    fn journal<'a, T, F, Fut>(
        &'a self,
        _name: String,
        run: F,
    ) -> BoxFuture<'a, Result<T, ActivityError>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run,
    {
        Box::pin(async move {
            let answer = run().await;
            answer.map_err(|retry| failure::retried(retry.error()))
        })
    }

    /// The history keeps the activity's result, and nothing of its steps: the store's receipt is their
    /// memory.
    fn has_journal(&self) -> bool {
        false
    }

    /// No further step begins in an activity that is cancelled, paused or reset, whose worker shuts down,
    /// or whose workflow has ended. The SDK drops no activity, so a step that has begun runs to its answer.
    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<ActivityError>>
    where
        'run: 'a,
    {
        Box::pin(async move {
            match self.is_cancelled() {
                true => Some(ended::failure(self).await),
                false => None,
            }
        })
    }

    fn refused(&self, refusal: Refusal) -> ActivityError {
        failure::refused(&refusal)
    }

    fn timer(&self) -> Timer {
        Arc::new(|duration: Duration| Box::pin(tokio::time::sleep(duration)))
    }

    fn enter(&self, step: &Step, keyed_by: KeyedBy) -> Result<Entered, ActivityError> {
        names::begin(self.info(), step, keyed_by).map_err(|error| failure::failed(&error))
    }
}
