//! Apart: namespaces, down to the same transaction in two of them; and work that left nothing to do.

use exactly_once_core::{PreparedStatus, PreparedTransactions, Store};

use super::support::{
    all_in_doubt, commit, ensure_effects, ensure_nothing_left, ensure_rolled_back, ensure_status,
    fresh, participation, rollback,
};
use crate::{
    CaseResult,
    cases::{cases, support::retry},
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Goal: a transaction is prepared and committed in its own namespace only. Method: ask another namespace's handle.
async fn t83_other_namespaces_transaction<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let store = cx.store();
    let elsewhere = store.with_namespace(format!("{}/t83", store.namespace()).parse()?);
    for (name, alone) in [("t83/alone", true), ("t83/prepared", false)] {
        let work = participation(&cx, name).await?;
        let mut tx = fresh(&elsewhere, &work).await?;
        cx.write(&mut tx, name).await?;
        let answer = if alone {
            store.commit_alone(tx, &work).await
        } else {
            store.prepare(tx, &work).await
        };
        ensure!(answer.is_err(), seen: answer, "another namespace's transaction to be refused");
        for place in [store, &elsewhere] {
            let status = place.prepared_status(&work).await?;
            let namespace = place.namespace();
            ensure_eq!(status, PreparedStatus::None, "the status in {namespace}");
            rollback(place, &work).await?;
        }
        ensure_rolled_back(&cx, &work, name).await?;
    }
    Ok(())
}

/// Goal: a participant of other data prepares and commits no transaction of this one. Method: hand the
/// transaction to a store elsewhere, both ways; nothing is prepared here or there.
async fn e06p_transaction_of_another_store<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let elsewhere = cx.harness().fresh().await?;
    let (store, other) = (cx.store(), cx.harness().open(&elsewhere).await?);
    for (name, alone) in [("e06/alone", true), ("e06/prepared", false)] {
        let work = participation(&cx, name).await?;
        let mut tx = fresh(store, &work).await?;
        cx.write(&mut tx, name).await?;
        let answer = if alone {
            other.commit_alone(tx, &work).await
        } else {
            other.prepare(tx, &work).await
        };
        ensure!(answer.is_err(), seen: answer, "a transaction of another store to be refused");
        for place in [store, &other] {
            let status = retry(|| place.prepared_status(&work)).await?;
            ensure_eq!(status, PreparedStatus::None, "the status");
            rollback(place, &work).await?;
        }
        ensure_rolled_back(&cx, &work, name).await?;
    }
    Ok(())
}

/// Goal: one name in two namespaces is two transactions. Method: prepare both; commit one and roll the
/// other back, both ways round: each ends by itself, with its own work.
async fn t84_one_name_in_two_namespaces<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let store = cx.store();
    let elsewhere = store.with_namespace(format!("{}/t84", store.namespace()).parse()?);
    for first in [store, &elsewhere] {
        let name = format!("t84/{}", first.namespace());
        let work = participation(&cx, &name).await?;
        let (here, there) = (format!("{name}/here"), format!("{name}/there"));
        for (place, effect) in [(store, &here), (&elsewhere, &there)] {
            let mut tx = fresh(place, &work).await?;
            cx.write(&mut tx, effect).await?;
            place.prepare(tx, &work).await?;
        }
        let second = if first.namespace() == store.namespace() {
            &elsewhere
        } else {
            store
        };
        commit(first, &work).await?;
        let status = retry(|| second.prepared_status(&work)).await?;
        ensure_eq!(status, PreparedStatus::Prepared, "the other one's status");
        let committed_here = u64::from(first.namespace() == store.namespace());
        ensure_effects(&cx, &here, committed_here).await?;
        ensure_effects(&cx, &there, 1 - committed_here).await?;
        rollback(second, &work).await?;
        let status = retry(|| first.prepared_status(&work)).await?;
        ensure_eq!(status, PreparedStatus::Committed, "the first one's status");
        ensure_effects(&cx, &here, committed_here).await?;
        ensure_effects(&cx, &there, 1 - committed_here).await?;
    }
    ensure_nothing_left(&cx).await
}

/// Goal: work that wrote nothing is prepared as well: a look must find it. Method: prepare nothing;
/// status, list, commit; and the same with a rollback.
async fn t85_empty_work<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    for (name, commits) in [("t85/commit", true), ("t85/rollback", false)] {
        let work = participation(&cx, name).await?;
        let store = cx.store();
        let tx = fresh(store, &work).await?;
        store.prepare(tx, &work).await?;
        ensure_status(&cx, &work, PreparedStatus::Prepared).await?;
        ensure_eq!(all_in_doubt(store, 10).await?.len(), 1, "what is in doubt");
        if commits {
            commit(store, &work).await?;
            ensure_status(&cx, &work, PreparedStatus::Committed).await?;
        } else {
            rollback(store, &work).await?;
            ensure_rolled_back(&cx, &work, name).await?;
        }
    }
    let work = participation(&cx, "t85/alone").await?;
    let tx = fresh(cx.store(), &work).await?;
    cx.store().commit_alone(tx, &work).await?;
    ensure_status(&cx, &work, PreparedStatus::Committed).await?;
    ensure_nothing_left(&cx).await
}

cases! { "prepared::apart" for PreparedTransactions, "core::PreparedTransactions, Contract";
    E06P e06p_transaction_of_another_store: "no store prepares or commits a transaction of another one",
        "only the namespace is compared, and both are named alike";
    T83 t83_other_namespaces_transaction: "a transaction is prepared and committed in its own namespace only",
        "the outcome is recorded in the namespace of the handle, and not of the transaction";
    T84 t84_one_name_in_two_namespaces: "one name in two namespaces is two transactions",
        "what is staged or reserved is looked up by the transaction's name alone";
    T85 t85_empty_work: "work that wrote nothing is prepared, too",
        "nothing is stored where there is nothing to be done at the commit";
}
