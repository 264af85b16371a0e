//! Participants and register together: what a coordinator and a sweeper need of them. The
//! participants are two namespaces of one place, and the register is a third.

use exactly_once_core::{
    Decision, DecisionRegister, ErrorKind, Participation, PreparedStatus, PreparedTransactions,
    Store, two_phase::Sweeper,
};

use super::{
    Registry, cases,
    prepared::support::{
        all_in_doubt, commit, decided_in_time, ensure_effects, ensure_nothing_open, fresh, named,
        or_too_slow, participation, refused_rolled_back, rollback, short_and_kept, until,
    },
    support::{race, retry},
};
use crate::{CaseResult, check::Expecting, context::Context, ensure, ensure_eq, harness::Harness};

/// Two participants, named for what they hold.
pub(crate) struct Both<S> {
    pub(crate) orders: S,
    pub(crate) stock: S,
}

impl<S: Store> Both<S> {
    pub(crate) fn of(store: &S) -> CaseResult<Self> {
        let at = |part: &str| -> CaseResult<S> {
            Ok(store.with_namespace(format!("{}/{part}", store.namespace()).parse()?))
        };
        Ok(Self {
            orders: at("orders")?,
            stock: at("stock")?,
        })
    }
}

/// Prepares one effect at each participant.
pub(crate) async fn prepare_both<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
    work: &Participation,
    effect: &str,
) -> CaseResult<Both<H::Store>> {
    let both = Both::of(cx.store())?;
    for (store, part) in [(&both.orders, "orders"), (&both.stock, "stock")] {
        let mut tx = fresh(store, work).await?;
        cx.write(&mut tx, &format!("{effect}/{part}")).await?;
        let answer = store.prepare(tx, work).await;
        let answer = or_too_slow(store, work, answer).await;
        answer.expecting("each participant to prepare")?;
    }
    Ok(both)
}

/// Requires both participants to stand there, with so many effects each.
pub(crate) async fn ensure_both<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
    work: &Participation,
    effect: &str,
    status: PreparedStatus,
) -> CaseResult {
    let both = Both::of(cx.store())?;
    for (store, part) in [(&both.orders, "orders"), (&both.stock, "stock")] {
        let seen = retry(|| store.prepared_status(work)).await?;
        ensure_eq!(seen, status, "the status at {part}");
        let effects = u64::from(status == PreparedStatus::Committed);
        ensure_effects(cx, &format!("{effect}/{part}"), effects).await?;
        if status != PreparedStatus::Prepared {
            ensure_eq!(
                all_in_doubt(store, 10).await?,
                Vec::new(),
                "what is in doubt at {part}"
            );
        }
    }
    ensure_nothing_open(cx).await
}

/// A sweeper over both participants.
pub(crate) fn sweeper<S: PreparedTransactions + DecisionRegister>(
    store: &S,
) -> CaseResult<Sweeper<S>> {
    let both = Both::of(store)?;
    let sweeper = Sweeper::new(store.clone()).participant("orders", both.orders)?;
    Ok(sweeper.participant("stock", both.stock)?)
}

/// Goal: a sweeper that crashes after its decision, and after the first participant, is finished by
/// the next. Method: those steps by hand; then a whole sweep.
async fn t37_sweeper_crashes_half_way<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = short_and_kept(&cx, "t37", 25).await?;
    let both = Both::of(cx.store())?;
    for told in [0, 1] {
        let effect = format!("t37/{told}");
        prepare_both(&cx, &named(&pattern, &effect)?, &effect).await?;
    }
    until(cx.store(), pattern.not_after()).await?;
    for told in [0, 1] {
        let effect = format!("t37/{told}");
        let work = named(&pattern, &effect)?;
        let store = cx.store();
        let ruling = retry(|| store.decide(&work, Decision::Rollback)).await?;
        ensure_eq!(ruling, Decision::Rollback, "the sweeper's decision");
        if told == 1 {
            rollback(&both.orders, &work).await?;
        }
    }
    let report = sweeper(cx.store())?.sweep().await?;
    ensure!(report.alarms.is_empty() && report.failed.is_empty(), seen: report, "no trouble");
    for told in [0, 1] {
        let effect = format!("t37/{told}");
        let work = named(&pattern, &effect)?;
        ensure_both(&cx, &work, &effect, PreparedStatus::RolledBack).await?;
        let entry = cx.store().decision(&work).await?.expecting("the entry")?;
        ensure_eq!(
            (entry.decision, entry.finished),
            (Decision::Rollback, true),
            "the entry"
        );
    }
    Ok(())
}

/// Goal: a coordinator that decides after the sweeper obeys the register. Method: prepare, let the
/// deadline pass, sweep; then the coordinator proposes commit, and is refused everywhere.
async fn t38_coordinator_after_the_sweeper<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t38", 25).await?;
    let both = prepare_both(&cx, &work, "t38").await?;
    until(cx.store(), work.not_after()).await?;
    sweeper(cx.store())?.sweep().await?;
    let store = cx.store();
    let ruling = retry(|| store.decide(&work, Decision::Commit)).await?;
    ensure_eq!(
        ruling,
        Decision::Rollback,
        "what the late coordinator is told"
    );
    for store in [&both.orders, &both.stock] {
        refused_rolled_back(commit(store, &work).await, "a commit against the register")?;
        rollback(store, &work)
            .await
            .expecting("what the register says to be done already")?;
    }
    ensure_both(&cx, &work, "t38", PreparedStatus::RolledBack).await
}

/// Goal: any number of sweepers do no harm to one another. Method: three at once, over what was
/// decided to commit, to roll back, and not at all.
async fn t39_sweepers_at_once<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = short_and_kept(&cx, "t39", 40).await?;
    let committed = named(&pattern, "t39/committed")?;
    let undone = named(&pattern, "t39/undone")?;
    let undecided = named(&pattern, "t39/undecided")?;
    for (work, effect) in [
        (&committed, "t39/committed"),
        (&undone, "t39/undone"),
        (&undecided, "t39/undecided"),
    ] {
        prepare_both(&cx, work, effect).await?;
    }
    decided_in_time(cx.store(), &committed).await?;
    cx.store().decide(&undone, Decision::Rollback).await?;
    until(cx.store(), pattern.not_after()).await?;
    let sweepers = (0..3)
        .map(|_| {
            let sweeper = sweeper(cx.store())?;
            Ok(async move { sweeper.sweep().await })
        })
        .collect::<CaseResult<Vec<_>>>()?;
    for report in race(sweepers).await? {
        let report = report?;
        ensure!(report.alarms.is_empty(), seen: report, "no alarm from sweepers at once");
    }
    // One perhaps got *busy* because of another: the next sweep finishes.
    sweeper(cx.store())?.sweep().await?;
    ensure_both(&cx, &committed, "t39/committed", PreparedStatus::Committed).await?;
    ensure_both(&cx, &undone, "t39/undone", PreparedStatus::RolledBack).await?;
    ensure_both(&cx, &undecided, "t39/undecided", PreparedStatus::RolledBack).await?;
    ensure_eq!(
        cx.store().unfinished(None, 10).await?.entries,
        Vec::new(),
        "what is unfinished"
    );
    Ok(())
}

/// Goal: a sweep rolls back only what is undecided past its deadline. Method: one past it, one with
/// time left; the second can still be committed.
async fn t54_sweeps_only_past_the_deadline<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let late = short_and_kept(&cx, "t54/late", 25).await?;
    let early = participation(&cx, "t54/early").await?;
    prepare_both(&cx, &late, "t54/late").await?;
    let both = prepare_both(&cx, &early, "t54/early").await?;
    until(cx.store(), late.not_after()).await?;
    let report = sweeper(cx.store())?.sweep().await?;
    ensure_eq!(
        (report.waiting, report.rolled_back),
        (2, 2),
        "left alone, and rolled back"
    );
    for store in [&both.orders, &both.stock] {
        let status = store.prepared_status(&early).await?;
        ensure_eq!(status, PreparedStatus::Prepared, "the one with time left");
    }
    ensure_eq!(
        cx.store().decision(&early).await?,
        None,
        "the decision of the one with time left"
    );
    ensure_eq!(
        cx.store().decide(&early, Decision::Commit).await?,
        Decision::Commit,
        "its commit"
    );
    for store in [&both.orders, &both.stock] {
        store.commit_prepared(&early).await?;
    }
    ensure_both(&cx, &late, "t54/late", PreparedStatus::RolledBack).await?;
    ensure_both(&cx, &early, "t54/early", PreparedStatus::Committed).await
}

/// Goal: a sweep commits what was decided to commit. Method: the coordinator dies after its
/// decision, and after the first participant.
async fn t55_sweeps_to_commit<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = short_and_kept(&cx, "t55", 30).await?;
    for told in [0, 1] {
        let effect = format!("t55/{told}");
        let work = named(&pattern, &effect)?;
        let both = prepare_both(&cx, &work, &effect).await?;
        decided_in_time(cx.store(), &work).await?;
        if told == 1 {
            both.orders.commit_prepared(&work).await?;
        }
    }
    until(cx.store(), pattern.not_after()).await?;
    sweeper(cx.store())?.sweep().await?;
    for told in [0, 1] {
        let effect = format!("t55/{told}");
        let work = named(&pattern, &effect)?;
        ensure_both(&cx, &work, &effect, PreparedStatus::Committed).await?;
        let entry = cx.store().decision(&work).await?.expecting("the entry")?;
        ensure_eq!(
            (entry.decision, entry.finished),
            (Decision::Commit, true),
            "the entry"
        );
    }
    Ok(())
}

/// Goal: after a sweep nothing is in doubt or locked, and the same effects can be had by another
/// transaction. Method: prepare at one participant only, as a coordinator that died does; sweep.
async fn t56_nothing_left_after_it<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t56", 25).await?;
    let both = Both::of(cx.store())?;
    let mut tx = fresh(&both.orders, &work).await?;
    cx.write(&mut tx, "t56/orders").await?;
    both.orders.prepare(tx, &work).await?;
    until(cx.store(), work.not_after()).await?;
    sweeper(cx.store())?.sweep().await?;
    ensure_eq!(
        all_in_doubt(&both.orders, 10).await?,
        Vec::new(),
        "what is in doubt"
    );
    ensure_nothing_open(&cx).await?;
    let zombie = both.stock.begin_prepared(&work).await;
    refused_rolled_back(
        zombie,
        "a zombie at the participant that was never prepared",
    )?;
    let next = participation(&cx, "t56/next").await?;
    prepare_both(&cx, &next, "t56").await?;
    for store in [&both.orders, &both.stock] {
        commit(store, &next).await?;
    }
    ensure_both(&cx, &next, "t56", PreparedStatus::Committed).await
}

/// Goal: a sweep touches no others' transactions. Method: another namespace's, past its
/// deadline; it is untouched by the sweep.
async fn t57_foreign_transactions_untouched<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let work = short_and_kept(&cx, "t57", 25).await?;
    let foreign = cx
        .store()
        .with_namespace(format!("{}/x", cx.store().namespace()).parse()?);
    let mut tx = fresh(&foreign, &work).await?;
    cx.write(&mut tx, "t57").await?;
    foreign.prepare(tx, &work).await?;
    until(cx.store(), work.not_after()).await?;
    sweeper(cx.store())?.sweep().await?;
    let status = foreign.prepared_status(&work).await?;
    ensure_eq!(
        status,
        PreparedStatus::Prepared,
        "the status of what is not swept"
    );
    foreign.commit_prepared(&work).await?;
    ensure_effects(&cx, "t57", 1).await
}

/// Goal: an unfinished commit is not forgotten, so a participant that has not been informed yet can still
/// be. Method: decide commit, let all time pass, forget, then sweep.
async fn t59_unfinished_commit_is_kept<
    H: Harness<Store: PreparedTransactions + DecisionRegister>,
>(
    cx: Context<H>,
) -> CaseResult {
    let work = super::prepared::support::short(&cx, "t59", 25).await?;
    let both = prepare_both(&cx, &work, "t59").await?;
    decided_in_time(cx.store(), &work).await?;
    both.orders.commit_prepared(&work).await?;
    until(cx.store(), work.forget_after()).await?;
    ensure_eq!(
        cx.store().forget_decisions(10).await?,
        0,
        "unfinished commits removed"
    );
    ensure_eq!(
        both.stock.forget_prepared(10).await?,
        0,
        "prepared transactions removed"
    );
    let entry = cx
        .store()
        .decision(&work)
        .await?
        .expecting("the unfinished commit")?;
    ensure_eq!(entry.decision, Decision::Commit, "the decision");
    commit(&both.stock, &work)
        .await
        .expecting("the last participant to commit, however late")?;
    ensure_effects(&cx, "t59/orders", 1).await?;
    ensure_effects(&cx, "t59/stock", 1).await?;
    cx.store().finish(&work, Decision::Commit).await?;
    ensure_eq!(
        cx.store().forget_decisions(10).await?,
        1,
        "finished commits removed"
    );
    let answer = cx.store().decide(&work, Decision::Rollback).await;
    super::support::refused(
        answer,
        ErrorKind::Forgotten,
        "a proposal after it was forgotten",
    )
}

/// All cases of participants and register together.
pub(crate) fn register_all<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: PreparedTransactions + DecisionRegister,
{
    register(registry);
    super::entitled::register(registry);
    super::invariants::two_phase::register(registry);
}

cases! { "two_phase" for PreparedTransactions where DecisionRegister, "core::coordinator, Who does what";
    T37 t37_sweeper_crashes_half_way: "a sweeper that crashed half way is finished by the next",
        "a rollback of what is rolled back is an error", waits;
    T38 t38_coordinator_after_the_sweeper: "a coordinator that decides after the sweeper obeys the register",
        "the register lets the last writer win, or takes a commit after the deadline", waits;
    T39 t39_sweepers_at_once: "sweepers at once do no harm to one another",
        "a second commit or rollback is a heuristic outcome", waits;
    T54 t54_sweeps_only_past_the_deadline: "a sweep rolls back only what is undecided past its deadline",
        "deadlines come back from the list changed, or as a client's clock has them", waits;
    T55 t55_sweeps_to_commit: "a sweep commits what was decided to commit",
        "the decision is not kept, or reads as nothing", waits;
    T56 t56_nothing_left_after_it: "after a sweep nothing is in doubt or locked",
        "rollback leaves no tombstone where nothing was prepared", waits;
    T57 t57_foreign_transactions_untouched: "a sweep touches nobody else's transactions",
        "the list is filtered by prefix only", waits;
    T59 t59_unfinished_commit_is_kept: "an unfinished commit is not forgotten",
        "records are removed by their time alone", waits;
}
