//! Balance accounts.

use super::{arguments::AccountCommand, output::Answer};
use crate::{AccountId, AnyStore, BalanceStore, Floor, Result, Version};

pub(super) async fn run(store: &AnyStore, command: AccountCommand) -> Result<Answer> {
    match command {
        AccountCommand::Show { account } => show(store, &account).await,
        AccountCommand::History {
            account,
            after,
            limit,
        } => history(store, &account, after, limit).await,
    }
}

async fn show(store: &AnyStore, account: &str) -> Result<Answer> {
    let Some(state) = store.balance(&AccountId::new(account)?).await? else {
        return Ok(Answer::not_there("there is no such account"));
    };
    let floor = match state.floor {
        Floor::At(floor) => floor.to_string(),
        Floor::None => "none".to_owned(),
    };
    let row = vec![
        account.to_owned(),
        state.amount.to_string(),
        state.version.to_string(),
        floor,
        if state.open { "open" } else { "closed" }.to_owned(),
    ];
    Ok(Answer::table(
        &["account", "minor units", "version", "floor", "state"],
        vec![row],
        true,
    ))
}

async fn history(
    store: &AnyStore,
    account: &str,
    after: Option<i64>,
    limit: u32,
) -> Result<Answer> {
    let after = after.map(Version::new).transpose()?;
    let page = store
        .history(&AccountId::new(account)?, after, limit)
        .await?;
    let rows = page.changes.into_iter().map(|change| {
        vec![
            change.version.to_string(),
            change.kind.as_str().to_owned(),
            change.delta.to_string(),
            change.before.to_string(),
            change.after.to_string(),
            change.key.to_string(),
        ]
    });
    let columns = ["version", "kind", "delta", "before", "after", "key"];
    Ok(Answer::table(&columns, rows.collect(), true))
}
