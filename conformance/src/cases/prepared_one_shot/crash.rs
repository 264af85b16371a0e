//! Crash: whatever is lost on the way, a retry goes on where it stands.

use exactly_once_core::{OneShotParticipant, Participation, Statement};

use super::support::{CALLS, Call, statement};
use crate::{
    CaseResult,
    cases::{
        cases,
        faulty::{POLLS_MAX, crash_points, every_cut, slow},
        prepared::support::{
            commit, ensure_committed, ensure_nothing_open, ensure_rolled_back, named,
            participation, rollback,
        },
    },
    check::Expecting,
    context::Context,
    ensure_eq,
    faults::polls::some_polls,
    harness::Harness,
};

/// After a call that may or may not have gone through: its retry and the commit have one effect.
async fn settle<H: Harness<Store: OneShotParticipant>>(
    cx: &Context<H>,
    call: Call,
    work: &Participation,
    one: &[Statement],
    effect: &str,
) -> CaseResult {
    ensure_nothing_open(cx).await?;
    let retried = call.retried(cx.store(), work, one).await;
    retried.expecting("the retry to get through")?;
    commit(cx.store(), work)
        .await
        .expecting("the commit after it")?;
    ensure_committed(cx, work, effect).await
}

/// Goal: a call may be dropped at any poll. Method: drop it at each; by turns, a retry goes on, or a
/// rollback ends it.
async fn t87_dropped_at_every_poll<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    statement(&cx, "t87")?;
    let (_proxy, store) = slow(&cx).await?;
    let pattern = participation(&cx, "t87").await?;
    let (cx, store, pattern) = (&cx, &store, &pattern);
    for (call, undone) in [
        (Call::Prepare, false),
        (Call::Prepare, true),
        (Call::Alone, false),
    ] {
        let id = |k: usize| format!("t87/{call:?}/{undone}/{k}");
        some_polls(
            POLLS_MAX,
            crash_points(cx.case()),
            |k| async move {
                let one = [statement(cx, &id(k))?];
                CaseResult::Ok(call.once(store, &named(pattern, &id(k))?, &one).await)
            },
            |k, _| async move {
                let (work, one) = (named(pattern, &id(k))?, [statement(cx, &id(k))?]);
                if !undone {
                    return settle(cx, call, &work, &one, &id(k)).await;
                }
                rollback(cx.store(), &work)
                    .await
                    .expecting("the rollback to get through")?;
                ensure_rolled_back(cx, &work, &id(k)).await
            },
        )
        .await?;
    }
    Ok(())
}

/// Goal: a call may be cut before and after any request; what is answered may be retried. Method: cut
/// at each.
async fn t88_cut_at_every_request<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    statement(&cx, "t88")?;
    let pattern = participation(&cx, "t88").await?;
    let (cx, pattern) = (&cx, &pattern);
    for call in CALLS {
        let id = |number: usize| format!("t88/{call:?}/{number}");
        every_cut(
            cx,
            |store, number| async move {
                let one = [statement(cx, &id(number))?];
                CaseResult::Ok(call.once(&store, &named(pattern, &id(number))?, &one).await)
            },
            |number, answer: CaseResult<_>| async move {
                if let Err(error) = answer? {
                    ensure_eq!(error.is_retryable(), true, "whether {error} may be retried");
                }
                let (work, one) = (named(pattern, &id(number))?, [statement(cx, &id(number))?]);
                settle(cx, call, &work, &one, &id(number)).await
            },
        )
        .await?;
    }
    Ok(())
}

cases! { "prepared_one_shot::crash" for OneShotParticipant, "core::OneShotParticipant, Contract";
    T87 t87_dropped_at_every_poll: "a call dropped at any poll can be retried, and rolled back",
        "a connection goes back to the pool with its transaction open";
    T88 t88_cut_at_every_request: "a call cut at any request can be retried",
        "a lost reply is told as terminal, or as not prepared";
}
