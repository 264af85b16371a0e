//! A register that is none.
use exactly_once_core::{IdempotencyStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<(), TerminalError> {
    ctx.two_phase(store, "order", &1, |transaction| transaction)
        .await
}

fn main() {}
