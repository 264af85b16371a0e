//! In doubt: the list of what waits for its decision, and the records that are removed in time.

use std::{collections::BTreeSet, time::Duration};

use exactly_once_core::{
    ErrorKind, InDoubt, PreparedStatus, PreparedTransactions, Store, TransactionDigest,
};

use super::support::{
    all_in_doubt, commit, ensure_effects, ensure_nothing_left, ensure_rolled_back, ensure_status,
    fresh, named, participation, participation_until, prepared, rollback, short, until,
};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{refused, retry},
    },
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

fn digests(entries: &[InDoubt]) -> Vec<TransactionDigest> {
    entries
        .iter()
        .map(|entry| *entry.participation.transaction())
        .collect()
}

/// Goal: nothing is in doubt where nothing is prepared. Method: list at first; and after one that
/// is at work, one committed and one rolled back.
async fn t50_empty_list<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let work = participation(&cx, "t50").await?;
    ensure_nothing_left(&cx).await?;
    prepared(&cx, &work, "t50").await?;
    cx.store().commit_prepared(&work).await?;
    let undone = named(&work, "t50/undone")?;
    cx.store().rollback_prepared(&undone).await?;
    let open = named(&work, "t50/open")?;
    let mut tx = fresh(cx.store(), &open).await?;
    cx.write(&mut tx, "t50/open").await?;
    ensure_eq!(
        all_in_doubt(cx.store(), 10).await?,
        Vec::new(),
        "what is in doubt"
    );
    drop(tx);
    ensure_nothing_left(&cx).await
}

/// Goal: the list has what is in doubt in this namespace, all of it and nothing else. Method: two
/// here and one elsewhere; each entry is enough to end it.
async fn t51_only_its_own<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let one = participation(&cx, "t51/one").await?;
    let two = participation(&cx, "t51/two").await?;
    let elsewhere = participation(&cx, "t51/elsewhere").await?;
    let namespace = format!("{}/t51", cx.store().namespace());
    let other = cx.store().with_namespace(namespace.parse()?);
    prepared(&cx, &one, "t51/one").await?;
    prepared(&cx, &two, "t51/two").await?;
    let mut tx = fresh(&other, &elsewhere).await?;
    cx.write(&mut tx, "t51/elsewhere").await?;
    other.prepare(tx, &elsewhere).await?;
    let listed = all_in_doubt(cx.store(), 10).await?;
    let expected: BTreeSet<_> = [*one.transaction(), *two.transaction()].into();
    ensure_eq!(
        digests(&listed),
        expected.into_iter().collect::<Vec<_>>(),
        "what is in doubt"
    );
    ensure_eq!(
        digests(&all_in_doubt(&other, 10).await?),
        [*elsewhere.transaction()],
        "elsewhere"
    );
    for entry in listed {
        let known = entry.participation == one || entry.participation == two;
        ensure!(known, seen: entry, "the participation as it was prepared");
        cx.store().rollback_prepared(&entry.participation).await?;
    }
    ensure_eq!(
        all_in_doubt(cx.store(), 10).await?,
        Vec::new(),
        "what is in doubt here"
    );
    ensure_eq!(
        all_in_doubt(&other, 10).await?.len(),
        1,
        "what is in doubt elsewhere"
    );
    other.commit_prepared(&elsewhere).await?;
    ensure_effects(&cx, "t51/elsewhere", 1).await?;
    ensure_effects(&cx, "t51/one", 0).await
}

/// Goal: the list comes in pages, by digest, without gap or duplicate, also beside changes.
/// Method: twelve, in pages of each size; some end and some come between two pages.
async fn t52_pages<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let pattern = participation(&cx, "t52").await?;
    let mut works = Vec::new();
    for number in 0..12 {
        let name = format!("t52/{number}");
        let work = named(&pattern, &name)?;
        prepared(&cx, &work, &name).await?;
        works.push(work);
    }
    works.sort_by_key(|work| *work.transaction());
    let expected: Vec<_> = works.iter().map(|work| *work.transaction()).collect();
    for limit in [1, 5, 11, 12, 13, 1_000] {
        let listed = digests(&all_in_doubt(cx.store(), limit).await?);
        ensure_eq!(listed, expected, "what is in doubt, in pages of {limit}");
    }
    refused(
        cx.store().in_doubt(None, 0).await,
        ErrorKind::Invalid,
        "a page of 0",
    )?;
    // Beside changes: what was there all the time is listed once, whatever comes and goes.
    let mut seen = Vec::new();
    let mut after = None;
    for page in 0.. {
        let store = cx.store();
        let listed = retry(|| store.in_doubt(after.as_ref(), 3)).await?;
        seen.extend(digests(&listed.entries));
        after = listed.next;
        if after.is_none() {
            break;
        }
        let gone = &works[(page * 4) % 12];
        rollback(cx.store(), gone).await?;
        let name = format!("t52/new/{page}");
        prepared(&cx, &named(&pattern, &name)?, &name).await?;
    }
    let distinct: BTreeSet<_> = seen.iter().copied().collect();
    ensure_eq!(distinct.len(), seen.len(), "different entries in the pages");
    ensure!(seen.is_sorted(), seen: seen, "the entries in the order of their digests");
    let mut stayed = Vec::new();
    for work in &works {
        let store = cx.store();
        if retry(|| store.prepared_status(work)).await? == PreparedStatus::Prepared {
            stayed.push(*work.transaction());
        }
    }
    for digest in stayed {
        ensure!(distinct.contains(&digest), seen: digest, "what stayed to be listed");
    }
    // The locks of a few dozen prepared transactions are a server's to keep: give them back.
    for entry in all_in_doubt(cx.store(), 100).await? {
        rollback(cx.store(), &entry.participation).await?;
    }
    Ok(())
}

/// Goal: how long something has been in doubt is reported by the store's clock. Method: prepare between
/// two readings of the clock; the age grows with it.
async fn t53_age_by_the_stores_clock<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t53").await?;
    let before = cx.store().now().await?;
    prepared(&cx, &work, "t53").await?;
    let prepared_by = cx.store().now().await?;
    tokio::time::sleep(cx.tick() * 3).await;
    let listed_from = cx.store().now().await?;
    let listed = all_in_doubt(cx.store(), 10).await?;
    let listed_by = cx.store().now().await?;
    let [entry] = listed.as_slice() else {
        return Err(crate::CaseFailure::new("one entry", format!("{listed:?}")));
    };
    // Some stores keep whole milliseconds.
    let slack = Duration::from_millis(2);
    ensure!(
        entry.prepared_at.checked_add(slack) >= Some(before)
            && Some(entry.prepared_at) <= prepared_by.checked_add(slack),
        seen: entry,
        "to be prepared between {before} and {prepared_by}"
    );
    ensure!(
        entry.age + slack >= listed_from.since(prepared_by)
            && entry.age <= listed_by.since(before) + slack,
        seen: entry,
        "an age between {:?} and {:?}",
        listed_from.since(prepared_by),
        listed_by.since(before)
    );
    rollback(cx.store(), &work).await?;
    ensure_rolled_back(&cx, &work, "t53").await
}

/// Goal: only records past `forget_after` are removed, never what is prepared, and at most `limit`.
/// Method: outcomes of now and of long ago, and one that is prepared; forget step by step.
async fn t59_forget_keeps_what_is_needed<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let kept = participation(&cx, "t59/kept").await?;
    prepared(&cx, &kept, "t59/kept").await?;
    cx.store().commit_prepared(&kept).await?;
    let tick = cx.tick();
    let brief = participation_until(cx.store(), "t59", tick * 40, tick * 42).await?;
    let doubt = named(&brief, "t59/doubt")?;
    prepared(&cx, &doubt, "t59/doubt").await?;
    for number in 0..3 {
        let over = named(&brief, &format!("t59/{number}"))?;
        prepared(&cx, &over, "t59").await?;
        if number == 0 {
            cx.store().rollback_prepared(&over).await?;
        } else {
            cx.store().commit_prepared(&over).await?;
        }
    }
    refused(
        cx.store().forget_prepared(0).await,
        ErrorKind::Invalid,
        "a limit of 0",
    )?;
    // Early: only where the store was quick enough for this to be before their time.
    if cx.store().now().await? < brief.not_after() {
        ensure_eq!(
            cx.store().forget_prepared(100).await?,
            0,
            "records removed before their time"
        );
    }
    until(cx.store(), brief.forget_after()).await?;
    let mut removed = Vec::new();
    for _ in 0..3 {
        removed.push(cx.store().forget_prepared(2).await?);
    }
    ensure_eq!(
        removed,
        [2, 1, 0],
        "records removed by three calls with a limit of 2"
    );
    ensure_status(&cx, &kept, PreparedStatus::Committed).await?;
    ensure_status(&cx, &doubt, PreparedStatus::Prepared).await?;
    ensure_status(&cx, &named(&brief, "t59/0")?, PreparedStatus::Forgotten).await?;
    commit(cx.store(), &doubt).await?;
    ensure_effects(&cx, "t59/doubt", 1).await?;
    ensure_effects(&cx, "t59", 2).await
}

/// Goal: records of other namespaces are not removed. Method: forget here; look there.
async fn t57_forgets_only_its_own<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = short(&cx, "t57", 4).await?;
    let namespace = format!("{}/t57", cx.store().namespace());
    let other = cx.store().with_namespace(namespace.parse()?);
    other.rollback_prepared(&work).await?;
    until(cx.store(), work.forget_after()).await?;
    ensure_eq!(
        cx.store().forget_prepared(100).await?,
        0,
        "records removed here"
    );
    ensure_eq!(
        other.forget_prepared(100).await?,
        1,
        "records removed there"
    );
    Ok(())
}

cases! { "prepared::in_doubt" for PreparedTransactions, "core::PreparedTransactions::in_doubt";
    T50 t50_empty_list: "nothing is in doubt where nothing is prepared",
        "open or ended transactions are listed";
    T51 t51_only_its_own: "the list has what is in doubt in this namespace, and nothing else",
        "the list is filtered by prefix only: the namespace `a` lists those of `a/b`";
    T52 t52_pages: "pages have no gap and no duplicate, also beside changes",
        "pages by OFFSET, or no ORDER BY";
    T53 t53_age_by_the_stores_clock: "ages are told by the store's clock",
        "the client's clock is compared with the server's";
    T57 t57_forgets_only_its_own: "records of other namespaces are not removed",
        "the namespace is missing in the DELETE";
    T59 t59_forget_keeps_what_is_needed: "only records whose time is over are removed, and never what is prepared",
        "records are removed by age, or before `forget_after`: a zombie finds the name fresh", waits;
}
