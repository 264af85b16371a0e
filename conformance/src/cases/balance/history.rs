//! Durability and lists: what was acknowledged is there, and the history is read page by page.

use std::collections::BTreeSet;

use exactly_once_core::{BalanceStore, Durability, ErrorKind, MAX_HISTORY_PAGE, Store};

use super::support::{
    MAX, adjust, close, ensure_held, ensure_sound, held, opened, version, whole_history,
};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{account, race, refused, retry},
    },
    context::Context,
    ensure, ensure_eq,
    faults::polls::drop_at_poll,
    harness::Harness,
};

/// Goal: closing all handles and opening them again loses nothing. Method: balances, a closed
/// account, records and history after a reopen.
async fn b60_reopen<H: Harness<Store: BalanceStore>>(mut cx: Context<H>) -> CaseResult {
    opened(&cx, "b60", 5).await?;
    opened(&cx, "b60/closed", 0).await?;
    let operation = adjust("k", "b60", 37)?;
    let first = cx.store().adjust(&operation).await?.change;
    cx.store().close_account(&close("c", "b60/closed")?).await?;
    let before = whole_history(cx.store(), "b60").await?;
    cx.reopen().await?;
    ensure_held(&cx, "b60", 42, 2).await?;
    ensure_eq!(
        held(&cx, "b60/closed").await?.open,
        false,
        "whether the closed one is open"
    );
    ensure_eq!(
        whole_history(cx.store(), "b60").await?,
        before,
        "the history"
    );
    let replay = cx.store().adjust(&operation).await?;
    ensure_eq!(
        (replay.replayed, replay.change),
        (true, first),
        "the replay after a reopen"
    );
    ensure_held(&cx, "b60", 42, 2).await
}

/// Goal: what was acknowledged survives a kill. Method: apply, kill the server at once, look.
async fn b61_killed_after_the_acknowledgement<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    if cx.store().capabilities().durability == Durability::None {
        return cx.ignore("the store declares that nothing survives its process");
    }
    opened(&cx, "b61", 0).await?;
    for round in 1..=3_i64 {
        let operation = adjust(&format!("k{round}"), "b61", round)?;
        let store = cx.store();
        let change = retry(|| store.adjust(&operation)).await?.change;
        cx.harness().crash(cx.guard()).await?;
        let store = cx.store();
        let replay = retry(|| store.adjust(&operation)).await?;
        ensure_eq!(replay.change, change, "the receipt after the kill");
        ensure_eq!(replay.replayed, true, "whether it was still known");
        let (state, _) = ensure_sound(cx.store(), "b61").await?;
        ensure_eq!(
            state.version.get(),
            round + 1,
            "the version after kill {round}"
        );
    }
    Ok(())
}

/// Goal: the history comes in pages, oldest first, without gap or duplicate, also beside inserts.
/// Method: pages of every size; inserts between the pages; limits and cursors that are none.
async fn b62_history_pages<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b62", 0).await?;
    for number in 2..=20 {
        cx.store()
            .adjust(&adjust(&format!("k{number}"), "b62", number)?)
            .await?;
    }
    let holder = account("b62")?;
    let all = whole_history(cx.store(), "b62").await?;
    ensure_eq!(all.len(), 20, "changes in the history");
    for limit in [1, 3, 19, 20, 21, MAX_HISTORY_PAGE] {
        let (mut seen, mut after) = (Vec::new(), None);
        for _ in 0..=20 {
            let page = cx.store().history(&holder, after, limit).await?;
            ensure!(page.changes.len() <= limit as usize, seen: page, "at most {limit} changes");
            seen.extend(page.changes);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        ensure_eq!(seen, all, "the history in pages of {limit}");
    }
    // Beside inserts: a page read before stays what it was, and the next goes on after it.
    let (mut seen, mut after, mut number) = (Vec::new(), None, 20);
    loop {
        let page = cx.store().history(&holder, after, 7).await?;
        seen.extend(page.changes);
        let Some(next) = page.next else { break };
        after = Some(next);
        if number < 30 {
            number += 2;
            cx.store()
                .adjust(&adjust(&format!("k{number}"), "b62", 1)?)
                .await?;
            cx.store()
                .adjust(&adjust(&format!("k{number}/b"), "b62", 1)?)
                .await?;
        }
    }
    let versions: Vec<i64> = seen.iter().map(|change| change.version.get()).collect();
    ensure_eq!(
        versions,
        (1..=number).collect::<Vec<_>>(),
        "the versions, read beside inserts"
    );
    for limit in [0, MAX_HISTORY_PAGE + 1] {
        let answer = cx.store().history(&holder, None, limit).await;
        refused(answer, ErrorKind::Invalid, &format!("a page of {limit}"))?;
    }
    for beyond in [number, number + 1, MAX] {
        let page = cx
            .store()
            .history(&holder, Some(version(beyond)?), 5)
            .await?;
        ensure_eq!(
            (page.changes.len(), page.next),
            (0, None),
            "the page after {beyond}"
        );
    }
    Ok(())
}

/// Goal: a history that is longer than the largest page is read whole. Method: more changes than a page
/// may have, in pages of the largest size, and from the middle.
async fn b69_more_than_a_page<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b69", 0).await?;
    let changes = i64::from(MAX_HISTORY_PAGE) + 5;
    let racers = (0..32_i64).map(|racer| {
        let store = cx.store().clone();
        async move {
            for number in (2 + racer..=changes).step_by(32) {
                let operation = adjust(&format!("k{number}"), "b69", 1)?;
                retry(|| store.adjust(&operation)).await?;
            }
            CaseResult::Ok(())
        }
    });
    for ended in race(racers.collect::<Vec<_>>()).await? {
        ended?;
    }
    let holder = account("b69")?;
    let first = cx.store().history(&holder, None, MAX_HISTORY_PAGE).await?;
    ensure_eq!(
        first.changes.len(),
        MAX_HISTORY_PAGE as usize,
        "changes on the first page"
    );
    ensure_eq!(
        first.next,
        Some(version(i64::from(MAX_HISTORY_PAGE))?),
        "where the next page begins"
    );
    let rest = cx
        .store()
        .history(&holder, first.next, MAX_HISTORY_PAGE)
        .await?;
    let versions: Vec<i64> = first
        .changes
        .iter()
        .chain(&rest.changes)
        .map(|change| change.version.get())
        .collect();
    ensure_eq!(
        versions,
        (1..=changes).collect::<Vec<_>>(),
        "the versions of both pages"
    );
    ensure_eq!(rest.next, None, "whether a third page is announced");
    Ok(())
}

/// Goal: the last page says so. Method: pages that are just full, and one more; with a cursor too.
async fn b62_the_last_page<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b62/last", 0).await?;
    for number in 2..=6 {
        cx.store()
            .adjust(&adjust(&format!("k{number}"), "b62/last", number)?)
            .await?;
    }
    let holder = account("b62/last")?;
    for (after, limit, last) in [
        (None, 5, false),
        (None, 6, true),
        (None, 7, true),
        (Some(version(2)?), 3, false),
        (Some(version(2)?), 4, true),
        (Some(version(6)?), 1, true),
    ] {
        let page = cx.store().history(&holder, after, limit).await?;
        ensure_eq!(
            page.next.is_none(),
            last,
            "whether {limit} after {after:?} is the last page"
        );
    }
    Ok(())
}

/// Goal: everything acknowledged is stored. Method: clients whose calls are dropped at random, and
/// not retried; after a reopen, the history has every receipt, and nothing that was not asked for.
async fn b63_acknowledged_is_stored<H: Harness<Store: BalanceStore>>(
    mut cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b63", 0).await?;
    let each = cx.case().scaled(40, 10);
    let clients = (0..8).map(|client| {
        let store = cx.store().clone();
        let mut rng = cx.case().seed().derive(&format!("client {client}")).rng();
        async move {
            let mut told = Vec::new();
            for number in 0..each {
                let operation = adjust(&format!("{client}/{number}"), "b63", 1)?;
                let k = if rng.one_in(3) {
                    1 + rng.below(8)
                } else {
                    usize::MAX
                };
                if let Some(Ok(applied)) = drop_at_poll(k, store.adjust(&operation)).await {
                    told.push(applied.change);
                }
            }
            CaseResult::Ok(told)
        }
    });
    let told = race(clients.collect::<Vec<_>>()).await?;
    cx.reopen().await?;
    let (_, stored) = ensure_sound(cx.store(), "b63").await?;
    let keys: BTreeSet<&str> = stored.iter().map(|change| change.key.as_str()).collect();
    ensure_eq!(keys.len(), stored.len(), "different keys in the history");
    for told in told {
        for change in told? {
            ensure!(stored.contains(&change), seen: change, "every receipt in the history");
        }
    }
    Ok(())
}

cases! { "balance::history" for BalanceStore, "core::BalanceStore::history";
    B60 b60_reopen: "closing all handles and opening them again loses nothing",
        "something is kept in the handle instead of the database";
    B61 b61_killed_after_the_acknowledgement: "what was acknowledged survives a kill",
        "the write is acknowledged before it is on the disk";
    B69 b69_more_than_a_page: "a history longer than the largest page is read whole",
        "the page is cut by a limit of the database's own, or counted from the newest change";
    B62 b62_history_pages: "pages of the history have no gap and no duplicate",
        "pages by OFFSET, or a cursor that is included in the next page";
    B62 b62_the_last_page: "the last page of a history says so",
        "a page that is just full is told to have a next one";
    B63 b63_acknowledged_is_stored: "everything acknowledged is stored",
        "the answer is given before the commit";
}
