//! What lies around a prepared transaction: work that has ended it, work that can't be prepared,
//! slots, roles, databases, a pooler.

use std::collections::BTreeSet;

use exactly_once_core::{ErrorKind, PreparedStatus, PreparedTransactions, Store, Transactional};

use super::support::{
    all_in_doubt, commit, ensure_committed, ensure_effects, ensure_nothing_left,
    ensure_rolled_back, ensure_status, fresh, named, participation, prepared, rollback,
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        support::{refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure_eq,
    harness::{Harness, Way},
};

/// Requires an error; whatever kind it is, it is not a yes.
fn ensure_no_yes<T: std::fmt::Debug>(
    answer: Result<T, exactly_once_core::Error>,
    what: &str,
) -> CaseResult {
    match answer {
        Err(_) => Ok(()),
        Ok(answer) => Err(CaseFailure::new(
            format!("{what} not to be a yes"),
            format!("{answer:?}"),
        )),
    }
}

/// Goal: only the transaction that was begun for it can be prepared. Method: prepare one that was
/// begun for nothing, and one that was begun for another.
async fn t47_only_the_begun_one<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t47").await?;
    let other = named(&work, "t47/other")?;
    let store = cx.store();
    let mut plain = store.begin().await?;
    cx.write(&mut plain, "t47/plain").await?;
    let answer = store.prepare(plain, &work).await;
    ensure_no_yes(answer, "preparing what was begun for nothing")?;
    let store = cx.store();
    let mut foreign = fresh(store, &other).await?;
    cx.write(&mut foreign, "t47/other").await?;
    let answer = store.prepare(foreign, &work).await;
    ensure_no_yes(answer, "preparing what was begun for another transaction")?;
    for work in [&work, &other] {
        ensure_status(&cx, work, PreparedStatus::None).await?;
    }
    for effect in ["t47/plain", "t47/other"] {
        ensure_effects(&cx, effect, 0).await?;
    }
    ensure_nothing_left(&cx).await
}

/// Goal: PREPARE outside of the transaction can't be reached. Method: the work ends its transaction
/// by itself, behind the store's back; prepare must not say yes, and nothing is in doubt.
async fn t47_ended_behind_its_back<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t47").await?;
    let store = cx.store();
    let mut tx = fresh(store, &work).await?;
    cx.write(&mut tx, "t47").await?;
    if !cx.harness().end_behind(&mut tx).await {
        return cx.ignore("work in this store can't end its own transaction (`end_behind`)");
    }
    let answer = store.prepare(tx, &work).await;
    ensure_no_yes(answer, "preparing what is over")?;
    ensure_nothing_left(&cx).await
}

/// Goal: what is refused only at the end of the transaction is refused by prepare, for good, and
/// leaves nothing. Method: violate a deferred constraint, prepare; then without it.
async fn t48_deferred_constraint<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t48").await?;
    let store = cx.store();
    let mut tx = fresh(store, &work).await?;
    cx.write(&mut tx, "t48").await?;
    if !cx.harness().violate_at_the_end(&mut tx).await {
        return cx.ignore("this harness has no deferred constraint (`violate_at_the_end`)");
    }
    let answer = store.prepare(tx, &work).await;
    refused(answer, ErrorKind::Refused, "what violates a deferred check")?;
    ensure_status(&cx, &work, PreparedStatus::None).await?;
    ensure_effects(&cx, "t48", 0).await?;
    ensure_nothing_left(&cx).await?;
    prepared(&cx, &work, "t48").await?;
    commit(cx.store(), &work).await?;
    ensure_committed(&cx, &work, "t48").await
}

/// Goal: work that can't be prepared is refused for good, and leaves nothing. Method: each kind that
/// the harness knows.
async fn t65_unpreparable_work<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t65").await?;
    for number in 0.. {
        let (effect, store) = (format!("t65/{number}"), cx.store());
        let work = named(&pattern, &effect)?;
        let mut tx = fresh(store, &work).await?;
        cx.write(&mut tx, &effect).await?;
        let Some(kind) = cx.harness().unpreparable(&mut tx, number).await else {
            if number == 0 {
                return cx.ignore("this harness has no such work (`unpreparable`)");
            }
            return store.rollback(tx).await.map_err(Into::into);
        };
        let answer = store.prepare(tx, &work).await;
        refused(answer, ErrorKind::Refused, kind)?;
        ensure_status(&cx, &work, PreparedStatus::None).await?;
        rollback(cx.store(), &work).await?;
        let done = ensure_rolled_back(&cx, &work, &effect).await;
        done.map_err(|failure| failure.note(kind))?;
    }
    Ok(())
}

/// Goal: with no slot free, prepare is to be tried again, and leaves nothing. Method: a server with
/// one slot: the second is busy; once the first is committed, it goes through.
async fn t58_no_free_slot<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let first = participation(&cx, "t58/first").await?;
    let second = named(&first, "t58/second")?;
    let place = cx.harness().fresh_scarce().await?;
    let store = cx.harness().open(&place).await?;
    let harness = cx.harness();
    let attempt = async |work, effect| {
        let mut tx = fresh(&store, work).await?;
        if let Err(error) = harness.write_effect(&mut tx, effect).await {
            return Err(error.into_error("write_effect", &store).into());
        }
        CaseResult::Ok(store.prepare(tx, work).await)
    };
    attempt(&first, "first").await??;
    let answer = attempt(&second, "second").await?;
    refused(answer, ErrorKind::Busy, "preparing without a free slot")?;
    let status = store.prepared_status(&second).await?;
    ensure_eq!(status, PreparedStatus::None, "the status without a slot");
    let in_doubt = all_in_doubt(&store, 10).await?.len();
    ensure_eq!(in_doubt, 1, "what is in doubt");
    store.commit_prepared(&first).await?;
    attempt(&second, "second")
        .await?
        .expecting("the second to be prepared once a slot is free")?;
    store.commit_prepared(&second).await?;
    for effect in ["first", "second"] {
        let effects = harness.count_effects(&place, effect).await?;
        ensure_eq!(effects, 1, "effects of the {effect}");
    }
    Ok(())
}

/// Goal: another role's transaction can't be ended, and the error says why; its own role still can.
/// Method: prepare; commit and roll back by a handle of another role; then by the first.
async fn t63_another_role<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let work = participation(&cx, "t63").await?;
    let undone = named(&work, "t63/undone")?;
    prepared(&cx, &work, "t63").await?;
    prepared(&cx, &undone, "t63/undone").await?;
    let other = cx.harness().open_by(cx.guard(), Way::AnotherRole).await?;
    for work in [&work, &undone] {
        let answer = other.commit_prepared(work).await;
        refused(answer, ErrorKind::Configuration, "another role's commit")?;
        let answer = other.rollback_prepared(work).await;
        refused(answer, ErrorKind::Configuration, "another role's rollback")?;
        ensure_status(&cx, work, PreparedStatus::Prepared).await?;
    }
    ensure_effects(&cx, "t63", 0).await?;
    commit(cx.store(), &work).await?;
    rollback(cx.store(), &undone).await?;
    ensure_committed(&cx, &work, "t63").await?;
    ensure_rolled_back(&cx, &undone, "t63/undone").await
}

/// Goal: another database's transactions do not concern this one. Method: prepare; from another
/// database of the server, in the same namespace, it is not listed, not known and not committed, and
/// the same name is free.
async fn t64_another_database<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t64").await?;
    prepared(&cx, &work, "t64").await?;
    let far = cx
        .harness()
        .open_by(cx.guard(), Way::AnotherDatabase)
        .await?;
    let listed = all_in_doubt(&far, 10).await?;
    ensure_eq!(listed, Vec::new(), "what is in doubt there");
    let status = far.prepared_status(&work).await?;
    ensure_eq!(status, PreparedStatus::None, "the status there");
    let answer = far.commit_prepared(&work).await;
    refused(answer, ErrorKind::NotPrepared, "a commit there")?;
    let tx = fresh(&far, &work).await?;
    far.prepare(tx, &work)
        .await
        .expecting("the same name to be free in another database")?;
    far.rollback_prepared(&work).await?;
    ensure_status(&cx, &work, PreparedStatus::Prepared).await?;
    commit(cx.store(), &work).await?;
    ensure_committed(&cx, &work, "t64").await
}

/// Goal: through a transaction pooler, where each step has another connection, nothing changes.
/// Method: prepare, commit and roll back by two handles in turn, beside direct ones.
async fn t67_transaction_pooler<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t67").await?;
    let way = Way::TransactionPooler;
    let one = cx.harness().open_by(cx.guard(), way).await?;
    let two = cx.harness().open_by(cx.guard(), way).await?;
    let mut prepared_ones = BTreeSet::new();
    for round in 0..cx.case().scaled(12, 4) {
        let name = format!("t67/{round}");
        let work = named(&pattern, &name)?;
        let by = [&one, &two, cx.store()][round % 3];
        let mut tx = fresh(by, &work).await?;
        cx.write(&mut tx, &name).await?;
        by.prepare(tx, &work).await?;
        prepared_ones.insert(*work.transaction());
        let listed = all_in_doubt(&two, 100).await?;
        let listed: BTreeSet<_> = listed
            .iter()
            .map(|entry| *entry.participation.transaction())
            .collect();
        ensure_eq!(listed, prepared_ones, "what is in doubt through the pooler");
        if round % 4 == 3 {
            rollback(&one, &work).await?;
            ensure_status(&cx, &work, PreparedStatus::RolledBack).await?;
            ensure_effects(&cx, &name, 0).await?;
        } else {
            commit(&two, &work).await?;
            let seen = retry(|| one.prepared_status(&work)).await?;
            ensure_eq!(seen, PreparedStatus::Committed, "the status");
            ensure_effects(&cx, &name, 1).await?;
        }
        prepared_ones.remove(work.transaction());
    }
    // A pooler keeps what its clients leave; a handle that is closed leaves nothing.
    one.close().await?;
    two.close().await?;
    ensure_nothing_left(&cx).await
}

cases! { "prepared::ground" for PreparedTransactions, "core::PreparedTransactions, methods";
    T47 t47_only_the_begun_one: "only the transaction that was begun for it can be prepared",
        "prepare takes whatever transaction it is given";
    T47 t47_ended_behind_its_back: "what the work has ended by itself is never prepared",
        "PREPARE outside of a transaction is a ROLLBACK without an error";
    T48 t48_deferred_constraint: "what a deferred check refuses is refused by prepare, and leaves nothing",
        "the refusal is told as transient, or the rolled-back transaction as open";
    T58 t58_no_free_slot: "without a free slot prepare is to be tried again, and leaves nothing",
        "a full server is told as terminal, or the marker is kept";
    T63 t63_another_role: "another role is told that it may not end the transaction",
        "a refusal for want of rights is read as `not prepared`, or as committed";
    T64 t64_another_database: "another database's transactions are neither listed nor ended",
        "the server's list is read without a condition on the database";
    T65 t65_unpreparable_work: "work that can't be prepared is refused for good and leaves nothing",
        "it is told as transient, so that an engine tries it for ever";
    T67 t67_transaction_pooler: "through a transaction pooler nothing changes",
        "session locks, session settings or prepared statements are counted on";
}
