//! A value that can't be kept as a receipt.
use exactly_once_core::{IdempotencyStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

struct Receipt(i64);

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<i64, TerminalError> {
    let receipt = ctx
        .execute_once(store, "charge", &1, async |_tx| Ok(Receipt(5)))
        .await?;
    Ok(receipt.0)
}

fn main() {}
