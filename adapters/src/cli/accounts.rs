//! Balance accounts.

use super::{
    arguments::AccountCommand,
    output::{Answer, Cell},
    stores::Given,
};
use crate::{AccountId, BalanceStore, ErrorKind, Floor, Result, Version};

pub(super) async fn run(given: &Given, command: AccountCommand) -> Result<Answer> {
    match command {
        AccountCommand::Show { account } => show(given, &account).await,
        AccountCommand::History {
            account,
            after,
            limit,
        } => history(given, &account, after, limit).await,
    }
}

fn missing(given: &Given) -> Answer {
    Answer::not_there(format!("there is no such account at {}", given.shown))
}

async fn show(given: &Given, account: &str) -> Result<Answer> {
    let Some(state) = given.store.balance(&AccountId::new(account)?).await? else {
        return Ok(missing(given));
    };
    let floor = match state.floor {
        Floor::At(floor) => floor.get().into(),
        Floor::None => Cell::Nothing,
    };
    Ok(Answer::new()
        .fact("account", account)
        .fact("store", given.shown.as_str())
        .fact("minor units", state.amount.get())
        .fact("version", state.version.get())
        .fact("floor", floor)
        .fact("open", state.open))
}

async fn history(given: &Given, account: &str, after: Option<i64>, limit: u32) -> Result<Answer> {
    let id = AccountId::new(account)?;
    let after = after.map(Version::new).transpose()?;
    let page = match given.store.history(&id, after, limit).await {
        Err(error) if error.kind() == ErrorKind::UnknownAccount => return Ok(missing(given)),
        page => page?,
    };
    let next = page.next;
    let rows = page.changes.into_iter().map(|change| {
        vec![
            change.version.get().into(),
            change.kind.as_str().into(),
            change.delta.get().into(),
            change.before.get().into(),
            change.after.get().into(),
            change.key.as_str().into(),
        ]
    });
    let columns = ["version", "kind", "delta", "before", "after", "key"];
    let answer = Answer::new()
        .fact("account", account)
        .fact("next", Cell::or_nothing(next.map(Version::get)))
        .with_table(&columns, rows.collect());
    Ok(match next {
        None => answer,
        Some(next) => answer.note(format!("there is more: --after {next}")),
    })
}
