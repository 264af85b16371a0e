//! A closure as `ctx.run` has it: without the transaction.
use exactly_once_core::{IdempotencyStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<i64, TerminalError> {
    ctx.execute_once(store, "charge", &1, async || Ok(5)).await
}

fn main() {}
