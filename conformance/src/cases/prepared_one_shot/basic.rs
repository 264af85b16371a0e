//! Basic: one call prepares, or commits, or says what was before.

use exactly_once_core::{
    BegunPrepared, ErrorKind, OneShotParticipant, PreparedOneShot, PreparedStatus,
    PreparedTransactions,
};

use super::support::{CALLS, Call, ensure_done, statement};
use crate::{
    CaseResult,
    cases::{
        cases,
        prepared::support::{
            all_in_doubt, begin_again, commit, ensure_committed, ensure_effects,
            ensure_rolled_back, ensure_status, fresh, named, participation, prepared, rollback,
        },
        support::{race, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: one call prepares, once, and distinguishes what it found from what it did. Method: prepare
/// three times, look, commit, prepare again; then the same with a rollback.
async fn t68_prepares_in_one_call<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t68").await?;
    let one = [statement(&cx, "t68")?];
    ensure_done(
        Call::Prepare.retried(cx.store(), &work, &one).await?,
        "the first call",
    )?;
    for _ in 0..2 {
        let again = Call::Prepare.retried(cx.store(), &work, &one).await?;
        ensure_eq!(again, PreparedOneShot::AlreadyPrepared, "a later call");
    }
    ensure_status(&cx, &work, PreparedStatus::Prepared).await?;
    ensure_effects(&cx, "t68", 0).await?;
    let listed = all_in_doubt(cx.store(), 10).await?;
    ensure_eq!(listed.len(), 1, "what is in doubt");
    commit(cx.store(), &work).await?;
    let again = Call::Prepare.retried(cx.store(), &work, &one).await?;
    ensure_eq!(
        again,
        PreparedOneShot::AlreadyCommitted,
        "a call after the commit"
    );
    ensure_committed(&cx, &work, "t68").await?;

    let undone = participation(&cx, "t68/undone").await?;
    let one = [statement(&cx, "t68/undone")?];
    ensure_done(
        Call::Prepare.retried(cx.store(), &undone, &one).await?,
        "another transaction",
    )?;
    rollback(cx.store(), &undone).await?;
    ensure_rolled_back(&cx, &undone, "t68/undone").await
}

/// Goal: one call commits the only participant that writes, once, and prepares nothing. Method: three
/// calls; then one that finds the work prepared by another attempt, and leaves it so.
async fn t69_commits_in_one_call<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t69").await?;
    let one = [statement(&cx, "t69")?];
    ensure_done(
        Call::Alone.retried(cx.store(), &work, &one).await?,
        "the first call",
    )?;
    for call in [Call::Alone, Call::Prepare, Call::Alone] {
        let again = call.retried(cx.store(), &work, &one).await?;
        ensure_eq!(again, PreparedOneShot::AlreadyCommitted, "a later call");
    }
    ensure_committed(&cx, &work, "t69").await?;

    let other = participation(&cx, "t69/prepared").await?;
    let one = [statement(&cx, "t69/prepared")?];
    ensure_done(
        Call::Prepare.retried(cx.store(), &other, &one).await?,
        "another transaction",
    )?;
    let alone = Call::Alone.retried(cx.store(), &other, &one).await?;
    ensure_eq!(alone, PreparedOneShot::AlreadyPrepared, "what is prepared");
    ensure_status(&cx, &other, PreparedStatus::Prepared).await?;
    commit(cx.store(), &other).await?;
    ensure_committed(&cx, &other, "t69/prepared").await
}

/// Goal: statements are applied in full and in order, and may be none. Method: none; three.
async fn t70_any_number_of_statements<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t70").await?;
    for call in CALLS {
        for count in [0, 3] {
            let id = format!("t70/{call:?}/{count}");
            let work = named(&pattern, &id)?;
            let statements = vec![statement(&cx, &id)?; count];
            let answer = call.retried(cx.store(), &work, &statements).await?;
            ensure_done(answer, "statements of any number")?;
            commit(cx.store(), &work).await?;
            ensure_effects(&cx, &id, count as u64).await?;
        }
    }
    Ok(())
}

/// Goal: the two forms know each other. Method: what one has prepared the other finds; while an
/// attempt by steps is at its work, a call reports so, or waits, and never prepares beside it.
async fn t71_mixed_with_steps<H: Harness<Store: OneShotParticipant>>(cx: Context<H>) -> CaseResult {
    let pattern = participation(&cx, "t71").await?;
    for call in CALLS {
        let id = format!("t71/{call:?}");
        let one = [statement(&cx, &id)?];
        let by_steps = named(&pattern, &format!("{id}/steps"))?;
        prepared(&cx, &by_steps, &id).await?;
        let found = call.retried(cx.store(), &by_steps, &one).await?;
        ensure_eq!(found, PreparedOneShot::AlreadyPrepared, "work by steps");
        commit(cx.store(), &by_steps).await?;
        ensure_effects(&cx, &id, 1).await?;

        let open = named(&pattern, &format!("{id}/open"))?;
        let mut tx = fresh(cx.store(), &open).await?;
        cx.write(&mut tx, &format!("{id}/open")).await?;
        let beside = call.once(cx.store(), &open, &one).await;
        match beside {
            Err(error) => {
                ensure!(error.is_retryable(), seen: error, "a call beside an attempt to be retried")
            }
            // Where attempts don't wait for each other, the one in its work must lose.
            Ok(answer) => {
                ensure_done(answer, "a call beside an attempt")?;
                let late = cx.store().prepare(tx, &open).await;
                ensure!(late.is_err(), "one of two attempts to prepare");
                commit(cx.store(), &open).await?;
                ensure_effects(&cx, &id, 2).await?;
                continue;
            }
        }
        drop(tx);
        let answer = call.retried(cx.store(), &open, &one).await?;
        ensure_done(answer, "a call after the attempt was dropped")?;
        commit(cx.store(), &open).await?;
        ensure_effects(&cx, &id, 2).await?;
        ensure_effects(&cx, &format!("{id}/open"), 0).await?;
    }
    let work = named(&pattern, "t71/found")?;
    let one = [statement(&cx, "t71/found")?];
    let _done = Call::Prepare.retried(cx.store(), &work, &one).await?;
    ensure_matches!(
        begin_again(cx.store(), &work).await?,
        BegunPrepared::AlreadyPrepared,
        "an attempt by steps to find what one call has prepared"
    );
    commit(cx.store(), &work)
        .await
        .expecting("the commit of what one call has prepared")?;
    ensure_committed(&cx, &work, "t71/found").await
}

/// Goal: of many calls at once one does it. Method: eight racers, each retried; commit; one effect.
async fn t72_racers<H: Harness<Store: OneShotParticipant>>(cx: Context<H>) -> CaseResult {
    let pattern = participation(&cx, "t72").await?;
    for call in CALLS {
        let id = format!("t72/{call:?}");
        let (work, one) = (named(&pattern, &id)?, vec![statement(&cx, &id)?]);
        let racers = (0..8).map(|_| {
            let (store, work, one) = (cx.store().clone(), work.clone(), one.clone());
            async move { retry(|| call.once(&store, &work, &one)).await }
        });
        let mut done = 0;
        for answer in race(racers.collect::<Vec<_>>()).await? {
            done += u32::from(answer? == PreparedOneShot::Done);
        }
        ensure_eq!(done, 1, "calls that did it");
        commit(cx.store(), &work).await?;
        ensure_committed(&cx, &work, &id).await?;
    }
    Ok(())
}

/// Goal: a call and a rollback at once leave one of the two. Method: race them, for both calls.
async fn t73_races_with_a_rollback<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t73").await?;
    for turn in 0..cx.case().scaled(8, 3) {
        for call in CALLS {
            let id = format!("t73/{call:?}/{turn}");
            let (work, one) = (named(&pattern, &id)?, vec![statement(&cx, &id)?]);
            let (store, asked) = (cx.store().clone(), work.clone());
            let attempt = tokio::spawn(async move { call.retried(&store, &asked, &one).await });
            let undone = rollback(cx.store(), &work).await;
            let attempt = attempt.await?;
            match (undone, call) {
                (Ok(()), _) => {
                    if let Err(error) = attempt {
                        ensure_eq!(error.kind(), ErrorKind::RolledBack, "the call's refusal");
                    }
                    ensure_rolled_back(&cx, &work, &id).await?;
                }
                (Err(error), Call::Alone) => {
                    ensure_eq!(error.kind(), ErrorKind::Committed, "the rollback's refusal");
                    ensure_done(attempt?, "the call that won")?;
                    ensure_committed(&cx, &work, &id).await?;
                }
                (Err(error), Call::Prepare) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

cases! { "prepared_one_shot::basic" for OneShotParticipant, "core::OneShotParticipant, Contract";
    T68 t68_prepares_in_one_call: "one call begins, works and prepares, once",
        "it commits at once, or takes what it finds for its own doing";
    T69 t69_commits_in_one_call: "one call commits the only participant that writes, once",
        "it prepares on the way, or runs again";
    T70 t70_any_number_of_statements: "statements are applied in full, and may be none",
        "only the first statement is sent";
    T71 t71_mixed_with_steps: "calls and attempts by steps know each other",
        "the two forms mark their transactions in different ways";
    T72 t72_racers: "of many calls at once one does it",
        "the marker is not taken before the statements";
    T73 t73_races_with_a_rollback: "a call beside a rollback leaves one of the two",
        "the tombstone is not looked at";
}
