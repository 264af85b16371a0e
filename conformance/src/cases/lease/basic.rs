//! Basic: one holder at a time, and one outcome.

use std::sync::Arc;

use exactly_once_core::{ErrorKind, LeaseStore, Leased, Outcome, Receipt, Rejection, Store};

use super::support::{LONG, applied, done, granted, never_given};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, other_claim, race, refused, retry},
    },
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: a free key is held until a deadline by the store's clock. Method: lease between two
/// readings of the clock.
async fn i01l_first_lease_is_granted<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i01")?;
    let before = cx.store().now().await?;
    let lease = granted(cx.store(), &claim, LONG).await?;
    let after = cx.store().now().await?;
    let slack = cx.tick();
    let (early, late) = (lease.deadline.since(before), lease.deadline.since(after));
    ensure!(early + slack >= LONG && late <= LONG + slack, seen: (before, lease, after),
        "a deadline {LONG:?} from now, by the store's clock");
    Ok(())
}

/// Goal: a finalized key answers with its outcome, byte for byte. Method: applied and rejected.
async fn i02l_finalized_key_gives_the_outcome<H: Harness<Store: LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let outcomes = [
        Outcome::Applied(Receipt::from_bytes((0..=255).collect::<Vec<u8>>())),
        Outcome::Applied(Receipt::default()),
        Outcome::Rejected(Rejection::new(402, "declined \u{1F4B3} '\"\\")),
    ];
    for (number, outcome) in outcomes.iter().enumerate() {
        let claim = claim(&format!("i02/{number}"))?;
        let lease = granted(cx.store(), &claim, LONG).await?;
        cx.store().finalize(&claim, lease.token, outcome).await?;
        for _ in 0..3 {
            ensure_eq!(
                done(cx.store(), &claim).await?,
                *outcome,
                "outcome {number}"
            );
        }
    }
    Ok(())
}

/// Goal: an unknown lease is refused, and nothing is stored. Method: tokens that were never given,
/// of an absent key and of a held one.
async fn i04l_unknown_lease<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let (absent, held) = (claim("i04/absent")?, claim("i04/held")?);
    let lease = granted(cx.store(), &held, LONG).await?;
    for token in never_given(lease.token) {
        for claim in [&absent, &held] {
            let answer = cx.store().finalize(claim, token, &applied("zombie")).await;
            refused(
                answer,
                ErrorKind::Fenced,
                "finalizing with a token never given",
            )?;
            let answer = cx.store().renew(claim, token, LONG).await;
            refused(
                answer,
                ErrorKind::Fenced,
                "renewing with a token never given",
            )?;
        }
        let answer = cx.store().release(&held, token).await;
        refused(
            answer,
            ErrorKind::Fenced,
            "releasing with a token never given",
        )?;
    }
    granted(cx.store(), &absent, LONG).await?;
    cx.store()
        .finalize(&held, lease.token, &applied("holder"))
        .await?;
    ensure_eq!(
        done(cx.store(), &held).await?,
        applied("holder"),
        "the holder's outcome"
    );
    Ok(())
}

/// Goal: a released key is free at once, with a higher token. Method: release and lease in turn,
/// for this request and then for another.
async fn i05l_released_key_is_free<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i05")?;
    let mut last = granted(cx.store(), &claim, LONG).await?.token;
    for round in 0..5 {
        cx.store().release(&claim, last).await?;
        cx.store().release(&claim, last).await?;
        let lease = granted(cx.store(), &claim, LONG).await?;
        ensure!(lease.token > last, seen: (last, lease.token), "a higher token in round {round}");
        last = lease.token;
    }
    Ok(())
}

/// Goal: finalizing twice is fine with the same outcome, and a conflict with another; the first
/// stands. Method: as said, both ways.
async fn i14l_finalize_twice<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i14")?;
    let lease = granted(cx.store(), &claim, LONG).await?;
    for _ in 0..3 {
        cx.store()
            .finalize(&claim, lease.token, &applied("first"))
            .await?;
    }
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("first"),
        "the outcome"
    );
    Ok(())
}

/// Goal: another outcome with the same token is a conflict, and the first stands. Method: another
/// receipt, and a rejection.
async fn i15l_other_outcome<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i15")?;
    let lease = granted(cx.store(), &claim, LONG).await?;
    cx.store()
        .finalize(&claim, lease.token, &applied("first"))
        .await?;
    for other in [
        applied("second"),
        Outcome::Rejected(Rejection::new(422, "first")),
    ] {
        let answer = cx.store().finalize(&claim, lease.token, &other).await;
        let conflict = ErrorKind::Conflict { current: None };
        refused(answer, conflict, "finalizing again with another outcome")?;
    }
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("first"),
        "the outcome that stands"
    );
    Ok(())
}

/// Goal: another request under a completed key is a mismatch. Method: lease and finalize otherwise.
async fn i20l_other_request_after_completion<H: Harness<Store: LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, other) = (claim("i20")?, other_claim("i20", "another request")?);
    let lease = granted(cx.store(), &claim, LONG).await?;
    cx.store()
        .finalize(&claim, lease.token, &applied("first"))
        .await?;
    ensure_eq!(
        cx.store().lease(&other, LONG).await?,
        Leased::Mismatch,
        "another request's lease"
    );
    let answer = cx
        .store()
        .finalize(&other, lease.token, &applied("first"))
        .await;
    refused(
        answer,
        ErrorKind::Mismatch,
        "finalizing for another request",
    )?;
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("first"),
        "the first request's outcome"
    );
    Ok(())
}

/// Goal: another request under a held key is a mismatch, not *in progress*. Method: lease twice.
async fn i21l_other_request_while_held<H: Harness<Store: LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, other) = (claim("i21")?, other_claim("i21", "another request")?);
    let lease = granted(cx.store(), &claim, LONG).await?;
    ensure_eq!(
        cx.store().lease(&other, LONG).await?,
        Leased::Mismatch,
        "another request's lease"
    );
    let answer = cx
        .store()
        .finalize(&other, lease.token, &applied("stolen"))
        .await;
    refused(
        answer,
        ErrorKind::Mismatch,
        "finalizing for another request",
    )?;
    cx.store()
        .finalize(&claim, lease.token, &applied("own"))
        .await?;
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("own"),
        "the holder's outcome"
    );
    Ok(())
}

/// Goal: a lease is its request's own, also for who has its token. Method: renew and release for another
/// request; the lease stays as it was, and its holder finalizes.
async fn i22l_other_request_with_the_token<H: Harness<Store: LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, other) = (claim("i22")?, other_claim("i22", "another request")?);
    let lease = granted(cx.store(), &claim, LONG).await?;
    for _ in 0..2 {
        let renewed = cx.store().renew(&other, lease.token, LONG * 10).await;
        refused(renewed, ErrorKind::Mismatch, "renewing for another request")?;
        let released = cx.store().release(&other, lease.token).await;
        refused(
            released,
            ErrorKind::Mismatch,
            "releasing for another request",
        )?;
    }
    let answer = cx.store().lease(&claim, LONG).await?;
    let wait = ensure_matches!(answer, Leased::InProgress { retry_after } => retry_after,
        "the lease to be in force");
    ensure!(wait <= LONG, seen: wait, "the holder's own deadline");
    cx.store()
        .finalize(&claim, lease.token, &applied("own"))
        .await?;
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("own"),
        "the holder's outcome"
    );
    Ok(())
}

/// Goal: of N that ask for a lease at once, one gets it. Method: 16 racers, several keys.
async fn i30l_racers_for_a_lease<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let (rounds, cx) = (cx.case().scaled(8, 2), Arc::new(cx));
    for round in 0..rounds {
        let claim = claim(&format!("i30/{round}"))?;
        let ended = race((0..16).map(|_| {
            let (cx, claim) = (Arc::clone(&cx), claim.clone());
            async move { retry(|| cx.store().lease(&claim, LONG)).await }
        }))
        .await?;
        let mut holders = 0;
        for answer in ended {
            match answer? {
                Leased::Granted(_) => holders += 1,
                other => ensure_matches!(other, Leased::InProgress { .. }, "the others to wait"),
            }
        }
        ensure_eq!(holders, 1, "holders of one lease in round {round}");
    }
    Ok(())
}

/// Goal: too large a receipt is refused, and the lease still held. Method: one byte over.
async fn i77l_too_large_a_receipt<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i77")?;
    let largest = cx.store().capabilities().max_receipt_bytes;
    let lease = granted(cx.store(), &claim, LONG).await?;
    let huge = Outcome::Applied(Receipt::from_bytes(vec![b'x'; largest + 1]));
    let answer = cx.store().finalize(&claim, lease.token, &huge).await;
    refused(answer, ErrorKind::TooLarge, "one byte over")?;
    let full = Outcome::Applied(Receipt::from_bytes(vec![b'x'; largest]));
    cx.store().finalize(&claim, lease.token, &full).await?;
    ensure!(
        done(cx.store(), &claim).await? == full,
        "the largest receipt as it was"
    );
    Ok(())
}

cases! { "lease::basic" for LeaseStore, "core::LeaseStore, Contract";
    I01L i01l_first_lease_is_granted: "a free key is held until a deadline by the store's clock",
        "the deadline is computed by the client";
    I02L i02l_finalized_key_gives_the_outcome: "a finalized key answers with its outcome",
        "rejections are stored as receipts, or receipts as text";
    I04L i04l_unknown_lease: "an unknown lease is refused, and nothing is stored",
        "finalize inserts or updates without comparing the token";
    I05L i05l_released_key_is_free: "a released key is free at once, with a higher token",
        "release deletes the row, and the token starts again";
    I14L i14l_finalize_twice: "finalizing again with the same outcome is fine",
        "a completed key is refused as fenced to the one who completed it";
    I15L i15l_other_outcome: "another outcome with the same token is a conflict",
        "the last outcome wins";
    I20L i20l_other_request_after_completion: "another request under a completed key is a mismatch",
        "the fingerprint is never compared";
    I21L i21l_other_request_while_held: "another request under a held key is a mismatch",
        "the fingerprint is compared only when the key is completed";
    I22L i22l_other_request_with_the_token: "a lease is its request's own, also for who has its token",
        "renew and release compare the token only";
    I30L i30l_racers_for_a_lease: "of N that ask at once, one gets the lease",
        "check-then-insert without a unique key";
    I77L i77l_too_large_a_receipt: "too large a receipt is refused, and the lease still held",
        "the size is checked by the database, or not at all";
}
