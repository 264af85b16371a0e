//! Forms: one key is one key, whether a transaction has it or a lease.

use exactly_once_core::{
    Claim, Claimed, ErrorKind, IdempotencyStore, KeyState, LeaseStore, Leased, Outcome, Rejection,
    Retention, Settled, Store,
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

/// Goal: a key stays its request's own when a lease has expired: the external effect may have happened.
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

/// Goal: a transaction and a lease never both have a key. Method: claim it, and ask for a lease while the
/// transaction is open, for this request and for another; complete.
async fn i67_open_for_all_forms<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    for (name, own) in [("i67/own", true), ("i67/other", false)] {
        let (claim, other) = (claim(name)?, other_claim(name, "another request")?);
        let asked = if own { &claim } else { &other };
        let store = cx.store();
        let mut tx = fresh(store, &claim).await?;
        cx.write(&mut tx, name).await?;
        let lease = store.lease(asked, LONG).await;
        let settled = store.complete(tx, &claim, &receipt("by tx")).await;
        let through = matches!(settled, Ok(Settled::Recorded));
        let granted = matches!(lease, Ok(Leased::Granted(_)));
        ensure!(through != granted, seen: (lease, settled), "one of both to have the key of {name}");
        ensure_eq!(
            cx.effects(name).await?,
            u64::from(through),
            "effects of {name}"
        );
        if let Ok(Leased::Granted(lease)) = lease {
            let outcome = applied("by lease");
            store.finalize(asked, lease.token, &outcome).await?;
            ensure_eq!(done(store, asked).await?, outcome, "the outcome of {name}");
        } else {
            ensure_eq!(
                done(store, &claim).await?,
                applied("by tx"),
                "the outcome of {name}"
            );
        }
    }
    Ok(())
}

/// Goal: a lease that has expired can be taken over by a transaction, and its zombie is fenced then.
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

/// Goal: a lease that has expired is reported as it was, until another has the key; it is no outcome, so it is
/// neither forgotten nor expired. Method: let one end; look up, forget and expire; then complete.
async fn i68_over_and_not_taken<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claim = claim("i68")?;
    let lease = granted(cx.store(), &claim, cx.tick()).await?;
    until(cx.store(), lease.deadline).await?;
    for _ in 0..2 {
        let record = cx.store().lookup(claim.key()).await?;
        let record = record.expecting("a record of the key, as long as nobody else has it")?;
        let (token, deadline) = (lease.token, lease.deadline);
        let expected = KeyState::Leased { token, deadline };
        ensure_eq!(record.state, expected, "its state");
        let store = cx.store();
        let forgotten = retry(|| store.forget(claim.key())).await?;
        ensure_eq!(forgotten, false, "whether there was an outcome to forget");
        let expired = retry(|| store.expire(100)).await?;
        ensure_eq!(expired, 0, "keys expired");
    }
    completed(&cx, cx.store(), &claim, "i68", &receipt("by tx")).await?;
    ensure_eq!(cx.effects("i68").await?, 1, "effects");
    Ok(())
}

/// Goal: beside a transaction that takes a lease over, its zombie gets the key or is fenced, and never both
/// have it. Method: let one end and claim it; finalize, or renew, with the old token meanwhile; complete.
async fn i68_zombie_beside_the_takeover<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    for (name, renews) in [("i68/finalize", false), ("i68/renew", true)] {
        let claim = claim(name)?;
        let zombie = granted(cx.store(), &claim, cx.tick()).await?;
        until(cx.store(), zombie.deadline).await?;
        let store = cx.store();
        let mut tx = fresh(store, &claim).await?;
        cx.write(&mut tx, name).await?;
        let late = tokio::spawn({
            let (store, claim, token) = (store.clone(), claim.clone(), zombie.token);
            let outcome = applied("zombie");
            async move {
                if renews {
                    retry(|| store.renew(&claim, token, LONG)).await.map(drop)
                } else {
                    retry(|| store.finalize(&claim, token, &outcome)).await
                }
            }
        });
        sleep(cx.tick() * 2).await;
        let settled = store.complete(tx, &claim, &receipt("by tx")).await;
        let late = late.await?;
        if matches!(settled, Ok(Settled::Recorded)) {
            refused(late, ErrorKind::Fenced, "a zombie whose key was taken over")?;
            let outcome = replayed(cx.store(), &claim).await?;
            ensure_eq!(outcome, applied("by tx"), "the outcome of {name}");
            ensure_eq!(cx.effects(name).await?, 1, "effects of {name}");
            continue;
        }
        ensure!(late.is_ok(), seen: (settled, late), "one of both to have the key of {name}");
        ensure_eq!(cx.effects(name).await?, 0, "effects of {name}");
        if !renews {
            let outcome = done(cx.store(), &claim).await?;
            ensure_eq!(outcome, applied("zombie"), "the outcome of {name}");
        }
    }
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

/// Goal: a key that has expired is free to lease, too, and then that request's. Method: complete one by
/// transaction and finalize one by lease, outlive both; lease and finalize for another request.
async fn i26_over_is_anyones_to_lease<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let brief = cx.tick() * 2;
    let (by_tx, by_lease) = (kept_for("i26/tx", brief)?, kept_for("i26/lease", brief)?);
    completed(&cx, cx.store(), &by_tx, "i26", &receipt("first")).await?;
    let lease = granted(cx.store(), &by_lease, LONG).await?;
    let first = applied("first");
    cx.store().finalize(&by_lease, lease.token, &first).await?;
    for claim in [&by_tx, &by_lease] {
        let now = cx.store().now().await?;
        let over = claim.retention().expires_at(now).expecting("an end")?;
        until(cx.store(), over).await?;
        let other = other_claim(claim.key().as_str(), "another request")?;
        let lease = granted(cx.store(), &other, LONG).await?;
        let answer = cx.store().lease(claim, LONG).await?;
        ensure_eq!(answer, Leased::Mismatch, "the first request's lease");
        let outcome = applied("other");
        cx.store().finalize(&other, lease.token, &outcome).await?;
        ensure_eq!(done(cx.store(), &other).await?, outcome, "the outcome");
        mismatched(cx.store(), claim).await?;
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
    I26 i26_over_is_anyones_to_lease: "a key that is over is anyone's to lease, and then that request's",
        "the row is updated, and the first request's fingerprint stays in it";
    I59 i59_retention_of_a_leased_outcome: "the retention of a leased outcome counts from finalizing",
        "the claim's retention is ignored, or counted from the lease", waits;
    I67 i67_held_for_all_forms: "a held lease keeps transactions out and is neither forgotten nor expired",
        "claim looks for outcomes only; or expire and forget remove by key whatever the state";
    I67 i67_open_for_all_forms: "a transaction and a lease never both have a key",
        "a lease is granted while a transaction has claimed the key";
    I67 i67_recorded_for_all_forms: "what a transaction recorded, a lease is answered with",
        "two tables of keys";
    I68 i68_over_and_not_taken: "a lease that is over is told, and neither forgotten nor expired",
        "a row whose deadline has passed is read as no row";
    I68 i68_zombie_beside_the_takeover: "a zombie and the transaction that takes over never both have the key",
        "the token is compared with the row, and the open transaction is not looked for";
    I68 i68_taken_over_by_a_transaction: "a transaction takes over a lease that is over, and the zombie is fenced",
        "the token is only compared with other leases";
}
