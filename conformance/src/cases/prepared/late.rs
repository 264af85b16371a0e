//! Late: what is still there when its time has passed, and what is on its way when it ends.

use std::time::Duration;

use exactly_once_core::{
    BegunPrepared, ErrorKind, Participation, PreparedStatus, PreparedTransactions, Store,
};
use tokio::time::sleep;

use super::support::{
    all_in_doubt, begin_again, ensure_effects, ensure_nothing_left, ensure_nothing_open,
    ensure_rolled_back, ensure_status, other_deadline, other_request, participation,
    participation_until, prepared, rollback, short, short_and_kept, until,
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        support::{refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    faults::proxy::{Proxy, Rule, Trigger},
    harness::Harness,
};

/// The most requests that one beginning may need.
const REQUESTS_MAX: u64 = 30;

/// Goal: what is still prepared past `forget_after` is no outcome: it is listed, kept, and can be
/// rolled back. Method: prepare, let all time pass, forget; look; roll back, and nothing is left.
async fn t59_prepared_past_its_time<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = short(&cx, "t59", 25).await?;
    prepared(&cx, &work, "t59").await?;
    until(cx.store(), work.forget_after()).await?;
    let store = cx.store();
    let removed = retry(|| store.forget_prepared(100)).await?;
    ensure_eq!(removed, 0, "records removed");
    ensure_status(&cx, &work, PreparedStatus::Prepared).await?;
    let listed = all_in_doubt(cx.store(), 10).await?;
    let listed: Vec<_> = listed
        .into_iter()
        .map(|entry| entry.participation)
        .collect();
    ensure_eq!(listed, vec![work.clone()], "what is in doubt");
    rollback(cx.store(), &work)
        .await
        .expecting("a rollback of what is still prepared, however late")?;
    ensure_nothing_left(&cx).await?;
    ensure_effects(&cx, "t59", 0).await?;
    match begin_again(cx.store(), &work).await {
        Err(error) if matches!(error.kind(), ErrorKind::Forgotten | ErrorKind::RolledBack) => {}
        other => ensure!(false, seen: other, "it to be over for good"),
    }
    ensure_nothing_left(&cx).await
}

/// Goal: a tombstone belongs to its request and deadlines, also where nothing was prepared. Method:
/// roll back what never was; every call for another request or deadline is a mismatch.
async fn t17_tombstone_of_an_unknown<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t17").await?;
    rollback(cx.store(), &work).await?;
    for other in [other_request(&work)?, other_deadline(&work)?] {
        let mismatch = ErrorKind::Mismatch;
        let answer = begin_again(cx.store(), &other).await;
        refused(answer, mismatch, "beginning otherwise after the rollback")?;
        let answer = cx.store().prepared_status(&other).await;
        refused(answer, mismatch, "the status otherwise")?;
        let answer = cx.store().rollback_prepared(&other).await;
        refused(answer, mismatch, "a rollback otherwise")?;
    }
    ensure_rolled_back(&cx, &work, "t17").await
}

/// Goal: the last page says so. Method: pages that are just full, and one more.
async fn t52_the_last_page<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    for number in 0..4 {
        let name = format!("t52/{number}");
        prepared(&cx, &participation(&cx, &name).await?, &name).await?;
    }
    for (limit, last) in [(3, false), (4, true), (5, true)] {
        let page = cx.store().in_doubt(None, limit).await?;
        ensure_eq!(
            page.next.is_none(),
            last,
            "whether a page of {limit} is the last of 4"
        );
    }
    for entry in all_in_doubt(cx.store(), 100).await? {
        rollback(cx.store(), &entry.participation).await?;
    }
    Ok(())
}

/// Goal: an attempt whose marker comes after the deadline is refused, wherever it slept. Method: hold
/// its k-th request; if its marker is not in yet (another attempt may begin), let the deadline pass
/// and the request go on: it must not begin.
async fn t33_held_over_the_deadline<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    participation(&cx, "t33").await?;
    let Some(server) = cx.harness().server(cx.guard()) else {
        return cx.ignore("an embedded store has no request to hold");
    };
    for request in 1..=REQUESTS_MAX {
        let proxy = Proxy::start(server).await.expecting("a proxy to start")?;
        let store = cx.harness().open_through(cx.guard(), proxy.addr()).await?;
        store.now().await?;
        let work = short_and_kept(&cx, &format!("t33/{request}"), 8).await?;
        proxy.set(Rule::HoldFrom(Trigger::Request(request)));
        let zombie = tokio::spawn({
            let (store, work) = (store.clone(), work.clone());
            async move {
                store
                    .begin_prepared(&work)
                    .await
                    .map(|begun| format!("{begun:?}"))
            }
        });
        while proxy.stats().held == 0 && !zombie.is_finished() {
            sleep(Duration::from_millis(1)).await;
        }
        let held = proxy.stats().held > 0;
        let marker_is_in = !held || marker_is_in(cx.store(), &work).await?;
        until(cx.store(), work.not_after()).await?;
        proxy.set(Rule::Pass);
        match zombie.await? {
            Ok(begun) if !marker_is_in => {
                return Err(CaseFailure::new(
                    "an attempt whose marker came after the deadline to be refused",
                    begun,
                )
                .note(format!("held at request {request}")));
            }
            _ => {}
        }
        // Whether it ends in order is not the question here.
        let _ = store.close().await;
        if !held {
            return ensure_nothing_open(&cx).await;
        }
    }
    Err(CaseFailure::new(
        format!("a beginning of fewer than {REQUESTS_MAX} requests"),
        "it had still another one",
    ))
}

/// Whether an attempt has its marker in: then no other one may begin.
async fn marker_is_in<S: PreparedTransactions>(
    store: &S,
    work: &Participation,
) -> CaseResult<bool> {
    match store.begin_prepared(work).await {
        Ok(BegunPrepared::Fresh(tx)) => {
            drop(tx);
            Ok(false)
        }
        Ok(other) => Err(CaseFailure::new("fresh or busy", format!("{other:?}"))),
        // Busy; or the deadline has come on a slow machine, and then nothing can be said.
        Err(_) => Ok(true),
    }
}

/// Goal: a transaction belongs to its database's clock alone. Method: a client whose clock is an hour
/// ahead or behind begins, prepares and commits what has time left, and is refused what has not.
async fn t53_client_clock<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    participation(&cx, "t53").await?;
    let minute = Duration::from_secs(60);
    for seconds in [-3_600, 3_600] {
        let skewed = cx.harness().open_skewed(cx.guard(), seconds).await?;
        let name = format!("t53/{seconds}");
        let work = participation_until(cx.store(), &name, minute, minute * 3).await?;
        let tx = super::support::fresh(&skewed, &work).await?;
        skewed.prepare(tx, &work).await?;
        skewed.commit_prepared(&work).await?;
        let late = short_and_kept(&cx, &format!("{name}/late"), 1).await?;
        until(cx.store(), late.not_after()).await?;
        let answer = skewed.begin_prepared(&late).await;
        super::support::refused_rolled_back(answer, "an attempt after the deadline")?;
        skewed.close().await?;
    }
    Ok(())
}

cases! { "prepared::late" for PreparedTransactions, "core::PreparedTransactions, Contract";
    T17 t17_tombstone_of_an_unknown: "a tombstone belongs to its request, also where nothing was prepared",
        "the tombstone is written without the fingerprint";
    T33 t33_held_over_the_deadline: "an attempt whose marker comes after the deadline is refused",
        "the deadline is checked before the marker is in", waits;
    T52 t52_the_last_page: "the last page says so",
        "a page that is just full is told to have a next one";
    T53 t53_client_clock: "a client's clock moves no deadline",
        "deadlines are compared with the client's clock";
    T59 t59_prepared_past_its_time: "what is still prepared past its time is kept, listed and can be rolled back",
        "forgotten is answered by the time alone: an orphan stays for good", waits;
}
