//! Crash: whatever is lost on the way, a retry gives the one right answer.

use std::{panic::AssertUnwindSafe, time::Duration};

use exactly_once_core::{
    Claimed, ErrorKind, ExecuteOnce, IdempotencyStore, KeyState, Outcome, Rejection, Transactional,
};
use futures_util::FutureExt;
use tokio::time::{sleep, timeout};

use super::support::{
    claimed, completed, ensure_agree, ensure_retryable, execute, executed, fresh,
};
use crate::{
    CaseResult,
    cases::{
        cases,
        faulty::{POLLS_MAX, crash_points, every_cut_of, slow},
        support::{claim, receipt, retry},
    },
    check::{CaseFailure, Expecting},
    context::Context,
    ensure, ensure_eq,
    faults::{
        polls::some_polls,
        proxy::{Proxy, Rule, Trigger},
    },
    harness::Harness,
    process::Child,
};

/// How long a call may take to find out that its connection is silent.
const SILENCE_MAX: Duration = Duration::from_secs(25);

/// Nothing is left open at the server, once it had time to notice.
pub(super) async fn ensure_nothing_left<H: Harness>(cx: &Context<H>) -> CaseResult {
    for _ in 0..100 {
        match cx.harness().left_open(cx.guard()).await? {
            None | Some(0) => return Ok(()),
            Some(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    let left = cx.harness().left_open(cx.guard()).await?;
    ensure_eq!(left, Some(0), "transactions and locks left open");
    Ok(())
}

/// Goal: a claim that is dropped leaves the key fresh, once the server has noticed. Method: drop it
/// at every poll; claim again, which must not be answered as completed.
async fn i40_claim_dropped_at_every_poll<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (_proxy, store) = slow(&cx).await?;
    let (store, cx) = (&store, &cx);
    some_polls(
        POLLS_MAX,
        crash_points(cx.case()),
        |k| async move { store.claim(&claim(&format!("i40/{k}"))?).await },
        |k, answer| async move {
            drop(answer);
            let claim = claim(&format!("i40/{k}"))?;
            let tx = match claimed(cx.store(), &claim).await? {
                Claimed::Fresh(tx) => tx,
                other => {
                    return Err(CaseFailure::new(
                        "a key whose claim was dropped to be fresh in the end",
                        format!("{other:?}"),
                    ));
                }
            };
            drop(tx);
            // The dropped call's handle works on, and its connection is clean.
            completed(cx, store, &claim, &format!("i40/{k}"), &receipt("40")).await?;
            ensure_eq!(
                cx.effects(&format!("i40/{k}")).await?,
                1,
                "effects after the drop"
            );
            Ok(())
        },
    )
    .await?;
    ensure_nothing_left(cx).await
}

/// Goal: wherever an effect is dropped, key and effect are both there or both not, and a retry has
/// the effect once. Method: drop `execute_once` at every poll; look; retry by the same handle.
async fn i41_effect_dropped_at_every_poll<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (_proxy, store) = slow(&cx).await?;
    let (store, cx) = (&store, &cx);
    some_polls(
        POLLS_MAX,
        crash_points(cx.case()),
        |k| async move {
            let name = format!("i41/{k}");
            execute(cx, store, &claim(&name)?, &name, "dropped").await
        },
        |k, _| async move {
            let name = format!("i41/{k}");
            let claim = claim(&name)?;
            ensure_agree(cx, &claim, &name).await?;
            let done = executed(cx, store, &claim, &name, "retried").await?;
            let known = done.value == if done.replayed { "dropped" } else { "retried" };
            ensure!(known, seen: done, "the receipt of the attempt that had the effect");
            ensure_eq!(cx.effects(&name).await?, 1, "effects after the retry");
            Ok(())
        },
    )
    .await?;
    ensure_nothing_left(cx).await
}

/// A handle through a proxy with a claimed key and its effect written, ready to be completed.
async fn ready<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    name: &str,
) -> CaseResult<(Proxy, H::Store, <H::Store as Transactional>::Tx)> {
    let Some(server) = cx.harness().server(cx.guard()) else {
        return cx.ignore("there is no one server to put a proxy before (`server`)");
    };
    let proxy = Proxy::start(server).await?;
    let store = cx.harness().open_through(cx.guard(), proxy.addr()).await?;
    let mut tx = fresh(&store, &claim(name)?).await?;
    cx.write(&mut tx, name).await?;
    Ok((proxy, store, tx))
}

/// Goal: an effect that was cut off before its commit is retried, and had once. Method: cut before
/// the server sees the completion.
async fn i42_cut_before_commit<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i42")?;
    let (proxy, store, tx) = ready(&cx, "i42").await?;
    proxy.set(Rule::cut_before(Trigger::Request(1)));
    let answer = store.complete(tx, &claim, &receipt("\"lost\"")).await;
    ensure_eq!(proxy.stats().cuts, 1, "connections cut");
    ensure_retryable(answer, "a completion that was cut off")?;
    proxy.set(Rule::Pass);
    ensure_eq!(
        cx.effects("i42").await?,
        0,
        "effects of what the server never saw"
    );
    let done = executed(&cx, &store, &claim, "i42", "retried").await?;
    ensure_eq!(done.replayed, false, "whether the retry is a replay");
    ensure_eq!(cx.effects("i42").await?, 1, "effects after the retry");
    ensure_nothing_left(&cx).await
}

/// Goal: wherever the connection is cut, before or after any request, the answer is one that an
/// engine retries, and the retry gives the one right answer; where the reply alone was lost, it is
/// *ambiguous*. Method: cut at each request of an effect in turn.
async fn i43_cut_at_every_request<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let mut lost = 0;
    // First with a handle that has done nothing yet: a call may take more requests then. Behind a
    // pooler their number changes from one attempt to the next, and the commit may slip between two
    // cuts; so then with a handle that has done the like before.
    for round in 0..ROUNDS_MAX {
        lost = cut_at_every_request(&cx, round).await?;
        if lost > 0 {
            break;
        }
    }
    ensure!(lost > 0, seen: lost, "at least one cut that loses the reply of a commit");
    ensure_nothing_left(&cx).await
}

/// How often I43 looks for a cut that loses the reply of a commit.
const ROUNDS_MAX: usize = 5;

/// Gives the number of cuts that lost the reply of a commit.
async fn cut_at_every_request<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    round: usize,
) -> CaseResult<u32> {
    let lost_replies = std::sync::atomic::AtomicU32::new(0);
    let lost = &lost_replies;
    every_cut_of(
        cx,
        |store, number| async move {
            if round > 0 {
                let name = format!("i43/{round}/{number}/before");
                execute(cx, &store, &claim(&name)?, &name, "before").await?;
            }
            Ok(())
        },
        |store, number| async move {
            let name = format!("i43/{round}/{number}");
            let claim = claim(&name)?;
            execute(cx, &store, &claim, &name, "cut").await
        },
        |number, answer| async move {
            let name = format!("i43/{round}/{number}");
            let claim = claim(&name)?;
            let was_ok = answer.is_ok();
            let ambiguous =
                answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Ambiguous);
            if !was_ok {
                ensure_retryable(answer, "an effect that was cut off")?;
            }
            let done = executed(cx, cx.store(), &claim, &name, "retried").await?;
            if done.replayed && !was_ok {
                ensure!(ambiguous, "an error to be ambiguous when the effect was had all the same");
                lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            ensure!(!was_ok || done.value == "cut", seen: done, "the receipt that was acknowledged");
            ensure_eq!(cx.effects(&name).await?, 1, "effects after the retry");
            Ok(())
        },
    )
    .await?;
    Ok(lost_replies.into_inner())
}

/// Goal: a silent network is found out in time, and a retry gives the one right answer. Method: a
/// black hole under the completion.
async fn i44_blackhole<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i44")?;
    let (proxy, store, tx) = ready(&cx, "i44").await?;
    proxy.set(Rule::Blackhole);
    let answer = timeout(
        SILENCE_MAX,
        store.complete(tx, &claim, &receipt("\"held\"")),
    )
    .await;
    let answer = answer.expecting("an answer within the store's own time limits")?;
    let error = answer.err().expecting("an error")?;
    // *Ambiguous*, or *unavailable* where the black hole met a statement before the COMMIT: how many
    // requests a completion takes is the adapter's choice. Both must lead to a retry.
    ensure!(
        error.is_retryable(),
        seen: error,
        "a completion without a reply to be ambiguous, or retryable"
    );
    // What was held never arrives: the connection is gone.
    proxy.cut_all();
    proxy.set(Rule::Pass);
    executed(&cx, cx.store(), &claim, "i44", "retried").await?;
    ensure_eq!(cx.effects("i44").await?, 1, "effects after the retry");
    ensure_nothing_left(&cx).await
}

/// Goal: an error that careless work swallows is never a success. Method: the harness spoils the
/// transaction after a write; complete it. And the same inside `execute_once`.
async fn i45_swallowed_error<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (claim, store) = (claim("i45")?, cx.store());
    let mut tx = fresh(store, &claim).await?;
    cx.write(&mut tx, "i45").await?;
    if !cx.harness().spoil(&mut tx).await {
        return cx.ignore("the harness knows no error that aborts a transaction of this store");
    }
    let settled = store.complete(tx, &claim, &receipt("45")).await;
    ensure!(settled.is_err(), seen: settled, "the completion of an aborted transaction to fail");
    let (context, harness) = (&cx, cx.harness());
    let answer = cx
        .store()
        .execute_once(&claim, async |tx| {
            context.write(tx, "i45").await?;
            harness.spoil(tx).await;
            Ok(String::from("45"))
        })
        .await
        .map(|done| done.replayed);
    ensure!(answer.is_err(), seen: answer, "an effect whose work swallowed an error to fail");
    // An error for good may be recorded as a refusal; a receipt never is.
    let record = retry(|| cx.store().lookup(claim.key())).await?;
    let applied = record.is_some_and(|record| {
        matches!(
            record.state,
            KeyState::Completed {
                outcome: Outcome::Applied(_),
                ..
            }
        )
    });
    ensure_eq!(applied, false, "whether the key has a receipt");
    ensure_eq!(
        cx.effects("i45").await?,
        0,
        "effects of an aborted transaction"
    );
    let anew = crate::cases::support::claim("i45/anew")?;
    completed(&cx, cx.store(), &anew, "i45", &receipt("45")).await?;
    ensure_eq!(cx.effects("i45").await?, 1, "effects in the end");
    // A rejection undoes the writes anyway, so it may be recorded.
    let rejected = crate::cases::support::claim("i45/rejected")?;
    let store = cx.store();
    let mut tx = fresh(store, &rejected).await?;
    harness.spoil(&mut tx).await;
    let settled = store
        .reject(tx, &rejected, &Rejection::new(422, "no"))
        .await;
    if let Err(error) = settled {
        ensure!(error.is_retryable(), seen: error, "a rejection that is recorded, or retried");
    }
    Ok(())
}

/// The panic of I46.
#[allow(clippy::panic)]
fn panics() {
    std::panic::panic_any("the work panics, as the case means it to");
}

/// Goal: work that panics is rolled back, and the handle stays usable. Method: panic after a write;
/// then the same effect again.
async fn i46_panic_in_the_work<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (claim, context) = (claim("i46")?, &cx);
    for _ in 0..3 {
        let panicking = cx.store().execute_once(&claim, async |tx| {
            context.write(tx, "i46").await?;
            if context.effects("i46").await.is_ok() {
                panics();
            }
            Ok(())
        });
        let caught = AssertUnwindSafe(panicking).catch_unwind().await;
        ensure!(caught.is_err(), "a panic of the work to reach the caller");
        ensure_agree(&cx, &claim, "i46").await?;
    }
    ensure_eq!(cx.effects("i46").await?, 0, "effects of work that panicked");
    let done = executed(&cx, cx.store(), &claim, "i46", "calm").await?;
    ensure_eq!(done.replayed, false, "whether the calm attempt is a replay");
    ensure_eq!(cx.effects("i46").await?, 1, "effects in the end");
    ensure_nothing_left(&cx).await
}

/// Goal: nothing is left open, whatever became of a transaction. Method: complete, reject, roll
/// back, drop and replay many times; ask the server.
async fn i47_nothing_leaked<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    if cx.harness().left_open(cx.guard()).await?.is_none() {
        return cx.ignore("this harness can't see what is left open");
    }
    for round in 0..cx.case().scaled(40, 10) {
        let (claim, store) = (claim(&format!("i47/{}", round / 2))?, cx.store());
        if let Claimed::Fresh(tx) = claimed(store, &claim).await? {
            match round % 8 {
                0 => drop(tx),
                2 => store.rollback(tx).await?,
                4 => drop(store.reject(tx, &claim, &Rejection::new(422, "no")).await?),
                _ => drop(store.complete(tx, &claim, &receipt("47")).await?),
            }
        }
    }
    ensure_nothing_left(&cx).await
}

/// Goal: a process that is killed between its effect and its completion leaves neither. Method: a
/// child claims and writes, says so, and is killed; then retry here.
async fn i48_process_killed<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i48")?;
    for round in 0..2 {
        let mut child = Child::start(&cx, "claim_and_stall", "i48")?;
        child.wait_for("claimed").await?;
        child.kill().await?;
        let done = ensure_agree(&cx, &claim, "i48").await?;
        ensure_eq!(
            done,
            false,
            "whether the killed process {round} had its effect"
        );
    }
    let done = executed(&cx, cx.store(), &claim, "i48", "after the kill").await?;
    ensure_eq!(done.replayed, false, "whether the retry is a replay");
    ensure_eq!(cx.effects("i48").await?, 1, "effects after the retry");
    ensure_nothing_left(&cx).await
}

cases! { "idempotency::crash" for IdempotencyStore, "core::Transactional, IdempotencyStore";
    I40 i40_claim_dropped_at_every_poll: "a claim that is dropped leaves the key fresh",
        "a dropped future leaves a transaction open in the pool";
    I41 i41_effect_dropped_at_every_poll: "key and effect are both there or both not",
        "key and effect are committed apart";
    I42 i42_cut_before_commit: "an effect cut off before its commit is retried and had once",
        "a lost connection is taken for a final answer";
    I43 i43_cut_at_every_request: "wherever it is cut, a retry gives the one right answer",
        "a lost reply is taken for `not executed`, or for a final answer";
    I44 i44_blackhole: "a silent network is found out in time",
        "no time limit on the connection, or its end is not told as ambiguous", waits;
    I45 i45_swallowed_error: "an error that the work swallowed is never a success",
        "COMMIT is trusted: in an aborted block it says ROLLBACK, and no error";
    I46 i46_panic_in_the_work: "work that panics is rolled back, and the handle stays usable",
        "the connection goes back to the pool with its transaction, or a lock stays poisoned";
    I47 i47_nothing_leaked: "nothing is left open",
        "a path that ends without a rollback";
    I48 i48_process_killed: "a killed process leaves neither key nor effect",
        "the key is committed before the effect, or the effect before the key";
}
