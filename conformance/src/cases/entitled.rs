//! Proof that a transaction is a caller's to act on: its register, its participants, its settlement.

use exactly_once_core::{
    Decision, DecisionRegister, Error, ErrorKind, PreparedStatus, PreparedTransactions, Settlement,
    Store, identity_of, two_phase::Sweeper,
};

use super::{
    cases,
    prepared::support::{
        decided_in_time, named, other_participants, other_register, rollback, short_and_forgotten,
        short_and_kept, until,
    },
    support::{refused, retry},
    two_phase::{Both, ensure_both, prepare_both, sweeper},
};
use crate::{CaseResult, check::Expecting, context::Context, ensure, ensure_eq, harness::Harness};

/// Goal: the store's identity is one, by every handle and in every namespace. Method: read it often.
async fn t93_identity_is_one<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let identity = retry(|| cx.store().identity()).await?;
    let both = Both::of(cx.store())?;
    for store in [cx.store(), &both.orders, &both.stock, &cx.store().clone()] {
        let seen = retry(|| store.identity()).await?;
        ensure_eq!(seen, identity, "the identity by another handle");
    }
    let orders = retry(|| identity_of(&both.orders)).await?;
    let stock = retry(|| identity_of(&both.stock)).await?;
    ensure!(orders != stock, seen: orders, "another identity in another namespace");
    Ok(())
}

/// Goal: a transaction with other participants, or with another register, is a mismatch before any
/// work. Method: prepare, commit and roll back one each; then try it with other terms.
async fn t94_other_terms_are_a_mismatch<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = short_and_kept(&cx, "t94", 60).await?;
    for state in ["prepared", "committed", "undone"] {
        let effect = format!("t94/{state}");
        let work = named(&pattern, &effect)?;
        let both = prepare_both(&cx, &work, &effect).await?;
        for store in [&both.orders, &both.stock] {
            match state {
                "committed" => retry(|| store.commit_prepared(&work)).await?,
                "undone" => rollback(store, &work).await?,
                _ => {}
            }
        }
        for other in [other_participants(&work), other_register(&work)] {
            let begun = retry(|| both.orders.begin_prepared(&other)).await;
            refused(
                begun.map(drop),
                ErrorKind::Mismatch,
                "begin with other terms",
            )?;
            let committed = retry(|| both.orders.commit_prepared(&other)).await;
            refused(committed, ErrorKind::Mismatch, "commit with other terms")?;
            let undone = retry(|| both.orders.rollback_prepared(&other)).await;
            refused(undone, ErrorKind::Mismatch, "rollback with other terms")?;
        }
        if state == "prepared" {
            for store in [&both.orders, &both.stock] {
                rollback(store, &work).await?;
            }
        }
    }
    Ok(())
}

/// Goal: a register keeps the participants that a decision names, refuses other participants as a
/// mismatch, and refuses a transaction of another register. Method: decide, read back, try the others.
async fn t95_register_keeps_the_terms<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t95", 60).await?;
    let elsewhere = other_register(&work);
    let foreign = retry(|| cx.store().decide(&elsewhere, Decision::Rollback)).await;
    refused(
        foreign,
        ErrorKind::Configuration,
        "a proposal to a register that the transaction does not name",
    )?;
    ensure_eq!(
        retry(|| cx.store().decision(&work)).await?,
        None,
        "what stands after it"
    );
    decided_in_time(cx.store(), &work).await?;
    let others = other_participants(&work);
    let other = retry(|| cx.store().decide(&others, Decision::Commit)).await;
    refused(
        other,
        ErrorKind::Mismatch,
        "a proposal of other participants",
    )?;
    let members = work.participants().named();
    let entry = retry(|| cx.store().decision(&work)).await?;
    let entry = entry.expecting("the entry")?;
    ensure_eq!(
        entry.participation.participants().named(),
        members,
        "the participants of the entry"
    );
    let page = retry(|| cx.store().unfinished(None, 100)).await?;
    let listed = page
        .entries
        .iter()
        .find(|entry| entry.participation == work);
    let listed = listed.expecting("the entry in the list")?;
    ensure_eq!(
        listed.participation.participants().named(),
        members,
        "the participants in the list"
    );
    Ok(())
}

/// Goal: a sweeper that knows only a part commits that part and does not finish. Method: one that
/// knows one participant of two; then one that knows both.
async fn t96_part_does_not_finish<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t96", 25).await?;
    let both = prepare_both(&cx, &work, "t96").await?;
    decided_in_time(cx.store(), &work).await?;
    until(cx.store(), work.not_after()).await?;
    let part = Sweeper::new(cx.store().clone()).participant("orders", both.orders.clone())?;
    for _ in 0..2 {
        let report = part.sweep().await?;
        ensure!(report.alarms.is_empty(), seen: report, "no alarm");
        ensure_eq!(report.unfinished.len(), 1, "what stays unfinished");
        let status = retry(|| both.stock.prepared_status(&work)).await?;
        ensure_eq!(status, PreparedStatus::Prepared, "the other participant");
        let entry = retry(|| cx.store().decision(&work)).await?;
        let finished = entry.map(|entry| entry.finished);
        ensure_eq!(finished, Some(false), "whether it is finished");
    }
    sweeper(cx.store())?.sweep().await?;
    let entry = retry(|| cx.store().decision(&work)).await?;
    let finished = entry.map(|entry| entry.finished);
    ensure_eq!(finished, Some(true), "whether it is finished");
    ensure_both(&cx, &work, "t96", PreparedStatus::Committed).await
}

/// Goal: a store that took no part holds up nothing and is left as it is. Method: a sweeper that
/// knows a third store.
async fn t97_third_store_holds_up_nothing<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t97", 25).await?;
    prepare_both(&cx, &work, "t97").await?;
    decided_in_time(cx.store(), &work).await?;
    until(cx.store(), work.not_after()).await?;
    let third = format!("{}/third", cx.store().namespace()).parse()?;
    let third = cx.store().with_namespace(third);
    let superset = sweeper(cx.store())?.participant("third", third.clone())?;
    let report = superset.sweep().await?;
    ensure_eq!(
        (report.committed, report.unfinished.len()),
        (2, 0),
        "committed, and unfinished"
    );
    let entry = retry(|| cx.store().decision(&work)).await?;
    let finished = entry.map(|entry| entry.finished);
    ensure_eq!(finished, Some(true), "whether it is finished");
    let status = retry(|| third.prepared_status(&work)).await?;
    ensure_eq!(status, PreparedStatus::None, "the third store");
    ensure_both(&cx, &work, "t97", PreparedStatus::Committed).await
}

/// Goal: a sweeper leaves alone what names another register. Method: one with a register in another
/// namespace, over the same participants; then the right one.
async fn t98_other_register_left_alone<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t98", 25).await?;
    let both = prepare_both(&cx, &work, "t98").await?;
    decided_in_time(cx.store(), &work).await?;
    until(cx.store(), work.not_after()).await?;
    let elsewhere = format!("{}/elsewhere", cx.store().namespace()).parse()?;
    let wrong = Sweeper::new(cx.store().with_namespace(elsewhere))
        .participant("orders", both.orders)?
        .participant("stock", both.stock)?;
    let report = wrong.sweep().await?;
    ensure_eq!(
        (report.foreign.len(), report.rolled_back, report.committed),
        (2, 0, 0),
        "left alone, rolled back, committed"
    );
    let held = retry(|| identity_of(cx.store())).await?;
    let names = report.foreign.iter().all(|one| one.register == held);
    ensure!(names, seen: report.foreign, "the register that the entries name");
    sweeper(cx.store())?.sweep().await?;
    ensure_both(&cx, &work, "t98", PreparedStatus::Committed).await
}

/// Goal: a participant that was rolled back under a commit is a heuristic outcome, which each sweep
/// reports until it is settled. Method: roll back one by hand; sweep twice; settle; sweep.
async fn t99_heuristic_until_settled<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t99", 25).await?;
    let both = prepare_both(&cx, &work, "t99").await?;
    decided_in_time(cx.store(), &work).await?;
    rollback(&both.stock, &work).await?;
    until(cx.store(), work.not_after()).await?;
    for _ in 0..2 {
        let report = sweeper(cx.store())?.sweep().await?;
        ensure_eq!(report.alarms.len(), 1, "alarms of a sweep");
        let entry = retry(|| cx.store().decision(&work)).await?;
        let entry = entry.map(|entry| (entry.finished, entry.settled));
        ensure_eq!(entry, Some((false, None)), "the entry");
    }
    let store = cx.store();
    let settlement = Settlement::now(store, Decision::Commit, "ops", "restocked by hand").await?;
    let stands = retry(|| store.settle(&work, &settlement)).await?;
    ensure_eq!(stands, settlement, "the settlement that stands");
    let later = Settlement::now(store, Decision::Rollback, "ops", "another one").await?;
    let stands = retry(|| store.settle(&work, &later)).await?;
    ensure_eq!(stands, settlement, "the first settlement");
    let entry = retry(|| store.decision(&work)).await?;
    let entry = entry.map(|entry| (entry.decision, entry.finished, entry.settled));
    ensure_eq!(
        entry,
        Some((Decision::Commit, true, Some(settlement))),
        "the entry"
    );
    let report = sweeper(cx.store())?.sweep().await?;
    ensure_eq!(report.alarms.len(), 0, "alarms after it was settled");
    let undecided = named(&work, "t99/undecided")?;
    let undecided = retry(|| store.settle(&undecided, &later)).await;
    refused(
        undecided.map(drop),
        ErrorKind::NotPrepared,
        "a settlement where nothing was decided",
    )
}

/// Goal: a participant that has committed under a rollback is a heuristic outcome, which each sweep
/// reports until it is settled, also once the records are removed that prove it. Method: commit one by
/// hand, sweep, let the time pass, forget, sweep twice; settle; sweep.
async fn t100_heuristic_outlives_the_records<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_forgotten(&cx, "t100", 25).await?;
    let both = prepare_both(&cx, &work, "t100").await?;
    retry(|| both.stock.commit_prepared(&work)).await?;
    let decided = retry(|| cx.store().decide(&work, Decision::Rollback)).await?;
    ensure_eq!(decided, Decision::Rollback, "the decision");
    until(cx.store(), work.not_after()).await?;
    for forgotten in [false, true, true] {
        if forgotten {
            until(cx.store(), work.forget_after()).await?;
            let removed = sweeper(cx.store())?.forget(100).await;
            ensure!(removed.failed.is_empty(), seen: removed, "no failure to forget");
        }
        let report = sweeper(cx.store())?.sweep().await?;
        let kinds = Vec::from_iter(report.alarms.iter().map(Error::kind));
        ensure_eq!(
            kinds,
            [ErrorKind::Heuristic],
            "alarms, forgotten: {forgotten}"
        );
        let said = report.alarms[0].to_string();
        ensure!(said.contains("\"stock\""), seen: said, "an alarm that names the participant");
        let entry = retry(|| cx.store().decision(&work)).await?;
        let entry = entry.expecting("the decision, as long as it is disputed")?;
        ensure_eq!(
            (entry.finished, entry.disputes.len()),
            (false, 1),
            "whether it is finished, and its disputes"
        );
    }
    let status = retry(|| both.stock.prepared_status(&work)).await?;
    ensure_eq!(
        status,
        PreparedStatus::Forgotten,
        "what the participant says"
    );
    let store = cx.store();
    let settlement = Settlement::now(store, Decision::Rollback, "ops", "sold by hand").await?;
    retry(|| store.settle(&work, &settlement)).await?;
    let report = sweeper(store)?.sweep().await?;
    ensure_eq!(report.alarms.len(), 0, "alarms after it was settled");
    Ok(())
}

cases! { "two_phase" for PreparedTransactions where DecisionRegister, "core::identity";
    T93 t93_identity_is_one: "the identity of the data is one, by every handle and in every namespace",
        "it is made by the handle, or derived from the namespace";
    T94 t94_other_terms_are_a_mismatch: "other participants, or another register, are a mismatch before any work",
        "only fingerprint and deadlines are stored and compared", waits;
    T95 t95_register_keeps_the_terms: "a register keeps the participants, and refuses another register's transaction",
        "the decision is stored without its participants, or the register does not look at its own identity", waits;
    T96 t96_part_does_not_finish: "a sweeper that knows a part commits it and does not finish",
        "the decision is stored without its participants", waits;
    T97 t97_third_store_holds_up_nothing: "a store that took no part holds up nothing",
        "the decision is stored without its participants", waits;
    T98 t98_other_register_left_alone: "a sweeper leaves alone what names another register",
        "the list of what is in doubt leaves out the register", waits;
    T99 t99_heuristic_until_settled: "a participant that was rolled back under a commit is reported until it is settled",
        "a settlement does not finish the decision, or is overwritten by the next", waits;
    T100 t100_heuristic_outlives_the_records: "a participant that has committed under a rollback is reported until it is settled",
        "the note that it did not obey is lost, or removed by its time", waits;
}
