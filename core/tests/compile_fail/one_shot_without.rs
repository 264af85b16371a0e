//! A store that does not have the operation.
use exactly_once_core::{IdempotencyStore, Statement, restate::{Effect, ExactlyOnce}};
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
