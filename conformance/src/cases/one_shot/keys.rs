//! Keys of one-shot effects: the same life as any other key's.

use std::time::Duration;

use exactly_once_core::{
    Claim, IdempotencyStore, KeyState, OneShotStore, Outcome, Rejection, Retention, Store,
};

use super::support::{effect, ensure_done, executed, named, statement};
use crate::{
    CaseResult,
    cases::{
        cases,
        idempotency::support::{ensure_recorded, fresh},
        prepared::support::until,
        support::{claim, receipt},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: a key is remembered for its claim's retention, and no longer. Method: an effect with a brief
/// one and one with an hour's; look at both; wait the brief one out, and have it again.
async fn i51s_retention<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let kept_for = |name: &str, retention: Duration| -> CaseResult<Claim> {
        Ok(claim(name)?.with_retention(Retention::new(retention)?))
    };
    let brief = kept_for("i51/brief", cx.tick() * 2)?;
    let kept = kept_for("i51/kept", Duration::from_secs(3_600))?;
    let before = cx.store().now().await?;
    for (claim, id) in [(&kept, "i51/kept"), (&brief, "i51/brief")] {
        let first = effect(claim, vec![statement(&cx, id)?], receipt("first"));
        ensure_done(&executed(cx.store(), &first).await?, "first", false)?;
    }
    let by = cx.store().now().await?;
    let record = cx.store().lookup(kept.key()).await?.expecting("a record")?;
    let (at, end) = ensure_matches!(record.state,
        KeyState::Completed { completed_at, expires_at, .. } => (completed_at, expires_at),
        "a completed key");
    // Some stores keep whole milliseconds.
    let slack = Duration::from_millis(2);
    ensure!(before.since(at) <= slack && at.since(by) <= slack, seen: (before, at, by),
        "a completion between the readings before and after it");
    ensure_eq!(
        end,
        kept.retention().expires_at(at),
        "the end of its retention"
    );
    until(
        cx.store(),
        brief.retention().expires_at(by).expecting("an end")?,
    )
    .await?;
    let second = effect(
        &brief,
        vec![statement(&cx, "i51/brief")?],
        receipt("second"),
    );
    ensure_done(&executed(cx.store(), &second).await?, "second", false)?;
    let again = effect(&kept, vec![statement(&cx, "i51/kept")?], receipt("second"));
    ensure_done(&executed(cx.store(), &again).await?, "first", true)?;
    ensure_eq!(
        cx.effects("i51/brief").await?,
        2,
        "effects, one in each window"
    );
    ensure_eq!(
        cx.effects("i51/kept").await?,
        1,
        "effects of the key that is kept"
    );
    Ok(())
}

/// Goal: a recorded rejection is the answer to a one-shot call, too, and there is no effect. Method:
/// reject by transaction, then call.
async fn i06s_rejection_is_replayed<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let effect = named(&cx, "i06", "never")?;
    let (store, no) = (cx.store(), Rejection::new(402, "no"));
    let tx = fresh(store, &effect.claim).await?;
    ensure_recorded(store.reject(tx, &effect.claim, &no).await)?;
    for _ in 0..2 {
        let done = executed(cx.store(), &effect).await?;
        ensure_eq!(done.outcome, Outcome::Rejected(no.clone()), "the outcome");
        ensure_eq!(done.replayed, true, "whether it is a replay");
    }
    ensure_eq!(cx.effects("i06").await?, 0, "effects of what was rejected");
    Ok(())
}

/// Goal: namespaces are apart. Method: the same key in two, without a statement; each has its own
/// receipt, and the second is no replay.
async fn i80s_namespaces_are_apart<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let here = cx.store().clone();
    let there = here.with_namespace(format!("{}/i80", here.namespace()).parse()?);
    for replayed in [false, true] {
        for (store, text) in [(&here, "here"), (&there, "there")] {
            let effect = effect(&claim("i80")?, Vec::new(), receipt(text));
            ensure_done(&executed(store, &effect).await?, text, replayed)?;
        }
    }
    Ok(())
}

cases! { "one_shot::keys" for OneShotStore, "core::OneShotStore, Contract";
    I06S i06s_rejection_is_replayed: "a recorded rejection is the answer to a one-shot call, too",
        "only receipts are looked for: rejected work has its effect after all";
    I51S i51s_retention: "a key is remembered for its claim's retention",
        "the claim's retention is ignored, or the default one is written";
    I80S i80s_namespaces_are_apart: "keys of two namespaces are apart",
        "the namespace is missing in the statement's key";
}
