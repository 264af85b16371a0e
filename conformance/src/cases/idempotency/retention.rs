//! Retention: counted from completion, for every outcome, and ended for every handle.

use std::time::Duration;

use exactly_once_core::{
    Claim, Claimed, IdempotencyStore, KeyState, Outcome, Rejection, Retention, Store, Timestamp,
    Transactional,
};
use tokio::time::sleep;

use super::support::{claimed, completed, ensure_recorded, fresh, mismatched, replayed};
use crate::{
    CaseResult,
    cases::{
        cases,
        prepared::support::until,
        support::{claim, other_claim, receipt, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// Some stores keep whole milliseconds.
const SLACK: Duration = Duration::from_millis(2);

fn kept_for(name: &str, retention: Duration) -> CaseResult<Claim> {
    Ok(claim(name)?.with_retention(Retention::new(retention)?))
}

/// When the key was completed, and its end.
async fn times<S: IdempotencyStore>(
    store: &S,
    claim: &Claim,
) -> CaseResult<(Timestamp, Option<Timestamp>)> {
    let record = retry(|| store.lookup(claim.key())).await?;
    let record = record.expecting("a record of the key")?;
    Ok(ensure_matches!(record.state,
        KeyState::Completed { completed_at, expires_at, .. } => (completed_at, expires_at),
        "a completed key"))
}

/// Waits until a key that is complete by now has expired.
async fn outlived<S: IdempotencyStore>(store: &S, claim: &Claim) -> CaseResult {
    let now = store.now().await?;
    let end = claim.retention().expires_at(now);
    until(store, end.expecting("a retention that ends")?).await
}

/// Goal: the retention counts from completion, however long the work took, for receipts and for
/// rejections. Method: work of some ticks; the completion must not lie before its end.
async fn i59_counts_from_completion<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    // By a handle of its own: the one at work may have one connection.
    let beside = cx.open().await?;
    for rejects in [false, true] {
        let claim = kept_for(&format!("i59/{rejects}"), HOUR)?;
        let store = cx.store();
        let tx = fresh(store, &claim).await?;
        sleep(cx.tick() * 4).await;
        let before = retry(|| beside.now()).await?;
        if rejects {
            let no = Rejection::new(409, "no");
            ensure_recorded(store.reject(tx, &claim, &no).await)?;
        } else {
            ensure_recorded(store.complete(tx, &claim, &receipt("59")).await)?;
        }
        let (at, end) = times(cx.store(), &claim).await?;
        ensure!(before.since(at) <= SLACK, seen: (before, at),
            "a completion at the end of the work, not at its start");
        ensure_eq!(
            end,
            claim.retention().expires_at(at),
            "the end of the retention"
        );
    }
    Ok(())
}

/// Goal: a rejection is remembered for its claim's retention, and no longer. Method: a brief one and
/// one of an hour; wait the brief one out; its next attempt is a new effect.
async fn i51_rejections_end_too<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let brief = kept_for("i51/brief", cx.tick() * 2)?;
    let kept = kept_for("i51/kept", HOUR)?;
    let no = Rejection::new(402, "no");
    for claim in [&kept, &brief] {
        let store = cx.store();
        let tx = fresh(store, claim).await?;
        ensure_recorded(store.reject(tx, claim, &no).await)?;
    }
    outlived(cx.store(), &brief).await?;
    let store = cx.store();
    ensure_eq!(
        retry(|| store.lookup(brief.key())).await?,
        None,
        "the brief one"
    );
    let outcome = replayed(cx.store(), &kept).await?;
    ensure_eq!(outcome, Outcome::Rejected(no), "the one that is kept");
    completed(&cx, cx.store(), &brief, "i51", &receipt("51")).await?;
    ensure_eq!(cx.effects("i51").await?, 1, "effects");
    Ok(())
}

/// Goal: a replay does not move the end of a key, whatever retention it asks for. Method: replay with
/// a longer, a shorter and no end; then expire by the first one's end.
async fn i16_replay_moves_no_end<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (kept, brief) = (
        kept_for("i16/kept", HOUR)?,
        kept_for("i16/brief", cx.tick() * 3)?,
    );
    for claim in [&kept, &brief] {
        completed(&cx, cx.store(), claim, "i16", &receipt("16")).await?;
    }
    let before = times(cx.store(), &kept).await?;
    let others = [
        Retention::new(HOUR * 5)?,
        Retention::new(Duration::from_micros(1))?,
        Retention::FOREVER,
    ];
    for other in others {
        replayed(cx.store(), &kept.clone().with_retention(other)).await?;
        // It may be over already on a slow machine: then there is nothing to be moved.
        let answer = claimed(cx.store(), &brief.clone().with_retention(other)).await?;
        if let Claimed::Fresh(tx) = answer {
            cx.store().rollback(tx).await?;
        }
    }
    ensure_eq!(
        times(cx.store(), &kept).await?,
        before,
        "completion and end after replays"
    );
    outlived(cx.store(), &brief).await?;
    let store = cx.store();
    ensure_eq!(
        retry(|| store.lookup(brief.key())).await?,
        None,
        "the brief one, after its end"
    );
    Ok(())
}

/// Goal: what is forgotten or over is so for every handle, also for one that has replayed it. Method:
/// replay by several handles; forget by one, and wait one out; every handle finds both fresh.
async fn i12_forgotten_for_every_handle<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let handles = [cx.open().await?, cx.open().await?, cx.open().await?];
    let (forgotten, brief) = (claim("i12")?, kept_for("i12/brief", cx.tick() * 6)?);
    for claim in [&forgotten, &brief] {
        completed(&cx, &handles[0], claim, "i12", &receipt("first")).await?;
        for handle in &handles {
            // The brief one may be over already on a slow machine.
            if let Claimed::Fresh(tx) = claimed(handle, claim).await? {
                handle.rollback(tx).await?;
            }
        }
    }
    let [one, two, three] = &handles;
    ensure_eq!(
        one.forget(forgotten.key()).await?,
        true,
        "whether it was there"
    );
    outlived(two, &brief).await?;
    for handle in [three, two, one] {
        for claim in [&forgotten, &brief] {
            let tx = fresh(handle, claim).await?;
            handle.rollback(tx).await?;
            let record = retry(|| handle.lookup(claim.key())).await?;
            ensure_eq!(record, None, "what a handle knows of {:?}", claim.key());
        }
    }
    completed(&cx, three, &forgotten, "i12", &receipt("second")).await?;
    for handle in &handles {
        let outcome = replayed(handle, &forgotten).await?;
        ensure_eq!(
            outcome,
            Outcome::Applied(receipt("second")),
            "the outcome of the second"
        );
        handle.close().await?;
    }
    Ok(())
}

/// Goal: a key that has expired is free, and then belongs to the request that it was last completed
/// for. Method: complete for one request and outlive it; another request's claim is fresh, its
/// outcome is the key's, and the first request is a mismatch from then on.
async fn i26_over_is_anyones<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    for (name, rejects) in [("i26/applied", false), ("i26/rejected", true)] {
        let first = kept_for(name, cx.tick() * 2)?;
        if rejects {
            let store = cx.store();
            let tx = fresh(store, &first).await?;
            let no = Rejection::new(409, "no");
            ensure_recorded(store.reject(tx, &first, &no).await)?;
        } else {
            completed(&cx, cx.store(), &first, name, &receipt("first")).await?;
        }
        outlived(cx.store(), &first).await?;
        let other = other_claim(name, "another request")?;
        completed(&cx, cx.store(), &other, name, &receipt("other")).await?;
        for _ in 0..2 {
            let outcome = replayed(cx.store(), &other).await?;
            ensure_eq!(
                outcome,
                Outcome::Applied(receipt("other")),
                "the outcome of {name}"
            );
            mismatched(cx.store(), &first).await?;
        }
        let store = cx.store();
        let record = retry(|| store.lookup(other.key())).await?;
        let record = record.expecting("a record of the key")?;
        ensure_eq!(record.fingerprint, *other.fingerprint(), "its request");
        let effects = if rejects { 1 } else { 2 };
        ensure_eq!(cx.effects(name).await?, effects, "effects of {name}");
    }
    Ok(())
}

/// Goal: forgetting says whether there was something to forget. Method: forget what never was, what is
/// completed, what is forgotten, and what has expired but is not yet removed.
async fn i17_forgetting_tells<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (kept, brief) = (
        kept_for("i17/kept", HOUR)?,
        kept_for("i17/brief", cx.tick())?,
    );
    let never = claim("i17/never")?;
    for claim in [&kept, &brief] {
        completed(&cx, cx.store(), claim, "i17", &receipt("17")).await?;
    }
    outlived(cx.store(), &brief).await?;
    for (what, claim, there) in [
        ("what never was", &never, false),
        ("what is completed", &kept, true),
        ("what is forgotten", &kept, false),
        ("what is over", &brief, false),
    ] {
        let store = cx.store();
        let told = retry(|| store.forget(claim.key())).await?;
        ensure_eq!(told, there, "whether there was a key: {what}");
        ensure_eq!(cx.store().lookup(claim.key()).await?, None, "{what}");
    }
    completed(&cx, cx.store(), &brief, "i17", &receipt("17")).await?;
    ensure_eq!(cx.effects("i17").await?, 3, "effects");
    Ok(())
}

cases! { "idempotency::retention" for IdempotencyStore, "core::Retention, core::IdempotencyStore";
    I12 i12_forgotten_for_every_handle: "what is forgotten or over is so for every handle",
        "a handle keeps the receipts that it has replayed";
    I16 i16_replay_moves_no_end: "a replay does not move the end of a key",
        "a replay writes the retention that it asks for";
    I17 i17_forgetting_tells: "forgetting says whether there was something to forget",
        "a row that is over is counted: lookup says that there is nothing, and forget that there was";
    I26 i26_over_is_anyones: "a key that is over is anyone's, and then that request's",
        "the row is updated, and the first request's fingerprint stays in it";
    I51 i51_rejections_end_too: "a rejection is remembered for its claim's retention",
        "only receipts are given an end, or rejections the default one";
    I59 i59_counts_from_completion: "the retention counts from completion, however long the work took",
        "the time of the transaction's beginning is stored (`now()` in PostgreSQL)";
}
