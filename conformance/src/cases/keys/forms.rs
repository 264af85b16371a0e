//! Forms: one key is one key, whether a transaction has it or a lease.

use exactly_once_core::{
    Claim, Claimed, ErrorKind, IdempotencyStore, KeyState, LeaseStore, Leased, Outcome, Rejection,
    Retention, Store,
};
use tokio::time::sleep;

use crate::{
    CaseResult,
    cases::{
        cases,
        idempotency::support::{completed, ensure_recorded, fresh, mismatched, replayed},
        lease::support::{LONG, applied, done, granted, taken_over},
        prepared::support::until,
        support::{claim, other_claim, receipt, refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: a held lease keeps transactions out, too, and is shown, neither forgotten nor expired.
/// Method: hold one; claim, look up, forget and expire; then finalize, and claim again.
async fn i67_held_for_all_forms<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, other) = (claim("i67")?, other_claim("i67", "another request")?);
    let lease = granted(cx.store(), &claim, LONG).await?;
    for _ in 0..2 {
        let store = cx.store();
        let answer = retry(|| store.claim(&claim)).await?;
        let wait = ensure_matches!(answer, Claimed::InProgress { retry_after } => retry_after,
            "the claim of a leased key to be in progress");
        ensure!(!wait.is_zero() && wait <= LONG, seen: wait, "a wait within the lease's time");
        mismatched(cx.store(), &other).await?;
        let store = cx.store();
        let forgotten = retry(|| store.expire(100)).await?;
        ensure_eq!(forgotten, 0, "keys expired while one is held");
        match cx.store().forget(claim.key()).await {
            Err(error) if matches!(error.kind(), ErrorKind::InProgress { .. }) => {}
            other => ensure!(false, seen: other, "forgetting a held key to be in progress"),
        }
    }
    let record = cx.store().lookup(claim.key()).await?;
    let record = record.expecting("a record of the held key")?;
    ensure_eq!(record.fingerprint, *claim.fingerprint(), "its fingerprint");
    ensure_eq!(
        record.state,
        KeyState::Leased {
            token: lease.token,
            deadline: lease.deadline
        },
        "its state"
    );
    let outcome = applied("by lease");
    cx.store().finalize(&claim, lease.token, &outcome).await?;
    let seen = replayed(cx.store(), &claim).await?;
    ensure_eq!(seen, outcome, "the outcome by claim");
    mismatched(cx.store(), &other).await
}

/// Goal: what a transaction has recorded, a lease is answered with. Method: complete one key and
/// reject another; ask for leases, for this request and for another.
async fn i67_recorded_for_all_forms<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (yes, no) = (claim("i67/yes")?, claim("i67/no")?);
    completed(&cx, cx.store(), &yes, "i67", &receipt("by tx")).await?;
    ensure_eq!(
        done(cx.store(), &yes).await?,
        applied("by tx"),
        "the outcome"
    );
    let rejection = Rejection::new(409, "no");
    let store = cx.store();
    let tx = fresh(store, &no).await?;
    ensure_recorded(store.reject(tx, &no, &rejection).await)?;
    let outcome = done(cx.store(), &no).await?;
    ensure_eq!(outcome, Outcome::Rejected(rejection), "the rejection");
    for name in ["i67/yes", "i67/no"] {
        let other = other_claim(name, "another request")?;
        let answer = cx.store().lease(&other, LONG).await?;
        ensure_eq!(answer, Leased::Mismatch, "another request's lease");
    }
    Ok(())
}

/// Goal: a key stays its request's own when a lease is over: the outside effect may have been had.
/// Method: let one end, ask for another request by both forms; the first request may have it again;
/// once it is released, it is anyone's.
async fn i21_ended_lease_keeps_its_request<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, other) = (claim("i21")?, other_claim("i21", "another request")?);
    let lease = granted(cx.store(), &claim, cx.tick()).await?;
    until(cx.store(), lease.deadline).await?;
    for _ in 0..2 {
        let answer = cx.store().lease(&other, LONG).await?;
        ensure_eq!(
            answer,
            Leased::Mismatch,
            "another request's lease, once the first is over"
        );
        mismatched(cx.store(), &other).await?;
    }
    let next = taken_over(cx.store(), &claim).await?;
    cx.store().release(&claim, next.token).await?;
    granted(cx.store(), &other, LONG).await?;
    Ok(())
}

/// Goal: a lease that is over can be taken over by a transaction, and its zombie is fenced then.
/// Method: let one end, complete by transaction; finalize, renew and release with the old token.
async fn i68_taken_over_by_a_transaction<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claim = claim("i68")?;
    let zombie = granted(cx.store(), &claim, cx.tick()).await?;
    until(cx.store(), zombie.deadline).await?;
    completed(&cx, cx.store(), &claim, "i68", &receipt("by tx")).await?;
    for _ in 0..2 {
        let token = zombie.token;
        let answer = cx.store().finalize(&claim, token, &applied("zombie")).await;
        refused(answer, ErrorKind::Fenced, "a zombie's outcome")?;
        let answer = cx.store().renew(&claim, token, LONG).await;
        refused(answer, ErrorKind::Fenced, "a zombie's renewal")?;
        let answer = cx.store().release(&claim, token).await;
        refused(answer, ErrorKind::Fenced, "a zombie's release")?;
        let outcome = replayed(cx.store(), &claim).await?;
        ensure_eq!(outcome, applied("by tx"), "the outcome");
    }
    ensure_eq!(cx.effects("i68").await?, 1, "effects");
    Ok(())
}

/// Goal: the retention of a leased outcome is that of its claim, counted from finalizing. Method:
/// hold a lease for a while, finalize, look; wait it out; applied and rejected.
async fn i59_retention_of_a_leased_outcome<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let outcomes = [applied("59"), Outcome::Rejected(Rejection::new(409, "no"))];
    for (number, outcome) in outcomes.iter().enumerate() {
        let hour = std::time::Duration::from_secs(3_600);
        let kept = kept_for(&format!("i59/kept/{number}"), hour)?;
        let brief = kept_for(&format!("i59/brief/{number}"), cx.tick() * 3)?;
        let leases = [
            granted(cx.store(), &kept, LONG).await?,
            granted(cx.store(), &brief, LONG).await?,
        ];
        sleep(cx.tick() * 3).await;
        let before = cx.store().now().await?;
        for (claim, lease) in [&kept, &brief].into_iter().zip(leases) {
            cx.store().finalize(claim, lease.token, outcome).await?;
        }
        let by = cx.store().now().await?;
        let record = cx.store().lookup(kept.key()).await?.expecting("a record")?;
        let (at, end) = ensure_matches!(record.state,
            KeyState::Completed { completed_at, expires_at, .. } => (completed_at, expires_at),
            "a completed key");
        // Some stores keep whole milliseconds.
        let slack = std::time::Duration::from_millis(2);
        ensure!(before.since(at) <= slack, seen: (before, at),
            "a completion by the store's clock, not before it was asked for");
        ensure_eq!(
            end,
            kept.retention().expires_at(at),
            "the end of its retention"
        );
        let over = brief.retention().expires_at(by).expecting("an end")?;
        until(cx.store(), over).await?;
        let store = cx.store();
        ensure_eq!(
            retry(|| store.lookup(brief.key())).await?,
            None,
            "the key after its retention"
        );
        granted(cx.store(), &brief, LONG).await?;
        ensure_eq!(done(cx.store(), &kept).await?, *outcome, "the outcome kept");
    }
    Ok(())
}

/// A claim that is remembered for so long.
fn kept_for(name: &str, retention: std::time::Duration) -> CaseResult<Claim> {
    Ok(claim(name)?.with_retention(Retention::new(retention)?))
}

cases! { "keys::forms" for IdempotencyStore where LeaseStore, "core::IdempotencyStore, core::LeaseStore";
    I21 i21_ended_lease_keeps_its_request: "another request gets no key whose lease has only ended",
        "an ended lease is read as no lease: the fingerprint is compared only while it is held";
    I59 i59_retention_of_a_leased_outcome: "the retention of a leased outcome counts from finalizing",
        "the claim's retention is ignored, or counted from the lease", waits;
    I67 i67_held_for_all_forms: "a held lease keeps transactions out and is neither forgotten nor expired",
        "claim looks for outcomes only; or expire and forget remove by key whatever the state";
    I67 i67_recorded_for_all_forms: "what a transaction recorded, a lease is answered with",
        "two tables of keys";
    I68 i68_taken_over_by_a_transaction: "a transaction takes over a lease that is over, and the zombie is fenced",
        "the token is only compared with other leases";
}
