//! Fence: tokens only grow, and a zombie is fenced and harms no other.

use std::time::Duration;

use exactly_once_core::{ErrorKind, FencingToken, Lease, LeaseStore, Leased, Store};
use tokio::time::sleep;

use super::support::{LONG, applied, done, granted, taken_over};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, refused, retry},
    },
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// A key whose first lease has expired and which another holds now: the zombie's token, and the lease.
async fn overtaken<H: Harness<Store: LeaseStore>>(
    cx: &Context<H>,
    name: &str,
) -> CaseResult<(FencingToken, Lease)> {
    let claim = claim(name)?;
    let zombie = granted(cx.store(), &claim, cx.tick() * 2).await?;
    let holder = taken_over(cx.store(), &claim).await?;
    ensure!(holder.token > zombie.token, seen: (zombie.token, holder.token),
        "a takeover with a greater token");
    Ok((zombie.token, holder))
}

/// The holder is unharmed: still in progress for others, and it can finalize.
async fn ensure_unharmed<H: Harness<Store: LeaseStore>>(
    cx: &Context<H>,
    name: &str,
    holder: &Lease,
) -> CaseResult {
    let claim = claim(name)?;
    let answer = retry(|| cx.store().lease(&claim, LONG)).await?;
    ensure_matches!(
        answer,
        Leased::InProgress { .. },
        "the holder's lease to be in force"
    );
    cx.store()
        .finalize(&claim, holder.token, &applied("holder"))
        .await?;
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("holder"),
        "the holder's outcome"
    );
    Ok(())
}

/// Goal: a held key is in progress, with the time to wait: what is left of the lease that holds it.
/// Method: ask for a longer and for a shorter one, at first and after a renewal.
async fn i60_in_progress_while_held<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i60")?;
    let mut lease = granted(cx.store(), &claim, LONG).await?;
    // Some stores keep whole milliseconds.
    let slack = Duration::from_millis(2);
    for round in 0..2 {
        for ttl in [LONG * 3, LONG, LONG / 100] {
            let before = cx.store().now().await?;
            let answer = cx.store().lease(&claim, ttl).await?;
            let after = cx.store().now().await?;
            let wait = ensure_matches!(answer, Leased::InProgress { retry_after } => retry_after,
                "a held key to be in progress");
            let (most, least) = (lease.deadline.since(before), lease.deadline.since(after));
            ensure!(wait <= most + slack && wait + slack >= least, seen: (lease, before, wait),
                "a wait until the lease that holds it is over");
        }
        if round == 0 {
            lease = cx.store().renew(&claim, lease.token, LONG * 2).await?;
        }
    }
    Ok(())
}

/// Goal: a lease that has expired is granted again, with a greater token. Method: a short one, several
/// times.
async fn i61_takeover_grows_the_token<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    for round in 0..3 {
        overtaken(&cx, &format!("i61/{round}")).await?;
    }
    Ok(())
}

/// Goal: a zombie's outcome is fenced. Method: finalize with the token of before the takeover.
async fn i62_zombie_finalizes<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let (zombie, holder) = overtaken(&cx, "i62").await?;
    let answer = cx
        .store()
        .finalize(&claim("i62")?, zombie, &applied("zombie"))
        .await;
    refused(answer, ErrorKind::Fenced, "a zombie's outcome")?;
    ensure_unharmed(&cx, "i62", &holder).await?;
    // And once more, now that it is done.
    let answer = cx
        .store()
        .finalize(&claim("i62")?, zombie, &applied("zombie"))
        .await;
    refused(
        answer,
        ErrorKind::Fenced,
        "a zombie's outcome, after the holder's",
    )?;
    ensure_eq!(
        done(cx.store(), &claim("i62")?).await?,
        applied("holder"),
        "the outcome"
    );
    Ok(())
}

/// Goal: a zombie can't prolong what is another's. Method: renew with the old token; the holder's
/// deadline stays.
async fn i63_zombie_renews<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let (zombie, holder) = overtaken(&cx, "i63").await?;
    let answer = cx.store().renew(&claim("i63")?, zombie, LONG * 10).await;
    refused(answer, ErrorKind::Fenced, "a zombie's renewal")?;
    let answer = cx.store().lease(&claim("i63")?, LONG).await?;
    let wait = ensure_matches!(answer, Leased::InProgress { retry_after } => retry_after,
        "the holder's lease to be in force");
    ensure!(wait <= LONG, seen: wait, "the holder's own deadline");
    ensure_unharmed(&cx, "i63", &holder).await?;
    let answer = cx.store().renew(&claim("i63")?, holder.token, LONG).await;
    refused(answer, ErrorKind::Fenced, "renewing what is completed")
}

/// Goal: a zombie can't give away what is another's. Method: release with the old token.
async fn i64_zombie_releases<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let (zombie, holder) = overtaken(&cx, "i64").await?;
    let answer = cx.store().release(&claim("i64")?, zombie).await;
    refused(answer, ErrorKind::Fenced, "a zombie's release")?;
    ensure_unharmed(&cx, "i64", &holder).await?;
    let answer = cx.store().release(&claim("i64")?, zombie).await;
    refused(
        answer,
        ErrorKind::Fenced,
        "a zombie's release of a completed key",
    )?;
    ensure_eq!(
        done(cx.store(), &claim("i64")?).await?,
        applied("holder"),
        "the outcome"
    );
    Ok(())
}

/// Goal: tokens grow over release, takeover, renewal and reopening. Method: all of them in turn.
async fn i65_tokens_only_grow<H: Harness<Store: LeaseStore>>(mut cx: Context<H>) -> CaseResult {
    let claim = claim("i65")?;
    let mut last = FencingToken::new(i64::MIN);
    for round in 0..9 {
        let ttl = if round % 3 == 1 { cx.tick() * 2 } else { LONG };
        let lease = taken_over_for(&cx, ttl).await?;
        ensure!(lease.token > last, seen: (last, lease.token), "a greater token in round {round}");
        last = lease.token;
        match round % 3 {
            0 => cx.store().release(&claim, last).await?,
            1 => sleep(cx.tick()).await,
            _ => {
                let renewed = cx.store().renew(&claim, last, cx.tick()).await?;
                ensure_eq!(renewed.token, last, "the token of a renewed lease");
                cx.reopen().await?;
            }
        }
    }
    Ok(())
}

/// The next lease of the key of I65, for this long.
async fn taken_over_for<H: Harness<Store: LeaseStore>>(
    cx: &Context<H>,
    ttl: std::time::Duration,
) -> CaseResult<Lease> {
    let claim = claim("i65")?;
    let lease = taken_over(cx.store(), &claim).await?;
    let renewed = cx.store().renew(&claim, lease.token, ttl).await?;
    ensure_eq!(renewed.token, lease.token, "the token of a renewed lease");
    Ok(renewed)
}

/// Goal: a holder whose lease has expired, and that none overtook, may still finalize; an attempt
/// that comes then sees the outcome. Method: finalize late, then lease.
async fn i66_late_but_not_overtaken<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i66")?;
    let lease = granted(cx.store(), &claim, cx.tick()).await?;
    sleep(cx.tick() * 2).await;
    while cx.store().now().await? < lease.deadline {
        sleep(cx.tick()).await;
    }
    cx.store()
        .finalize(&claim, lease.token, &applied("late"))
        .await?;
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("late"),
        "the outcome seen by the next"
    );
    Ok(())
}

cases! { "lease::fence" for LeaseStore, "core::LeaseStore, core::FencingToken";
    I60 i60_in_progress_while_held: "a held key is in progress, with the time to wait",
        "a rival is let in, or told to wait for ever";
    I61 i61_takeover_grows_the_token: "a lease that is over is granted anew with a greater token",
        "a takeover keeps the token";
    I62 i62_zombie_finalizes: "a zombie's outcome is fenced",
        "finalize compares the key only: a lease without a fence";
    I63 i63_zombie_renews: "a zombie's renewal is fenced",
        "renew compares the key only";
    I64 i64_zombie_releases: "a zombie's release is fenced",
        "release deletes whatever lease there is";
    I65 i65_tokens_only_grow: "tokens grow over release, takeover and reopening",
        "the token is kept in the row that a release deletes, or in memory";
    I66 i66_late_but_not_overtaken: "who is late but not overtaken may finalize",
        "finalize compares the deadline instead of the token";
}
