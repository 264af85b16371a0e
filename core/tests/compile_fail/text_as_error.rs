//! A text where an error is wanted.
use exactly_once_core::{IdempotencyStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<i64, TerminalError> {
    ctx.execute_once(store, "charge", &1, async |_tx| {
        let cents: i64 = Err("no such order".to_owned())?;
        Ok(cents)
    })
    .await
}

fn main() {}
