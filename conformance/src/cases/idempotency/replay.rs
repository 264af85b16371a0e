//! Replay: every later attempt gets the first one's receipt, and writes nothing.

use exactly_once_core::{Claimed, IdempotencyStore, Outcome, Settled, Transactional};

use super::support::{completed, execute, executed, fresh, replayed};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, receipt},
    },
    check::CaseFailure,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Goal: a replay gives the same receipt and does nothing. Method: 100 times, by both handles, each
/// with work of another value.
async fn i10_hundred_replays<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i10")?;
    for attempt in 0..100 {
        let done = execute(
            &cx,
            cx.store(),
            &claim,
            "i10",
            &format!("attempt {attempt}"),
        )
        .await?;
        ensure_eq!(done.value, "attempt 0", "the value of attempt {attempt}");
        ensure_eq!(
            done.replayed,
            attempt > 0,
            "whether attempt {attempt} is a replay"
        );
    }
    ensure_eq!(cx.effects("i10").await?, 1, "effects of 100 attempts");
    Ok(())
}

/// Goal: the receipt outlives every handle. Method: complete, close all, open, replay.
async fn i11_after_reopen<H: Harness<Store: IdempotencyStore>>(mut cx: Context<H>) -> CaseResult {
    let (claim, receipt) = (claim("i11")?, receipt("kept"));
    completed(&cx, cx.store(), &claim, "i11", &receipt).await?;
    cx.reopen().await?;
    let outcome = replayed(cx.store(), &claim).await?;
    ensure_eq!(
        outcome,
        Outcome::Applied(receipt),
        "the outcome after a reopen"
    );
    ensure_eq!(cx.effects("i11").await?, 1, "effects");
    Ok(())
}

/// Goal: any handle replays. Method: complete by one, replay by one that is opened after.
async fn i12_through_another_handle<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, receipt) = (claim("i12")?, receipt("shared"));
    let before = cx.open().await?;
    completed(&cx, cx.store(), &claim, "i12", &receipt).await?;
    for handle in [before, cx.open().await?] {
        let outcome = replayed(&handle, &claim).await?;
        ensure_eq!(
            outcome,
            Outcome::Applied(receipt.clone()),
            "the outcome by another handle"
        );
    }
    Ok(())
}

/// Goal: a replay gives its own key's receipt, whatever happens to other keys. Method: complete
/// two keys, then ask for the first; and again while a third key's transaction is open, where a
/// store with one writer may say that it is busy, but nothing else.
async fn i13_while_another_key_is_in_progress<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claims = [claim("i13/a")?, claim("i13/b")?, claim("i13/c")?];
    for name in ["a", "b"] {
        let claim = claim(&format!("i13/{name}"))?;
        completed(&cx, cx.store(), &claim, name, &receipt(name)).await?;
    }
    let ask = async |index: usize| cx.store().claim(&claims[index]).await;
    let holder = cx.store();
    let mut tx = fresh(holder, &claims[2]).await?;
    cx.write(&mut tx, "c").await?;
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        match ask(index).await {
            Ok(Claimed::Completed(outcome)) => {
                ensure_eq!(
                    outcome,
                    Outcome::Applied(receipt(name)),
                    "the outcome of key {name}"
                );
            }
            Err(error) if error.is_retryable() => {}
            other => {
                return Err(CaseFailure::new(
                    format!("key {name} to be replayed while another key is in progress"),
                    format!("{other:?}"),
                ));
            }
        }
    }
    holder.rollback(tx).await?;
    for (claim, name) in claims.iter().zip(["a", "b"]) {
        let outcome = replayed(cx.store(), claim).await?;
        ensure_eq!(
            outcome,
            Outcome::Applied(receipt(name)),
            "the outcome of key {name}"
        );
    }
    Ok(())
}

/// Goal: of two completions the first stands, and the second learns so and is undone. Method: two
/// transactions on one key, where the store gives two; complete both.
async fn i15_second_completion_is_superseded<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claim = claim("i15")?;
    let (first, second) = (cx.open().await?, cx.open().await?);
    let mut winner = fresh(&first, &claim).await?;
    cx.write(&mut winner, "i15").await?;
    let rival = second.claim(&claim).await;
    let settled = first.complete(winner, &claim, &receipt("first")).await?;
    ensure_eq!(settled, Settled::Recorded, "the first completion");
    if let Ok(Claimed::Fresh(mut rival)) = rival {
        // An optimistic store: its rival may work, but not commit.
        let written = cx.write(&mut rival, "i15").await;
        if written.is_ok() {
            match second.complete(rival, &claim, &receipt("second")).await {
                Ok(settled) => {
                    let first = Settled::Superseded(Outcome::Applied(receipt("first")));
                    ensure_eq!(settled, first, "the second completion");
                }
                Err(error) => {
                    ensure!(error.is_retryable(), seen: error, "a second completion that is retried");
                }
            }
        }
    }
    ensure_eq!(cx.effects("i15").await?, 1, "effects of two completions");
    let outcome = replayed(cx.store(), &claim).await?;
    ensure_eq!(
        outcome,
        Outcome::Applied(receipt("first")),
        "the outcome that stands"
    );
    Ok(())
}

/// Goal: a replay does not run the work at all. Method: after one effect, work that would fail.
async fn i16_replay_runs_no_work<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claim = claim("i16")?;
    let first = executed(&cx, cx.store(), &claim, "i16", "first").await?;
    ensure_eq!(
        first.replayed,
        false,
        "whether the first attempt is a replay"
    );
    let before = cx.store().lookup(claim.key()).await?;
    let again = executed(&cx, cx.store(), &claim, "i16/other", "second").await?;
    ensure_eq!(again.value, "first", "the replayed value");
    ensure_eq!(
        cx.effects("i16/other").await?,
        0,
        "effects of work that must not run"
    );
    ensure_eq!(
        cx.store().lookup(claim.key()).await?,
        before,
        "the record after a replay"
    );
    Ok(())
}

cases! { "idempotency::replay" for IdempotencyStore, "core::IdempotencyStore, Contract";
    I10 i10_hundred_replays: "a hundred attempts have one effect and one receipt",
        "the key is not looked for before the work, or each attempt stores its own receipt";
    I11 i11_after_reopen: "a receipt is still there after all handles were closed",
        "the outcome lives in memory or in a transaction that was never committed";
    I12 i12_through_another_handle: "any handle answers with the receipt",
        "a handle keeps what it knows to itself";
    I13 i13_while_another_key_is_in_progress: "a replay gives its own key's receipt",
        "the latest receipt is given instead of the key's own";
    I15 i15_second_completion_is_superseded: "of two completions the first stands",
        "the last completion overwrites the first, or its writes are kept beside it";
    I16 i16_replay_runs_no_work: "a replay runs no work and changes no record",
        "the work runs before the key is checked, or a replay prolongs the retention";
}
