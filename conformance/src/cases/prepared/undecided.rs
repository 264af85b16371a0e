//! Refusals that depend on a decision that is not made yet: none is given, and none is recorded. The
//! refusal would be true of what is committed, and wrong as soon as the prepared change commits.

use exactly_once_core::{
    Adjust, BalanceStore, BalanceTransaction, Change, Error, ErrorKind, Expected,
    PreparedTransactions,
};
use tokio::time::sleep;

use super::{
    balances::prepared_change,
    reservations::{Meeting, meets_both},
    support::{commit, ensure_nothing_left, participation, rollback},
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        balance::{
            model::Op,
            support::{
                adjust, close, ensure_held, ensure_sound, needs_transfers, opened,
                reaches_any_account, set, transfer, version,
            },
        },
        cases,
        support::{refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

fn conflict(current: i64) -> CaseResult<Option<ErrorKind>> {
    let current = Some(version(current)?);
    Ok(Some(ErrorKind::Conflict { current }))
}

/// Goal: a debit that only a prepared credit covers is not refused for good. Method: nothing there,
/// ten prepared to come; a rival takes five.
async fn f04_debit_beside_a_credit<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    let meeting = |name: &'static str| {
        Ok(Meeting {
            name,
            start: 0,
            staged: 10,
            op: Op::Adjust(adjust(&format!("{name}/rival"), name, -5)?),
            after_commit: None,
            after_rollback: Some(ErrorKind::InsufficientFunds),
        })
    };
    meets_both(&cx, meeting, ["f04/debit/commit", "f04/debit/rollback"]).await
}

/// Goal: a change at the version that a prepared change makes is no conflict yet. Method: a set, and
/// an adjustment, that expect version 2, beside a prepared change from version 1.
async fn f04_next_version<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    let set_at_two = |name: &'static str| {
        let expected = Expected::Version(version(2)?);
        Ok(Meeting {
            name,
            start: 1,
            staged: 1,
            op: Op::Set(set(&format!("{name}/rival"), name, expected, 7)?),
            after_commit: None,
            after_rollback: conflict(1)?,
        })
    };
    meets_both(&cx, set_at_two, ["f04/set/commit", "f04/set/rollback"]).await?;
    let adjust_at_two = |name: &'static str| {
        let operation = adjust(&format!("{name}/rival"), name, 7)?;
        Ok(Meeting {
            name,
            start: 1,
            staged: 1,
            op: Op::Adjust(operation.expecting(version(2)?)),
            after_commit: None,
            after_rollback: conflict(1)?,
        })
    };
    meets_both(&cx, adjust_at_two, ["f04/at/commit", "f04/at/rollback"]).await
}

/// Goal: an account that a prepared debit empties is not refused its closing for good. Method: five
/// there, all of it prepared to go; a rival closes the account.
async fn f04_close_beside_a_debit<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    let meeting = |name: &'static str| {
        Ok(Meeting {
            name,
            start: 5,
            staged: -5,
            op: Op::Close(close(&format!("{name}/rival"), name)?),
            after_commit: None,
            after_rollback: conflict(1)?,
        })
    };
    meets_both(&cx, meeting, ["f04/close/commit", "f04/close/rollback"]).await
}

/// Goal: the same for a leg of a transfer. Method: nothing there, ten prepared to come; a rival
/// transfers five away.
async fn f04_transfer_beside_a_credit<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    needs_transfers(&cx)?;
    opened(&cx, "f04/to", 0).await?;
    let meeting = |name: &'static str| {
        let legs = [("f04/to", 5), (name, -5)];
        Ok(Meeting {
            name,
            start: 0,
            staged: 10,
            op: Op::Transfer(transfer(&format!("{name}/rival"), &legs)?),
            after_commit: None,
            after_rollback: Some(ErrorKind::InsufficientFunds),
        })
    };
    meets_both(&cx, meeting, ["f04/legs/commit", "f04/legs/rollback"]).await
}

/// One change in a transaction of its own.
async fn alone<S: BalanceTransaction>(store: &S, operation: &Adjust) -> Result<Change, Error> {
    let mut tx = store.begin().await?;
    let applied = store.adjust_in(&mut tx, operation).await?;
    store.commit(tx).await?;
    Ok(applied.change)
}

/// Goal: a transaction is not refused either: its work would take the refusal for the answer. Method:
/// as for the plain debit, by a transaction of the rival's.
async fn f04_debit_in_a_transaction<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for (name, commits) in [("f04/tx/commit", true), ("f04/tx/rollback", false)] {
        opened(&cx, name, 0).await?;
        let work = participation(&cx, name).await?;
        let credit = adjust(&format!("{name}/staged"), name, 10)?;
        prepared_change(&cx, &work, &credit).await?;
        let debit = adjust(&format!("{name}/rival"), name, -5)?;
        let rival = tokio::spawn({
            let store = cx.store().clone();
            async move { retry(|| alone(&store, &debit)).await }
        });
        sleep(cx.tick() * 2).await;
        ensure!(!rival.is_finished(), seen: rival.await?, "the rival's transaction to wait");
        if commits {
            commit(cx.store(), &work).await?;
            let change = rival.await?.expecting("the debit, once the credit is in")?;
            ensure_eq!(change.after.get(), 5, "what the debit leaves");
            ensure_held(&cx, name, 5, 3).await?;
        } else {
            rollback(cx.store(), &work).await?;
            let funds = ErrorKind::InsufficientFunds;
            refused(rival.await?, funds, "the debit, once the credit is gone")?;
            ensure_held(&cx, name, 0, 1).await?;
        }
        ensure_sound(cx.store(), name).await?;
        ensure_nothing_left(&cx).await?;
    }
    Ok(())
}

/// Goal: the answer has one kind on every backend, and names what to wait for. Method: the debit,
/// until it is answered once; Postgres waits for the lock before.
async fn f04_it_is_reserved<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "f04/kind", 0).await?;
    let work = participation(&cx, "f04/kind").await?;
    prepared_change(&cx, &work, &adjust("staged", "f04/kind", 10)?).await?;
    let debit = adjust("rival", "f04/kind", -5)?;
    let answer = cx.store().adjust(&debit).await;
    let Err(error) = answer else {
        return Err(CaseFailure::new(
            "the debit to be reserved",
            format!("{answer:?}"),
        ));
    };
    ensure_eq!(error.kind(), ErrorKind::Reserved, "the kind of the answer");
    let holder = work.transaction().to_string();
    ensure!(
        error.to_string().contains(&holder),
        seen: error.to_string(),
        "an answer that names the prepared transaction {holder}"
    );
    commit(cx.store(), &work).await?;
    cx.store()
        .adjust(&debit)
        .await
        .expecting("the debit after the commit")?;
    ensure_held(&cx, "f04/kind", 5, 3).await
}

cases! { "prepared::undecided" for BalanceTransaction where PreparedTransactions, "core::BalanceStore, Contract";
    F04 f04_debit_beside_a_credit: "a debit that only a prepared credit covers is not refused for good",
        "a refusal is decided on what is committed, without a look at what is reserved";
    F04 f04_next_version: "a change at the version that a prepared change makes is no conflict yet",
        "the version is compared before the reservation is met";
    F04 f04_close_beside_a_debit: "an account that a prepared debit empties may still be closed",
        "the balance is compared before the reservation is met";
    F04 f04_transfer_beside_a_credit: "a leg that only a prepared credit covers is not refused for good",
        "the legs are decided before their reservations are met";
    F04 f04_debit_in_a_transaction: "nor is it refused in a transaction",
        "only the store's own operations look for reservations";
    F04 f04_it_is_reserved: "the answer is *reserved*, and names the prepared transaction",
        "a lock that a prepared transaction holds is told as any other";
}
