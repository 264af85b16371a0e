//! The work borrows what belongs to the handler.
use exactly_once_core::{IdempotencyStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S, name: String) -> Result<usize, TerminalError> {
    ctx.execute_once(store, "charge", &name, async |_tx| Ok(name.len())).await
}

fn main() {}
