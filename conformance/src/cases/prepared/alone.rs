//! The only participant that writes commits in one phase.

use exactly_once_core::{ErrorKind, PreparedTransactions};

use super::support::{
    commit, ensure_committed, ensure_rolled_back, fresh, participation, prepared,
    refused_rolled_back, rollback, short_and_kept, until,
};
use crate::{
    CaseResult,
    cases::{cases, support::refused},
    check::Expecting,
    context::Context,
    harness::Harness,
};

/// Goal: work, marker and commit are one, and nothing of it shows up in the next transaction.
/// Method: commit in one phase; then prepare and commit another one.
async fn t80_commits_in_one_phase<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t80").await?;
    let mut tx = fresh(cx.store(), &work).await?;
    cx.write(&mut tx, "t80").await?;
    let committed = cx.store().commit_alone(tx, &work).await;
    committed.expecting("the only participant to commit")?;
    ensure_committed(&cx, &work, "t80").await?;

    let next = participation(&cx, "t80/next").await?;
    prepared(&cx, &next, "t80/next").await?;
    commit(cx.store(), &next).await?;
    ensure_committed(&cx, &next, "t80/next").await?;
    ensure_committed(&cx, &work, "t80").await
}

/// Goal: an attempt that slept past the deadline commits nothing. Method: begin in time, commit
/// late.
async fn t81_late<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let work = short_and_kept(&cx, "t81", 10).await?;
    let mut tx = fresh(cx.store(), &work).await?;
    cx.write(&mut tx, "t81").await?;
    until(cx.store(), work.not_after()).await?;
    let late = cx.store().commit_alone(tx, &work).await;
    refused_rolled_back(late, "a commit in one phase past the deadline")?;
    rollback(cx.store(), &work).await?;
    ensure_rolled_back(&cx, &work, "t81").await
}

/// Goal: a transaction is committed for its own participation only. Method: ask for another one's.
async fn t82_foreign_transaction<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t82").await?;
    let other = participation(&cx, "t82/other").await?;
    let mut tx = fresh(cx.store(), &work).await?;
    cx.write(&mut tx, "t82").await?;
    let store = cx.store();
    let answer = store.commit_alone(tx, &other).await;
    refused(
        answer,
        ErrorKind::Invalid,
        "a commit in one phase of another participation's transaction",
    )?;
    for work in [&work, &other] {
        rollback(store, work).await?;
        ensure_rolled_back(&cx, work, "t82").await?;
    }
    Ok(())
}

cases! { "prepared::alone" for PreparedTransactions, "core::PreparedTransactions::commit_alone";
    T80 t80_commits_in_one_phase: "the only participant that writes commits in one phase",
        "it only prepares, leaves no outcome, or leaves a log that the next work replays";
    T81 t81_late: "a commit in one phase past the deadline is none",
        "the deadline is looked at before the work only", waits;
    T82 t82_foreign_transaction: "a transaction is committed for its own participation only",
        "the marker in the transaction is not looked at";
}
