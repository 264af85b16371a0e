//! A store without balances.
use exactly_once_core::{AccountId, Amount, IdempotencyStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: IdempotencyStore>(ctx: &Context<'_>, store: &S) -> Result<(), TerminalError> {
    ctx.adjust(store, "debit", &AccountId::new("alice")?, Amount::new(-5))
        .await?;
    Ok(())
}

fn main() {}
