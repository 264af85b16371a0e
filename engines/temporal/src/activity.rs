//! The SDK's activity context as an [`Engine`].

use std::{future::Future, sync::Arc, time::Duration};

use exactly_once_core::{
    IdempotencyKey,
    engine::{Engine, Entered, Refusal, Retry, Step, Timer},
};
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{ENGINE, Temporal, failure, identity, names};

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
            let name = step.name();
            names::check(self.info(), name).map_err(|error| failure::failed(&error))?;
            let key = identity::identity(self, name).await;
            key.map_err(|error| failure::failed(&error))
        })
    }

    fn journal<'a, T, F, Fut>(
        &'a self,
        name: String,
        run: F,
    ) -> BoxFuture<'a, Result<T, ActivityError>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run,
    {
        Box::pin(async move {
            match run().await {
                Ok(value) => {
                    names::done(self.info(), name);
                    Ok(value)
                }
                Err(retry) => Err(failure::retried(retry.error())),
            }
        })
    }

    /// The history keeps the activity's result, and nothing of its steps: the store's receipt is their
    /// memory.
    fn has_journal(&self) -> bool {
        false
    }

    /// No further step begins in an activity that is cancelled, whose worker shuts down, or whose
    /// workflow has ended. The SDK drops no activity, so a step that has begun runs to its answer.
    fn cancelled(&self) -> Option<ActivityError> {
        self.is_cancelled().then(ActivityError::cancelled)
    }

    fn refused(&self, refusal: Refusal) -> ActivityError {
        failure::refused(&refusal)
    }

    fn timer(&self) -> Timer {
        Arc::new(|duration: Duration| Box::pin(tokio::time::sleep(duration)))
    }

    fn enter(&self, step: &Step) -> Result<Entered, ActivityError> {
        let under_way = names::begin(self.info(), step).map_err(|error| failure::failed(&error))?;
        Ok(under_way.map(|under_way| Box::new(under_way) as Box<dyn Send>))
    }
}
