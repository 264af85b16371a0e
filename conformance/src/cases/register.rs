//! Cases of [`DecisionRegister`](exactly_once_core::DecisionRegister): what is decided, for good.

mod lists;
mod notes;

use std::time::Duration;

use exactly_once_core::{
    Decision, DecisionRegister, Error, ErrorKind, Fingerprint, Participation, TransactionId,
};

use self::lists::all_unfinished;
use super::{
    Registry, cases,
    faulty::{POLLS_MAX, crash_points, every_cut, slow},
    prepared::support::{
        decided_in_time, named, other_deadline, other_request, participation_until, until,
    },
    support::{race, refused, retry},
};
use crate::{
    CaseResult, check::Expecting, context::Context, ensure_eq, faults::polls::drop_at_poll,
    harness::Harness,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A transaction with all the time in the world.
async fn lasting<H: Harness<Store: DecisionRegister>>(
    cx: &Context<H>,
    name: &str,
) -> CaseResult<Participation> {
    participation_until(cx.store(), name, HOUR, HOUR * 2).await
}

/// Requires that this decision stands, whatever is proposed, by both handles.
async fn ensure_stands<H: Harness<Store: DecisionRegister>>(
    cx: &Context<H>,
    work: &Participation,
    decision: Decision,
) -> CaseResult {
    for proposal in [
        Decision::Commit,
        Decision::Rollback,
        Decision::Rollback,
        Decision::Commit,
    ] {
        let store = cx.store();
        let seen = retry(|| store.decide(work, proposal)).await?;
        ensure_eq!(seen, decision, "the answer to the proposal {proposal:?}");
        let store = cx.store();
        let entry = retry(|| store.decision(work))
            .await?
            .expecting("an entry in the register")?;
        ensure_eq!(
            (&entry.participation, entry.decision),
            (work, decision),
            "the entry"
        );
    }
    Ok(())
}

/// Goal: nothing stands where nothing was decided; asking writes nothing. Method: ask, then
/// propose.
async fn r01_nothing_stands_at_first<H: Harness<Store: DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let work = lasting(&cx, "r01").await?;
    for _ in 0..2 {
        ensure_eq!(
            cx.store().decision(&work).await?,
            None,
            "the decision at first"
        );
    }
    ensure_eq!(
        all_unfinished(cx.store(), 10).await?,
        Vec::new(),
        "what is unfinished"
    );
    ensure_eq!(
        cx.store().decide(&work, Decision::Rollback).await?,
        Decision::Rollback,
        "the decision"
    );
    ensure_stands(&cx, &work, Decision::Rollback).await
}

/// Goal: the first writer wins. Method: a commit and a rollback, each followed by every proposal.
async fn r02_first_writer_wins<H: Harness<Store: DecisionRegister>>(cx: Context<H>) -> CaseResult {
    for first in [Decision::Commit, Decision::Rollback] {
        let work = lasting(&cx, &format!("r02/{}", first.as_str())).await?;
        ensure_eq!(
            cx.store().decide(&work, first).await?,
            first,
            "the first proposal's answer"
        );
        ensure_stands(&cx, &work, first).await?;
    }
    Ok(())
}

/// Goal: a zombie coordinator's late decision gets what stands (T36). Method: the sweeper has
/// written rollback; the coordinator proposes commit; and the same the other way round.
async fn t36_late_decision<H: Harness<Store: DecisionRegister>>(cx: Context<H>) -> CaseResult {
    let work = lasting(&cx, "t36").await?;
    cx.store().decide(&work, Decision::Rollback).await?;
    cx.store().finish(&work, Decision::Rollback).await?;
    ensure_eq!(
        cx.store().decide(&work, Decision::Commit).await?,
        Decision::Rollback,
        "the late answer"
    );
    ensure_stands(&cx, &work, Decision::Rollback).await?;
    let work = lasting(&cx, "t36/committed").await?;
    cx.store().decide(&work, Decision::Commit).await?;
    cx.store().finish(&work, Decision::Commit).await?;
    ensure_eq!(
        cx.store().decide(&work, Decision::Rollback).await?,
        Decision::Commit,
        "the late answer"
    );
    ensure_stands(&cx, &work, Decision::Commit).await
}

/// Goal: a transaction's name belongs to its request and deadlines. Method: every call with others.
async fn r03_mismatch<H: Harness<Store: DecisionRegister>>(cx: Context<H>) -> CaseResult {
    let work = lasting(&cx, "r03").await?;
    cx.store().decide(&work, Decision::Commit).await?;
    for other in [other_request(&work)?, other_deadline(&work)?] {
        let mismatch = ErrorKind::Mismatch;
        let answer = cx.store().decide(&other, Decision::Rollback).await;
        refused(
            answer,
            mismatch,
            "a decision for another request or deadline",
        )?;
        refused(
            cx.store().decision(&other).await,
            mismatch,
            "asking with another one",
        )?;
        refused(
            cx.store().finish(&other, Decision::Commit).await,
            mismatch,
            "finishing with another one",
        )?;
    }
    let entry = cx.store().decision(&work).await?.expecting("the entry")?;
    ensure_eq!(entry.finished, false, "whether it is finished");
    ensure_stands(&cx, &work, Decision::Commit).await
}

/// Goal: a commit that arrives after the deadline becomes a rollback, for good. Method: let the
/// deadline pass, propose; one that was decided in time stands.
async fn r04_commit_after_the_deadline<H: Harness<Store: DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let in_time = participation_until(cx.store(), "r04/in time", cx.tick() * 20, HOUR).await?;
    decided_in_time(cx.store(), &in_time).await?;
    let late = participation_until(cx.store(), "r04/late", cx.tick() * 2, HOUR).await?;
    let undone = named(&late, "r04/undone")?;
    until(cx.store(), late.not_after()).await?;
    ensure_eq!(
        cx.store().decision(&late).await?,
        None,
        "the decision before anything is proposed"
    );
    ensure_eq!(
        cx.store().decide(&late, Decision::Commit).await?,
        Decision::Rollback,
        "the answer to a commit after the deadline"
    );
    ensure_stands(&cx, &late, Decision::Rollback).await?;
    ensure_eq!(
        cx.store().decide(&undone, Decision::Rollback).await?,
        Decision::Rollback,
        "the answer to a rollback after the deadline"
    );
    until(cx.store(), in_time.not_after()).await?;
    ensure_stands(&cx, &in_time, Decision::Commit).await
}

/// Goal: racers at the deadline agree. Method: proposals of commit from before to after it; what
/// stands is one value, and every racer got it.
async fn r05_racers_at_the_deadline<H: Harness<Store: DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let works = cx.case().scaled(24, 6);
    let deadline = participation_until(cx.store(), "r05", cx.tick() * 4, HOUR).await?;
    let tick = cx.tick();
    let racers = (0..works * 3).map(|racer| {
        let store = cx.store().clone();
        let work = named(&deadline, &format!("r05/{}", racer % works));
        async move {
            let work = work?;
            let wait = tick * 8 * (racer % works) as u32 / works as u32;
            tokio::time::sleep(wait).await;
            let proposal = if racer < works {
                Decision::Rollback
            } else {
                Decision::Commit
            };
            let told = retry(|| store.decide(&work, proposal)).await?;
            CaseResult::Ok((work, told))
        }
    });
    for told in race(racers.collect::<Vec<_>>()).await? {
        let (work, told) = told?;
        let entry = cx.store().decision(&work).await?.expecting("an entry")?;
        ensure_eq!(
            told,
            entry.decision,
            "what a racer at the deadline was told"
        );
    }
    Ok(())
}

/// Goal: of N proposals at once, one stands and all get it. Method: 16 racers, half of each.
async fn r06_racing_proposals<H: Harness<Store: DecisionRegister>>(cx: Context<H>) -> CaseResult {
    for round in 0..cx.case().scaled(16, 4) {
        let work = lasting(&cx, &format!("r06/{round}")).await?;
        let racers = (0..16).map(|racer| {
            let (store, work) = (cx.store().clone(), work.clone());
            let proposal = [Decision::Commit, Decision::Rollback][(racer + round) % 2];
            async move { retry(|| store.decide(&work, proposal)).await }
        });
        let told = race(racers.collect::<Vec<_>>()).await?;
        let mut told = told.into_iter().collect::<Result<Vec<_>, Error>>()?;
        told.sort_by_key(|decision| decision.as_str());
        told.dedup();
        ensure_eq!(
            told.len(),
            1,
            "different answers to the racers of round {round}"
        );
        ensure_stands(&cx, &work, told[0]).await?;
    }
    Ok(())
}

/// Goal: decisions survive closing all handles. Method: decide, reopen, propose the opposite.
async fn r11_reopen<H: Harness<Store: DecisionRegister>>(mut cx: Context<H>) -> CaseResult {
    let work = lasting(&cx, "r11").await?;
    cx.store().decide(&work, Decision::Commit).await?;
    cx.reopen().await?;
    ensure_eq!(
        all_unfinished(cx.store(), 10).await?.len(),
        1,
        "what is unfinished"
    );
    ensure_stands(&cx, &work, Decision::Commit).await?;
    cx.store().finish(&work, Decision::Commit).await?;
    cx.reopen().await?;
    let entry = cx.store().decision(&work).await?.expecting("the entry")?;
    ensure_eq!(
        entry.finished,
        true,
        "whether it is finished after a reopen"
    );
    Ok(())
}

/// Goal: a proposal may be dropped at any poll. Method: drop a commit at each, then propose the
/// opposite: one of both stands, and it stands for good.
async fn r12_dropped_at_every_poll<H: Harness<Store: DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let (_proxy, store) = slow(&cx).await?;
    let pattern = lasting(&cx, "r12").await?;
    let wanted = crash_points(cx.case());
    for k in (1..=POLLS_MAX).filter(|k| wanted(*k)) {
        let work = named(&pattern, &format!("r12/{k}"))?;
        let told = drop_at_poll(k, store.decide(&work, Decision::Commit)).await;
        let whole = told.is_some();
        let direct = cx.store();
        let stands = retry(|| direct.decide(&work, Decision::Rollback)).await?;
        if let Some(Ok(told)) = told {
            ensure_eq!(
                stands,
                told,
                "what stands, by the word of the first proposal"
            );
        }
        ensure_stands(&cx, &work, stands).await?;
        if whole {
            return Ok(());
        }
    }
    Err(crate::CaseFailure::new(
        format!("a proposal to complete within {POLLS_MAX} polls"),
        "it was still pending",
    ))
}

/// Goal: a proposal may be cut before and after any request. Method: as R12, with a cut.
async fn r13_cut_at_every_request<H: Harness<Store: DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = lasting(&cx, "r13").await?;
    let (cx, pattern) = (&cx, &pattern);
    every_cut(
        cx,
        |store, number| async move {
            let work = named(pattern, &format!("r13/{number}"))?;
            CaseResult::Ok(store.decide(&work, Decision::Commit).await)
        },
        |number, answer: CaseResult<_>| async move {
            let work = named(pattern, &format!("r13/{number}"))?;
            let direct = cx.store();
            let stands = retry(|| direct.decide(&work, Decision::Rollback)).await?;
            match answer? {
                Ok(told) => ensure_eq!(stands, told, "what stands, by the first proposal's word"),
                Err(error) => {
                    ensure_eq!(error.is_retryable(), true, "whether {error} may be retried")
                }
            }
            ensure_stands(cx, &work, stands).await
        },
    )
    .await
}

/// Goal: names are taken as they are. Method: names that differ in case, spacing and last byte.
async fn r14_names_are_apart<H: Harness<Store: DecisionRegister>>(cx: Context<H>) -> CaseResult {
    let pattern = lasting(&cx, "r14").await?;
    let long = "n".repeat(254);
    let names = [
        "r14/a",
        "r14/A",
        "r14/a ",
        "'",
        "\\",
        &format!("{long}1"),
        &format!("{long}2"),
    ];
    for (number, name) in names.iter().enumerate() {
        let decision = [Decision::Commit, Decision::Rollback][number % 2];
        let request = Fingerprint::of_bytes("conformance", name.as_bytes());
        let (not_after, end) = (pattern.not_after(), pattern.forget_after());
        let work = Participation::new(&TransactionId::new(*name)?, request, not_after, end)?;
        ensure_eq!(
            cx.store().decide(&work, decision).await?,
            decision,
            "the decision of {name:?}"
        );
    }
    ensure_eq!(
        all_unfinished(cx.store(), 100).await?.len(),
        names.len(),
        "entries"
    );
    Ok(())
}

/// All cases of the register.
pub(crate) fn register_all<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: DecisionRegister,
{
    register(registry);
    lists::register(registry);
    notes::register(registry);
}

cases! { "register::decide" for DecisionRegister, "core::DecisionRegister, Contract";
    R01 r01_nothing_stands_at_first: "nothing stands where nothing was decided",
        "asking for the decision writes one";
    R02 r02_first_writer_wins: "the first writer wins",
        "the register lets the last writer win";
    R03 r03_mismatch: "a transaction's name belongs to its request and deadlines",
        "the fingerprint is not compared";
    R04 r04_commit_after_the_deadline: "a commit after the deadline becomes a rollback",
        "the deadline is not looked at, or a client's clock is", waits;
    R05 r05_racers_at_the_deadline: "racers at the deadline are all told what stands",
        "the answer is the proposal and not what was read back";
    R06 r06_racing_proposals: "of N proposals at once one stands, and all are told it",
        "look up, then insert: two statements, or no unique key";
    R11 r11_reopen: "decisions survive closing all handles",
        "something is kept in the handle instead of the database";
    R12 r12_dropped_at_every_poll: "a proposal dropped at any poll stands or not, for good",
        "the decision is read back before it is committed";
    R13 r13_cut_at_every_request: "a proposal cut at any request stands or not, for good",
        "the decision is told before it is on the disk";
    R14 r14_names_are_apart: "names that differ in anything are two transactions",
        "names are cut, folded or quoted by doubling only";
    T36 t36_late_decision: "a zombie's late decision is told what stands",
        "a finished decision may be written over";
}
