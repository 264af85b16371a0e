//! Steps that the cases of topic I share.

use exactly_once_core::{
    Claim, Claimed, Error, ErrorKind, ExecuteOnce, Executed, IdempotencyStore, KeyState, Outcome,
    Receipt, Result, Settled,
};
use tokio::task::yield_now;

use crate::{
    CaseResult, cases::support::retry, check::CaseFailure, context::Context, ensure_eq,
    ensure_matches, harness::Harness,
};

/// Claims until the key is neither in progress nor the store busy, as an engine would. A dropped
/// transaction may take the server a moment to roll back.
pub(crate) async fn claimed<S: IdempotencyStore>(
    store: &S,
    claim: &Claim,
) -> Result<Claimed<S::Tx>> {
    retry(|| async {
        match store.claim(claim).await? {
            Claimed::InProgress { retry_after } => {
                let kind = ErrorKind::InProgress { retry_after };
                Err(Error::new(kind, "claim", store.backend()))
            }
            answer => Ok(answer),
        }
    })
    .await
}

/// Claims a key that must be fresh.
pub(crate) async fn fresh<S: IdempotencyStore>(store: &S, claim: &Claim) -> CaseResult<S::Tx> {
    let answer = claimed(store, claim).await?;
    Ok(
        ensure_matches!(answer, Claimed::Fresh(tx) => tx, "the claim of {:?} to be fresh", claim.key()),
    )
}

/// Claims a key that must be completed; how it ended.
pub(crate) async fn replayed<S: IdempotencyStore>(store: &S, claim: &Claim) -> CaseResult<Outcome> {
    let answer = claimed(store, claim).await?;
    Ok(
        ensure_matches!(answer, Claimed::Completed(outcome) => outcome,
        "the claim of {:?} to be answered with its outcome", claim.key()),
    )
}

/// Claims a key that must belong to another request.
pub(crate) async fn mismatched<S: IdempotencyStore>(store: &S, claim: &Claim) -> CaseResult {
    let answer = claimed(store, claim).await?;
    ensure_matches!(
        answer,
        Claimed::Mismatch,
        "the claim of {:?} for another request to be a mismatch",
        claim.key()
    );
    Ok(())
}

/// Requires that this call's outcome is the one that stands.
#[track_caller]
pub(crate) fn ensure_recorded(answer: Result<Settled>) -> CaseResult {
    match answer {
        Ok(Settled::Recorded) => Ok(()),
        other => Err(CaseFailure::new(
            "the outcome to be recorded",
            format!("{other:?}"),
        )),
    }
}

/// Claims a fresh key, writes the effect `id` and completes with the receipt.
pub(crate) async fn completed<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    store: &H::Store,
    claim: &Claim,
    id: &str,
    receipt: &Receipt,
) -> CaseResult {
    let mut tx = fresh(store, claim).await?;
    cx.write(&mut tx, id).await?;
    ensure_recorded(store.complete(tx, claim, receipt).await)
}

/// The effect `id` under the claim, as a user writes it: with places to be interrupted at, and with
/// a value of this attempt's own.
pub(crate) async fn execute<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    store: &H::Store,
    claim: &Claim,
    id: &str,
    value: &str,
) -> Result<Executed<String>> {
    let value = value.to_owned();
    store
        .execute_once(claim, async |tx| {
            yield_now().await;
            cx.write(tx, id).await?;
            yield_now().await;
            Ok(value)
        })
        .await
}

/// The same, until it is no more in progress or busy.
pub(crate) async fn executed<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    store: &H::Store,
    claim: &Claim,
    id: &str,
    value: &str,
) -> Result<Executed<String>> {
    retry(|| execute(cx, store, claim, id, value)).await
}

/// Whether the key is completed.
pub(crate) async fn is_completed<S: IdempotencyStore>(
    store: &S,
    claim: &Claim,
) -> CaseResult<bool> {
    let record = retry(|| store.lookup(claim.key())).await?;
    Ok(record.is_some_and(|record| matches!(record.state, KeyState::Completed { .. })))
}

/// Requires that key and effect agree: both there, or neither. A commit may still land between two
/// reads, so it looks until the key reads the same before and after the effects.
pub(crate) async fn ensure_agree<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    claim: &Claim,
    id: &str,
) -> CaseResult<bool> {
    loop {
        let before = is_completed(cx.store(), claim).await?;
        let effects = cx.effects(id).await?;
        if is_completed(cx.store(), claim).await? == before {
            ensure_eq!(
                effects,
                u64::from(before),
                "effects of {id}, whose key is completed: {before}"
            );
            return Ok(before);
        }
    }
}

/// Requires that the answer is one that an engine retries: nothing is lost by it.
#[track_caller]
pub(crate) fn ensure_retryable<T>(answer: Result<T>, what: &str) -> CaseResult {
    match answer {
        Err(error) if error.is_retryable() => Ok(()),
        Err(error) => Err(CaseFailure::new(
            format!("{what} to be answered with an error that is retried"),
            format!("{:?}: {error}", error.kind()),
        )
        .mistake("a lost connection is taken for a final answer")),
        Ok(_) => Err(CaseFailure::new(
            format!("{what} to be an error"),
            "it was ok",
        )),
    }
}
