//! Replay: every call may be repeated, in every state, and says where the transaction stands.

use std::time::{Duration, Instant};

use exactly_once_core::{
    BegunPrepared, ErrorKind, Participation, PreparedStatus, PreparedTransactions,
};

use super::support::{
    begin_again, commit, ensure_committed, ensure_effects, ensure_rolled_back, ensure_status,
    other_deadline, other_request, participation, prepared, refused_rolled_back, rollback,
};
use crate::{
    CaseResult,
    cases::{cases, support::refused},
    check::Expecting,
    context::Context,
    ensure, ensure_matches,
    harness::Harness,
};

/// Goal: a second prepare finds the first, at once. Method: begin again five times; the fastest
/// must not have waited for a lock.
async fn t10_prepare_twice<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let work = participation(&cx, "t10").await?;
    prepared(&cx, &work, "t10").await?;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        ensure_matches!(
            cx.store().begin_prepared(&work).await?,
            BegunPrepared::AlreadyPrepared,
            "beginning what is prepared to say so"
        );
        fastest = fastest.min(started.elapsed());
    }
    ensure!(
        fastest < Duration::from_millis(500),
        seen: fastest,
        "an answer without waiting for the locks of what is prepared"
    );
    cx.store().commit_prepared(&work).await?;
    ensure_committed(&cx, &work, "t10").await
}

/// Goal: an attempt that comes after the commit learns so. Method: begin again, ten times.
async fn t11_prepare_after_commit<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t11").await?;
    prepared(&cx, &work, "t11").await?;
    cx.store().commit_prepared(&work).await?;
    for _ in 0..10 {
        ensure_matches!(
            cx.store().begin_prepared(&work).await?,
            BegunPrepared::AlreadyCommitted,
            "beginning what is committed to say so"
        );
    }
    ensure_committed(&cx, &work, "t11").await
}

/// Goal: an attempt that comes after the rollback is refused. Method: begin again, ten times.
async fn t12_prepare_after_rollback<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t12").await?;
    prepared(&cx, &work, "t12").await?;
    cx.store().rollback_prepared(&work).await?;
    for _ in 0..10 {
        let answer = begin_again(cx.store(), &work).await;
        refused_rolled_back(answer, "beginning what was rolled back")?;
    }
    ensure_rolled_back(&cx, &work, "t12").await
}

/// Goal: committing again is ok and changes nothing. Method: ten times.
async fn t13_commit_twice<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let work = participation(&cx, "t13").await?;
    prepared(&cx, &work, "t13").await?;
    for _ in 0..10 {
        cx.store()
            .commit_prepared(&work)
            .await
            .expecting("a repeated commit to be fine")?;
        ensure_effects(&cx, "t13", 1).await?;
    }
    ensure_committed(&cx, &work, "t13").await
}

/// Goal: rolling back again is ok. Method: ten times.
async fn t14_rollback_twice<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let work = participation(&cx, "t14").await?;
    prepared(&cx, &work, "t14").await?;
    for _ in 0..10 {
        cx.store()
            .rollback_prepared(&work)
            .await
            .expecting("a repeated rollback to be fine")?;
    }
    ensure_rolled_back(&cx, &work, "t14").await
}

/// Goal: a commit after the rollback learns so, and changes nothing.
async fn t15_commit_after_rollback<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t15").await?;
    prepared(&cx, &work, "t15").await?;
    cx.store().rollback_prepared(&work).await?;
    refused_rolled_back(
        cx.store().commit_prepared(&work).await,
        "a commit after the rollback",
    )?;
    ensure_rolled_back(&cx, &work, "t15").await
}

/// Goal: a rollback after the commit learns so, and undoes nothing.
async fn t16_rollback_after_commit<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t16").await?;
    prepared(&cx, &work, "t16").await?;
    cx.store().commit_prepared(&work).await?;
    let answer = cx.store().rollback_prepared(&work).await;
    refused(answer, ErrorKind::Committed, "a rollback after the commit")?;
    ensure_committed(&cx, &work, "t16").await
}

/// Every call with this participation is a mismatch.
async fn mismatches<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
    other: &Participation,
    what: &str,
) -> CaseResult {
    let mismatch = ErrorKind::Mismatch;
    refused(
        begin_again(cx.store(), other).await,
        mismatch,
        &format!("beginning with {what}"),
    )?;
    refused(
        commit(cx.store(), other).await,
        mismatch,
        &format!("a commit with {what}"),
    )?;
    refused(
        rollback(cx.store(), other).await,
        mismatch,
        &format!("a rollback with {what}"),
    )?;
    let status = cx.store().prepared_status(other).await;
    refused(status, mismatch, &format!("the status with {what}"))
}

/// Goal: the transaction's name belongs to its request and deadlines, in every state. Method: all
/// calls with another request and with another deadline, while prepared, committed, rolled back.
async fn t17_other_request_in_each_state<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    for state in ["prepared", "committed", "rolled back"] {
        cx.case().step(state);
        let name = format!("t17/{state}");
        let work = participation(&cx, &name).await?;
        prepared(&cx, &work, &name).await?;
        let status = match state {
            "prepared" => PreparedStatus::Prepared,
            "committed" => {
                cx.store().commit_prepared(&work).await?;
                PreparedStatus::Committed
            }
            _ => {
                cx.store().rollback_prepared(&work).await?;
                PreparedStatus::RolledBack
            }
        };
        mismatches(&cx, &other_request(&work)?, "another request").await?;
        mismatches(&cx, &other_deadline(&work)?, "another deadline").await?;
        ensure_status(&cx, &work, status).await?;
        let effects = u64::from(status == PreparedStatus::Committed);
        ensure_effects(&cx, &name, effects).await?;
        rollback(cx.store(), &work)
            .await
            .or_else(|error| match error.kind() {
                ErrorKind::Committed => Ok(()),
                _ => Err(error),
            })?;
    }
    Ok(())
}

cases! { "prepared::replay" for PreparedTransactions, "core::PreparedTransactions, Contract";
    T10 t10_prepare_twice: "a second attempt finds what is prepared, without waiting for its locks",
        "the marker is inserted before it is looked whether it is prepared: a lock wait";
    T11 t11_prepare_after_commit: "an attempt after the commit is told so",
        "the outcome is not kept: the work is done twice";
    T12 t12_prepare_after_rollback: "an attempt after the rollback is refused",
        "rollback leaves no tombstone";
    T13 t13_commit_twice: "committing again is ok and changes nothing",
        "an unknown prepared transaction is told as an error without a look at the outcome";
    T14 t14_rollback_twice: "rolling back again is ok",
        "an unknown prepared transaction is told as an error without a look at the outcome";
    T15 t15_commit_after_rollback: "a commit after the rollback is told so",
        "an unknown prepared transaction on commit is taken as committed";
    T16 t16_rollback_after_commit: "a rollback after the commit is told so",
        "an unknown prepared transaction on rollback is taken as rolled back";
    T17 t17_other_request_in_each_state: "the name belongs to its request and deadlines, in every state",
        "the fingerprint is not compared once the outcome is known";
}
