//! An operation that is none.
use exactly_once_core::{Amount, BalanceStore, restate::ExactlyOnce};
use restate_sdk::prelude::*;

async fn handler<S: BalanceStore>(ctx: &Context<'_>, store: &S) -> Result<(), TerminalError> {
    ctx.balance_operation(store, "debit", |_key| Amount::new(-5))
        .await?;
    Ok(())
}

fn main() {}
