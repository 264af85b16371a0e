//! Refusals: what is refused is never half there, and never a vote.

use std::{collections::VecDeque, time::Duration};

use exactly_once_core::{ErrorKind, OneShotParticipant, PreparedOneShot, PreparedStatus, Store};

use super::support::{CALLS, Call, ensure_done, refused_statement, statement};
use crate::{
    CaseResult,
    cases::{
        cases,
        prepared::support::{
            commit, ensure_effects, ensure_nothing_left, ensure_rolled_back, ensure_status, named,
            other_deadline, other_request, participation, refused_rolled_back, rollback, short,
            short_and_kept, until,
        },
        support::{race, refused, retry},
    },
    context::Context,
    ensure,
    harness::Harness,
};

/// Goal: a refused statement undoes the whole and prepares nothing, so another attempt may come.
/// Method: an effect before and after a statement that the database refuses; then without it.
async fn t74_refused_statement<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t74").await?;
    let bad = refused_statement(&cx)?;
    for call in CALLS {
        let id = format!("t74/{call:?}");
        let (work, good) = (named(&pattern, &id)?, statement(&cx, &id)?);
        for statements in [[good.clone(), bad.clone()], [bad.clone(), good.clone()]] {
            let answer = call.retried(cx.store(), &work, &statements).await;
            refused(answer, ErrorKind::Refused, "a refused statement")?;
            ensure_status(&cx, &work, PreparedStatus::None).await?;
            ensure_effects(&cx, &id, 0).await?;
            ensure_nothing_left(&cx).await?;
        }
        let answer = call.retried(cx.store(), &work, &[good]).await?;
        ensure_done(answer, "an attempt after a refusal")?;
        commit(cx.store(), &work).await?;
        ensure_effects(&cx, &id, 1).await?;
    }
    Ok(())
}

/// Goal: rows are counted before it is prepared. Method: expect none, two, and then one.
async fn t75_expected_rows<H: Harness<Store: OneShotParticipant>>(cx: Context<H>) -> CaseResult {
    let pattern = participation(&cx, "t75").await?;
    for call in CALLS {
        let id = format!("t75/{call:?}");
        let (work, one) = (named(&pattern, &id)?, statement(&cx, &id)?);
        for wrong in [0, 2] {
            let statements = [one.clone(), one.clone().expecting_rows(wrong)];
            let answer = call.retried(cx.store(), &work, &statements).await;
            refused(answer, ErrorKind::Refused, "another number of rows")?;
            ensure_status(&cx, &work, PreparedStatus::None).await?;
            ensure_nothing_left(&cx).await?;
        }
        let statements = [one.expecting_rows(1)];
        let answer = call.retried(cx.store(), &work, &statements).await?;
        ensure_done(answer, "the right number of rows")?;
        commit(cx.store(), &work).await?;
        ensure_effects(&cx, &id, 1).await?;
    }
    Ok(())
}

/// Goal: of calls at once each fails alone. Method: transactions of which every third is refused, by a
/// statement or by its rows; the others are prepared, and have their effect.
async fn t91_each_fails_alone<H: Harness<Store: OneShotParticipant>>(cx: Context<H>) -> CaseResult {
    let pattern = participation(&cx, "t91").await?;
    let bad = refused_statement(&cx)?;
    for call in CALLS {
        let id = |number: usize| format!("t91/{call:?}/{number}");
        let mut racers = Vec::new();
        for number in 0..12 {
            let (work, good) = (named(&pattern, &id(number))?, statement(&cx, &id(number))?);
            let statements = match number {
                2 | 8 => vec![good, bad.clone()],
                5 | 11 => vec![good.clone(), good.expecting_rows(7)],
                _ => vec![good],
            };
            let store = cx.store().clone();
            racers.push(async move { call.retried(&store, &work, &statements).await });
        }
        for (number, answer) in race(racers).await?.into_iter().enumerate() {
            let work = named(&pattern, &id(number))?;
            if number % 3 == 2 {
                refused(answer, ErrorKind::Refused, "the one that is refused")?;
                ensure_status(&cx, &work, PreparedStatus::None).await?;
                ensure_effects(&cx, &id(number), 0).await?;
            } else {
                ensure_done(answer?, "one beside it")?;
                commit(cx.store(), &work).await?;
                ensure_effects(&cx, &id(number), 1).await?;
            }
        }
        ensure_nothing_left(&cx).await?;
    }
    Ok(())
}

/// Goal: a call is for one request with its deadlines. Method: prepare; ask with others.
async fn t76_mismatch<H: Harness<Store: OneShotParticipant>>(cx: Context<H>) -> CaseResult {
    let work = participation(&cx, "t76").await?;
    let one = [statement(&cx, "t76")?];
    ensure_done(
        Call::Prepare.retried(cx.store(), &work, &one).await?,
        "the first call",
    )?;
    for other in [other_request(&work)?, other_deadline(&work)?] {
        for call in CALLS {
            let answer = call.retried(cx.store(), &other, &one).await;
            refused(answer, ErrorKind::Mismatch, "another request")?;
        }
    }
    commit(cx.store(), &work).await?;
    ensure_effects(&cx, "t76", 1).await
}

/// Goal: past the deadline, after a rollback and when all is forgotten nothing is done. Method: each,
/// with both calls.
async fn t77_too_late<H: Harness<Store: OneShotParticipant>>(cx: Context<H>) -> CaseResult {
    let undone = participation(&cx, "t77/undone").await?;
    let one = [statement(&cx, "t77")?];
    rollback(cx.store(), &undone).await?;
    let late = short_and_kept(&cx, "t77/late", 2).await?;
    let over = short(&cx, "t77/over", 2).await?;
    until(cx.store(), late.not_after()).await?;
    until(cx.store(), over.forget_after()).await?;
    for call in CALLS {
        let answer = call.retried(cx.store(), &undone, &one).await;
        refused_rolled_back(answer, "a call after the rollback")?;
        let answer = call.retried(cx.store(), &late, &one).await;
        refused_rolled_back(answer, "a call past the deadline")?;
        let answer = call.retried(cx.store(), &over, &one).await;
        refused(answer, ErrorKind::Forgotten, "a call when all is forgotten")?;
    }
    ensure_rolled_back(&cx, &undone, "t77").await
}

/// How many transactions a case keeps prepared: a server has few slots, and other cases need some.
const KEPT: usize = 3;

/// Goal: nothing is prepared past the deadline, and what was prepared in time can be committed. Method:
/// calls with a deadline that comes any moment; the last ones before it are committed after it.
async fn t78_at_the_deadline<H: Harness<Store: OneShotParticipant>>(cx: Context<H>) -> CaseResult {
    let pattern = short_and_kept(&cx, "t78", 4).await?;
    let mut kept = VecDeque::new();
    for number in 0.. {
        let id = format!("t78/{number}");
        let (work, one) = (named(&pattern, &id)?, [statement(&cx, &id)?]);
        let late = retry(|| cx.store().now()).await? > work.not_after();
        match Call::Prepare.retried(cx.store(), &work, &one).await {
            Ok(answer) => {
                ensure!(!late, "a call past the deadline to be refused");
                ensure_done(answer, "a call in time")?;
                kept.push_back((work, id));
            }
            Err(error) => {
                refused_rolled_back::<PreparedOneShot>(Err(error), "a call past the deadline")?;
                ensure_effects(&cx, &id, 0).await?;
                break;
            }
        }
        if kept.len() > KEPT
            && let Some((work, id)) = kept.pop_front()
        {
            commit(cx.store(), &work).await?;
            ensure_effects(&cx, &id, 1).await?;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for (work, id) in kept {
        commit(cx.store(), &work).await?;
        ensure_effects(&cx, &id, 1).await?;
    }
    ensure_nothing_left(&cx).await
}

cases! { "prepared_one_shot::refusals" for OneShotParticipant, "core::OneShotParticipant, Contract";
    T74 t74_refused_statement: "a refused statement leaves nothing, and no vote",
        "the statements before it are prepared";
    T75 t75_expected_rows: "rows are counted before it is prepared",
        "the rows are counted when the vote is given, or never";
    T91 t91_each_fails_alone: "of calls at once each fails alone",
        "a refused statement of one fails the group that it is in";
    T76 t76_mismatch: "a call is for one request with its deadlines",
        "the fingerprint or the deadlines are not compared";
    T77 t77_too_late: "past the deadline or after a rollback nothing is done",
        "the deadline or the tombstone is not looked at", waits;
    T78 t78_at_the_deadline: "what was prepared at the deadline can be committed",
        "the deadline is looked at after the vote was given", waits;
}
