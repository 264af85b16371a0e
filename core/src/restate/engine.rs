//! Restate's contexts as an [`Engine`].

use std::{
    future::{Future, ready},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use restate_sdk::errors::{HandlerError, TerminalError};
use serde::{Serialize, de::DeserializeOwned};

use super::{alone::Alone, context::Journal, identity::derive};
use crate::engine::Refusal;
use crate::{
    engine::{Engine, Entered, KeyedBy, Retry, Step, Timer},
    names::IdempotencyKey,
};

/// Marks the contexts of `restate-sdk` among those that are an [`Engine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restate {}

impl<'ctx, C: Journal<'ctx>> Engine<'ctx, Restate> for C {
    type Failure = TerminalError;

    fn name(&self) -> &'static str {
        "restate"
    }

    fn identity<'a>(
        &'a self,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<IdempotencyKey, TerminalError>>
    where
        'ctx: 'a,
    {
        let key = derive(self.invocation(), step.name(), &self.ordinal());
        Box::pin(ready(IdempotencyKey::new(key).map_err(TerminalError::from)))
    }

    fn journal<'a, T, F, Fut>(
        &'a self,
        name: String,
        run: F,
    ) -> BoxFuture<'a, Result<T, TerminalError>>
    where
        'ctx: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'ctx,
        Fut: Future<Output = Result<T, Retry>> + Send + 'ctx,
    {
        self.step(name, move || async move {
            run()
                .await
                .map_err(|retry| HandlerError::from(retry.into_error()))
        })
    }

    fn has_journal(&self) -> bool {
        true
    }

    /// The SDK ends a cancelled invocation at its next await.
    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<TerminalError>>
    where
        'ctx: 'a,
    {
        Box::pin(ready(None))
    }

    fn refused(&self, refusal: Refusal) -> TerminalError {
        refusal.into()
    }

    fn timer(&self) -> Timer {
        Arc::new(|duration: Duration| Box::pin(tokio::time::sleep(duration)))
    }

    fn enter(&self, step: &Step, _: KeyedBy) -> Result<Entered, TerminalError> {
        Ok(Entered::holding(Alone::begin(self, step)?))
    }
}
