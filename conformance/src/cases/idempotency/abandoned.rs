//! Abandoned: what was answered when the caller was gone.

use exactly_once_core::{Claimed, IdempotencyStore, Transactional};

use super::{
    crash::ensure_nothing_left,
    support::{claimed, completed},
};
use crate::{
    CaseResult,
    cases::{
        cases,
        faulty::{POLLS_MAX, crash_points, slow},
        support::{claim, receipt},
    },
    check::CaseFailure,
    context::Context,
    ensure_eq,
    faults::polls::drop_when_woken,
    harness::Harness,
};

fn endless() -> CaseResult {
    Err(CaseFailure::new(
        format!("the call to complete within {POLLS_MAX} polls"),
        "it was still pending",
    ))
}

/// Goal: a claim whose answer is there, and whose caller is gone before he looked at it, holds nothing.
/// Method: drop it at every wake; nothing is left open, and the key is fresh for the next one.
async fn i40_claim_dropped_with_its_answer<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (_proxy, store) = slow(&cx).await?;
    let wanted = crash_points(cx.case());
    for k in (1..=POLLS_MAX).filter(|k| wanted(*k)) {
        let id = format!("i40/{k}");
        let claim = claim(&id)?;
        let answer = drop_when_woken(k, store.claim(&claim)).await;
        let whole = answer.is_some();
        drop(answer);
        ensure_nothing_left(&cx).await?;
        match claimed(cx.store(), &claim).await? {
            Claimed::Fresh(tx) => drop(tx),
            other => {
                return Err(CaseFailure::new(
                    "a key whose claim was dropped to be fresh in the end",
                    format!("{other:?}"),
                ));
            }
        }
        // The dropped call's handle works on, and its connection is clean.
        completed(&cx, &store, &claim, &id, &receipt("40")).await?;
        ensure_eq!(cx.effects(&id).await?, 1, "effects after the drop");
        if whole {
            return ensure_nothing_left(&cx).await;
        }
    }
    endless()
}

/// Goal: the same of a transaction whose caller is gone. Method: drop its begin at every wake; then
/// an effect goes through.
async fn i40_begin_dropped_with_its_answer<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (_proxy, store) = slow(&cx).await?;
    let wanted = crash_points(cx.case());
    for k in (1..=POLLS_MAX).filter(|k| wanted(*k)) {
        let id = format!("i40/{k}");
        let answer = drop_when_woken(k, store.begin()).await;
        let whole = answer.is_some();
        drop(answer);
        ensure_nothing_left(&cx).await?;
        completed(&cx, &store, &claim(&id)?, &id, &receipt("40")).await?;
        ensure_eq!(cx.effects(&id).await?, 1, "effects after the drop");
        if whole {
            return ensure_nothing_left(&cx).await;
        }
    }
    endless()
}

cases! { "idempotency::abandoned" for IdempotencyStore, "core::IdempotencyStore, Contract";
    I40 i40_claim_dropped_with_its_answer: "a claim that was answered when its caller was gone holds nothing",
        "the open transaction lies in the answer, which nobody takes: it stays until its idle timeout";
    I40 i40_begin_dropped_with_its_answer: "a transaction that was begun for nobody holds nothing",
        "the open transaction lies in the answer, which nobody takes: it stays until its idle timeout";
}
