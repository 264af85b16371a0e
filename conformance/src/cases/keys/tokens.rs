//! Tokens: they only grow, whatever becomes of the key.

use exactly_once_core::{FencingToken, IdempotencyStore, LeaseStore, Outcome, Retention, Store};

use crate::{
    CaseResult,
    cases::{
        cases,
        idempotency::support::completed,
        lease::support::{LONG, applied, granted},
        prepared::support::until,
        support::{claim, receipt, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Leases the key, finalizes it, and gives the token, which must be greater than the last.
async fn finalized<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: &Context<H>,
    claim: &exactly_once_core::Claim,
    last: &mut FencingToken,
    outcome: &Outcome,
    after: &str,
) -> CaseResult {
    let lease = granted(cx.store(), claim, LONG).await?;
    ensure!(lease.token > *last, seen: (*last, lease.token), "a greater token {after}");
    *last = lease.token;
    cx.store().finalize(claim, lease.token, outcome).await?;
    Ok(())
}

/// Goal: a token is never given again, also when the key is forgotten, expired, or was completed by a
/// transaction in between. Method: all of them in turn, also through a reopen.
async fn i65_tokens_grow_over_forgetting<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    mut cx: Context<H>,
) -> CaseResult {
    let outcome = applied("65");
    let kept = claim("i65")?;
    let brief = claim("i65")?.with_retention(Retention::new(cx.tick())?);
    let mut last = FencingToken::new(i64::MIN);
    for round in 0..2 {
        finalized(&cx, &kept, &mut last, &outcome, "at first").await?;
        let forgotten = cx.store().forget(kept.key()).await?;
        ensure_eq!(forgotten, true, "whether there was a key to forget");
        finalized(&cx, &brief, &mut last, &outcome, "after forgetting").await?;
        let now = cx.store().now().await?;
        let over = brief.retention().expires_at(now).expecting("an end")?;
        until(cx.store(), over).await?;
        if round == 0 {
            let store = cx.store();
            let expired = retry(|| store.expire(100)).await?;
            ensure_eq!(expired, 1, "keys expired");
        }
        finalized(&cx, &kept, &mut last, &outcome, "after the retention").await?;
        cx.store().forget(kept.key()).await?;
        completed(&cx, cx.store(), &kept, "i65", &receipt("by tx")).await?;
        cx.store().forget(kept.key()).await?;
        cx.reopen().await?;
        finalized(&cx, &kept, &mut last, &outcome, "after a transaction").await?;
        cx.store().forget(kept.key()).await?;
    }
    Ok(())
}

cases! { "keys::tokens" for IdempotencyStore where LeaseStore, "core::LeaseStore, Contract: tokens only grow";
    I65 i65_tokens_grow_over_forgetting: "tokens grow over forgetting, expiry and transactions",
        "the token is kept in the key's row, which forget and expire remove";
}
