//! Expiry: a lease ends by the store's clock, and only then.

use std::time::Duration;

use exactly_once_core::{ErrorKind, LeaseStore, Leased, Store};
use tokio::time::sleep;

use super::support::{LONG, applied, done, granted, taken_over};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, refused},
    },
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: a client whose clock is off takes nothing over. Method: handles that are an hour and a
/// year off ask for a lease in force; and hold one themselves.
async fn i52l_client_clock<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    const YEAR: i64 = 365 * 24 * 3600;
    let held = claim("i52/held")?;
    granted(cx.store(), &held, LONG).await?;
    for seconds in [-3600, 3600, -YEAR, YEAR] {
        let skewed = cx.harness().open_skewed(cx.guard(), seconds).await?;
        let answer = skewed.lease(&held, LONG).await?;
        let wait = ensure_matches!(answer, Leased::InProgress { retry_after } => retry_after,
            "a lease in force to be in progress for a client that is {seconds} s off");
        ensure!(wait <= LONG, seen: wait, "the time to wait by the store's clock");
        let own = claim(&format!("i52/{seconds}"))?;
        let lease = granted(&skewed, &own, LONG).await?;
        let left = lease.deadline.since(cx.store().now().await?);
        ensure!(left <= LONG && left + LONG / 4 >= LONG, seen: left,
            "a deadline by the store's clock");
    }
    Ok(())
}

/// Goal: durations that can't be meant are refused. Method: zero, below a microsecond, over a
/// hundred years, the largest; for leases and renewals; and the longest is taken.
async fn i53l_odd_durations<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let (free, held) = (claim("i53/free")?, claim("i53/held")?);
    let lease = granted(cx.store(), &held, LONG).await?;
    let longest = exactly_once_core::MAX_DURATION;
    let odd = [
        Duration::ZERO,
        Duration::from_nanos(1),
        longest + Duration::from_secs(1),
        Duration::MAX,
    ];
    for odd in odd {
        let answer = cx.store().lease(&free, odd).await;
        refused(answer, ErrorKind::Invalid, "a lease of an odd duration")?;
        let answer = cx.store().renew(&held, lease.token, odd).await;
        refused(answer, ErrorKind::Invalid, "a renewal of an odd duration")?;
    }
    let lease = granted(cx.store(), &free, longest).await?;
    let left = lease.deadline.since(cx.store().now().await?);
    ensure!(left + Duration::from_secs(60) >= longest, seen: left, "a deadline in a hundred years");
    Ok(())
}

/// Goal: a renewed lease is held until its new deadline. Method: renew a short one; past its first
/// deadline it is still in force, past the second it is not.
async fn i56_renewal_extends<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i56")?;
    let first = granted(cx.store(), &claim, cx.tick() * 5).await?;
    let renewed = cx.store().renew(&claim, first.token, LONG).await?;
    ensure_eq!(renewed.token, first.token, "the token of the renewed lease");
    ensure!(renewed.deadline > first.deadline, seen: (first, renewed), "a later deadline");
    while cx.store().now().await? <= first.deadline {
        sleep(cx.tick()).await;
    }
    let answer = cx.store().lease(&claim, LONG).await?;
    ensure_matches!(
        answer,
        Leased::InProgress { .. },
        "the renewed lease to be in force"
    );
    // A renewal may also shorten: it counts from now.
    let short = cx.store().renew(&claim, first.token, cx.tick()).await?;
    ensure!(short.deadline < renewed.deadline, seen: short, "a deadline counted from now");
    let next = taken_over(cx.store(), &claim).await?;
    ensure!(next.token > first.token, seen: next, "a greater token");
    Ok(())
}

/// Goal: a lease in force is never taken over, and one that has expired is, at one moment. Method: ask
/// between two readings of the store's clock, across the deadline.
async fn i57l_at_the_deadline<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i57")?;
    let lease = granted(cx.store(), &claim, cx.tick() * 3).await?;
    loop {
        let before = cx.store().now().await?;
        let answer = cx.store().lease(&claim, LONG).await?;
        let after = cx.store().now().await?;
        let taken = matches!(answer, Leased::Granted(_));
        ensure!(!taken || after >= lease.deadline, seen: (lease.deadline, after),
            "a lease in force not to be taken over");
        ensure!(taken || before < lease.deadline, seen: (lease.deadline, before),
            "a lease to be over from its deadline on");
        if taken {
            return Ok(());
        }
    }
}

/// Goal: an outcome outlives the lease it was made under. Method: finalize a short lease, wait
/// until it would be over.
async fn i59l_outcome_outlives_the_lease<H: Harness<Store: LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claim = claim("i59")?;
    let lease = granted(cx.store(), &claim, cx.tick() * 2).await?;
    cx.store()
        .finalize(&claim, lease.token, &applied("kept"))
        .await?;
    sleep(cx.tick() * 4).await;
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("kept"),
        "the outcome after the deadline"
    );
    Ok(())
}

cases! { "lease::expiry" for LeaseStore, "core::LeaseStore, core::time";
    I52L i52l_client_clock: "a client's clock takes nothing over",
        "deadlines are compared with the client's clock";
    I53L i53l_odd_durations: "durations that can't be meant are refused",
        "a duration of zero, or one that wraps, is taken";
    I56 i56_renewal_extends: "a renewed lease is held until its new deadline",
        "renewing changes nothing in the store, or adds to the old deadline";
    I57L i57l_at_the_deadline: "a lease ends at one moment",
        "a rival is let in early, or the deadline is rounded";
    I59L i59l_outcome_outlives_the_lease: "an outcome outlives its lease",
        "the lease's time to live removes the whole record";
}
