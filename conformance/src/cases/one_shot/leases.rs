//! One-shot effects beside leases: a held key is not executed.

use exactly_once_core::{ErrorKind, LeaseStore, OneShotStore};

use super::support::{effect, ensure_done, executed, named};
use crate::{
    CaseResult,
    cases::{
        cases,
        lease::support::{LONG, applied, granted},
        prepared::support::until,
        support::{claim, other_claim, receipt, refused},
    },
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Goal: a key that a lease holds is in progress, for another request a mismatch, and there is no
/// effect. Method: hold one and call; finalize it and call; and one whose lease has expired is executed.
async fn i67s_held_by_a_lease<H: Harness<Store: OneShotStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let held = named(&cx, "i67", "one-shot")?;
    let lease = granted(cx.store(), &held.claim, LONG).await?;
    for _ in 0..2 {
        match cx.store().execute_one_shot(&held).await {
            Err(error) if matches!(error.kind(), ErrorKind::InProgress { .. }) => {}
            other => ensure!(false, seen: other, "a call for a held key to be in progress"),
        }
        let other = other_claim("i67", "another request")?;
        let other = effect(&other, held.statements.clone(), receipt("other"));
        let answer = cx.store().execute_one_shot(&other).await;
        refused(
            answer,
            ErrorKind::Mismatch,
            "another request for a held key",
        )?;
    }
    ensure_eq!(cx.effects("i67").await?, 0, "effects under a held key");
    let outcome = applied("by lease");
    cx.store()
        .finalize(&held.claim, lease.token, &outcome)
        .await?;
    ensure_done(&executed(cx.store(), &held).await?, "by lease", true)?;
    ensure_eq!(cx.effects("i67").await?, 0, "effects of a replay");
    let over = named(&cx, "i67/over", "one-shot")?;
    let claim = claim("i67/over")?;
    let zombie = granted(cx.store(), &claim, cx.tick()).await?;
    until(cx.store(), zombie.deadline).await?;
    ensure_done(&executed(cx.store(), &over).await?, "one-shot", false)?;
    let answer = cx
        .store()
        .finalize(&claim, zombie.token, &applied("zombie"))
        .await;
    refused(
        answer,
        ErrorKind::Fenced,
        "the outcome of the lease that was over",
    )?;
    ensure_done(&executed(cx.store(), &over).await?, "one-shot", true)?;
    ensure_eq!(cx.effects("i67/over").await?, 1, "effects");
    Ok(())
}

cases! { "one_shot::leases" for OneShotStore where LeaseStore, "core::OneShotStore, core::LeaseStore";
    I67S i67s_held_by_a_lease: "a key that a lease holds is not executed",
        "the statement looks for outcomes only";
}
