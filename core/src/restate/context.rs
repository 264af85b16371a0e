//! What is needed of a Restate context, for the five of them.
//!
//! A generic extension over the SDK's own traits does not compile when a handler calls it: their
//! futures are opaque, so "`Send` is not general enough". A trait that is implemented for each
//! context by name, and that returns boxed futures, does.

use std::future::Future;

use futures_util::future::BoxFuture;
use restate_sdk::{
    context::{
        Context, ContextAwakeables, ContextSideEffects, ObjectContext, RunFuture,
        SharedObjectContext, SharedWorkflowContext, WorkflowContext,
    },
    errors::{HandlerResult, TerminalError},
    serde::Json,
};
use serde::{Serialize, de::DeserializeOwned};

/// A context that can journal steps. Only the SDK's five contexts are one.
pub trait Journal<'ctx>: Sync {
    /// The invocation's id, in its textual form.
    fn invocation(&self) -> &str;

    /// A word that differs at each call within an invocation, and is the same again when the
    /// handler is replayed.
    fn ordinal(&self) -> String;

    /// Runs the closure once and journals what it gives; replays give what was journaled.
    fn step<T, F, Fut>(&self, name: String, run: F) -> BoxFuture<'ctx, Result<T, TerminalError>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'ctx,
        Fut: Future<Output = HandlerResult<T>> + Send + 'ctx;
}

macro_rules! journal {
    ($($context:ident),*) => {$(
        impl<'ctx> Journal<'ctx> for $context<'ctx> {
            fn invocation(&self) -> &str {
                self.invocation_id()
            }

            fn ordinal(&self) -> String {
                // The SDK numbers the awakeables of an invocation in the order of the code; making
                // one that is not awaited writes nothing to the journal.
                self.awakeable::<()>().0
            }

            fn step<T, F, Fut>(
                &self,
                name: String,
                run: F,
            ) -> BoxFuture<'ctx, Result<T, TerminalError>>
            where
                T: Serialize + DeserializeOwned + Send + 'static,
                F: FnOnce() -> Fut + Send + 'ctx,
                Fut: Future<Output = HandlerResult<T>> + Send + 'ctx,
            {
                // No retry policy: a bounded one would turn *ambiguous* into a terminal error.
                let step = self
                    .run(move || async move { run().await.map(Json) })
                    .name(name);
                Box::pin(async move { step.await.map(Json::into_inner) })
            }
        }
    )*};
}

journal!(
    Context,
    ObjectContext,
    SharedObjectContext,
    WorkflowContext,
    SharedWorkflowContext
);
