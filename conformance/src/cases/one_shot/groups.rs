//! Groups: callers whose effects may share one commit, each still on its own.

use std::{
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use exactly_once_core::{ErrorKind, OneShotStore};
use futures_util::poll;
use tokio::time::timeout;

use super::support::{effect, ensure_done, executed, named, statement};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, race, receipt},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Goal: of N racers on one key one executes, and all get its receipt. Method: 2, 8, 64 racers.
async fn i30s_racers_on_one_key<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let (rounds, cx) = (cx.case().scaled(4, 1), Arc::new(cx));
    for racers in [2, 8, 64] {
        for round in 0..rounds {
            let id = format!("i30/{racers}/{round}");
            let mut calls = Vec::new();
            for racer in 0..racers {
                let (cx, effect) = (Arc::clone(&cx), named(&cx, &id, &format!("racer {racer}"))?);
                calls.push(async move { executed(cx.store(), &effect).await });
            }
            let (mut outcomes, mut winners) = (Vec::new(), 0);
            for done in race(calls).await? {
                let done = done?;
                winners += u32::from(!done.replayed);
                outcomes.push(done.outcome);
            }
            outcomes.dedup();
            ensure_eq!(
                outcomes.len(),
                1,
                "receipts of {racers} racers ({outcomes:?})"
            );
            ensure_eq!(winners, 1, "racers of {racers} who say that they executed");
            ensure_eq!(cx.effects(&id).await?, 1, "effects of {racers} racers");
        }
    }
    Ok(())
}

/// Goal: racers of which some are refused have one outcome all the same: a refusal is final, and a
/// receipt is. Method: racers on one key, every other one with a statement that is refused too; all
/// are refused and nothing was done, or all get the receipt of one effect; then once more.
async fn i06s_racers_have_one_outcome<H: Harness<Store: OneShotStore>>(
    cx: Context<H>,
) -> CaseResult {
    let Some(bad) = cx.harness().refused_statement() else {
        return cx.ignore("this harness has no statement that is refused (`refused_statement`)");
    };
    let (rounds, cx) = (cx.case().scaled(4, 1), Arc::new(cx));
    for racers in [2, 8, 24] {
        for round in 0..rounds {
            let id = format!("i06/{racers}/{round}");
            let good = effect(&claim(&id)?, vec![statement(&cx, &id)?], receipt("done"));
            let mut refused = good.clone();
            refused.statements.push(bad.clone());
            let calls = (0..racers).map(|racer| {
                let one = if racer % 2 == round % 2 {
                    &good
                } else {
                    &refused
                };
                let (cx, one) = (Arc::clone(&cx), one.clone());
                async move { executed(cx.store(), &one).await }
            });
            let mut told = race(calls.collect::<Vec<_>>()).await?;
            told.push(executed(cx.store(), &good).await);
            let (mut applied, mut winners) = (0, 0);
            for answer in &told {
                match answer {
                    Ok(done) => {
                        applied += 1;
                        winners += u64::from(!done.replayed);
                    }
                    Err(error) => ensure_eq!(error.kind(), ErrorKind::Refused, "a refusal"),
                }
            }
            let one_outcome = applied == 0 || applied == told.len();
            ensure!(one_outcome, seen: told, "one outcome for all of {racers} racers");
            let effects = u64::from(applied > 0);
            ensure_eq!(
                winners,
                effects,
                "racers of {racers} who say that they executed"
            );
            ensure_eq!(
                cx.effects(&id).await?,
                effects,
                "effects of {racers} racers"
            );
        }
    }
    Ok(())
}

/// Goal: each caller fails alone. Method: callers at once, every third with a refused statement;
/// those are refused, all others applied.
async fn i38s_each_fails_alone<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let Some(bad) = cx.harness().refused_statement() else {
        return cx.ignore("this harness has no statement that is refused (`refused_statement`)");
    };
    let (callers, cx) = (cx.case().scaled(96, 24), Arc::new(cx));
    let mut calls = Vec::new();
    for caller in 0..callers {
        let (cx, id) = (Arc::clone(&cx), format!("i38/{caller}"));
        let mut statements = vec![statement(&cx, &id)?];
        if caller % 3 == 0 {
            statements.push(bad.clone());
        }
        let effect = effect(&claim(&id)?, statements, receipt(&id));
        calls.push(async move { executed(cx.store(), &effect).await });
    }
    for (caller, answer) in race(calls).await?.into_iter().enumerate() {
        let id = format!("i38/{caller}");
        if caller % 3 == 0 {
            let kind = answer.err().map(|error| error.kind());
            ensure_eq!(
                kind,
                Some(ErrorKind::Refused),
                "the answer to the refused caller {caller}"
            );
        } else {
            ensure_done(&answer?, &id, false)?;
        }
        let effects = cx.effects(&id).await?;
        ensure_eq!(
            effects,
            u64::from(caller % 3 != 0),
            "effects of caller {caller}"
        );
    }
    Ok(())
}

/// Goal: a member of a batch that fails late, ends the transaction by itself or touches what the
/// callers of a connection share gets the answer that it gets alone, and its refusal is kept. Method:
/// each poisoned effect of the harness alone, then among others at once, at every place; then all again.
async fn s02_poisoned_member<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let poisons = cx.harness().poisoned_statements();
    if poisons.is_empty() {
        return cx.ignore("this harness poisons no effect (`poisoned_statements`)");
    }
    let cx = Arc::new(cx);
    let rounds = cx.case().scaled(6, 2);
    for (number, (what, statements)) in poisons.into_iter().enumerate() {
        let id = format!("s02/{number}/alone");
        let mut all = vec![statement(&cx, &id)?];
        all.extend(statements.iter().cloned());
        let answer = executed(cx.store(), &effect(&claim(&id)?, all, receipt(&id))).await;
        let alone = answer
            .err()
            .expecting("the poisoned effect to be refused")?;
        ensure!(!alone.is_retryable(), seen: alone, "the answer to {what} to be final");
        for round in 0..rounds {
            let mut refusals = Vec::new();
            let name = |caller: usize| format!("s02/{number}/{round}/{caller}");
            let callers = 9;
            let bad = (round * 2) % callers;
            let effect_of = |caller: usize| {
                let id = name(caller);
                let mut all = vec![statement(&cx, &id)?];
                if caller == bad {
                    all.extend(statements.iter().cloned());
                }
                CaseResult::Ok(effect(&claim(&id)?, all, receipt(&id)))
            };
            let effects: Vec<_> = (0..callers).map(effect_of).collect::<CaseResult<_>>()?;
            for replayed in [false, true] {
                let calls = effects.iter().cloned().map(|one| {
                    let cx = Arc::clone(&cx);
                    async move { executed(cx.store(), &one).await }
                });
                let answers = race(calls.collect::<Vec<_>>()).await?;
                for (caller, answer) in answers.into_iter().enumerate() {
                    let id = name(caller);
                    if caller == bad {
                        let error = answer.err().expecting("a refusal in a batch")?;
                        ensure_eq!(error.kind(), alone.kind(), "the answer to {what} ({error})");
                        refusals.push(error.to_string());
                    } else {
                        ensure_done(&answer?, &id, replayed)?;
                    }
                    let effects = cx.effects(&id).await?;
                    ensure_eq!(effects, u64::from(caller != bad), "effects beside {what}");
                }
            }
            refusals.dedup();
            ensure_eq!(refusals.len(), 1, "texts of one refusal ({refusals:?})");
        }
    }
    Ok(())
}

/// What hangs does so for ever.
const HANGS: Duration = Duration::from_secs(15);

/// Goal: a caller that is polled once and then left alone, alive, delays no other (it may be a branch of
/// `select!`, or wait in `buffer_unordered`). Method: some callers are left alone; one more must end. Then
/// they go on, and each effect is there once.
async fn s01_caller_left_alone<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    for round in 0..3 {
        let left: Vec<_> = (0..=round)
            .map(|caller| named(&cx, &format!("s01/{round}/{caller}"), "left"))
            .collect::<CaseResult<_>>()?;
        let mut calls: Vec<_> = left
            .iter()
            .map(|one| Box::pin(cx.store().execute_one_shot(one)))
            .collect();
        let mut waiting = Vec::new();
        for (mut call, one) in calls.drain(..).zip(&left) {
            match poll!(call.as_mut()) {
                Poll::Ready(answer) => ensure_done(&answer?, "left", false)?,
                Poll::Pending => waiting.push((call, one)),
            }
        }
        let other = named(&cx, &format!("s01/{round}/other"), "other")?;
        let answer = timeout(HANGS, executed(cx.store(), &other)).await;
        let done = answer.expecting("a call beside one that is left alone to end")?;
        ensure_done(&done?, "other", false)?;
        for (call, one) in waiting {
            // It may have been given up meanwhile: then the retry does it.
            if let Err(error) = call.await {
                ensure!(error.is_retryable(), seen: error, "a call that was left alone to be retried");
                executed(cx.store(), one).await?;
            }
        }
        for caller in 0..=round {
            let effects = cx.effects(&format!("s01/{round}/{caller}")).await?;
            ensure_eq!(effects, 1, "effects of caller {caller}");
        }
    }
    Ok(())
}

/// How long I78S writes; a slow store gets as far as it gets.
const WRITING_MAX: Duration = Duration::from_secs(8);

/// Goal: ten thousand keys that begin alike are ten thousand keys. Method: many callers at once, for
/// some seconds at most; every seventh is read back.
async fn i78s_ten_thousand_keys<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    const CALLERS: usize = 32;
    let (keys, cx, started) = (cx.case().scaled(10_000, 500), Arc::new(cx), Instant::now());
    let effect_of = |number: usize| {
        let name = format!("{}/{number}", "prefix".repeat(20));
        CaseResult::Ok(effect(
            &claim(&name)?,
            Vec::new(),
            receipt(&number.to_string()),
        ))
    };
    let written = race((0..CALLERS).map(|caller| {
        let cx = Arc::clone(&cx);
        async move {
            for number in (caller..keys).step_by(CALLERS) {
                if started.elapsed() > WRITING_MAX {
                    return Ok(number);
                }
                let done = executed(cx.store(), &effect_of(number)?).await?;
                ensure_done(&done, &number.to_string(), false)?;
            }
            Ok(usize::MAX)
        }
    }))
    .await?;
    let written: Vec<usize> = written.into_iter().collect::<CaseResult<_>>()?;
    // Each caller has its own residue, so below its limit all its keys are written.
    for number in (0..keys)
        .step_by(7)
        .filter(|number| *number < written[number % CALLERS])
    {
        if started.elapsed() > WRITING_MAX * 3 {
            break;
        }
        let done = executed(cx.store(), &effect_of(number)?).await?;
        ensure_done(&done, &number.to_string(), true)?;
    }
    Ok(())
}

cases! { "one_shot::groups" for OneShotStore, "core::OneShotStore, Contract";
    I06S i06s_racers_have_one_outcome: "racers of which some are refused have one outcome",
        "the refusal is not recorded, or it is recorded over a receipt";
    I30S i30s_racers_on_one_key: "of N racers one executes, and all get its receipt",
        "callers of one group don't see one another's keys";
    I38S i38s_each_fails_alone: "each caller fails alone",
        "a refused statement rolls back the group, or is not rolled back itself";
    S01 s01_caller_left_alone: "a caller that is left alone delays no other",
        "the batch lives in the future of its first caller, or a lock is held across an await";
    S02 s02_poisoned_member: "a poisoned member is refused alone, and its refusal is kept",
        "the batch's failure is each member's answer, or a savepoint of one undoes another";
    I78S i78s_ten_thousand_keys: "ten thousand keys that begin alike are ten thousand keys",
        "keys are cut, hashed to few bits, or matched by prefix";
}
