//! Expiry: a key is remembered for its retention, counted from completion by the store's clock.

use std::{sync::Arc, time::Duration};

use exactly_once_core::{
    Claim, ErrorKind, IdempotencyStore, KeyState, Outcome, Retention, Store, Timestamp,
};
use tokio::time::sleep;

use super::support::{completed, executed, replayed};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, race, receipt, refused, retry},
    },
    check::{CaseFailure, Expecting},
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

const HOUR: Duration = Duration::from_secs(3600);

/// A claim that is remembered for so long.
fn kept_for(name: &str, retention: Duration) -> CaseResult<Claim> {
    Ok(claim(name)?.with_retention(Retention::new(retention)?))
}

/// Waits until the store's clock shows this moment.
async fn sleep_until<S: IdempotencyStore>(store: &S, moment: Timestamp) -> CaseResult {
    loop {
        let now = store.now().await?;
        if now >= moment {
            return Ok(());
        }
        sleep(moment.since(now).max(Duration::from_millis(1))).await;
    }
}

/// A moment by which a key has expired that is complete by now. The machine may be slow, so no case
/// counts on a moment at which a short retention is not over yet.
async fn over_by<S: IdempotencyStore>(store: &S, claim: &Claim) -> CaseResult<Timestamp> {
    let now = store.now().await?;
    claim
        .retention()
        .expires_at(now)
        .expecting("a retention that ends")
}

/// When the key may be expired.
async fn end_of<S: IdempotencyStore>(store: &S, claim: &Claim) -> CaseResult<Timestamp> {
    let record = store
        .lookup(claim.key())
        .await?
        .expecting("a record of the key")?;
    let end = ensure_matches!(record.state, KeyState::Completed { expires_at, .. } => expires_at,
        "a completed key");
    end.expecting("a key with an end")
}

/// Goal: within its retention a key replays, and expiry leaves it alone. Method: one hour, and for
/// ever; wait some ticks, expire, replay.
async fn i50_before_the_limit<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let hour = kept_for("i50/hour", HOUR)?;
    let ever = claim("i50/ever")?.with_retention(Retention::FOREVER);
    for claim in [&hour, &ever] {
        completed(&cx, cx.store(), claim, "i50", &receipt("50")).await?;
    }
    sleep(cx.tick() * 3).await;
    ensure_eq!(cx.store().expire(100).await?, 0, "keys that were expired");
    for claim in [&hour, &ever] {
        replayed(cx.store(), claim).await?;
    }
    let record = cx.store().lookup(ever.key()).await?.expecting("a record")?;
    ensure_matches!(
        record.state,
        KeyState::Completed {
            expires_at: None,
            ..
        },
        "a key that never expires"
    );
    Ok(())
}

/// Goal: after its retention a key is absent, also before anybody has expired it, and its next
/// attempt is a new effect. Method: a retention of some ticks; wait it out.
async fn i51_after_the_limit<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let short = kept_for("i51", cx.tick() * 4)?;
    completed(&cx, cx.store(), &short, "i51", &receipt("first")).await?;
    let end = over_by(cx.store(), &short).await?;
    sleep_until(cx.store(), end).await?;
    ensure_eq!(
        cx.store().lookup(short.key()).await?,
        None,
        "the lookup after the retention"
    );
    let long = kept_for("i51", HOUR)?;
    completed(&cx, cx.store(), &long, "i51", &receipt("second")).await?;
    let outcome = replayed(cx.store(), &long).await?;
    ensure_eq!(
        outcome,
        Outcome::Applied(receipt("second")),
        "the outcome of the second effect"
    );
    ensure_eq!(cx.effects("i51").await?, 2, "effects, one in each window");
    Ok(())
}

/// Goal: a client's clock changes nothing. Method: handles that are an hour and a year off, both
/// ways, complete, replay and expire.
async fn i52_client_clock<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    const YEAR: i64 = 365 * 24 * 3600;
    let kept = kept_for("i52/kept", HOUR)?;
    completed(&cx, cx.store(), &kept, "i52", &receipt("kept")).await?;
    for seconds in [-3600, 3600, -YEAR, YEAR] {
        let skewed = cx.harness().open_skewed(cx.guard(), seconds).await?;
        let off = format!("a client that is {seconds} s off");
        replayed(&skewed, &kept)
            .await
            .map_err(|failure| failure.note(off.clone()))?;
        ensure_eq!(skewed.expire(100).await?, 0, "keys that {off} expired");
        let before = cx.store().now().await?;
        let hour = kept_for(&format!("i52/hour/{seconds}"), HOUR)?;
        completed(&cx, &skewed, &hour, "i52", &receipt("52")).await?;
        let window = end_of(cx.store(), &hour).await?.since(before);
        ensure!(window + cx.tick() >= HOUR && window < HOUR + HOUR / 2, seen: window,
            "{off} to complete a key whose hour begins now");
        let short = kept_for(&format!("i52/{seconds}"), cx.tick() * 4)?;
        completed(&cx, &skewed, &short, "i52", &receipt("52")).await?;
        let end = over_by(cx.store(), &short).await?;
        sleep_until(cx.store(), end).await?;
        ensure_eq!(
            skewed.lookup(short.key()).await?,
            None,
            "the lookup by {off}, after the end"
        );
        ensure_eq!(
            skewed.expire(100).await?,
            1,
            "keys that {off} expired after the end"
        );
    }
    Ok(())
}

/// Goal: durations that can't be meant are refused, and an expiry of nothing too. Method: zero,
/// below a microsecond, over a hundred years, the largest; a limit of zero.
async fn i53_odd_durations<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    for odd in [Duration::ZERO, Duration::from_nanos(999), Duration::MAX] {
        ensure!(
            Retention::new(odd).is_err(),
            "a retention of {odd:?} to be refused"
        );
    }
    refused(
        cx.store().expire(0).await,
        ErrorKind::Invalid,
        "a limit of zero",
    )?;
    // The longest and the shortest that are taken must fit the store's own type.
    let longest = kept_for("i53/longest", exactly_once_core::MAX_DURATION)?;
    completed(&cx, cx.store(), &longest, "i53", &receipt("53")).await?;
    replayed(cx.store(), &longest).await?;
    let record = cx
        .store()
        .lookup(longest.key())
        .await?
        .expecting("a record")?;
    let (at, end) = ensure_matches!(record.state,
        KeyState::Completed { completed_at, expires_at, .. } => (completed_at, expires_at),
        "a completed key");
    ensure_eq!(
        end,
        longest.retention().expires_at(at),
        "the end of a hundred years"
    );
    let shortest = kept_for("i53/shortest", Duration::from_micros(1))?;
    completed(&cx, cx.store(), &shortest, "i53", &receipt("53")).await?;
    sleep(cx.tick() * 2).await;
    ensure_eq!(
        cx.store().lookup(shortest.key()).await?,
        None,
        "a key kept for a microsecond"
    );
    Ok(())
}

/// Goal: expiry removes what is past its retention, in batches, and nothing else. Method: five
/// short keys, one long, one for ever; batches of two.
async fn i54_only_what_is_over<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let long = kept_for("i54/long", HOUR)?;
    let ever = claim("i54/ever")?.with_retention(Retention::FOREVER);
    for claim in [&long, &ever] {
        completed(&cx, cx.store(), claim, "i54", &receipt("54")).await?;
    }
    for number in 0..5 {
        let short = kept_for(&format!("i54/short/{number}"), cx.tick())?;
        completed(&cx, cx.store(), &short, "i54", &receipt("54")).await?;
        let end = over_by(cx.store(), &short).await?;
        sleep_until(cx.store(), end).await?;
    }
    for removed in [2, 2, 1, 0] {
        ensure_eq!(
            cx.store().expire(2).await?,
            removed,
            "keys that a batch of two removed"
        );
    }
    for claim in [&long, &ever] {
        replayed(cx.store(), claim).await?;
    }
    Ok(())
}

/// Goal: expiry beside attempts never lets two in. Method: racers go for a key whose retention ends
/// under them while it is being expired; the new window has one effect.
async fn i55_beside_claims<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (rounds, cx) = (cx.case().scaled(3, 1), Arc::new(cx));
    for round in 0..rounds {
        let name = format!("i55/{round}");
        let short = kept_for(&name, cx.tick() * 3)?;
        executed(&cx, cx.store(), &short, &name, "the first window").await?;
        // Its end is what they race for; long before it there is nothing to see.
        sleep(cx.tick() * 2).await;
        let ended = race((0..8).map(|racer| {
            let (cx, name) = (Arc::clone(&cx), name.clone());
            async move { enter_next_window(&cx, &name, racer).await }
        }))
        .await?;
        let mut values = Vec::new();
        for value in ended {
            values.push(value?);
        }
        values.dedup();
        ensure_eq!(
            values.len(),
            1,
            "receipts in the second window ({values:?})"
        );
        ensure_eq!(cx.effects(&name).await?, 2, "effects, one in each window");
    }
    Ok(())
}

/// Expires and executes until it is answered with another receipt than the first window's.
async fn enter_next_window<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    name: &str,
    racer: usize,
) -> CaseResult<String> {
    let long = kept_for(name, HOUR)?;
    loop {
        if racer.is_multiple_of(2) {
            retry(|| cx.store().expire(10)).await?;
        }
        let done = executed(cx, cx.store(), &long, name, &format!("racer {racer}")).await?;
        if done.value != "the first window" {
            return Ok(done.value);
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Goal: at the end of the retention there is one moment before which the key replays and from
/// which it is absent. Method: look between two readings of the store's clock, across the end.
async fn i57_at_the_boundary<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    for attempt in 1..=10 {
        // On a slow machine the end may have come before it is known: then a longer one.
        let short = kept_for(&format!("i57/{attempt}"), cx.tick() * 3 * attempt)?;
        completed(&cx, cx.store(), &short, "i57", &receipt("57")).await?;
        let record = cx.store().lookup(short.key()).await?;
        if let Some(KeyState::Completed { expires_at, .. }) = record.map(|record| record.state) {
            let end = expires_at.expecting("a key with an end")?;
            return look_across(&cx, &short, end).await;
        }
    }
    Err(CaseFailure::new(
        "a key to be there right after its completion",
        "it was not, in ten attempts",
    ))
}

/// Looks until the key is absent: it must be there before its end, and absent from it on.
async fn look_across<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    claim: &Claim,
    end: Timestamp,
) -> CaseResult {
    loop {
        let before = cx.store().now().await?;
        let there = cx.store().lookup(claim.key()).await?.is_some();
        let after = cx.store().now().await?;
        ensure!(there || after >= end, seen: (end, after), "the key to be there before its end");
        ensure!(!there || before < end, seen: (end, before), "the key to be absent from its end on");
        if !there {
            return Ok(());
        }
        // Only the last tick before the end is looked at closely.
        sleep(end.since(after).saturating_sub(cx.tick())).await;
    }
}

/// Goal: a client whose clock goes backwards changes nothing. Method: complete by one that is an
/// hour ahead, replay by one that is an hour behind, and the other way round.
async fn i58_clock_going_backwards<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let ahead = cx.harness().open_skewed(cx.guard(), 3600).await?;
    let behind = cx.harness().open_skewed(cx.guard(), -3600).await?;
    for (name, first, then) in [("i58/a", &ahead, &behind), ("i58/b", &behind, &ahead)] {
        let claim = kept_for(name, HOUR / 2)?;
        completed(&cx, first, &claim, name, &receipt(name)).await?;
        let outcome = replayed(then, &claim).await?;
        ensure_eq!(
            outcome,
            Outcome::Applied(receipt(name)),
            "the outcome of {name}"
        );
        ensure_eq!(
            then.expire(100).await?,
            0,
            "keys expired within their retention"
        );
        ensure_eq!(cx.effects(name).await?, 1, "effects of {name}");
    }
    Ok(())
}

cases! { "idempotency::expiry" for IdempotencyStore, "core::Retention, IdempotencyStore::expire";
    I50 i50_before_the_limit: "within its retention a key replays",
        "retention is counted in another unit, or from another moment";
    I51 i51_after_the_limit: "after its retention a key is absent, expired or not",
        "only the expiry job ends a key's retention";
    I52 i52_client_clock: "a client's clock changes nothing",
        "the client's clock is compared, or written, instead of the store's";
    I53 i53_odd_durations: "durations that can't be meant are refused, and the extremes fit",
        "a duration wraps or is cut in the store's own type";
    I54 i54_only_what_is_over: "expiry removes only what is past its retention, in batches",
        "the limit or the retention is ignored";
    I55 i55_beside_claims: "expiry beside attempts never lets two in",
        "expiry deletes by key what was claimed anew in between";
    I57 i57_at_the_boundary: "there is one moment at which the retention ends",
        "two clocks, or two roundings, at the two ends";
    I58 i58_clock_going_backwards: "a client's clock that goes backwards changes nothing",
        "times of two clients are compared with one another";
}
