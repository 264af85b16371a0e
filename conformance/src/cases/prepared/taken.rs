//! Taken: what a prepared transaction holds besides its accounts, and what it does not hold.

use exactly_once_core::{
    Adjust, BalanceStore, BalanceTransaction, Error, ErrorKind, PreparedTransactions, Store,
    Transactional,
};
use tokio::time::sleep;

use super::{
    balances::{prepare_once, prepared_change},
    support::{commit, ensure_nothing_left, participation, rollback},
};
use crate::{
    CaseResult,
    cases::{
        balance::support::{adjust, ensure_held, ensure_sound, open, opened, reaches_any_account},
        cases,
        support::{amount, refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// One change in a transaction of its own.
async fn serve<S: BalanceTransaction>(store: &S, operation: &Adjust) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    store.adjust_in(&mut tx, operation).await?;
    store.commit(tx).await
}

/// Goal: the key of a prepared operation is taken for every account. Method: prepare one; outside and in
/// a transaction, the key for another account waits for the decision: after the commit it is a mismatch,
/// after the rollback it is applied once.
async fn t66_key_for_another_account<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for (name, commits) in [("t66/commit", true), ("t66/rollback", false)] {
        let (own, others) = (format!("{name}/own"), format!("{name}/others"));
        for holder in [&own, &others] {
            opened(&cx, holder, 1).await?;
        }
        let work = participation(&cx, name).await?;
        prepared_change(&cx, &work, &adjust(name, &own, 7)?).await?;
        let rivals = [false, true].map(|in_transaction| {
            let (store, rival) = (cx.store().clone(), adjust(name, &others, 7));
            tokio::spawn(async move {
                let rival = rival?;
                CaseResult::Ok(if in_transaction {
                    retry(|| serve(&store, &rival)).await
                } else {
                    retry(|| store.adjust(&rival)).await.map(drop)
                })
            })
        });
        sleep(cx.tick() * 2).await;
        ensure!(
            !rivals.iter().any(|rival| rival.is_finished()),
            "the key to be taken for another account as well"
        );
        if commits {
            commit(cx.store(), &work).await?;
        } else {
            rollback(cx.store(), &work).await?;
        }
        for rival in rivals {
            let answer = rival.await??;
            if commits {
                refused(answer, ErrorKind::Mismatch, "the key for another account")?;
            } else {
                answer.expecting("the key of what was rolled back to be free")?;
            }
        }
        let expected = if commits {
            [(8, 2), (1, 1)]
        } else {
            [(1, 1), (8, 2)]
        };
        for (holder, (balance, version)) in [&own, &others].into_iter().zip(expected) {
            ensure_held(&cx, holder, balance, version).await?;
            ensure_sound(cx.store(), holder).await?;
        }
    }
    ensure_nothing_left(&cx).await
}

/// Goal: a key that an open transaction has used is not prepared beside it, so that both are applied.
/// Method: use it in a transaction; prepare it for another account meanwhile; commit the first: one of
/// both has it.
async fn t66_key_of_an_open_transaction<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for holder in ["t66/own", "t66/others"] {
        opened(&cx, holder, 1).await?;
    }
    let (store, work) = (cx.store(), participation(&cx, "t66").await?);
    let mut tx = store.begin().await?;
    store
        .adjust_in(&mut tx, &adjust("k", "t66/own", 7)?)
        .await?;
    let attempt = tokio::spawn({
        let (store, work, operation) = (store.clone(), work.clone(), adjust("k", "t66/others", 7)?);
        async move { retry(|| prepare_once(&store, &work, &operation)).await }
    });
    sleep(cx.tick() * 2).await;
    let committed = match store.commit(tx).await {
        Ok(()) => true,
        Err(error) if error.is_retryable() => false,
        Err(error) => return Err(error.into()),
    };
    let prepared = attempt.await?;
    if committed {
        let what = "preparing under the key of what was committed";
        refused(prepared, ErrorKind::Mismatch, what)?;
        rollback(store, &work).await?;
        ensure_held(&cx, "t66/own", 8, 2).await?;
        ensure_held(&cx, "t66/others", 1, 1).await?;
    } else {
        prepared.expecting("the only one that has the key to be prepared")?;
        commit(store, &work).await?;
        ensure_held(&cx, "t66/own", 1, 1).await?;
        ensure_held(&cx, "t66/others", 8, 2).await?;
    }
    for holder in ["t66/own", "t66/others"] {
        ensure_sound(cx.store(), holder).await?;
    }
    ensure_nothing_left(&cx).await
}

/// Goal: what is prepared in one namespace holds nothing in another. Method: prepare a change here; there,
/// the account of the same name is changed under the same key at once.
async fn t66_other_namespace_is_free<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    let elsewhere = format!("{}/t66", cx.store().namespace()).parse()?;
    let other = cx.store().with_namespace(elsewhere);
    opened(&cx, "t66", 1).await?;
    let opening = open("open/t66", "t66")?.with_amount(amount(5));
    other.open_account(&opening).await?;
    let (work, operation) = (participation(&cx, "t66").await?, adjust("k", "t66", 7)?);
    prepared_change(&cx, &work, &operation).await?;
    let applied = other.adjust(&operation).await;
    let applied = applied.expecting("the same operation in another namespace to be applied")?;
    ensure_eq!(applied.change.after, amount(12), "the balance there");
    let again = adjust("again", "t66", 1)?;
    serve(&other, &again)
        .await
        .expecting("a transaction in the other namespace")?;
    commit(cx.store(), &work).await?;
    ensure_held(&cx, "t66", 8, 2).await?;
    ensure_sound(&other, "t66").await?;
    ensure_nothing_left(&cx).await
}

cases! { "prepared::taken" for BalanceTransaction where PreparedTransactions, "core::PreparedTransactions, Contract";
    T66 t66_key_for_another_account: "the key of a prepared operation is taken for every account",
        "only the accounts are reserved: the key is applied twice, for two accounts";
    T66 t66_key_of_an_open_transaction: "a key in an open transaction is not prepared beside it",
        "reservations of keys are looked at when a key is used, and not at the commit";
    T66 t66_other_namespace_is_free: "what is prepared holds nothing in another namespace",
        "the namespace is missing in the reservation";
}
