//! What is right compiles; or the other files would show nothing.
use exactly_once_core::{
    AccountId, Adjust, Amount, BalanceStore, OneShotStore, restate::ExactlyOnce,
};
use restate_sdk::prelude::*;

async fn handler<S: OneShotStore + BalanceStore>(
    ctx: &Context<'_>,
    store: &S,
    name: &str,
) -> Result<i64, TerminalError> {
    let account = AccountId::new(name)?;
    ctx.balance_operation(store, "debit", move |key| {
        Adjust::new(key, account, Amount::new(-5))
    })
    .await?;
    let owned = name.to_owned();
    ctx.execute_once(store, "charge", name, async move |_tx| {
        Ok(owned.len() as i64)
    })
    .await
}

fn main() {}
