//! Lists: what is finished, what is not, and what is removed in time.

use std::collections::BTreeSet;

use exactly_once_core::{
    Decision, DecisionRegister, ErrorKind, RegisterEntry, Settlement, Store, identity_of,
};

use super::{ensure_stands, lasting};
use crate::{
    CaseResult,
    cases::{
        cases,
        prepared::support::{decided_in_time, named, participation_until, until},
        support::{refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// All that is unfinished, page by page.
pub(super) async fn all_unfinished<S: DecisionRegister>(
    store: &S,
    limit: u32,
) -> CaseResult<Vec<RegisterEntry>> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = retry(|| store.unfinished(after.as_ref(), limit)).await?;
        ensure!(page.entries.len() <= limit as usize, seen: page, "at most {limit} entries");
        entries.extend(page.entries);
        ensure!(
            entries.len() < 10_000,
            "the pages of what is unfinished to come to an end"
        );
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(entries),
        }
    }
}

/// Goal: *finished* is noted once every participant has confirmed, and only where something was decided.
/// Method: finish what is unknown, decided, finished.
async fn r07_finish<H: Harness<Store: DecisionRegister>>(cx: Context<H>) -> CaseResult {
    let work = lasting(&cx, "r07").await?;
    let answer = cx.store().finish(&work, Decision::Commit).await;
    refused(
        answer,
        ErrorKind::NotPrepared,
        "finishing what was never decided",
    )?;
    ensure_eq!(cx.store().decision(&work).await?, None, "the decision");
    cx.store().decide(&work, Decision::Commit).await?;
    for _ in 0..3 {
        cx.store()
            .finish(&work, Decision::Commit)
            .await
            .expecting("finishing again to be fine")?;
        let entry = cx.store().decision(&work).await?.expecting("the entry")?;
        ensure_eq!(
            (entry.decision, entry.finished),
            (Decision::Commit, true),
            "the entry"
        );
    }
    ensure_eq!(
        all_unfinished(cx.store(), 10).await?,
        Vec::new(),
        "what is unfinished"
    );
    Ok(())
}

/// Goal: what is unfinished is listed in pages, by digest, of this namespace only. Method: twelve
/// here of which some are finished, one elsewhere; pages of each size.
async fn r08_unfinished<H: Harness<Store: DecisionRegister>>(cx: Context<H>) -> CaseResult {
    let pattern = lasting(&cx, "r08").await?;
    let namespace = format!("{}/r08", cx.store().namespace());
    let other = cx.store().with_namespace(namespace.parse()?);
    let held = identity_of(&other).await?;
    let its = pattern
        .clone()
        .entitled(held, pattern.participants().clone());
    other.decide(&its, Decision::Commit).await?;
    ensure_eq!(
        cx.store().decision(&pattern).await?,
        None,
        "another namespace's decision"
    );
    let mut expected = BTreeSet::new();
    for number in 0..12 {
        let work = named(&pattern, &format!("r08/{number}"))?;
        let decision = [Decision::Commit, Decision::Rollback][number % 2];
        cx.store().decide(&work, decision).await?;
        if number % 3 == 0 {
            cx.store().finish(&work, decision).await?;
        } else {
            expected.insert(*work.transaction());
        }
    }
    let expected: Vec<_> = expected.into_iter().collect();
    for limit in [1, 3, 7, 8, 9, 1_000] {
        let listed = all_unfinished(cx.store(), limit).await?;
        let listed: Vec<_> = listed
            .iter()
            .map(|entry| *entry.participation.transaction())
            .collect();
        ensure_eq!(listed, expected, "what is unfinished, in pages of {limit}");
    }
    refused(
        cx.store().unfinished(None, 0).await,
        ErrorKind::Invalid,
        "a page of 0",
    )?;
    ensure_eq!(
        all_unfinished(&other, 10).await?.len(),
        1,
        "what is unfinished elsewhere"
    );
    Ok(())
}

/// Goal: the same transaction in two namespaces has two decisions. Method: commit here, roll back
/// there, finish there.
async fn r15_namespaces_are_apart<H: Harness<Store: DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let work = lasting(&cx, "r15").await?;
    let namespace = format!("{}/r15", cx.store().namespace());
    let other = cx.store().with_namespace(namespace.parse()?);
    // Each register is asked about the transaction that names it.
    let held = identity_of(&other).await?;
    let its = work.clone().entitled(held, work.participants().clone());
    for (store, work, proposal) in [
        (cx.store(), &work, Decision::Commit),
        (&other, &its, Decision::Rollback),
    ] {
        let told = store.decide(work, proposal).await?;
        ensure_eq!(told, proposal, "the decision in {}", store.namespace());
    }
    other.finish(&its, Decision::Rollback).await?;
    let here = cx.store().decision(&work).await?.expecting("the entry")?;
    ensure_eq!(
        (here.decision, here.finished),
        (Decision::Commit, false),
        "the entry here"
    );
    let there = other.decision(&its).await?.expecting("the entry there")?;
    ensure_eq!(
        (there.decision, there.finished),
        (Decision::Rollback, true),
        "the entry there"
    );
    ensure_stands(&cx, &work, Decision::Commit).await
}

/// Goal: the last page of what is unfinished says so. Method: pages that are just full, and one more.
async fn r16_the_last_page<H: Harness<Store: DecisionRegister>>(cx: Context<H>) -> CaseResult {
    let pattern = lasting(&cx, "r16").await?;
    for number in 0..4 {
        let work = named(&pattern, &format!("r16/{number}"))?;
        cx.store().decide(&work, Decision::Commit).await?;
    }
    for (limit, last) in [(3, false), (4, true), (5, true)] {
        let page = cx.store().unfinished(None, limit).await?;
        ensure_eq!(
            page.next.is_none(),
            last,
            "whether a page of {limit} is the last of 4"
        );
    }
    Ok(())
}

/// Goal: a decision is removed only past its time, and a commit only when finished; then nothing is
/// written any more. What an operator settled is kept, and answered. Method: commits and rollbacks,
/// finished or not, and one settled otherwise than it was decided; forget before and after.
async fn r09_forget<H: Harness<Store: DecisionRegister>>(cx: Context<H>) -> CaseResult {
    let kept = lasting(&cx, "r09/kept").await?;
    cx.store().decide(&kept, Decision::Commit).await?;
    cx.store().finish(&kept, Decision::Commit).await?;
    let tick = cx.tick();
    let brief = participation_until(cx.store(), "r09", tick * 25, tick * 27).await?;
    let works = ["told", "untold", "undone", "undone and told"]
        .map(|name| named(&brief, &format!("r09/{name}")));
    let [told, untold, undone, undone_told] = works;
    let (told, untold, undone, undone_told) = (told?, untold?, undone?, undone_told?);
    for work in [&told, &untold] {
        decided_in_time(cx.store(), work).await?;
    }
    cx.store().decide(&undone, Decision::Rollback).await?;
    cx.store().decide(&undone_told, Decision::Rollback).await?;
    cx.store().finish(&told, Decision::Commit).await?;
    cx.store().finish(&undone_told, Decision::Rollback).await?;
    let settled = named(&brief, "r09/settled")?;
    decided_in_time(cx.store(), &settled).await?;
    let rolled_back = Settlement::now(cx.store(), Decision::Rollback, "ops", "by hand").await?;
    cx.store().settle(&settled, &rolled_back).await?;
    cx.store().finish(&settled, Decision::Rollback).await?;
    refused(
        cx.store().forget_decisions(0).await,
        ErrorKind::Invalid,
        "a limit of 0",
    )?;
    if cx.store().now().await? < brief.not_after() {
        ensure_eq!(
            cx.store().forget_decisions(9).await?,
            0,
            "removed before their time"
        );
    }
    until(cx.store(), brief.forget_after()).await?;
    let namespace = format!("{}/r09", cx.store().namespace());
    let other = cx.store().with_namespace(namespace.parse()?);
    ensure_eq!(
        other.forget_decisions(9).await?,
        0,
        "removed from another namespace"
    );
    let mut removed = Vec::new();
    for _ in 0..3 {
        removed.push(cx.store().forget_decisions(2).await?);
    }
    ensure_eq!(
        removed,
        [2, 1, 0],
        "removed by three calls with a limit of 2"
    );
    let entry = cx
        .store()
        .decision(&untold)
        .await?
        .expecting("the unfinished commit")?;
    ensure_eq!(entry.decision, Decision::Commit, "the unfinished commit");
    ensure_eq!(
        cx.store().decide(&untold, Decision::Rollback).await?,
        Decision::Commit,
        "its answer"
    );
    ensure_eq!(
        cx.store().decide(&settled, Decision::Commit).await?,
        Decision::Rollback,
        "the answer to a late attempt, once it was settled as rolled back"
    );
    let entry = cx.store().decision(&settled).await?;
    ensure_eq!(
        entry.and_then(|entry| entry.settled),
        Some(rolled_back),
        "the settlement, past its time"
    );
    ensure_stands(&cx, &kept, Decision::Commit).await?;
    for work in [&told, &undone, &undone_told] {
        ensure_eq!(cx.store().decision(work).await?, None, "what was removed");
        for proposal in [Decision::Commit, Decision::Rollback] {
            let answer = cx.store().decide(work, proposal).await;
            refused(
                answer,
                ErrorKind::Forgotten,
                "a proposal after it was forgotten",
            )?;
        }
        ensure_eq!(
            cx.store().decision(work).await?,
            None,
            "what was removed, after proposals"
        );
    }
    Ok(())
}

/// Goal: nothing is written after `forget_after`, also where nothing ever was. Method: let it pass,
/// propose.
async fn r10_nothing_after_its_time<H: Harness<Store: DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation_until(cx.store(), "r10", cx.tick(), cx.tick() * 2).await?;
    until(cx.store(), work.forget_after()).await?;
    for proposal in [Decision::Commit, Decision::Rollback] {
        let answer = cx.store().decide(&work, proposal).await;
        refused(answer, ErrorKind::Forgotten, "a proposal after its time")?;
    }
    ensure_eq!(cx.store().decision(&work).await?, None, "the decision");
    Ok(())
}

cases! { "register::lists" for DecisionRegister, "core::DecisionRegister, Contract";
    R07 r07_finish: "finished is noted only where something was decided",
        "finish is an upsert: it makes a decision up";
    R08 r08_unfinished: "what is unfinished is listed in pages without gap or duplicate",
        "finished ones or other namespaces' are listed, or pages go by OFFSET";
    R09 r09_forget: "a decision is removed only past its time, a commit only when finished",
        "an unfinished commit is removed: its participant is rolled back", waits;
    R15 r15_namespaces_are_apart: "the same transaction in two namespaces has two decisions",
        "the namespace is missing in the primary key";
    R16 r16_the_last_page: "the last page of what is unfinished says so",
        "a page that is just full is told to have a next one";
    R10 r10_nothing_after_its_time: "nothing is written after forget_after",
        "a zombie's commit is taken after everything was forgotten";
}
