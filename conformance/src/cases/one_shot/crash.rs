//! Crash: whatever is lost on the way, a retry gives the one right answer.

use exactly_once_core::{ErrorKind, OneShotStore, Outcome};

use super::support::{executed, named};
use crate::{
    CaseResult,
    cases::{
        cases,
        faulty::{POLLS_MAX, crash_points, every_cut, slow},
        idempotency::support::{ensure_agree, ensure_retryable},
        support::receipt,
    },
    context::Context,
    ensure, ensure_eq,
    faults::polls::some_polls,
    harness::Harness,
};

/// Goal: wherever a call is dropped, key and effect are both there or both not. Method: drop it at
/// every poll; look; retry by the same handle.
async fn i41s_dropped_at_every_poll<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    named(&cx, "i41", "is there a statement?")?;
    let (_proxy, store) = slow(&cx).await?;
    let (store, cx) = (&store, &cx);
    some_polls(
        POLLS_MAX,
        crash_points(cx.case()),
        |k| async move {
            store
                .execute_one_shot(&named(cx, &format!("i41/{k}"), "dropped")?)
                .await?;
            CaseResult::Ok(())
        },
        |k, _| async move {
            let id = format!("i41/{k}");
            let effect = named(cx, &id, "retried")?;
            ensure_agree(cx, &effect.claim, &id).await?;
            let done = executed(store, &effect).await?;
            let text = if done.replayed { "dropped" } else { "retried" };
            ensure_eq!(done.outcome, Outcome::Applied(receipt(text)), "the outcome");
            ensure_eq!(cx.effects(&id).await?, 1, "effects after the retry");
            Ok(())
        },
    )
    .await?;
    Ok(())
}

/// Goal: wherever the connection is cut, the answer is one that is retried, ambiguous where the
/// effect was had, and the retry gives the one right answer. Method: cut at each request.
async fn i43s_cut_at_every_request<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    named(&cx, "i43", "is there a statement?")?;
    let context = &cx;
    every_cut(
        &cx,
        |store, number| async move {
            let effect = named(context, &format!("i43/{number}"), "cut");
            match effect {
                Ok(effect) => Ok(store.execute_one_shot(&effect).await),
                Err(failure) => Err(failure),
            }
        },
        |number, answer| async move {
            let (answer, id) = (answer?, format!("i43/{number}"));
            let was_ok = answer.is_ok();
            let ambiguous = answer
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::Ambiguous);
            if !was_ok {
                ensure_retryable(answer, "an effect that was cut off")?;
            }
            let done = executed(context.store(), &named(context, &id, "retried")?).await?;
            if done.replayed && !was_ok {
                ensure!(
                    ambiguous,
                    "an error to be ambiguous when the effect was had all the same"
                );
            }
            ensure_eq!(context.effects(&id).await?, 1, "effects after the retry");
            Ok(())
        },
    )
    .await
}

cases! { "one_shot::crash" for OneShotStore, "core::OneShotStore, Contract";
    I41S i41s_dropped_at_every_poll: "key and effect are both there or both not",
        "a dropped caller's effect is half written, or undone for its whole group";
    I43S i43s_cut_at_every_request: "wherever it is cut, a retry gives the one right answer",
        "a lost reply is taken for `not executed`, or for a final answer";
}
