//! A store that does not have the operation.
use exactly_once_core::{IdempotencyStore, Statement, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<i64, TerminalError> {
    ctx.one_shot(
        store,
        "charge",
        &1,
        vec![Statement::new("DELETE FROM stale")],
        &5,
    )
    .await
}

fn main() {}
