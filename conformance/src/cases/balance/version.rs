//! Version: an operation that expects one is applied at exactly that one.

use exactly_once_core::{BalanceStore, ErrorKind, Expected, Store, Version};

use super::support::{
    MAX, adjust, close, ensure_held, ensure_sound, held, open, opened, set, version,
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        support::{account, amount, race, refused, retry},
    },
    context::Context,
    ensure_eq,
    harness::Harness,
};

fn conflict(at: i64) -> CaseResult<ErrorKind> {
    Ok(ErrorKind::Conflict {
        current: Some(version(at)?),
    })
}

/// Goal: the current version lets the operation through. Method: adjust, then set, each by it.
async fn b20_current<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b20", 1).await?;
    cx.store()
        .adjust(&adjust("add", "b20", 2)?.expecting(version(1)?))
        .await?;
    let by = Expected::Version(version(2)?);
    let applied = cx
        .store()
        .compare_and_set(&set("set", "b20", by, 50)?)
        .await?;
    ensure_eq!(applied.change.delta, amount(47), "the delta of the set");
    ensure_held(&cx, "b20", 50, 3).await
}

/// Goal: a stale version is a conflict that names the current one, and nothing is applied.
async fn b21_stale<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b21", 1).await?;
    cx.store().adjust(&adjust("k1", "b21", 1)?).await?;
    cx.store().adjust(&adjust("k2", "b21", 1)?).await?;
    let stale = adjust("k3", "b21", 5)?.expecting(version(2)?);
    refused(
        cx.store().adjust(&stale).await,
        conflict(3)?,
        "an adjustment at a stale version",
    )?;
    let stale = set("k4", "b21", Expected::Version(version(1)?), 5)?;
    let answer = cx.store().compare_and_set(&stale).await;
    refused(answer, conflict(3)?, "a compare-and-set at a stale version")?;
    ensure_held(&cx, "b21", 3, 3).await
}

/// Goal: a version that is yet to come is a conflict as well. Method: the next one, and the last.
async fn b22_future<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b22", 1).await?;
    for (name, at) in [("next", 2), ("last", MAX)] {
        let future = adjust(name, "b22", 5)?.expecting(version(at)?);
        refused(
            cx.store().adjust(&future).await,
            conflict(1)?,
            "an adjustment ahead of time",
        )?;
        let future = set(
            &format!("set/{name}"),
            "b22",
            Expected::Version(version(at)?),
            5,
        )?;
        let answer = cx.store().compare_and_set(&future).await;
        refused(answer, conflict(1)?, "a compare-and-set ahead of time")?;
    }
    ensure_held(&cx, "b22", 1, 1).await
}

/// Goal: *absent* opens an account once. Method: set twice under two keys; a replay of the first
/// is still one.
async fn b23_expected_absent<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let first = set("first", "b23", Expected::Absent, 5)?;
    let applied = cx.store().compare_and_set(&first).await?.change;
    ensure_eq!(
        applied.version,
        Version::FIRST,
        "the version of the new account"
    );
    let second = set("second", "b23", Expected::Absent, 6)?;
    refused(
        cx.store().compare_and_set(&second).await,
        conflict(1)?,
        "the second creation",
    )?;
    let replay = cx.store().compare_and_set(&first).await?;
    ensure_eq!(replay.change, applied, "the receipt of the first");
    ensure_held(&cx, "b23", 5, 1).await?;
    let low = set("low", "b23/low", Expected::Absent, -1)?;
    let answer = cx.store().compare_and_set(&low).await;
    refused(
        answer,
        ErrorKind::InsufficientFunds,
        "a creation below the default floor",
    )
}

/// Goal: an unconditional set applies at whatever version. Method: set twice between changes.
async fn b24_unconditional<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b24", 1).await?;
    cx.store()
        .compare_and_set(&set("k1", "b24", Expected::Any, 9)?)
        .await?;
    cx.store().adjust(&adjust("k2", "b24", 1)?).await?;
    let applied = cx
        .store()
        .compare_and_set(&set("k3", "b24", Expected::Any, 4)?)
        .await?;
    ensure_eq!(
        (applied.change.before.get(), applied.change.delta.get()),
        (10, -6),
        "before and delta of the set"
    );
    ensure_held(&cx, "b24", 4, 4).await
}

/// Goal: an amount that went and came back is not the same state (ABA). Method: 10, 20, 10, then a
/// set that has seen the first 10.
async fn b25_aba<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b25", 10).await?;
    cx.store().adjust(&adjust("up", "b25", 10)?).await?;
    cx.store().adjust(&adjust("down", "b25", -10)?).await?;
    let stale = set("stale", "b25", Expected::Version(version(1)?), 99)?;
    refused(
        cx.store().compare_and_set(&stale).await,
        conflict(3)?,
        "a set after ABA",
    )?;
    let stale = adjust("stale/adjust", "b25", 5)?.expecting(version(1)?);
    refused(
        cx.store().adjust(&stale).await,
        conflict(3)?,
        "an adjustment after ABA",
    )?;
    ensure_held(&cx, "b25", 10, 3).await
}

/// Goal: closing and opening again doesn't reset the version. Method: both ways of opening; the
/// history goes on, and a version of the first life is stale in the second.
async fn b26_reopening_goes_on<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b26", 0).await?;
    cx.store().close_account(&close("c1", "b26")?).await?;
    cx.store()
        .open_account(&open("o2", "b26")?.with_amount(amount(7)))
        .await?;
    ensure_held(&cx, "b26", 7, 3).await?;
    let stale = set("stale", "b26", Expected::Version(version(1)?), 99)?;
    let answer = cx.store().compare_and_set(&stale).await;
    refused(
        answer,
        conflict(3)?,
        "a set that knows the account's first life",
    )?;
    cx.store().adjust(&adjust("spend", "b26", -7)?).await?;
    cx.store().close_account(&close("c2", "b26")?).await?;
    cx.store()
        .compare_and_set(&set("o3", "b26", Expected::Absent, 3)?)
        .await?;
    ensure_held(&cx, "b26", 3, 6).await?;
    ensure_sound(cx.store(), "b26").await?;
    Ok(())
}

/// Goal: versions are compared and paged exactly up to the largest. Method: versions around 2^53
/// and at i64::MAX as expectation and as cursor; none is rounded or wraps.
async fn b27_largest_version<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b27", 1).await?;
    for (number, at) in [1 << 32, (1 << 32) + 1, (1 << 53) + 1, MAX - 1, MAX]
        .iter()
        .enumerate()
    {
        let far = adjust(&format!("k{number}"), "b27", 1)?.expecting(version(*at)?);
        refused(
            cx.store().adjust(&far).await,
            conflict(1)?,
            &format!("version {at}"),
        )?;
        let page = cx
            .store()
            .history(&account("b27")?, Some(version(*at)?), 10)
            .await?;
        ensure_eq!(
            (page.changes.len(), page.next),
            (0, None),
            "the page after version {at}"
        );
    }
    ensure_held(&cx, "b27", 1, 1).await
}

/// Goal: of N adjustments that expect one version, one wins, whatever the balance says. Method: racers
/// adjust by the same version, by amounts that add up to zero, so that a balance comes back.
async fn b29_racing_adjustments_on_one_version<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b29", 100).await?;
    let rounds = cx.case().scaled(8, 2) as i64;
    for round in 1..=rounds {
        let racers = (1..=8_i64)
            .map(|racer| {
                let store = cx.store().clone();
                let delta = if racer % 2 == 0 { 1 } else { -1 };
                let name = format!("{round}/{racer}");
                let operation = adjust(&name, "b29", delta)?.expecting(version(round)?);
                Ok(async move { retry(|| store.adjust(&operation)).await })
            })
            .collect::<CaseResult<Vec<_>>>()?;
        let mut winners = 0;
        for answer in race(racers).await? {
            match answer {
                Ok(_) => winners += 1,
                Err(error) if error.kind() == conflict(round + 1)? => {}
                Err(error) => {
                    return Err(CaseFailure::from(error).expecting("a loser to meet a conflict"));
                }
            }
        }
        ensure_eq!(winners, 1, "winners of round {round}");
    }
    let (state, _) = ensure_sound(cx.store(), "b29").await?;
    ensure_eq!(state.version.get(), rounds + 1, "the version in the end");
    Ok(())
}

/// Goal: of N that expect one version, one wins. Method: N racers set by the same version; the
/// losers get the winner's.
async fn b28_racers_on_one_version<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b28", 0).await?;
    let rounds = cx.case().scaled(8, 2) as i64;
    for round in 1..=rounds {
        let racers = (1..=8_i64)
            .map(|racer| {
                let store = cx.store().clone();
                let by = Expected::Version(version(round)?);
                let operation = set(&format!("{round}/{racer}"), "b28", by, racer)?;
                Ok(async move { retry(|| store.compare_and_set(&operation)).await })
            })
            .collect::<CaseResult<Vec<_>>>()?;
        let mut winners = Vec::new();
        for answer in race(racers).await? {
            match answer {
                Ok(applied) => winners.push(applied.change.after.get()),
                Err(error) if error.kind() == conflict(round + 1)? => {}
                Err(error) => {
                    return Err(CaseFailure::from(error).expecting("a loser to meet a conflict"));
                }
            }
        }
        ensure_eq!(winners.len(), 1, "winners of round {round}");
        let state = held(&cx, "b28").await?;
        ensure_eq!(
            state.amount.get(),
            winners[0],
            "the balance, by the winner's word"
        );
        ensure_eq!(
            state.version.get(),
            round + 1,
            "the version after round {round}"
        );
    }
    ensure_sound(cx.store(), "b28").await?;
    Ok(())
}

/// Goal: at the largest version there is no next one: a change is an overflow and changes nothing.
/// Method: put an account there; every kind of change, the same one again, and a read.
async fn b27_no_version_after_the_largest<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b27/end", 5).await?;
    let holder = account("b27/end")?;
    let (namespace, last) = (cx.store().namespace().clone(), version(MAX)?);
    cx.harness()
        .set_version(cx.guard(), &namespace, &holder, last)
        .await?;
    ensure_held(&cx, "b27/end", 5, MAX).await?;
    let overflow = ErrorKind::Overflow;
    for round in 1..=2 {
        let adding = adjust("add", "b27/end", 1)?.expecting(last);
        let answer = cx.store().adjust(&adding).await;
        refused(
            answer,
            overflow,
            &format!("a change beyond it, round {round}"),
        )?;
        let setting = set("set", "b27/end", Expected::Version(last), 7)?;
        let answer = cx.store().compare_and_set(&setting).await;
        refused(answer, overflow, &format!("a set beyond it, round {round}"))?;
        ensure_held(&cx, "b27/end", 5, MAX).await?;
    }
    Ok(())
}

cases! { "balance::version" for BalanceStore, "core::BalanceStore::compare_and_set";
    B20 b20_current: "the current version lets the operation through",
        "the version after the change is compared";
    B21 b21_stale: "a stale version is a conflict that tells the current one",
        "the conflict tells the expected version, or the change is applied all the same";
    B22 b22_future: "a version that is yet to come is a conflict",
        "versions are compared by `<` instead of for equality";
    B23 b23_expected_absent: "absent creates once",
        "an upsert overwrites the account that is there";
    B24 b24_unconditional: "an unconditional set applies at whatever version",
        "the delta is computed from another read than the update";
    B25 b25_aba: "an amount that came back is not the same state",
        "the amount is compared instead of the version";
    B26 b26_reopening_goes_on: "closing and opening again doesn't reset the version",
        "closing deletes the row";
    B27 b27_largest_version: "versions are exact up to the largest",
        "versions pass through a float or 32 bits";
    B27 b27_no_version_after_the_largest: "at the largest version a change is an overflow, and nothing wraps",
        "the version is counted on in the database without a check";
    B29 b29_racing_adjustments_on_one_version: "of N adjustments that expect one version, one wins",
        "the version is compared in compare-and-set only, or compared through the balance";
    B28 b28_racers_on_one_version: "of N that expect one version, one wins",
        "the version is compared in the client, or in another statement than the update";
}
