//! A closure that returns a future, where an async closure is wanted.
use exactly_once_core::{IdempotencyStore, WorkError, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<i64, TerminalError> {
    ctx.execute_once(store, "charge", &1, |_tx| Ok::<i64, WorkError>(5))
        .await
}

fn main() {}
