//! Two-phase commits under random load: coordinators that die anywhere, zombies, sweepers.

use std::sync::{Arc, Mutex, PoisonError};

use exactly_once_core::{
    BegunPrepared, Decision, DecisionRegister, Error, ErrorKind, Participation, PreparedStatus,
    PreparedTransactions,
};
use tokio::task::yield_now;

use super::{Place, hold};
use crate::{
    CaseResult,
    cases::{
        cases,
        prepared::support::{all_in_doubt, named, participation_until, until},
        support::{race, retry},
        two_phase::{Both, sweeper},
    },
    context::Context,
    ensure, ensure_eq,
    faults::polls::drop_at_poll,
    harness::Harness,
    seed::CaseRng,
};

const WORKERS: usize = 4;

/// One step of a worker.
#[derive(Clone, Debug)]
enum Step {
    /// A coordinator's attempt at this transaction, that dies at this poll.
    Attempt { transaction: usize, dies_at: usize },
    /// A sweep, that dies at this poll.
    Sweep { dies_at: usize },
    /// All connections are cut.
    Cut,
}

fn draw(rng: &mut CaseRng, transactions: usize, steps: usize) -> Vec<Step> {
    let mut step = || match rng.below(12) {
        0 => Step::Sweep {
            dies_at: 1 + rng.below(40),
        },
        1 => Step::Cut,
        _ => {
            let whole = rng.one_in(3);
            let dies_at = if whole { usize::MAX } else { 1 + rng.below(14) };
            Step::Attempt {
                transaction: rng.below(transactions),
                dies_at,
            }
        }
    };
    (0..steps).map(|_| step()).collect()
}

/// The answers that coordinators got, by transaction.
#[derive(Default)]
struct Told {
    rulings: Vec<(usize, Decision)>,
    done: Vec<(usize, Decision)>,
}

type SharedTold = Arc<Mutex<Told>>;

fn note(told: &SharedTold, add: impl FnOnce(&mut Told)) {
    add(&mut told.lock().unwrap_or_else(PoisonError::into_inner));
}

fn effect(transaction: usize, part: &str) -> String {
    format!("v8/{transaction}/{part}")
}

/// Whether a participant is prepared; no where it can't be.
async fn vote<H: Harness<Store: PreparedTransactions>>(
    place: &Place<H>,
    store: &H::Store,
    work: &Participation,
    effect: &str,
) -> Result<bool, Error> {
    let mut tx = match store.begin_prepared(work).await {
        Ok(BegunPrepared::Fresh(tx)) => tx,
        Ok(_) => return Ok(true),
        Err(error) if error.kind() == ErrorKind::RolledBack => return Ok(false),
        Err(error) => return Err(error),
    };
    yield_now().await;
    if let Err(error) = place.harness.write_effect(&mut tx, effect).await {
        return Err(error.into_error("write_effect", store));
    }
    match store.prepare(tx, work).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::RolledBack => Ok(false),
        Err(error) => Err(error),
    }
}

/// One attempt of a coordinator: the protocol, with a point to die at between any two steps.
async fn coordinate<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    place: &Place<H>,
    work: &Participation,
    transaction: usize,
    told: &SharedTold,
) -> CaseResult {
    let both = Both::of(&place.frail)?;
    let participants = [(&both.orders, "orders"), (&both.stock, "stock")];
    let mut proposal = Decision::Commit;
    for (store, part) in participants {
        yield_now().await;
        if !vote(place, store, work, &effect(transaction, part)).await? {
            proposal = Decision::Rollback;
            break;
        }
    }
    yield_now().await;
    let ruling = place.frail.decide(work, proposal).await?;
    note(told, |told| told.rulings.push((transaction, ruling)));
    for (store, _) in participants {
        yield_now().await;
        match ruling {
            Decision::Commit => store.commit_prepared(work).await?,
            Decision::Rollback => store.rollback_prepared(work).await?,
        }
    }
    yield_now().await;
    place.frail.finish(work, ruling).await?;
    note(told, |told| told.done.push((transaction, ruling)));
    Ok(())
}

async fn run<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    harness: Arc<H>,
    schedule: Vec<Step>,
    transactions: usize,
) -> CaseResult {
    let place = Arc::new(Place::fresh(harness).await?);
    let (tick, hour) = (place.harness.tick(), std::time::Duration::from_secs(3_600));
    let pattern = participation_until(&place.direct, "v8", tick * 12, hour).await?;
    let told = SharedTold::default();
    let schedule = Arc::new(schedule);
    let workers = (0..WORKERS).map(|worker| {
        let (place, told) = (Arc::clone(&place), Arc::clone(&told));
        let (schedule, pattern) = (Arc::clone(&schedule), pattern.clone());
        async move {
            for step in schedule.iter().skip(worker).step_by(WORKERS) {
                match step {
                    Step::Cut => place.cut(),
                    Step::Sweep { dies_at } => {
                        let sweeper = sweeper(&place.frail)?;
                        drop(drop_at_poll(*dies_at, sweeper.sweep()).await);
                    }
                    Step::Attempt {
                        transaction,
                        dies_at,
                    } => {
                        let work = named(&pattern, &format!("v8/{transaction}"))?;
                        let attempt = coordinate(&place, &work, *transaction, &told);
                        // What went wrong is the next attempt's affair, or the sweeper's.
                        drop(drop_at_poll(*dies_at, attempt).await);
                    }
                }
                yield_now().await;
            }
            CaseResult::Ok(())
        }
    });
    for ended in race(workers.collect::<Vec<_>>()).await? {
        ended?;
    }
    until(&place.direct, pattern.not_after()).await?;
    sweep_until_clean(&place).await?;
    let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    audit(&place, &pattern, transactions, &told).await
}

/// V8: after sweeps past the deadline nothing is in doubt and nothing is open.
async fn sweep_until_clean<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    place: &Place<H>,
) -> CaseResult {
    let both = Both::of(&place.direct)?;
    for _ in 0..40 {
        let report = sweeper(&place.direct)?.sweep().await?;
        ensure!(report.alarms.is_empty(), seen: report, "V10: a sweep without an alarm");
        let mut left = 0;
        for store in [&both.orders, &both.stock] {
            left += all_in_doubt(store, 100).await?.len();
        }
        if left == 0 && report.failed.is_empty() {
            return place.ensure_idle().await;
        }
        tokio::time::sleep(place.harness.tick()).await;
    }
    Err(crate::CaseFailure::new(
        "V8: nothing to be in doubt after forty sweeps past the deadline",
        "something still is",
    ))
}

async fn audit<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    place: &Place<H>,
    pattern: &Participation,
    transactions: usize,
    told: &Told,
) -> CaseResult {
    let both = Both::of(&place.direct)?;
    for transaction in 0..transactions {
        let work = named(pattern, &format!("v8/{transaction}"))?;
        let entry = retry(|| place.direct.decision(&work)).await?;
        let decision = entry.map(|entry| entry.decision);
        for (_, ruling) in told.rulings.iter().filter(|(of, _)| *of == transaction) {
            ensure_eq!(
                Some(*ruling),
                decision,
                "V12: what stands, by an earlier ruling"
            );
        }
        let committed = decision == Some(Decision::Commit);
        for (store, part) in [(&both.orders, "orders"), (&both.stock, "stock")] {
            let status = retry(|| store.prepared_status(&work)).await?;
            let right = match status {
                PreparedStatus::Committed => committed,
                PreparedStatus::RolledBack | PreparedStatus::None => !committed,
                PreparedStatus::Prepared | PreparedStatus::Forgotten => false,
            };
            ensure!(
                right,
                seen: status,
                "V10: {part} to stand where {decision:?} says, in transaction {transaction}"
            );
            ensure_eq!(
                place.effects(&effect(transaction, part)).await?,
                u64::from(committed),
                "V2, V3, V10: effects of transaction {transaction} at {part}"
            );
        }
        for (_, done) in told.done.iter().filter(|(of, _)| *of == transaction) {
            ensure_eq!(
                Some(*done),
                decision,
                "V3: what a coordinator was told at its end"
            );
        }
    }
    Ok(())
}

/// Goal: V2, V3, V8, V10 and V12 of two-phase commits. Method: coordinators that die at random
/// points, several at one transaction, beside sweepers; at the end a sweep, and an audit.
async fn v8_participants_agree<H: Harness<Store: PreparedTransactions + DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let _two_phase = crate::cases::prepared::support::participation(&cx, "v8").await?;
    let mut rng = cx.case().rng();
    for _ in 0..cx.case().scaled(3, 1) {
        let transactions = cx.case().scaled(16, 8);
        let schedule = draw(&mut rng, transactions, transactions * 4);
        hold(&cx, schedule, |harness, schedule| {
            run(harness, schedule, transactions)
        })
        .await?;
    }
    Ok(())
}

cases! { "invariants::two_phase" for PreparedTransactions where DecisionRegister, "core::PreparedTransactions, Contract";
    V8 v8_participants_agree: "under random faults participants agree with the register: V2, V3, V8, V10, V12",
        "see which invariant is named; the schedule shows the shortest way to it";
}
