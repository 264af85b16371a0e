//! Idempotency keys.

use super::{
    arguments::KeyCommand,
    output::{Answer, Cell, confirm},
    stores::Given,
};
use crate::{IdempotencyKey, IdempotencyStore, KeyState, Outcome, Result, connect::Access};

impl KeyCommand {
    pub(super) fn access(&self) -> Access {
        match self {
            Self::Show { .. } => Access::Read,
            Self::Forget { .. } => Access::Existing,
        }
    }
}

pub(super) async fn run(given: &Given, command: KeyCommand) -> Result<Answer> {
    match command {
        KeyCommand::Show { key } => show(given, &key).await,
        KeyCommand::Forget { key, sure } => {
            let key = IdempotencyKey::new(key)?;
            let question = format!("The effect of {key} may then happen again.");
            confirm(&question, sure.yes)?;
            if given.store.forget(&key).await? {
                Ok(Answer::said("forgotten"))
            } else {
                Ok(missing(given))
            }
        }
    }
}

fn missing(given: &Given) -> Answer {
    Answer::not_there(format!("there is no such completed key at {}", given.shown))
}

/// The receipt's size only: it may hold what does not belong on a screen.
async fn show(given: &Given, key: &str) -> Result<Answer> {
    let Some(record) = given.store.lookup(&IdempotencyKey::new(key)?).await? else {
        let text = format!("nothing is known of this key at {}", given.shown);
        return Ok(Answer::not_there(text));
    };
    let answer = Answer::new()
        .fact("key", key)
        .fact("store", given.shown.as_str());
    let answer = match record.state {
        KeyState::Leased { token, deadline } => answer
            .fact("state", "leased")
            .fact("token", token.get())
            .fact("until", deadline),
        KeyState::Completed {
            outcome,
            completed_at,
            expires_at,
        } => match outcome {
            Outcome::Applied(receipt) => answer
                .fact("state", "applied")
                .fact("receipt bytes", receipt.len()),
            Outcome::Rejected(rejection) => answer
                .fact("state", "rejected")
                .fact("status", rejection.status())
                .fact("message", rejection.to_string()),
        }
        .fact("completed at", completed_at)
        .fact("kept until", Cell::or_nothing(expires_at)),
        _ => answer.fact("state", "unknown"),
    };
    Ok(answer.fact("fingerprint", record.fingerprint.to_string()))
}

pub(super) async fn expire(given: &Given, limit: u32, yes: bool) -> Result<Answer> {
    let question = format!(
        "At most {limit} keys past their retention will be removed for good at {}.",
        given.shown
    );
    confirm(&question, yes)?;
    let removed = given.store.expire(limit).await?;
    Ok(Answer::said(format!("{removed} expired keys removed")).fact("removed", removed))
}
