//! Basic: a key is fresh once, and then answers with its receipt.

use exactly_once_core::{Claimed, IdempotencyStore, Outcome, Settled, Transactional};

use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, key, receipt},
    },
    context::Context,
    ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: the first claim of a key is fresh. Method: claim it, roll back, count effects.
async fn i01_first_claim_is_fresh<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claim = claim("i01")?;
    let mut tx = ensure_matches!(
        cx.store().claim(&claim).await?, Claimed::Fresh(tx) => tx, "the first claim to be fresh");
    cx.write(&mut tx, "i01").await?;
    cx.store().rollback(tx).await?;
    ensure_eq!(cx.effects("i01").await?, 0, "effects after a rollback");
    Ok(())
}

/// Goal: a completed key answers with its receipt. Method: complete, claim again by either handle.
async fn i02_completed_key_gives_the_receipt<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, receipt) = (claim("i02")?, receipt("\u{0}receipt\u{ff}"));
    let mut tx = ensure_matches!(
        cx.store().claim(&claim).await?, Claimed::Fresh(tx) => tx, "the first claim to be fresh");
    cx.write(&mut tx, "i02").await?;
    ensure_eq!(
        cx.store().complete(tx, &claim, &receipt).await?, Settled::Recorded, "the completion");
    let outcome = ensure_matches!(
        cx.store().claim(&claim).await?, Claimed::Completed(outcome) => outcome,
        "the second claim to be answered with the receipt");
    ensure_eq!(outcome, Outcome::Applied(receipt), "the replayed outcome");
    ensure_eq!(cx.effects("i02").await?, 1, "effects");
    Ok(())
}

/// Goal: nothing is known of a key that was never used. Method: look it up.
async fn i03_absent_key_is_absent<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    ensure_eq!(cx.store().lookup(&key("i03")?).await?, None, "the lookup of an absent key");
    Ok(())
}

cases! { "idempotency::basic" for IdempotencyStore, "core::IdempotencyStore, Contract";
    I01 i01_first_claim_is_fresh: "the first claim of a key is fresh",
        "rows of another key or namespace are taken for this one";
    I02 i02_completed_key_gives_the_receipt: "a completed key answers with its receipt",
        "the key and the receipt are not committed together";
    I03 i03_absent_key_is_absent: "nothing is known of a key that was never used",
        "an absent row is answered with a default";
}
