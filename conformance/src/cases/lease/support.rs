//! Steps that the cases of leases share.

use std::time::Duration;

use exactly_once_core::{Claim, FencingToken, Lease, LeaseStore, Leased, Outcome};
use tokio::time::sleep;

use crate::{
    CaseFailure, CaseResult,
    cases::support::{receipt, retry},
    ensure_matches,
};

/// A lease that no case outlives.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// Leases a key that must be free.
pub(crate) async fn granted<S: LeaseStore>(
    store: &S,
    claim: &Claim,
    ttl: Duration,
) -> CaseResult<Lease> {
    let answer = retry(|| store.lease(claim, ttl)).await?;
    Ok(ensure_matches!(answer, Leased::Granted(lease) => lease,
        "the lease of {:?} to be granted", claim.key()))
}

/// Leases a key that must be done; how it ended.
pub(crate) async fn done<S: LeaseStore>(store: &S, claim: &Claim) -> CaseResult<Outcome> {
    let answer = retry(|| store.lease(claim, LONG)).await?;
    Ok(
        ensure_matches!(answer, Leased::Completed(outcome) => outcome,
        "the lease of {:?} to be answered with its outcome", claim.key()),
    )
}

/// Leases the key as soon as the lease in force has expired, by whichever clock that is.
pub(crate) async fn taken_over<S: LeaseStore>(store: &S, claim: &Claim) -> CaseResult<Lease> {
    for _ in 0..500 {
        match retry(|| store.lease(claim, LONG)).await? {
            Leased::Granted(lease) => return Ok(lease),
            Leased::InProgress { retry_after } => {
                let pause = retry_after.min(Duration::from_millis(100));
                sleep(pause.max(Duration::from_millis(1))).await;
            }
            other => {
                return Err(CaseFailure::new(
                    "a lease to be taken over",
                    format!("{other:?}"),
                ));
            }
        }
    }
    Err(CaseFailure::new(
        "a lease that is over to be taken over",
        "still in progress",
    ))
}

/// An applied outcome with this text.
pub(crate) fn applied(text: &str) -> Outcome {
    Outcome::Applied(receipt(text))
}

/// A token that the key never had.
pub(crate) fn never_given(token: FencingToken) -> [FencingToken; 4] {
    [
        FencingToken::new(token.get().wrapping_add(1)),
        FencingToken::new(0),
        FencingToken::new(-1),
        FencingToken::new(i64::MAX),
    ]
}
