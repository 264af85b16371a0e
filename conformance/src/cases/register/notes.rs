//! Notes of what came of a decision: every participant has confirmed it, or one did not obey.

use exactly_once_core::{
    Decision, DecisionRegister, Dispute, ErrorKind, NamespaceIdentity, Participation, Settlement,
    identity_of,
};

use super::{lasting, lists::all_unfinished};
use crate::{
    CaseResult,
    cases::{
        cases,
        prepared::support::{named, other_request, participation_until, until},
        support::refused,
    },
    check::Expecting,
    context::Context,
    ensure_eq,
    harness::Harness,
};

/// The decision, whether it is finished, and its disputes.
async fn state<S: DecisionRegister>(
    store: &S,
    work: &Participation,
) -> CaseResult<(Decision, bool, Vec<Dispute>)> {
    let entry = store.decision(work).await?.expecting("the entry")?;
    let found = store.find_decision(work.transaction()).await?;
    ensure_eq!(
        found.as_ref(),
        Some(&entry),
        "the entry, found by its digest"
    );
    Ok((entry.decision, entry.finished, entry.disputes))
}

/// Goal: a register that was restored under a running coordinator, and has decided otherwise since, is
/// not finished by the decision that it has lost. Method: finish each decision as the other one, before
/// and after it is finished; settle one otherwise.
async fn r17_finish_names_the_decision<H: Harness<Store: DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    for (stands, other) in [
        (Decision::Commit, Decision::Rollback),
        (Decision::Rollback, Decision::Commit),
    ] {
        let store = cx.store();
        let work = lasting(&cx, &format!("r17/{}", stands.as_str())).await?;
        store.decide(&work, stands).await?;
        for finished in [false, true] {
            let answer = store.finish(&work, other).await;
            refused(answer, ErrorKind::Heuristic, "the end of another decision")?;
            let expected = (stands, finished, Vec::new());
            ensure_eq!(state(store, &work).await?, expected, "what stands");
            store.finish(&work, stands).await?;
        }
        let settled = Settlement::now(store, other, "ops", "by hand").await?;
        store.settle(&work, &settled).await?;
        let answer = store.finish(&work, stands).await;
        refused(
            answer,
            ErrorKind::Busy,
            "the end of what was settled otherwise",
        )?;
        store.finish(&work, other).await?;
    }
    Ok(())
}

/// Goal: a decision that a participant did not obey is unfinished until an operator settles it. Method:
/// dispute one that is finished, twice for each of two participants; finish, reopen, settle it.
async fn r18_disputes<H: Harness<Store: DecisionRegister>>(mut cx: Context<H>) -> CaseResult {
    for decision in [Decision::Commit, Decision::Rollback] {
        let work = lasting(&cx, &format!("r18/{}", decision.as_str())).await?;
        let store = cx.store();
        let participant = identity_of(store).await?;
        let first = Dispute::now(store, participant, decision).await?;
        let answer = store.dispute(&work, &first).await;
        refused(
            answer,
            ErrorKind::NotPrepared,
            "a dispute of what was never decided",
        )?;
        store.decide(&work, decision).await?;
        store.finish(&work, decision).await?;
        let against = match decision {
            Decision::Commit => Decision::Rollback,
            Decision::Rollback => Decision::Commit,
        };
        let otherwise = Dispute::now(store, participant, against).await?;
        let answer = store.dispute(&work, &otherwise).await;
        refused(
            answer,
            ErrorKind::Heuristic,
            "a dispute of another decision",
        )?;
        let answer = store.dispute(&other_request(&work)?, &first).await;
        refused(answer, ErrorKind::Mismatch, "a dispute of another request")?;
        ensure_eq!(
            state(store, &work).await?,
            (decision, true, Vec::new()),
            "what stands before the dispute"
        );
        let another = NamespaceIdentity::from_bytes([0xd1; 16]);
        let second = Dispute::now(store, another, decision).await?;
        for dispute in [&first, &second, &first, &second] {
            ensure_eq!(store.dispute(&work, dispute).await?, None, "the settlement");
        }
        let later = Dispute::now(store, participant, decision).await?;
        store.dispute(&work, &later).await?;
        cx.reopen().await?;
        let store = cx.store();
        let answer = store.finish(&work, decision).await;
        refused(
            answer,
            ErrorKind::Heuristic,
            "the end of a disputed decision",
        )?;
        let disputed = (decision, false, vec![first.clone(), second]);
        ensure_eq!(state(store, &work).await?, disputed, "what stands");
        let listed = all_unfinished(store, 10).await?;
        let listed = Vec::from_iter(listed.into_iter().map(|entry| entry.disputes));
        ensure_eq!(
            listed.as_slice(),
            std::slice::from_ref(&disputed.2),
            "the disputes, as listed"
        );
        let settled = Settlement::now(store, decision, "ops", "by hand").await?;
        store.settle(&work, &settled).await?;
        let stands = store.dispute(&work, &first).await?;
        ensure_eq!(
            stands,
            Some(settled),
            "the answer to a dispute once it is settled"
        );
        store.finish(&work, decision).await?;
        ensure_eq!(
            state(store, &work).await?,
            (decision, true, disputed.2),
            "what stands once it is settled"
        );
        ensure_eq!(
            all_unfinished(store, 10).await?,
            Vec::new(),
            "what is unfinished"
        );
    }
    Ok(())
}

/// Goal: the alarm of a disputed decision does not end with the records that prove it. Method: let the
/// time of a disputed rollback pass, and that of one that was finished; forget.
async fn r19_a_dispute_outlives_the_records<H: Harness<Store: DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let store = cx.store();
    let tick = cx.tick();
    let brief = participation_until(store, "r19", tick * 12, tick * 13).await?;
    let participant = identity_of(store).await?;
    for finished in [false, true] {
        let work = &named(&brief, &format!("r19/{finished}"))?;
        store.decide(work, Decision::Rollback).await?;
        if finished {
            store.finish(work, Decision::Rollback).await?;
        }
        let dispute = Dispute::now(store, participant, Decision::Rollback).await?;
        store.dispute(work, &dispute).await?;
    }
    until(store, brief.forget_after()).await?;
    ensure_eq!(
        store.forget_decisions(9).await?,
        0,
        "disputed decisions that were removed"
    );
    let listed = all_unfinished(store, 10).await?;
    ensure_eq!(listed.len(), 2, "disputed decisions that are listed");
    for entry in listed {
        let work = entry.participation;
        let dispute = Dispute::now(store, participant, Decision::Rollback).await?;
        ensure_eq!(
            store.dispute(&work, &dispute).await?,
            None,
            "a dispute past its time"
        );
        let settled = Settlement::now(store, Decision::Commit, "ops", "by hand").await?;
        store.settle(&work, &settled).await?;
    }
    ensure_eq!(
        all_unfinished(store, 10).await?,
        Vec::new(),
        "what is unfinished"
    );
    Ok(())
}

cases! { "register::notes" for DecisionRegister, "core::DecisionRegister, Contract";
    R17 r17_finish_names_the_decision: "finish finishes the decision that it names, and no other",
        "finish sets a flag, whatever the row says";
    R18 r18_disputes: "a disputed decision is unfinished until it is settled",
        "a dispute is a flag of its own that nothing looks at";
    R19 r19_a_dispute_outlives_the_records: "a disputed decision is not removed with its time",
        "decisions are removed by their time alone", waits;
}
