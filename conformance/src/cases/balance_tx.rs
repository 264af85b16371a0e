//! Cases of [`BalanceTransaction`](exactly_once_core::BalanceTransaction): changes beside the user's
//! own writes.

mod beside;
mod refusals;

use exactly_once_core::{
    Adjust, BalanceStore, BalanceTransaction, Error, ErrorKind, Store, Transactional, Version,
};

use super::{
    Registry,
    balance::support::{adjust, ensure_held, ensure_sound, held, opened, reaches_any_account},
    cases,
    faulty::{POLLS_MAX, slow},
    prepared::support::{ensure_effects, ensure_nothing_open},
    support::{account, race, refused, retry},
};
use crate::{
    CaseFailure, CaseResult, check::Expecting, context::Context, ensure_eq,
    faults::polls::every_poll, harness::Harness,
};

/// One attempt of a service: a change and a business write in one transaction; the write only
/// where the change is new.
async fn serve<H: Harness<Store: BalanceTransaction>>(
    harness: &H,
    store: &H::Store,
    operation: &Adjust,
    effect: &str,
) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    let applied = store.adjust_in(&mut tx, operation).await?;
    if applied.replayed {
        return store.rollback(tx).await;
    }
    if let Err(error) = harness.write_effect(&mut tx, effect).await {
        return Err(error.into_error("write_effect", store));
    }
    store.commit(tx).await
}

/// Goal: the change and the user's write are committed together. Method: both in one transaction.
async fn bt01_committed_together<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "bt01", 10).await?;
    let mut tx = cx.store().begin().await?;
    let applied = cx
        .store()
        .adjust_in(&mut tx, &adjust("k", "bt01", -4)?)
        .await?;
    ensure_eq!(
        applied.replayed,
        false,
        "whether the first call is a replay"
    );
    ensure_eq!(
        (
            applied.change.before.get(),
            applied.change.after.get(),
            applied.change.version.get()
        ),
        (10, 6, 2),
        "before, after and version in the receipt"
    );
    cx.write(&mut tx, "bt01").await?;
    cx.store().commit(tx).await?;
    ensure_held(&cx, "bt01", 6, 2).await?;
    ensure_effects(&cx, "bt01", 1).await?;
    let (_, history) = ensure_sound(cx.store(), "bt01").await?;
    ensure_eq!(
        history.last(),
        Some(&applied.change),
        "the last line of the history"
    );
    Ok(())
}

/// Goal: rolled back, both are gone, and the key is free. Method: roll back, and drop; then the
/// same key goes through.
async fn bt02_rolled_back_together<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "bt02", 10).await?;
    for round in 0..2 {
        let mut tx = cx.store().begin().await?;
        cx.store()
            .adjust_in(&mut tx, &adjust("k", "bt02", -4)?)
            .await?;
        cx.write(&mut tx, "bt02").await?;
        if round == 0 {
            cx.store().rollback(tx).await?;
        } else {
            drop(tx);
            ensure_nothing_open(&cx).await?;
        }
        ensure_held(&cx, "bt02", 10, 1).await?;
        ensure_effects(&cx, "bt02", 0).await?;
    }
    let (store, operation) = (cx.store(), adjust("k", "bt02", -4)?);
    let applied = retry(|| store.adjust(&operation)).await?;
    ensure_eq!(
        applied.replayed,
        false,
        "whether what was rolled back is replayed"
    );
    ensure_held(&cx, "bt02", 6, 2).await
}

/// Goal: one key is one operation, in a transaction and outside of one. Method: apply in one and
/// replay in the other, both ways; a replay leaves the transaction usable.
async fn bt03_one_space_of_keys<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "bt03", 0).await?;
    let (inside, outside) = (adjust("inside", "bt03", 5)?, adjust("outside", "bt03", 7)?);
    let mut tx = cx.store().begin().await?;
    let first = cx.store().adjust_in(&mut tx, &inside).await?.change;
    cx.store().commit(tx).await?;
    let replay = cx.store().adjust(&inside).await?;
    ensure_eq!(
        (replay.replayed, &replay.change),
        (true, &first),
        "the replay outside"
    );
    let first = cx.store().adjust(&outside).await?.change;
    let mut tx = cx.store().begin().await?;
    let replay = cx.store().adjust_in(&mut tx, &outside).await?;
    ensure_eq!(
        (replay.replayed, &replay.change),
        (true, &first),
        "the replay inside"
    );
    let other = cx
        .store()
        .adjust_in(&mut tx, &adjust("outside", "bt03", 8)?)
        .await;
    refused(
        other,
        ErrorKind::Mismatch,
        "the same key with another delta, inside",
    )?;
    cx.write(&mut tx, "bt03").await?;
    cx.store().commit(tx).await?;
    ensure_effects(&cx, "bt03", 1).await?;
    ensure_held(&cx, "bt03", 12, 3).await
}

/// Goal: a refusal leaves the transaction usable. Method: every refusal, then a change and a write
/// that are committed; of the refusals nothing is.
async fn bt04_refusal_leaves_it_usable<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "bt04", 10).await?;
    let stale = adjust("stale", "bt04", 1)?.expecting(Version::new(9)?);
    let current = Some(held(&cx, "bt04").await?.version);
    let mut tx = cx.store().begin().await?;
    let refusals = [
        (adjust("poor", "bt04", -11)?, ErrorKind::InsufficientFunds),
        (adjust("rich", "bt04", i64::MAX)?, ErrorKind::Overflow),
        (
            adjust("nobody", "bt04/nobody", 1)?,
            ErrorKind::UnknownAccount,
        ),
        (stale, ErrorKind::Conflict { current }),
    ];
    for (operation, kind) in &refusals {
        let answer = cx.store().adjust_in(&mut tx, operation).await;
        refused(answer, *kind, "an adjustment in a transaction")?;
    }
    cx.store()
        .adjust_in(&mut tx, &adjust("k", "bt04", -10)?)
        .await?;
    cx.write(&mut tx, "bt04").await?;
    cx.store()
        .commit(tx)
        .await
        .expecting("the commit after refusals")?;
    ensure_effects(&cx, "bt04", 1).await?;
    ensure_held(&cx, "bt04", 0, 2).await?;
    ensure_sound(cx.store(), "bt04").await?;
    Ok(())
}

/// Goal: a change is invisible before the commit. Method: read by the other handle while it is
/// open; *busy* is fine.
async fn bt05_invisible_before_the_commit<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "bt05", 10).await?;
    let reader = cx.open().await?;
    let mut tx = cx.store().begin().await?;
    cx.store()
        .adjust_in(&mut tx, &adjust("k", "bt05", -4)?)
        .await?;
    match reader.balance(&account("bt05")?).await {
        Ok(state) => {
            let state = state.expecting("the account to be known")?;
            ensure_eq!(
                (state.amount.get(), state.version.get()),
                (10, 1),
                "what another handle sees before the commit"
            );
        }
        Err(error) => ensure_eq!(error.is_retryable(), true, "whether {error} may be retried"),
    }
    ensure_eq!(cx.effects("bt05").await?, 0, "committed effects");
    cx.store().commit(tx).await?;
    let state = reader
        .balance(&account("bt05")?)
        .await?
        .expecting("the account")?;
    ensure_eq!(state.amount.get(), 6, "what it sees after the commit");
    Ok(())
}

/// Goal: changes in one transaction follow one another. Method: three of one account and one of
/// another; the same key again is a replay, already in the transaction.
async fn bt06_several_in_one<H: Harness<Store: BalanceTransaction>>(cx: Context<H>) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "bt06/a", 10).await?;
    opened(&cx, "bt06/b", 0).await?;
    let mut tx = cx.store().begin().await?;
    for (number, delta) in [(1, -10), (2, 3), (3, -3)] {
        let operation = adjust(&format!("k{number}"), "bt06/a", delta)?;
        let applied = cx.store().adjust_in(&mut tx, &operation).await?;
        ensure_eq!(
            applied.change.version.get(),
            number + 1,
            "the version of change {number}"
        );
        let again = cx.store().adjust_in(&mut tx, &operation).await?;
        ensure_eq!(
            (again.replayed, again.change),
            (true, applied.change),
            "its replay inside"
        );
    }
    let over = cx
        .store()
        .adjust_in(&mut tx, &adjust("over", "bt06/a", -1)?)
        .await;
    refused(
        over,
        ErrorKind::InsufficientFunds,
        "a debit of what this transaction has spent",
    )?;
    cx.store()
        .adjust_in(&mut tx, &adjust("b", "bt06/b", 10)?)
        .await?;
    cx.store().commit(tx).await?;
    ensure_held(&cx, "bt06/a", 0, 4).await?;
    ensure_held(&cx, "bt06/b", 10, 2).await?;
    ensure_sound(cx.store(), "bt06/a").await?;
    Ok(())
}

/// Goal: racing transactions lose nothing. Method: N of them change one account and write, each
/// retried as a whole; the sum is exact, and each write is there once.
async fn bt07_racing_transactions<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "bt07", 0).await?;
    let each = cx.case().scaled(5, 2);
    let racers = (0..6).map(|racer| {
        let (harness, store) = (cx.harness().clone(), cx.store().clone());
        async move {
            for number in 0..each {
                let name = format!("bt07/{racer}/{number}");
                let operation = adjust(&name, "bt07", 1)?;
                retry(|| serve(&*harness, &store, &operation, &name)).await?;
            }
            CaseResult::Ok(())
        }
    });
    for ended in race(racers.collect::<Vec<_>>()).await? {
        ended.expecting("every transaction to go through in the end")?;
    }
    let total = 6 * each as i64;
    ensure_held(&cx, "bt07", total, total + 1).await?;
    ensure_sound(cx.store(), "bt07").await?;
    for racer in 0..6 {
        for number in 0..each {
            ensure_effects(&cx, &format!("bt07/{racer}/{number}"), 1).await?;
        }
    }
    Ok(())
}

/// Goal: racers with one key apply it once, with its write. Method: eight transactions with the
/// same key.
async fn bt08_racers_with_one_key<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    for round in 0..cx.case().scaled(4, 1) {
        let name = format!("bt08/{round}");
        opened(&cx, &name, 0).await?;
        let operation = adjust(&name, &name, 7)?;
        let racers = (0..8).map(|_| {
            let (harness, store) = (cx.harness().clone(), cx.store().clone());
            let (operation, name) = (operation.clone(), name.clone());
            async move { retry(|| serve(&*harness, &store, &operation, &name)).await }
        });
        for ended in race(racers.collect::<Vec<_>>()).await? {
            ended.expecting("every racer to be answered in the end")?;
        }
        ensure_held(&cx, &name, 7, 2).await?;
        ensure_effects(&cx, &name, 1).await?;
    }
    Ok(())
}

/// Goal: an error that the work swallowed never commits a change. Method: adjust, spoil, commit.
async fn bt09_swallowed_error<H: Harness<Store: BalanceTransaction>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "bt09", 10).await?;
    let mut tx = cx.store().begin().await?;
    cx.store()
        .adjust_in(&mut tx, &adjust("k", "bt09", -4)?)
        .await?;
    cx.write(&mut tx, "bt09").await?;
    if !cx.harness().spoil(&mut tx).await {
        return cx.ignore("no statement of this store's transactions can fail and be swallowed");
    }
    if cx.store().commit(tx).await.is_ok() {
        return Err(CaseFailure::new(
            "the commit to report the error that the work has swallowed",
            "it said that everything is committed",
        ));
    }
    ensure_held(&cx, "bt09", 10, 1).await?;
    ensure_effects(&cx, "bt09", 0).await
}

/// Goal: a transaction may be dropped at any poll. Method: drop a whole attempt at each; its retry
/// applies change and write once.
async fn bt10_dropped_at_every_poll<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "bt10", 0).await?;
    let (_proxy, store) = slow(&cx).await?;
    let name = |k: usize| format!("bt10/{k}");
    every_poll(
        POLLS_MAX,
        |k| {
            let (cx, store) = (&cx, &store);
            async move {
                let operation = adjust(&name(k), "bt10", 1)?;
                CaseResult::Ok(serve(&**cx.harness(), store, &operation, &name(k)).await)
            }
        },
        |k, _| {
            let cx = &cx;
            async move {
                let (operation, store) = (adjust(&name(k), "bt10", 1)?, cx.store());
                let effect = name(k);
                retry(|| serve(&**cx.harness(), store, &operation, &effect))
                    .await
                    .expecting("the retry to go through")?;
                ensure_effects(cx, &name(k), 1).await?;
                ensure_held(cx, "bt10", k as i64, k as i64 + 1).await?;
                ensure_nothing_open(cx).await
            }
        },
    )
    .await?;
    Ok(())
}

/// Goal: a transaction belongs to its namespace. Method: change the account of the same name in
/// another one; this one is untouched.
async fn bt11_namespaces_are_apart<H: Harness<Store: BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "bt11", 10).await?;
    let namespace = format!("{}/bt11", cx.store().namespace());
    let other = cx.store().with_namespace(namespace.parse()?);
    let mut tx = other.begin().await?;
    let answer = other.adjust_in(&mut tx, &adjust("k", "bt11", 1)?).await;
    refused(
        answer,
        ErrorKind::UnknownAccount,
        "a change in the other namespace",
    )?;
    other.rollback(tx).await?;
    ensure_held(&cx, "bt11", 10, 1).await
}

/// All cases of changes in a transaction.
pub(crate) fn register_all<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: BalanceTransaction,
{
    register(registry);
    refusals::register(registry);
    beside::register(registry);
}

cases! { "balance_tx" for BalanceTransaction, "core::BalanceTransaction, Contract";
    BT01 bt01_committed_together: "the change and the user's write are committed together",
        "the change is made on another connection";
    BT02 bt02_rolled_back_together: "rolled back, both are gone and the key is free",
        "the operation's record is written on another connection";
    BT03 bt03_one_space_of_keys: "one key is one operation, in a transaction and outside of one",
        "transactions have records of their own";
    BT04 bt04_refusal_leaves_it_usable: "a refusal leaves the transaction usable",
        "a failed statement aborts the transaction: no savepoint";
    BT05 bt05_invisible_before_the_commit: "a change is invisible before the commit",
        "the change is applied when it is asked for";
    BT06 bt06_several_in_one: "changes in one transaction follow one another",
        "the state is read from outside of the transaction";
    BT07 bt07_racing_transactions: "racing transactions lose nothing",
        "the balance is read without a lock, and not compared at the commit";
    BT08 bt08_racers_with_one_key: "racers with one key apply it once, with its write",
        "the key is looked up, and inserted without a unique index";
    BT09 bt09_swallowed_error: "an error that the work swallowed never commits a change",
        "COMMIT in an aborted block is a ROLLBACK without an error";
    BT10 bt10_dropped_at_every_poll: "a transaction dropped at any poll is done once by its retry",
        "a connection goes back to the pool with its transaction open";
    BT11 bt11_namespaces_are_apart: "a transaction belongs to its namespace",
        "the namespace is that of the connection";
}
