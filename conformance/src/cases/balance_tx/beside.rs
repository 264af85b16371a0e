//! Beside: an open transaction and others that come meanwhile, step by step and not by chance.

use exactly_once_core::{BalanceStore, BalanceTransaction, Error, ErrorKind, Floor, Transactional};
use tokio::time::sleep;

use super::serve;
use crate::{
    CaseResult,
    cases::{
        balance::support::{adjust, ensure_held, ensure_sound, held, opened, reaches_any_account},
        cases,
        prepared::support::ensure_effects,
        support::{amount, refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Whether the transaction was committed; if not, it must be one that is tried again.
fn committed(answer: Result<(), Error>) -> CaseResult<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if error.is_retryable() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Goal: an operation's floor and expected version count in a transaction as well. Method: below the
/// account's floor with none; at the version that the transaction itself has made.
async fn bt14_floor_of_one_operation<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "bt14", 10).await?;
    let store = cx.store();
    let mut tx = store.begin().await?;
    let low = adjust("low", "bt14", -15)?.with_floor(Floor::None);
    let applied = store.adjust_in(&mut tx, &low).await;
    let applied = applied.expecting("a debit without a floor, in a transaction")?;
    ensure_eq!(applied.change.after, amount(-5), "the balance after it");
    let high = adjust("high", "bt14", 3)?.with_floor(Floor::At(amount(0)));
    let credit = high.expecting(applied.change.version);
    store.adjust_in(&mut tx, &credit).await?;
    let strict = adjust("strict", "bt14", -1)?;
    let funds = ErrorKind::InsufficientFunds;
    refused(
        store.adjust_in(&mut tx, &strict).await,
        funds,
        "a debit by the account's own floor",
    )?;
    store.commit(tx).await?;
    ensure_held(&cx, "bt14", -2, 3).await?;
    let floor = held(&cx, "bt14").await?.floor;
    ensure_eq!(floor, Floor::At(amount(0)), "the account's own floor");
    ensure_sound(store, "bt14").await?;
    Ok(())
}

/// Goal: what changes an account beside an open transaction is not lost, and nor is the transaction's
/// change. Method: change it in a transaction; outside, or in another transaction, change it too, as an
/// engine does; then commit or roll back.
async fn bt15_change_beside_a_transaction<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    for number in 0..4 {
        let (in_another, commits) = (number % 2 == 0, number < 2);
        let name = format!("bt15/{number}");
        opened(&cx, &name, 10).await?;
        let store = cx.store();
        let mut tx = store.begin().await?;
        let inside = adjust(&format!("{name}/inside"), &name, -4)?;
        store.adjust_in(&mut tx, &inside).await?;
        let rival = tokio::spawn({
            let (harness, store) = (cx.harness().clone(), store.clone());
            let (name, rival) = (name.clone(), adjust(&format!("{name}/rival"), &name, 1)?);
            async move {
                if in_another {
                    retry(|| serve(&*harness, &store, &rival, &name)).await
                } else {
                    retry(|| store.adjust(&rival)).await.map(drop)
                }
            }
        });
        sleep(cx.tick() * 2).await;
        let kept = if commits {
            committed(store.commit(tx).await)?
        } else {
            store.rollback(tx).await?;
            false
        };
        rival
            .await?
            .expecting("the rival to go through in the end")?;
        let (spent, changes) = if kept { (4, 1) } else { (0, 0) };
        ensure_held(&cx, &name, 11 - spent, 2 + changes).await?;
        ensure_sound(cx.store(), &name).await?;
        ensure_effects(&cx, &name, u64::from(in_another)).await?;
    }
    Ok(())
}

/// Goal: one key is one operation, also while a transaction has it. Method: use it in a transaction, and
/// meanwhile outside for another account; one of both is applied, and the other is none.
async fn bt16_key_beside_a_transaction<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for (name, commits) in [("bt16/commit", true), ("bt16/rollback", false)] {
        let (own, others) = (format!("{name}/own"), format!("{name}/others"));
        for holder in [&own, &others] {
            opened(&cx, holder, 10).await?;
        }
        let store = cx.store();
        let mut tx = store.begin().await?;
        store.adjust_in(&mut tx, &adjust(name, &own, -4)?).await?;
        let rival = tokio::spawn({
            let (store, rival) = (store.clone(), adjust(name, &others, 1)?);
            async move { retry(|| store.adjust(&rival)).await }
        });
        sleep(cx.tick() * 2).await;
        let kept = if commits {
            committed(store.commit(tx).await)?
        } else {
            store.rollback(tx).await?;
            false
        };
        let rival = rival.await?;
        if kept {
            let what = "another operation under the key of what was committed";
            refused(rival, ErrorKind::Mismatch, what)?;
            ensure_held(&cx, &own, 6, 2).await?;
            ensure_held(&cx, &others, 10, 1).await?;
        } else {
            ensure!(rival.is_ok(), seen: rival, "the only operation under the key to be applied");
            ensure_held(&cx, &own, 10, 1).await?;
            ensure_held(&cx, &others, 11, 2).await?;
        }
        for holder in [&own, &others] {
            ensure_sound(cx.store(), holder).await?;
        }
    }
    Ok(())
}

cases! { "balance_tx::beside" for BalanceTransaction, "core::BalanceTransaction, Contract";
    BT14 bt14_floor_of_one_operation: "an operation's floor and version count in a transaction, too",
        "a transaction takes account and delta only";
    BT15 bt15_change_beside_a_transaction: "what changes an account beside an open transaction is not lost",
        "the state is read without a lock, and not compared at the commit";
    BT16 bt16_key_beside_a_transaction: "one key is one operation, also while a transaction has it",
        "the key is looked up when it is used, and not when it is committed";
}
