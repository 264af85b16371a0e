//! Zombies: attempts that were overtaken, and wake at the worst moment.

use exactly_once_core::{BegunPrepared, ErrorKind, PreparedStatus, PreparedTransactions};
use tokio::time::{sleep, timeout};

use super::support::{
    attempt_once, begin_again, commit, ensure_committed, ensure_effects, ensure_nothing_left,
    ensure_rolled_back, ensure_status, fresh, in_time, participation, prepared,
    refused_rolled_back, rollback, short, short_and_kept, until,
};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure_eq, ensure_matches,
    faults::barrier::Barriers,
    harness::Harness,
};

/// Goal: a zombie that slept before its marker, and wakes after the rollback, is refused. Method:
/// it is held before it begins; another attempt prepares, all is rolled back; it wakes.
async fn t30_wakes_after_rollback<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t30").await?;
    let barriers = Barriers::default();
    let gate = barriers.hold("before the marker");
    let zombie = tokio::spawn({
        let (harness, store, work) = (cx.harness().clone(), cx.store().clone(), work.clone());
        async move {
            barriers.pass("before the marker").await;
            attempt_once(&*harness, &store, &work, "t30").await
        }
    });
    gate.reached().await;
    prepared(&cx, &work, "t30").await?;
    cx.store().rollback_prepared(&work).await?;
    gate.release();
    refused_rolled_back(zombie.await?, "the zombie")?;
    ensure_rolled_back(&cx, &work, "t30").await
}

/// Goal: a zombie that wakes after the commit learns so, and does nothing. Method: as T30, with a
/// commit.
async fn t31_wakes_after_commit<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t31").await?;
    let barriers = Barriers::default();
    let gate = barriers.hold("before the marker");
    let zombie = tokio::spawn({
        let (store, work) = (cx.store().clone(), work.clone());
        async move {
            barriers.pass("before the marker").await;
            begin_again(&store, &work).await
        }
    });
    gate.reached().await;
    prepared(&cx, &work, "t31").await?;
    cx.store().commit_prepared(&work).await?;
    gate.release();
    ensure_matches!(
        zombie.await??,
        BegunPrepared::AlreadyCommitted,
        "the zombie to be told so"
    );
    ensure_committed(&cx, &work, "t31").await
}

/// Goal: a rollback that meets a zombie between its marker and its prepare leaves no orphan.
/// Method: hold the open transaction while the rollback runs; then prepare it; whichever was first,
/// in the end it is rolled back and nothing is in doubt.
async fn t32_between_marker_and_prepare<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t32").await?;
    let mut zombie = fresh(cx.store(), &work).await?;
    cx.write(&mut zombie, "t32").await?;
    let rolling = tokio::spawn({
        let (store, work) = (cx.store().clone(), work.clone());
        async move { rollback(&store, &work).await }
    });
    sleep(cx.tick() * 3).await;
    let done = rolling.is_finished();
    let answer = cx.store().prepare(zombie, &work).await;
    match answer {
        // The marker was in: the rollback had to wait for it, and now finds what to end.
        Ok(()) => ensure_eq!(
            done,
            false,
            "whether a rollback was done though a zombie prepared"
        ),
        Err(error) if error.is_retryable() => {}
        Err(error) => refused_rolled_back::<()>(Err(error), "the zombie's prepare")?,
    }
    rolling.await?.expecting("the rollback to get through")?;
    ensure_rolled_back(&cx, &work, "t32").await
}

/// Goal: nothing is prepared by an attempt that begins after the deadline. Method: let it pass,
/// then begin; and nothing is left.
async fn t33_begins_after_the_deadline<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t33", 2).await?;
    until(cx.store(), work.not_after()).await?;
    let answer = attempt_once(&**cx.harness(), cx.store(), &work, "t33").await;
    refused_rolled_back(answer, "an attempt after the deadline")?;
    ensure_nothing_left(&cx).await?;
    ensure_effects(&cx, "t33", 0).await?;
    rollback(cx.store(), &work).await?;
    ensure_rolled_back(&cx, &work, "t33").await
}

/// Goal: an attempt that sleeps over the deadline in its work ends in order. Method: begin before
/// it, prepare after it: refused, or in doubt for the sweeper; a rollback ends it either way.
async fn t33_prepares_after_the_deadline<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t33/late", 15).await?;
    let mut zombie = fresh(cx.store(), &work).await?;
    cx.write(&mut zombie, "t33/late").await?;
    in_time(cx.store(), &work).await?;
    until(cx.store(), work.not_after()).await?;
    match cx.store().prepare(zombie, &work).await {
        Ok(()) => ensure_status(&cx, &work, PreparedStatus::Prepared).await?,
        Err(error) => {
            refused_rolled_back::<()>(Err(error), "a prepare after the deadline")?;
            ensure_nothing_left(&cx).await?;
        }
    }
    rollback(cx.store(), &work).await?;
    ensure_rolled_back(&cx, &work, "t33/late").await
}

/// Goal: a zombie that wakes after the record was removed gets *forgotten*, not *rolled back*
/// and not *fresh*. Method: commit, let its time pass, forget; then every call.
async fn t34_wakes_after_it_was_forgotten<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = short(&cx, "t34", 20).await?;
    prepared(&cx, &work, "t34").await?;
    cx.store().commit_prepared(&work).await?;
    let never = short(&cx, "t34/never", 1).await?;
    until(cx.store(), work.forget_after()).await?;
    until(cx.store(), never.forget_after()).await?;
    let store = cx.store();
    let removed = retry(|| store.forget_prepared(100)).await?;
    ensure_eq!(removed, 1, "records removed");
    for work in [&work, &never] {
        ensure_status(&cx, work, PreparedStatus::Forgotten).await?;
        let forgotten = ErrorKind::Forgotten;
        let answer = attempt_once(&**cx.harness(), cx.store(), work, "t34").await;
        refused(answer, forgotten, "an attempt after it was forgotten")?;
        refused(
            commit(cx.store(), work).await,
            forgotten,
            "a commit after it was forgotten",
        )?;
        refused(
            rollback(cx.store(), work).await,
            forgotten,
            "a rollback after it was forgotten",
        )?;
        ensure_status(&cx, work, PreparedStatus::Forgotten).await?;
        ensure_effects(&cx, "t34", 1).await?;
    }
    ensure_nothing_left(&cx).await
}

/// Goal: a commit that was decided in time may arrive late. Method: prepare, let the deadline
/// pass, commit; and a late commit after a rollback is refused.
async fn t35_late_commit<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let late = short_and_kept(&cx, "t35", 25).await?;
    let undone = short_and_kept(&cx, "t35/undone", 25).await?;
    prepared(&cx, &late, "t35").await?;
    prepared(&cx, &undone, "t35/undone").await?;
    until(cx.store(), late.not_after()).await?;
    until(cx.store(), undone.not_after()).await?;
    ensure_status(&cx, &late, PreparedStatus::Prepared).await?;
    ensure_matches!(
        cx.store().begin_prepared(&late).await?,
        BegunPrepared::AlreadyPrepared,
        "what is prepared to be found after the deadline too"
    );
    cx.store().rollback_prepared(&undone).await?;
    refused_rolled_back(
        commit(cx.store(), &undone).await,
        "a late commit after the rollback",
    )?;
    cx.store()
        .commit_prepared(&late)
        .await
        .expecting("a late commit to be fine")?;
    ensure_effects(&cx, "t35/undone", 0).await?;
    ensure_committed(&cx, &late, "t35").await
}

/// Goal: a zombie's open transaction doesn't keep its retry waiting for ever. Method: hold one;
/// begin again: busy in time, or the zombie has lost; once it is gone, the retry goes through.
async fn t29_retry_beside_a_zombie<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t29").await?;
    let mut zombie = fresh(cx.store(), &work).await?;
    cx.write(&mut zombie, "t29").await?;
    let limit = std::time::Duration::from_secs(20);
    let answer = timeout(limit, cx.store().begin_prepared(&work)).await;
    let answer = answer
        .ok()
        .expecting("an answer in time while a zombie is at it")?;
    match answer {
        Err(error) => {
            ensure_eq!(error.is_retryable(), true, "whether {error} may be retried");
        }
        Ok(BegunPrepared::Fresh(tx)) => drop(tx),
        Ok(other) => {
            return Err(crate::CaseFailure::new(
                "busy, or fresh (a store that notices at prepare)",
                format!("{other:?}"),
            ));
        }
    }
    drop(zombie);
    let store = cx.store();
    retry(|| attempt_once(&**cx.harness(), store, &work, "t29")).await?;
    commit(cx.store(), &work).await?;
    ensure_committed(&cx, &work, "t29").await
}

cases! { "prepared::zombies" for PreparedTransactions, "core::PreparedTransactions, Contract";
    T29 t29_retry_beside_a_zombie: "a retry beside a zombie is told busy in time, and goes through once it is gone",
        "no lock timeout: the retry waits for the zombie's marker for ever";
    T30 t30_wakes_after_rollback: "a zombie that wakes after the rollback is refused",
        "rollback leaves no tombstone: the zombie prepares, and holds its locks for good";
    T31 t31_wakes_after_commit: "a zombie that wakes after the commit is told so and does nothing",
        "the outcome is removed with the commit";
    T32 t32_between_marker_and_prepare: "a rollback beside an open attempt leaves no orphan",
        "the tombstone is written while the attempt holds the marker, or there is no marker";
    T33 t33_begins_after_the_deadline: "nothing is prepared by an attempt that begins after the deadline",
        "no deadline: the sweeper has passed, and nobody ends what is prepared now";
    T33 t33_prepares_after_the_deadline: "an attempt that sleeps over the deadline ends in order",
        "the deadline is checked before the marker is in, and what is prepared late is not listed", waits;
    T34 t34_wakes_after_it_was_forgotten: "after its time a transaction is forgotten, not rolled back and not fresh",
        "absent after removal is read as rolled back", waits;
    T35 t35_late_commit: "a commit decided in time may be told after the deadline",
        "the deadline is applied to commit", waits;
}
