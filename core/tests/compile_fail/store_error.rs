//! A store's error by `?` in a handler: it would be terminal, though it may be ambiguous.
use exactly_once_core::{Adjust, BalanceStore};
use restate_sdk::prelude::*;

async fn handler<S: BalanceStore>(
    _ctx: &Context<'_>,
    store: &S,
    adjust: &Adjust,
) -> Result<(), TerminalError> {
    store.adjust(adjust).await?;
    Ok(())
}

fn main() {}
