//! Refusals in a transaction: how it ends is for the transaction's own key to say, so they are not
//! recorded; but one that was recorded outside is reported inside, too.

use exactly_once_core::{BalanceStore, BalanceTransaction, ErrorKind, Transactional};

use crate::{
    CaseResult,
    cases::{
        balance::support::{adjust, ensure_held, ensure_sound, opened, version},
        cases,
        prepared::support::ensure_effects,
        support::refused,
    },
    check::Expecting,
    context::Context,
    ensure_eq,
    harness::Harness,
};

/// Goal: a refusal in a transaction is not recorded, whether the transaction is committed or not.
/// Method: an overdraft and a stale version are refused in one that is committed, and in one that is
/// rolled back; once nothing stands against them, the same operations are applied.
async fn bt12_refusal_is_not_recorded<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    for (name, commits) in [("bt12/commit", true), ("bt12/rollback", false)] {
        opened(&cx, name, 1).await?;
        let poor = adjust(&format!("{name}/poor"), name, -2)?;
        let early = adjust(&format!("{name}/early"), name, 1)?.expecting(version(2)?);
        let store = cx.store();
        let mut tx = store.begin().await?;
        let funds = ErrorKind::InsufficientFunds;
        refused(store.adjust_in(&mut tx, &poor).await, funds, "an overdraft")?;
        let current = Some(version(1)?);
        let conflict = ErrorKind::Conflict { current };
        refused(
            store.adjust_in(&mut tx, &early).await,
            conflict,
            "a version to come",
        )?;
        cx.write(&mut tx, name).await?;
        if commits {
            store.commit(tx).await?;
        } else {
            store.rollback(tx).await?;
        }
        ensure_effects(&cx, name, u64::from(commits)).await?;
        ensure_held(&cx, name, 1, 1).await?;
        let earn = adjust(&format!("{name}/earn"), name, 1)?;
        cx.store().adjust(&earn).await?;
        for operation in [&early, &poor] {
            let applied = cx.store().adjust(operation).await;
            let applied = applied.expecting("what was only refused in a transaction to be free")?;
            ensure_eq!(applied.replayed, false, "whether it is a replay");
        }
        ensure_held(&cx, name, 1, 4).await?;
        ensure_sound(cx.store(), name).await?;
    }
    Ok(())
}

/// Goal: what was refused outside is refused inside, for good, and for its request only. Method: an
/// overdraft outside; once there is money, the same in a transaction, which goes on all the same; the
/// key with another delta is a mismatch.
async fn bt13_refused_before<H: Harness<Store: BalanceTransaction>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "bt13", 1).await?;
    let operation = adjust("k", "bt13", -2)?;
    let (store, funds) = (cx.store(), ErrorKind::InsufficientFunds);
    refused(store.adjust(&operation).await, funds, "an overdraft")?;
    store.adjust(&adjust("earn", "bt13", 9)?).await?;
    let mut tx = store.begin().await?;
    let again = store.adjust_in(&mut tx, &operation).await;
    refused(again, funds, "it, in a transaction, once there is money")?;
    let other = store.adjust_in(&mut tx, &adjust("k", "bt13", 2)?).await;
    refused(other, ErrorKind::Mismatch, "its key with another delta")?;
    let anew = store.adjust_in(&mut tx, &adjust("anew", "bt13", -2)?).await;
    anew.expecting("a change in the same transaction under a new key")?;
    cx.write(&mut tx, "bt13").await?;
    store.commit(tx).await?;
    ensure_effects(&cx, "bt13", 1).await?;
    ensure_held(&cx, "bt13", 8, 3).await?;
    ensure_sound(cx.store(), "bt13").await?;
    Ok(())
}

cases! { "balance_tx::refusals" for BalanceTransaction, "core::BalanceTransaction, Contract";
    BT12 bt12_refusal_is_not_recorded: "a refusal in a transaction is not recorded",
        "the refusal is written under its key and committed with the transaction";
    BT13 bt13_refused_before: "what was refused outside is refused inside",
        "a transaction looks for applied operations only";
}
