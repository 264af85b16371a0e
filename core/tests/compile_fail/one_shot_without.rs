//! A store that does not have the operation.
use exactly_once_core::{engine::Effect, restate::ExactlyOnce, IdempotencyStore, Statement};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<i64, TerminalError> {
    ctx.one_shot(
        store,
        "charge",
        Effect::of_request(&1)
            .statement(Statement::new("DELETE FROM stale"))
            .value(&5),
    )
    .await
}

fn main() {}
