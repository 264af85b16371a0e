//! Balances changed in prepared transactions: once they are prepared, nothing can be in the way of
//! the commit, so everybody else meets a reservation.

use exactly_once_core::{
    Adjust, BalanceStore, BalanceTransaction, BegunPrepared, Error, ErrorKind, Expected,
    Participation, PreparedStatus, PreparedTransactions,
};
use tokio::time::sleep;

use super::support::{
    commit, ensure_effects, ensure_nothing_left, ensure_status, fresh, participation, rollback,
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        balance::{
            model::{Answer, Op, ask},
            support::{
                adjust, ensure_held, ensure_sound, opened, reaches_any_account, set, transfer,
            },
        },
        cases,
        support::{race, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Prepares one change; its receipt.
pub(super) async fn prepared_change<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: &Context<H>,
    work: &Participation,
    operation: &Adjust,
) -> CaseResult<exactly_once_core::Change> {
    let mut tx = fresh(cx.store(), work).await?;
    let change = cx.store().adjust_in(&mut tx, operation).await?.change;
    cx.store()
        .prepare(tx, work)
        .await
        .expecting("the change to be prepared")?;
    Ok(change)
}

/// Goal: what is prepared is applied by the commit, as its receipt said, and invisible before.
/// Method: prepare a debit, read, commit, read; the operation's replay gives the receipt.
async fn t66_receipt_is_kept<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "t66", 10).await?;
    let (work, operation) = (participation(&cx, "t66").await?, adjust("k", "t66", -10)?);
    let change = prepared_change(&cx, &work, &operation).await?;
    ensure_eq!(
        (change.after.get(), change.version.get()),
        (0, 2),
        "balance and version promised"
    );
    ensure_held(&cx, "t66", 10, 1).await?;
    commit(cx.store(), &work).await?;
    ensure_held(&cx, "t66", 0, 2).await?;
    let (_, history) = ensure_sound(cx.store(), "t66").await?;
    ensure_eq!(
        history.last(),
        Some(&change),
        "the last line of the history"
    );
    let replay = cx.store().adjust(&operation).await?;
    ensure_eq!(
        (replay.replayed, replay.change),
        (true, change),
        "the replay after the commit"
    );
    Ok(())
}

/// Goal: after a yes, commit can't fail, whatever others do. Method: credits, debits, sets and
/// transfers hammer the account between prepare and commit; nothing gets in, the commit is ok.
async fn t66_commit_after_a_storm<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "t66/storm", 100).await?;
    opened(&cx, "t66/other", 100).await?;
    let work = participation(&cx, "t66/storm").await?;
    prepared_change(&cx, &work, &adjust("staged", "t66/storm", -100)?).await?;
    let limit = cx.tick() * 4;
    let rivals = (0..6).map(|racer| {
        let store = cx.store().clone();
        async move {
            let started = std::time::Instant::now();
            let mut number = 0;
            while started.elapsed() < limit {
                number += 1;
                let key = format!("{racer}/{number}");
                let op = match racer % 4 {
                    0 => Op::Adjust(adjust(&key, "t66/storm", 1)?),
                    1 => Op::Adjust(adjust(&key, "t66/storm", -1)?),
                    2 => Op::Set(set(&key, "t66/storm", Expected::Any, 1_000)?),
                    _ => Op::Transfer(transfer(&key, &[("t66/other", 1), ("t66/storm", -1)])?),
                };
                match ask(&store, &op).await {
                    Err(error) if error.is_retryable() => {}
                    Ok(Answer::Refused(ErrorKind::Unsupported)) => {}
                    got_in => {
                        return Err(CaseFailure::new(
                            "what others try beside a prepared change to be retryable",
                            format!("{got_in:?} to {op:?}"),
                        ));
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            CaseResult::Ok(())
        }
    });
    for ended in race(rivals.collect::<Vec<_>>()).await? {
        ended?;
    }
    ensure_status(&cx, &work, PreparedStatus::Prepared).await?;
    commit(cx.store(), &work)
        .await
        .expecting("a commit that can't fail")?;
    // What timed out at the client may still land, but only on what the commit has left.
    let (_, history) = ensure_sound(cx.store(), "t66/storm").await?;
    ensure_eq!(
        history.get(1).map(|change| change.delta.get()),
        Some(-100),
        "the second change"
    );
    ensure_nothing_left(&cx).await
}

/// Goal: of two transactions on one account, the second waits, or gets *reserved*. Method: both
/// would take all; prepare one, try the other; decide the first, and the other is decided on what
/// came of it.
async fn t24_two_transactions_one_row<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for (name, commits) in [("t24/commit", true), ("t24/rollback", false)] {
        opened(&cx, name, 10).await?;
        let first = participation(&cx, &format!("{name}/first")).await?;
        let second = participation(&cx, &format!("{name}/second")).await?;
        prepared_change(&cx, &first, &adjust(&format!("{name}/1"), name, -10)?).await?;
        let operation = adjust(&format!("{name}/2"), name, -10)?;
        let rival = tokio::spawn({
            let (store, second) = (cx.store().clone(), second.clone());
            async move { retry(|| prepare_once(&store, &second, &operation)).await }
        });
        sleep(cx.tick() * 2).await;
        ensure!(!rival.is_finished(), seen: rival.await?, "the second transaction to wait");
        if commits {
            commit(cx.store(), &first).await?;
            let answer = rival.await?;
            crate::cases::support::refused(
                answer,
                ErrorKind::InsufficientFunds,
                "the second transaction, after the first took all",
            )?;
            ensure_status(&cx, &second, PreparedStatus::None).await?;
        } else {
            rollback(cx.store(), &first).await?;
            rival
                .await?
                .expecting("the second transaction after the first is gone")?;
            commit(cx.store(), &second).await?;
        }
        ensure_held(&cx, name, 0, 2).await?;
        ensure_sound(cx.store(), name).await?;
        ensure_nothing_left(&cx).await?;
    }
    Ok(())
}

pub(super) async fn prepare_once<S: BalanceTransaction + PreparedTransactions>(
    store: &S,
    work: &Participation,
    operation: &Adjust,
) -> Result<(), Error> {
    match store.begin_prepared(work).await? {
        BegunPrepared::Fresh(mut tx) => {
            store.adjust_in(&mut tx, operation).await?;
            store.prepare(tx, work).await
        }
        BegunPrepared::AlreadyPrepared | BegunPrepared::AlreadyCommitted => Ok(()),
    }
}

/// Goal: a refusal in the work is the work's to decide; what it prepares beside it is kept. Method:
/// an overdraft is refused in the transaction; a smaller debit and a write go through.
async fn t26_refusal_in_the_work<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "t26", 10).await?;
    let work = participation(&cx, "t26").await?;
    let mut tx = fresh(cx.store(), &work).await?;
    let over = cx
        .store()
        .adjust_in(&mut tx, &adjust("over", "t26", -11)?)
        .await;
    crate::cases::support::refused(over, ErrorKind::InsufficientFunds, "an overdraft")?;
    cx.store()
        .adjust_in(&mut tx, &adjust("k", "t26", -9)?)
        .await?;
    cx.write(&mut tx, "t26").await?;
    cx.store().prepare(tx, &work).await?;
    commit(cx.store(), &work).await?;
    ensure_effects(&cx, "t26", 1).await?;
    ensure_held(&cx, "t26", 1, 2).await
}

cases! { "prepared::balances" for BalanceTransaction where PreparedTransactions, "core::PreparedTransactions, Contract";
    T24 t24_two_transactions_one_row: "of two transactions on one account, the second waits or is told reserved",
        "what is prepared is not seen by other transactions' checks";
    T26 t26_refusal_in_the_work: "a refusal in the work leaves the transaction usable",
        "a refused statement aborts the transaction: no savepoint";
    T66 t66_receipt_is_kept: "what is prepared is applied by the commit, as its receipt said",
        "the change is computed anew at the commit";
    T66 t66_commit_after_a_storm: "after a yes, commit can't fail, whatever others do",
        "a staged adapter without reservations";
}
