//! Idempotency keys.

use super::{
    arguments::KeyCommand,
    output::{Answer, confirm},
};
use crate::{AnyStore, IdempotencyKey, IdempotencyStore, KeyState, Outcome, Result};

pub(super) async fn run(store: &AnyStore, command: KeyCommand) -> Result<Answer> {
    match command {
        KeyCommand::Show { key } => show(store, &key).await,
        KeyCommand::Forget { key, yes } => {
            let key = IdempotencyKey::new(key)?;
            confirm(&format!("The effect of {key} may then happen again."), yes)?;
            if store.forget(&key).await? {
                Ok(Answer::said("forgotten"))
            } else {
                Ok(Answer::not_there("there is no such completed key"))
            }
        }
    }
}

/// The receipt's size only: it may hold what does not belong on a screen.
async fn show(store: &AnyStore, key: &str) -> Result<Answer> {
    let Some(record) = store.lookup(&IdempotencyKey::new(key)?).await? else {
        return Ok(Answer::not_there("nothing is known of this key"));
    };
    let fingerprint = record.fingerprint.to_string();
    let (state, details) = match record.state {
        KeyState::Leased { token, deadline } => {
            ("leased", format!("token {token}, until {deadline}"))
        }
        KeyState::Completed {
            outcome,
            completed_at,
            expires_at,
        } => {
            let until = expires_at.map_or("for ever".to_owned(), |at| format!("until {at}"));
            let kept = format!("completed at {completed_at}, kept {until}");
            match outcome {
                Outcome::Applied(receipt) => (
                    "applied",
                    format!("a receipt of {} bytes, {kept}", receipt.len()),
                ),
                Outcome::Rejected(rejection) => ("rejected", format!("{rejection}, {kept}")),
            }
        }
        _ => ("unknown", String::new()),
    };
    let row = vec![key.to_owned(), state.to_owned(), details, fingerprint];
    Ok(Answer::table(
        &["key", "state", "details", "fingerprint"],
        vec![row],
        true,
    ))
}

pub(super) async fn expire(store: &AnyStore, limit: u32, yes: bool) -> Result<Answer> {
    confirm(
        &format!("At most {limit} keys past their retention will be removed for good."),
        yes,
    )?;
    let removed = store.expire(limit).await?;
    Ok(Answer::said(format!("{removed} expired keys removed")))
}
