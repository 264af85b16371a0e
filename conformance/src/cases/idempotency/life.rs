//! Isolation and life: namespaces, reopening, many processes at once, starved pools, shutdown.

use std::{sync::Arc, time::Duration};

use exactly_once_core::{
    ErrorKind, IdempotencyStore, KeyState, Namespace, Outcome, Rejection, Retention, Store,
    Transactional,
};
use tokio::time::{sleep, timeout};

use super::support::{
    completed, ensure_recorded, ensure_retryable, execute, executed, fresh, replayed,
};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, race, receipt, refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
    process::Child,
};

/// A bound on what must not hang; far above any timeout of a store's own.
const NO_DEADLOCK: Duration = Duration::from_secs(30);

/// Completes the key in this store's namespace, with this text.
async fn keep<S: IdempotencyStore>(store: &S, name: &str, text: &str) -> CaseResult {
    let claim = claim(name)?;
    let tx = fresh(store, &claim).await?;
    ensure_recorded(store.complete(tx, &claim, &receipt(text)).await)?;
    Ok(())
}

/// The key's outcome in this store's namespace is this text.
async fn ensure_kept<S: IdempotencyStore>(store: &S, name: &str, text: &str) -> CaseResult {
    let outcome = replayed(store, &claim(name)?).await?;
    let namespace = store.namespace();
    ensure_eq!(
        outcome,
        Outcome::Applied(receipt(text)),
        "the outcome of {name} in {namespace}"
    );
    Ok(())
}

/// Goal: nothing of one namespace is seen from another. Method: the same key in three, one of them
/// the handle's own.
async fn i80_namespaces_are_apart<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let own = cx.store().clone();
    let stores = [
        own.with_namespace(Namespace::new("tenant-a")?),
        own.with_namespace(Namespace::new("tenant-A")?),
        own.with_namespace(Namespace::new("tenant-a ")?),
        own,
    ];
    for (number, store) in stores.iter().enumerate() {
        keep(store, "i80", &number.to_string()).await?;
    }
    for (number, store) in stores.iter().enumerate() {
        let text = number.to_string();
        ensure_kept(store, "i80", &text).await?;
        let record = store.lookup(claim("i80")?.key()).await?;
        let state = record.expecting("a record in each namespace")?.state;
        ensure!(
            matches!(&state, KeyState::Completed { outcome, .. } if *outcome == Outcome::Applied(receipt(&text))),
            seen: state, "the lookup in {} to tell its own outcome", store.namespace()
        );
    }
    Ok(())
}

/// Goal: a namespace and a key don't run into one another. Method: pairs whose texts are the same
/// when they are put together.
async fn i81_separators<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let pairs = [
        ("a", "b:c"),
        ("a:b", "c"),
        ("a:b:c", "d"),
        ("a", "b:c:d"),
        ("a/b", "c"),
        ("a", "b/c"),
        ("a\u{1f}b", "c"),
        ("a", "b\u{1f}c"),
        ("{a}", "b"),
        ("{a", "}b"),
        ("ab", "c"),
        ("a", "bc"),
    ];
    for (number, (namespace, name)) in pairs.iter().enumerate() {
        let store = cx.store().with_namespace(Namespace::new(*namespace)?);
        keep(&store, name, &number.to_string()).await?;
    }
    for (number, (namespace, name)) in pairs.iter().enumerate() {
        let store = cx.store().with_namespace(Namespace::new(*namespace)?);
        ensure_kept(&store, name, &number.to_string()).await?;
    }
    Ok(())
}

/// Goal: clearing one namespace leaves the other. Method: forget and expire in one; the other has
/// the same keys, also over their time.
async fn i82_clearing_one<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (one, two) = (
        cx.store().with_namespace(Namespace::new("i82-one")?),
        cx.store().with_namespace(Namespace::new("i82-two")?),
    );
    let brief = claim("i82/brief")?.with_retention(Retention::new(cx.tick())?);
    for store in [&one, &two] {
        keep(store, "i82", "kept").await?;
        let tx = fresh(store, &brief).await?;
        ensure_recorded(store.complete(tx, &brief, &receipt("brief")).await)?;
    }
    sleep(cx.tick() * 2).await;
    ensure_eq!(
        one.forget(claim("i82")?.key()).await?,
        true,
        "forgetting in one namespace"
    );
    ensure_eq!(one.expire(100).await?, 1, "keys that one namespace expired");
    ensure_kept(&two, "i82", "kept").await?;
    ensure_eq!(
        two.expire(100).await?,
        1,
        "keys left for the other namespace to expire"
    );
    keep(&one, "i82", "again").await?;
    ensure_kept(&two, "i82", "kept").await
}

/// Goal: reopening keeps every state. Method: applied, rejected, forgotten, rolled back.
async fn i83_reopen_keeps_every_state<H: Harness<Store: IdempotencyStore>>(
    mut cx: Context<H>,
) -> CaseResult {
    let rejection = Rejection::new(409, "closed");
    let (applied, rejected) = (claim("i83/applied")?, claim("i83/rejected")?);
    let (forgotten, undone) = (claim("i83/forgotten")?, claim("i83/undone")?);
    completed(&cx, cx.store(), &applied, "i83", &receipt("83")).await?;
    completed(&cx, cx.store(), &forgotten, "i83/forgotten", &receipt("83")).await?;
    let store = cx.store();
    let tx = fresh(store, &rejected).await?;
    ensure_recorded(store.reject(tx, &rejected, &rejection).await)?;
    cx.store().forget(forgotten.key()).await?;
    drop(fresh(cx.store(), &undone).await?);
    for _ in 0..2 {
        cx.reopen().await?;
        let outcome = replayed(cx.store(), &applied).await?;
        ensure_eq!(outcome, Outcome::Applied(receipt("83")), "the applied key");
        let outcome = replayed(cx.store(), &rejected).await?;
        ensure_eq!(
            outcome,
            Outcome::Rejected(rejection.clone()),
            "the rejected key"
        );
        for absent in [&forgotten, &undone] {
            let record = retry(|| cx.store().lookup(absent.key())).await?;
            ensure_eq!(record, None, "the record of {:?}", absent.key());
        }
        ensure_eq!(cx.effects("i83").await?, 1, "effects");
    }
    Ok(())
}

/// Goal: ten processes that open an empty place at once all can. Method: ten children open it, make
/// what is missing, and have an effect each.
async fn i84_ten_processes_migrate<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    // A place that was never opened: the case's own was, when the case began.
    let guard = cx.harness().fresh().await?;
    let children: Vec<Child> = (0..10)
        .map(|number| Child::start_at(&cx, &guard, "execute", &format!("i84-{number} 1 first")))
        .collect::<CaseResult<_>>()?;
    for (number, child) in children.into_iter().enumerate() {
        let answer = child.answer().await;
        let said = answer.map_err(|failure| failure.note(format!("process {number} of ten")))?;
        ensure_eq!(said, "first", "what process {number} got");
        let effects = cx
            .harness()
            .count_effects(&guard, &format!("i84-{number}/0"))
            .await?;
        ensure_eq!(effects, 1, "effects of process {number}");
    }
    Ok(())
}

/// Goal: opening again changes nothing, and an empty place may be opened by several at once. Method:
/// six handles at once, beside a completed key, and on a place that was never opened.
async fn i85_opening_again<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    completed(&cx, cx.store(), &claim("i85")?, "i85", &receipt("85")).await?;
    let cx = Arc::new(cx);
    let opened = race((0..6).map(|_| {
        let cx = Arc::clone(&cx);
        async move { cx.open().await }
    }))
    .await?;
    for handle in opened {
        ensure_kept(&handle?, "i85", "85").await?;
    }
    // And a place that was never opened, by several at once.
    let guard = Arc::new(cx.harness().fresh().await?);
    let opened = race((0..6).map(|_| {
        let (cx, guard) = (Arc::clone(&cx), Arc::clone(&guard));
        async move { cx.harness().open(&guard).await }
    }))
    .await?;
    for handle in opened {
        ensure_eq!(
            handle?.lookup(claim("i85")?.key()).await?,
            None,
            "the key in an empty place"
        );
    }
    ensure_eq!(cx.effects("i85").await?, 1, "effects");
    Ok(())
}

/// Goal: a second effect inside the first, with one connection, is an error and no deadlock.
/// Method: a pool of one; claim, and claim another key before the first is done.
async fn i87_nested_with_one_connection<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let store = cx.harness().open_starved(cx.guard(), cx.tick() * 5).await?;
    let (outer, inner) = (claim("i87/outer")?, claim("i87/inner")?);
    let mut tx = fresh(&store, &outer).await?;
    cx.write(&mut tx, "i87/outer").await?;
    let nested = timeout(NO_DEADLOCK, store.claim(&inner)).await;
    ensure_retryable(
        nested.expecting("no deadlock of a nested claim")?,
        "a nested claim",
    )?;
    ensure_recorded(store.complete(tx, &outer, &receipt("87")).await)?;
    completed(&cx, &store, &inner, "i87/inner", &receipt("87")).await?;
    for id in ["i87/outer", "i87/inner"] {
        ensure_eq!(cx.effects(id).await?, 1, "effects of {id}");
    }
    Ok(())
}

/// Goal: with an exhausted pool an effect is refused as unavailable or busy, in time, and not
/// executed. Method: a pool of one that is held; `execute_once`; let go; again.
async fn i88_exhausted_pool<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let store = cx.harness().open_starved(cx.guard(), cx.tick() * 5).await?;
    let held = fresh(&store, &claim("i88/held")?).await?;
    let waiting = claim("i88")?;
    let answer = timeout(NO_DEADLOCK, execute(&cx, &store, &waiting, "i88", "88")).await;
    let error = answer
        .expecting("an answer in time")?
        .err()
        .expecting("an error")?;
    ensure!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy), seen: error,
        "an exhausted pool to be unavailable or busy");
    ensure_eq!(
        cx.effects("i88").await?,
        0,
        "effects that an exhausted pool refused"
    );
    store.rollback(held).await?;
    executed(&cx, &store, &waiting, "i88", "88").await?;
    ensure_eq!(cx.effects("i88").await?, 1, "effects");
    Ok(())
}

/// Goal: closing a handle ends or rolls back what is in flight, refuses what comes later, and
/// leaves others alone. Method: close beside an open transaction, then try to complete it.
async fn i89_shutdown<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (claim, store) = (claim("i89")?, cx.open().await?);
    let mut tx = fresh(&store, &claim).await?;
    cx.write(&mut tx, "i89").await?;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    sleep(cx.tick()).await;
    let settled = timeout(NO_DEADLOCK, store.complete(tx, &claim, &receipt("\"89\""))).await;
    let settled = settled.expecting("no deadlock between close and complete")?;
    timeout(NO_DEADLOCK, closing)
        .await
        .expecting("close to come to an end")???;
    store.close().await.expecting("closing twice to be fine")?;
    let effects = cx.effects("i89").await?;
    match settled {
        Ok(_) => ensure_eq!(effects, 1, "effects of what was completed beside a close"),
        Err(error) => {
            ensure!(error.is_retryable(), seen: error, "an error that is retried");
        }
    }
    refused(
        store.lookup(claim.key()).await,
        ErrorKind::Unavailable,
        "a call after close",
    )?;
    let after = store.claim(&claim).await;
    refused(after, ErrorKind::Unavailable, "a claim after close")?;
    let done = executed(&cx, cx.store(), &claim, "i89", "by another handle").await;
    ensure!(done.is_ok(), seen: done, "another handle to go on");
    ensure_eq!(cx.effects("i89").await?, 1, "effects in the end");
    Ok(())
}

/// Goal: a coordinator can tell whether two participants are one store. Method: two independent
/// handles, one on another namespace, one that was opened again, and a handle elsewhere.
async fn i91_place<H: Harness<Store: IdempotencyStore>>(mut cx: Context<H>) -> CaseResult {
    let place = cx.store().place();
    ensure_eq!(
        cx.open().await?.place(),
        place,
        "the place of a second handle"
    );
    let namespace = format!("{}/i91", cx.store().namespace()).parse()?;
    let bound = cx.store().with_namespace(namespace);
    ensure_eq!(bound.place(), place, "the place of another namespace");
    let elsewhere = cx.harness().fresh().await?;
    let other = cx.harness().open(&elsewhere).await?;
    // A harness may make its places by namespace, within the same data.
    ensure!(
        other.place() != place || other.namespace() != cx.store().namespace(),
        seen: other.place(),
        "another place, or another namespace, for other data"
    );
    cx.reopen().await?;
    ensure_eq!(cx.store().place(), place, "the place after all was closed");
    Ok(())
}

cases! { "idempotency::life" for IdempotencyStore, "core::Store, Contract";
    I80 i80_namespaces_are_apart: "nothing of one namespace is seen from another",
        "the namespace is not part of the primary key, or is folded";
    I81 i81_separators: "a namespace and a key don't run into one another",
        "both are joined by a separator that may occur in either";
    I82 i82_clearing_one: "clearing one namespace leaves the other",
        "forget or expire has no condition on the namespace";
    I83 i83_reopen_keeps_every_state: "reopening keeps every state",
        "a state lives in memory, or opening resets something";
    I84 i84_ten_processes_migrate: "ten processes may open an empty place at once",
        "the migration is not locked: CREATE IF NOT EXISTS races";
    I85 i85_opening_again: "opening again changes nothing, and several may open at once",
        "the migration runs anew at each opening, or without a lock";
    I87 i87_nested_with_one_connection: "a nested effect on one connection is an error in time",
        "the pool has no acquire timeout, or a nested call shares the transaction";
    I88 i88_exhausted_pool: "an exhausted pool refuses in time and executes nothing",
        "the pool's timeout is taken for an unknown error, or there is none";
    I91 i91_place: "all handles on the same data have one place, and other data another",
        "the place is an address, a number of the handle, or a constant";
    I89 i89_shutdown: "closing ends or rolls back what is in flight, and refuses what comes later",
        "a closed handle opens new connections, or its transaction commits half";
}
