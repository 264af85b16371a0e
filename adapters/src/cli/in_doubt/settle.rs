//! The way out of a heuristic outcome: an operator says how the transaction counts as ended.

use super::{find::find, resolve::check_late, state::State};
use crate::{
    Decision, DecisionRegister, ErrorKind, PreparedStatus, PreparedTransactions, Result,
    Settlement,
    cli::{
        arguments::{Ended, Settle},
        output::{Answer, confirm, refuse},
        stores::Stores,
    },
};

impl Ended {
    fn decision(self) -> Decision {
        match self {
            Self::Committed => Decision::Commit,
            Self::RolledBack => Decision::Rollback,
        }
    }
}

pub(super) async fn settle(stores: &mut Stores, asked: Settle) -> Result<Answer> {
    let participation = match find(stores, &asked.digest).await? {
        Ok(found) => found,
        Err(none) => return Ok(none),
    };
    let register = stores.prove(participation.register())?;
    check_late(register, &participation).await?;
    let state = State::read(stores, participation.clone()).await?;
    check(&state, &asked.gone)?;
    let by = match asked.by {
        Some(by) => by,
        None => user()?,
    };
    let outcome = asked.outcome.decision();
    let question = format!(
        "The transaction {} will count as ended with {} for good, settled by {by}: {}. What is still in \
         doubt ends so; nothing else is changed, so compare the data first.",
        participation.transaction(),
        outcome.as_str(),
        asked.reason
    );
    confirm(&question, asked.sure.yes)?;
    let settlement = Settlement::now(&register.store, outcome, by, asked.reason).await?;
    let stands = register.store.settle(&participation, &settlement).await?;
    let failed = end(&state, stands.outcome).await;
    let other = stands.outcome != outcome;
    let state = State::read(stores, participation).await?;
    let mut answer = state
        .answer(stores)
        .needs_attention(other || !failed.is_empty());
    if other {
        answer = answer.note("it was settled otherwise before, and that stands");
    }
    Ok(failed.into_iter().fold(answer, Answer::note))
}

/// Refuses what needs no settlement: the register's own word is better. And what a store that was only
/// not given, or is away for a moment, may show to be wrong. What is settled stays so, and is shown again.
fn check(state: &State<'_>, gone: &[String]) -> Result<()> {
    let decided = state.decided.as_ref();
    if decided.is_some_and(|entry| entry.settled.is_some()) {
        return Ok(());
    }
    let digest = state.participation.transaction();
    let missing = state.missing().map(|member| member.to_string());
    let missing: Vec<_> = missing.filter(|member| !gone.contains(member)).collect();
    let why = if state.decided.is_none() {
        format!("nothing was decided yet: exactly-once in-doubt resolve {digest} rolls it back")
    } else if let Some(member) = missing.first() {
        format!(
            "the participant of identity {member} is not given, or can't be asked now: give it by --store \
             NAME=URL. Only if it is gone for good: --gone {member}"
        )
    } else if !state.needs_settling() && state.is_over() {
        "it ended as was decided, and there is nothing to settle".to_owned()
    } else if !state.needs_settling() && state.is_whole() {
        format!(
            "every participant can still end as was decided: exactly-once in-doubt resolve {digest}"
        )
    } else {
        return Ok(());
    };
    Err(refuse(ErrorKind::Invalid, "settle", why))
}

/// Ends what is in doubt. What fails here is ended by the next sweep.
async fn end(state: &State<'_>, outcome: Decision) -> Vec<String> {
    let mut failed = Vec::new();
    for (given, at) in &state.stores {
        if *at != super::state::At::Status(PreparedStatus::Prepared) {
            continue;
        }
        let ended = match outcome {
            Decision::Commit => given.store.commit_prepared(&state.participation).await,
            Decision::Rollback => given.store.rollback_prepared(&state.participation).await,
        };
        if let Err(error) = ended {
            failed.push(format!(
                "still in doubt at {:?}, until the next sweep: {error}",
                given.name
            ));
        }
    }
    failed
}

/// The operator, as the operating system knows it.
fn user() -> Result<String> {
    let names = ["SUDO_USER", "USER", "LOGNAME", "USERNAME"];
    let mut users = names
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    users.find(|user| !user.trim().is_empty()).ok_or_else(|| {
        let why = "the environment names no user: name the operator with --by NAME";
        refuse(ErrorKind::Invalid, "settle", why)
    })
}
