//! One transaction, ended as its register says: an operator does not decide past it.

use super::{
    find::find,
    state::State,
    sweep::{report, sweeper},
};
use crate::{
    Decision, ErrorKind, Participation, Result, Store,
    cli::{
        arguments::Sure,
        output::{Answer, confirm, refuse},
        stores::{Given, Stores},
    },
};

pub(super) async fn resolve(stores: &mut Stores, digest: &str, sure: Sure) -> Result<Answer> {
    let participation = match find(stores, digest).await? {
        Ok(found) => found,
        Err(none) => return Ok(none),
    };
    let register = stores.prove(participation.register())?;
    check_late(register, &participation).await?;
    let state = State::read(stores, participation.clone()).await?;
    let decided = state.decision();
    let what = decided.map_or("rollback (nothing was decided)", Decision::as_str);
    let question = format!(
        "The transaction {} will end with {what}, as the register at {:?} says, at: {}.",
        participation.transaction(),
        register.name,
        stores.named()
    );
    confirm(&question, sure.yes)?;
    let swept = sweeper(stores, register)?.resolve(&participation).await?;
    let state = State::read(stores, participation).await?;
    let decision = state.decision().map_or("nothing", Decision::as_str);
    let answer = report(vec![(register, swept)], stores)
        .fact("transaction", state.participation.transaction().to_string())
        .fact("register", register.name.as_str())
        .fact("decided", decision);
    Ok(if state.needs_settling() {
        answer.note(format!("what to do: {}", state.advice()))
    } else {
        answer
    })
}

/// Before the deadline its coordinator may still be running.
pub(super) async fn check_late(register: &Given, participation: &Participation) -> Result<()> {
    let (now, deadline) = (register.store.now().await?, participation.not_after());
    if now > deadline {
        return Ok(());
    }
    Err(refuse(
        ErrorKind::Busy,
        "in-doubt",
        format!(
            "its deadline has not passed yet: its coordinator may still be running. It is {now} at \
             {:?}; wait until {deadline}",
            register.name
        ),
    ))
}
