//! Crash: calls that are dropped or cut, a server that is killed, an error that is swallowed.

use exactly_once_core::{
    Durability, Error, Participation, PreparedStatus, PreparedTransactions, Store,
};

use super::support::{
    attempt, attempt_once, begin_again, commit, ensure_committed, ensure_effects,
    ensure_nothing_left, ensure_nothing_open, ensure_rolled_back, ensure_status, fresh, named,
    participation, prepared, rollback,
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        faulty::{POLLS_MAX, crash_points, every_cut, slow},
    },
    check::Expecting,
    context::Context,
    ensure_eq,
    faults::polls::{drop_at_poll, some_polls},
    harness::Harness,
};

/// After a call that may or may not have gone through: the retry prepares, and the commit commits.
async fn settle_commit<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
    work: &Participation,
    effect: &str,
) -> CaseResult {
    attempt(&**cx.harness(), cx.store(), work, effect)
        .await
        .expecting("the retry to prepare")?;
    commit(cx.store(), work)
        .await
        .expecting("the commit after it")?;
    ensure_committed(cx, work, effect).await
}

/// As [`settle_commit`], by a rollback.
async fn settle_rollback<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
    work: &Participation,
    effect: &str,
) -> CaseResult {
    rollback(cx.store(), work)
        .await
        .expecting("the rollback to get through")?;
    ensure_rolled_back(cx, work, effect).await
}

fn endless() -> CaseResult {
    Err(CaseFailure::new(
        format!("the call to complete within {POLLS_MAX} polls"),
        "it was still pending",
    ))
}

/// Goal: an attempt may be dropped at any poll. Method: drop begin, work and prepare at each; by
/// turns, a retry prepares and commits it, or a rollback ends it.
async fn t40_attempt_dropped_at_every_poll<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let (_proxy, store) = slow(&cx).await?;
    let pattern = participation(&cx, "t40").await?;
    for side in ["commit", "rollback"] {
        let work = |k: usize| named(&pattern, &format!("t40/{side}/{k}"));
        some_polls(
            POLLS_MAX,
            crash_points(cx.case()),
            |k| {
                let (cx, store) = (&cx, &store);
                async move {
                    let effect = format!("t40/{side}/{k}");
                    CaseResult::Ok(attempt_once(&**cx.harness(), store, &work(k)?, &effect).await)
                }
            },
            |k, _| {
                let cx = &cx;
                async move {
                    let effect = format!("t40/{side}/{k}");
                    match side {
                        "commit" => settle_commit(cx, &work(k)?, &effect).await,
                        _ => settle_rollback(cx, &work(k)?, &effect).await,
                    }
                }
            },
        )
        .await?;
    }
    Ok(())
}

/// Goal: a commit may be dropped at any poll. Method: drop it at each; its retry commits, once.
async fn t40_commit_dropped_at_every_poll<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let (_proxy, store) = slow(&cx).await?;
    let pattern = participation(&cx, "t40").await?;
    let wanted = crash_points(cx.case());
    for k in (1..=POLLS_MAX).filter(|k| wanted(*k)) {
        let effect = format!("t40/c/{k}");
        let work = named(&pattern, &effect)?;
        prepared(&cx, &work, &effect).await?;
        let whole = drop_at_poll(k, store.commit_prepared(&work))
            .await
            .is_some();
        let settled = settle_commit(&cx, &work, &effect).await;
        settled.map_err(|failure| failure.note(format!("the commit was dropped at poll {k}")))?;
        if whole {
            return Ok(());
        }
    }
    endless()
}

/// Goal: a rollback may be dropped at any poll. Method: drop it at each; its retry rolls back.
async fn t40_rollback_dropped_at_every_poll<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let (_proxy, store) = slow(&cx).await?;
    let pattern = participation(&cx, "t40").await?;
    let wanted = crash_points(cx.case());
    for k in (1..=POLLS_MAX).filter(|k| wanted(*k)) {
        let effect = format!("t40/r/{k}");
        let work = named(&pattern, &effect)?;
        prepared(&cx, &work, &effect).await?;
        let whole = drop_at_poll(k, store.rollback_prepared(&work))
            .await
            .is_some();
        let settled = settle_rollback(&cx, &work, &effect).await;
        settled.map_err(|failure| failure.note(format!("the rollback was dropped at poll {k}")))?;
        if whole {
            return Ok(());
        }
    }
    endless()
}

/// What a cut call may answer: something that may be tried again, or what is right.
fn may_be_retried(answer: Result<(), Error>) -> CaseResult {
    if let Err(error) = answer {
        ensure_eq!(error.is_retryable(), true, "whether {error} may be retried");
    }
    Ok(())
}

/// Goal: an attempt may be cut before and after any request. Method: cut begin, work and prepare
/// at each; the retry prepares, and it is committed once.
async fn t41_attempt_cut_at_every_request<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t41").await?;
    let (cx, pattern) = (&cx, &pattern);
    every_cut(
        cx,
        |store, number| async move {
            let effect = format!("t41/{number}");
            let work = named(pattern, &effect)?;
            CaseResult::Ok(attempt_once(&**cx.harness(), &store, &work, &effect).await)
        },
        |number, answer: CaseResult<_>| async move {
            may_be_retried(answer?)?;
            let effect = format!("t41/{number}");
            settle_commit(cx, &named(pattern, &effect)?, &effect).await
        },
    )
    .await
}

/// Goal: a commit may be cut before and after any request. Method: as T41.
async fn t42_commit_cut_at_every_request<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t42").await?;
    let (cx, pattern) = (&cx, &pattern);
    every_cut(
        cx,
        |store, number| async move {
            let effect = format!("t42/{number}");
            let work = named(pattern, &effect)?;
            prepared(cx, &work, &effect).await?;
            CaseResult::Ok(store.commit_prepared(&work).await)
        },
        |number, answer: CaseResult<_>| async move {
            may_be_retried(answer?)?;
            let effect = format!("t42/{number}");
            settle_commit(cx, &named(pattern, &effect)?, &effect).await
        },
    )
    .await
}

/// Goal: a rollback, its tombstone included, may be cut before and after any request. Method: as
/// T41; nothing can be prepared afterwards.
async fn t43_rollback_cut_at_every_request<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t43").await?;
    let (cx, pattern) = (&cx, &pattern);
    every_cut(
        cx,
        |store, number| async move {
            let effect = format!("t43/{number}");
            let work = named(pattern, &effect)?;
            prepared(cx, &work, &effect).await?;
            CaseResult::Ok(store.rollback_prepared(&work).await)
        },
        |number, answer: CaseResult<_>| async move {
            may_be_retried(answer?)?;
            let effect = format!("t43/{number}");
            settle_rollback(cx, &named(pattern, &effect)?, &effect).await
        },
    )
    .await
}

/// Goal: what is prepared survives a kill of the server, and can be committed and rolled back.
/// Method: prepare two, kill, look, commit one and roll back the other.
async fn t44_server_killed_while_prepared<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    if cx.store().capabilities().durability == Durability::None {
        return cx.ignore("the store declares that nothing survives its process");
    }
    let one = participation(&cx, "t44/one").await?;
    let two = participation(&cx, "t44/two").await?;
    prepared(&cx, &one, "t44/one").await?;
    prepared(&cx, &two, "t44/two").await?;
    cx.harness().crash(cx.guard()).await?;
    ensure_status(&cx, &one, PreparedStatus::Prepared).await?;
    ensure_status(&cx, &two, PreparedStatus::Prepared).await?;
    ensure_effects(&cx, "t44/one", 0).await?;
    commit(cx.store(), &one)
        .await
        .expecting("the commit after the kill")?;
    rollback(cx.store(), &two)
        .await
        .expecting("the rollback after the kill")?;
    ensure_committed(&cx, &one, "t44/one").await?;
    ensure_rolled_back(&cx, &two, "t44/two").await
}

/// Goal: what is prepared survives closing all handles. Method: prepare, reopen, commit; and an
/// outcome survives as well.
async fn t44_reopened_while_prepared<H: Harness<Store: PreparedTransactions>>(
    mut cx: Context<H>,
) -> CaseResult {
    let one = participation(&cx, "t44/one").await?;
    let two = participation(&cx, "t44/two").await?;
    prepared(&cx, &one, "t44/one").await?;
    prepared(&cx, &two, "t44/two").await?;
    cx.store().rollback_prepared(&two).await?;
    cx.reopen().await?;
    ensure_status(&cx, &one, PreparedStatus::Prepared).await?;
    ensure_effects(&cx, "t44/one", 0).await?;
    cx.store().commit_prepared(&one).await?;
    ensure_rolled_back(&cx, &two, "t44/two").await?;
    cx.reopen().await?;
    ensure_committed(&cx, &one, "t44/one").await
}

/// Goal: a cancelled prepare leaves what its retry can go on with. Method: drop prepare alone at
/// each of its polls; nothing is open, and it is prepared or can be prepared again.
async fn t45_cancelled_during_prepare<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let (_proxy, store) = slow(&cx).await?;
    let pattern = participation(&cx, "t45").await?;
    let wanted = crash_points(cx.case());
    for k in (1..=POLLS_MAX).filter(|k| wanted(*k)) {
        let effect = format!("t45/{k}");
        let work = named(&pattern, &effect)?;
        let mut tx = fresh(&store, &work).await?;
        cx.write(&mut tx, &effect).await?;
        let whole = drop_at_poll(k, store.prepare(tx, &work)).await.is_some();
        ensure_nothing_open(&cx).await?;
        let _found = begin_again(cx.store(), &work)
            .await
            .expecting("an answer to the retry")?;
        let settled = settle_commit(&cx, &work, &effect).await;
        settled.map_err(|failure| failure.note(format!("prepare was dropped at poll {k}")))?;
        if whole {
            return Ok(());
        }
    }
    endless()
}

/// Goal: an error that the work swallowed is never a yes. Method: spoil the transaction, prepare.
async fn t46_swallowed_error<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t46").await?;
    let mut tx = fresh(cx.store(), &work).await?;
    cx.write(&mut tx, "t46").await?;
    if !cx.harness().spoil(&mut tx).await {
        return cx.ignore("no statement of this store's transactions can fail and be swallowed");
    }
    if cx.store().prepare(tx, &work).await.is_ok() {
        return Err(CaseFailure::new(
            "prepare to report the error that the work has swallowed",
            "it said that the work is prepared",
        ));
    }
    ensure_status(&cx, &work, PreparedStatus::None).await?;
    ensure_nothing_left(&cx).await?;
    ensure_effects(&cx, "t46", 0).await?;
    settle_commit(&cx, &work, "t46").await
}

cases! { "prepared::crash" for PreparedTransactions, "core::PreparedTransactions, Contract";
    T40 t40_attempt_dropped_at_every_poll: "an attempt dropped at any poll can be retried, and rolled back",
        "a connection goes back to the pool with its transaction open";
    T40 t40_commit_dropped_at_every_poll: "a commit dropped at any poll is committed once by its retry",
        "the outcome is written apart from the effects";
    T40 t40_rollback_dropped_at_every_poll: "a rollback dropped at any poll is finished by its retry",
        "a retry finds nothing prepared, and leaves no tombstone";
    T41 t41_attempt_cut_at_every_request: "an attempt cut at any request can be retried",
        "a lost connection is told as terminal";
    T42 t42_commit_cut_at_every_request: "a commit cut at any request is committed once by its retry",
        "a lost reply is told as `not prepared`";
    T43 t43_rollback_cut_at_every_request: "a rollback cut at any request is finished by its retry",
        "a retry finds nothing prepared, and leaves no tombstone";
    T44 t44_server_killed_while_prepared: "what is prepared survives a kill of the server",
        "prepare is acknowledged before it is on the disk";
    T44 t44_reopened_while_prepared: "what is prepared, and every outcome, survives closing all handles",
        "something is kept in the handle instead of the database";
    T45 t45_cancelled_during_prepare: "a cancelled prepare can be retried, and leaves nothing open",
        "the connection of a cancelled prepare goes back to the pool";
    T46 t46_swallowed_error: "an error that the work swallowed is never a yes",
        "PREPARE in an aborted block is a ROLLBACK without an error";
}
