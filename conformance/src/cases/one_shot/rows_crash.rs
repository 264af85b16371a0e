//! Rows and a crash: after the commit, a retry gets the rows that were committed.

use exactly_once_core::OneShotStore;

use super::support::{executed, with_row};
use crate::{
    CaseResult,
    cases::{
        cases,
        faulty::{POLLS_MAX, crash_points, every_cut, slow},
        idempotency::support::ensure_retryable,
    },
    context::Context,
    ensure_eq,
    faults::polls::some_polls,
    harness::Harness,
};

/// Goal: wherever a call is dropped, perhaps right after the commit, the next one gets the rows of the
/// only effect, and so does each later one. Method: drop it at every poll; retry by the same handle,
/// and by another one.
async fn q41_dropped_at_every_poll<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    with_row(&cx, "q41")?;
    let (_proxy, store) = slow(&cx).await?;
    let (store, cx) = (&store, &cx);
    some_polls(
        POLLS_MAX,
        crash_points(cx.case()),
        |k| async move {
            store
                .execute_one_shot(&with_row(cx, &format!("q41/{k}"))?)
                .await?;
            CaseResult::Ok(())
        },
        |k, _| async move {
            let id = format!("q41/{k}");
            let one = with_row(cx, &id)?;
            let rows = executed(store, &one).await?.returned()?.into_last();
            ensure_eq!(rows.len(), 1, "rows after the retry");
            let again = executed(cx.store(), &one).await?;
            ensure_eq!(again.replayed, true, "whether the last call is a replay");
            ensure_eq!(
                again.returned()?.into_last(),
                rows,
                "the rows of the last call"
            );
            ensure_eq!(cx.effects(&id).await?, 1, "effects after the retry");
            Ok(())
        },
    )
    .await?;
    Ok(())
}

/// Goal: wherever the connection is cut, the retry gets the rows of the only effect: those that were
/// answered, where they were. Method: cut at each request.
async fn q43_cut_at_every_request<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    with_row(&cx, "q43")?;
    let context = &cx;
    every_cut(
        &cx,
        |store, number| async move {
            match with_row(context, &format!("q43/{number}")) {
                Ok(effect) => Ok(store.execute_one_shot(&effect).await),
                Err(failure) => Err(failure),
            }
        },
        |number, answer| async move {
            let (answer, id) = (answer?, format!("q43/{number}"));
            let first = match answer {
                Ok(done) => Some(done.returned()?.into_last()),
                Err(error) => {
                    ensure_retryable(Err::<(), _>(error), "an effect that was cut off")?;
                    None
                }
            };
            let done = executed(context.store(), &with_row(context, &id)?).await?;
            let rows = done.returned()?.into_last();
            ensure_eq!(rows.len(), 1, "rows after the retry");
            if let Some(first) = first {
                ensure_eq!(rows, first, "the rows that were answered");
            }
            ensure_eq!(context.effects(&id).await?, 1, "effects after the retry");
            Ok(())
        },
    )
    .await
}

cases! { "one_shot::rows_crash" for OneShotStore, "core::OneShotStore, Contract";
    Q41 q41_dropped_at_every_poll: "wherever a call is dropped, a retry gets the committed rows",
        "rows are stored after the commit of the effect";
    Q43 q43_cut_at_every_request: "wherever it is cut, a retry gets the committed rows",
        "after a lost reply the statement is run again for its rows";
}
