//! An effect under a key that changes a balance in its own transaction: the way both are used.

use std::sync::Arc;

use exactly_once_core::{
    BalanceStore, BalanceTransaction, Claimed, ErrorKind, ExecuteOnce, IdempotencyStore, Rejection,
};

use crate::{
    CaseResult,
    cases::{
        balance::support::{adjust, ensure_held, ensure_sound, opened, reaches_any_account},
        cases,
        idempotency::support::{completed, ensure_recorded, fresh},
        support::{claim, race, receipt, retry},
    },
    context::Context,
    ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: key, receipt, write and change are one commit. Method: change a balance and write under a
/// claim: nothing before the completion, all after it; a replay changes nothing.
async fn b70_completed_together<H: Harness<Store: IdempotencyStore + BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b70", 10).await?;
    let (claim, operation) = (claim("b70")?, adjust("b70/op", "b70", -4)?);
    let store = cx.store();
    let mut tx = fresh(store, &claim).await?;
    let applied = store.adjust_in(&mut tx, &operation).await?;
    cx.write(&mut tx, "b70").await?;
    ensure_eq!(cx.effects("b70").await?, 0, "effects before the completion");
    ensure_recorded(store.complete(tx, &claim, &receipt("70")).await)?;
    ensure_held(&cx, "b70", 6, 2).await?;
    ensure_eq!(cx.effects("b70").await?, 1, "effects");
    let store = cx.store();
    let again = retry(|| store.claim(&claim)).await?;
    ensure_matches!(
        again,
        Claimed::Completed(_),
        "the next claim to be answered"
    );
    let replay = cx.store().adjust(&operation).await?;
    ensure_eq!(
        (replay.replayed, replay.change),
        (true, applied.change),
        "the change's replay"
    );
    ensure_held(&cx, "b70", 6, 2).await?;
    ensure_sound(cx.store(), "b70").await?;
    Ok(())
}

/// Goal: a rejection undoes the change and frees its key. Method: change under a claim and reject, by
/// call and by work; then the same operation is applied.
async fn b71_rejected_together<H: Harness<Store: IdempotencyStore + BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b71", 10).await?;
    let (claim, operation) = (claim("b71")?, adjust("b71/op", "b71", -4)?);
    let (cx, operation) = (&cx, &operation);
    for _ in 0..2 {
        let store = cx.store();
        let answer = store
            .execute_once(&claim, async |tx| {
                store.adjust_in(tx, operation).await?;
                cx.write(tx, "b71").await?;
                Err::<(), _>(Rejection::new(409, "no").into())
            })
            .await;
        let kind = answer.map(|_| "done").map_err(|error| error.kind());
        ensure_eq!(kind, Err(ErrorKind::Rejected { status: 409 }), "the answer");
        ensure_held(cx, "b71", 10, 1).await?;
        ensure_eq!(cx.effects("b71").await?, 0, "effects of rejected work");
    }
    let applied = cx.store().adjust(operation).await?;
    ensure_eq!(
        applied.replayed,
        false,
        "whether what was undone is replayed"
    );
    ensure_held(cx, "b71", 6, 2).await
}

/// Goal: the keys of effects and those of balance operations are two spaces. Method: the same name
/// for both, either first.
async fn b72_two_spaces_of_keys<H: Harness<Store: IdempotencyStore + BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "b72", 10).await?;
    let operation = adjust("b72/operation first", "b72", -1)?;
    cx.store().adjust(&operation).await?;
    let first = claim("b72/operation first")?;
    ensure_eq!(
        cx.store().lookup(first.key()).await?,
        None,
        "the effect's key"
    );
    completed(&cx, cx.store(), &first, "b72", &receipt("72")).await?;
    let second = claim("b72/effect first")?;
    completed(&cx, cx.store(), &second, "b72", &receipt("72")).await?;
    let applied = cx
        .store()
        .adjust(&adjust("b72/effect first", "b72", -1)?)
        .await?;
    ensure_eq!(
        applied.replayed,
        false,
        "whether the operation is taken for the effect"
    );
    // And both under one name in one transaction.
    let both = claim("b72/both")?;
    let store = cx.store();
    let mut tx = fresh(store, &both).await?;
    store
        .adjust_in(&mut tx, &adjust("b72/both", "b72", -1)?)
        .await?;
    ensure_recorded(store.complete(tx, &both, &receipt("72")).await)?;
    // Forgetting the effect does not free the operation.
    ensure_eq!(
        cx.store().forget(both.key()).await?,
        true,
        "whether the effect was known"
    );
    let replay = cx.store().adjust(&adjust("b72/both", "b72", -1)?).await?;
    ensure_eq!(
        replay.replayed,
        true,
        "whether the operation is still known"
    );
    ensure_held(&cx, "b72", 7, 4).await
}

/// Goal: racers with one key change the balance once. Method: eight, each with an operation of its
/// own; one change, and all get its receipt.
async fn b73_racing_effects<H: Harness<Store: IdempotencyStore + BalanceTransaction>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "b73", 0).await?;
    let (rounds, cx) = (cx.case().scaled(4, 1), Arc::new(cx));
    for round in 0..rounds {
        let ended = race((0..8).map(|racer| {
            let cx = Arc::clone(&cx);
            async move {
                let claim = claim(&format!("b73/{round}"))?;
                let operation = adjust(&format!("b73/{round}/{racer}"), "b73", 1)?;
                let store = cx.store();
                let done = retry(|| {
                    store.execute_once(&claim, async |tx| {
                        let applied = store.adjust_in(tx, &operation).await?;
                        Ok(applied.change.version.get())
                    })
                })
                .await?;
                CaseResult::Ok(done.value)
            }
        }))
        .await?;
        for version in ended {
            ensure_eq!(
                version?,
                round as i64 + 2,
                "the version that a racer was told"
            );
        }
        ensure_held(&cx, "b73", round as i64 + 1, round as i64 + 2).await?;
    }
    ensure_sound(cx.store(), "b73").await?;
    Ok(())
}

cases! { "together" for IdempotencyStore where BalanceTransaction, "core::IdempotencyStore, core::BalanceTransaction";
    B70 b70_completed_together: "key, receipt, write and change are one commit",
        "the change is made on another connection than the claim";
    B71 b71_rejected_together: "a rejection undoes the change and frees its key",
        "a rejection undoes the user's writes only";
    B72 b72_two_spaces_of_keys: "keys of effects and of balance operations are two spaces",
        "one table for both";
    B73 b73_racing_effects: "racers with one key change the balance once",
        "the change of a racer that was superseded is kept";
}
