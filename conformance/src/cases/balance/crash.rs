//! Crash: a call that is dropped, cut or overtaken leaves the account whole, and its retry gives
//! the one right answer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use exactly_once_core::{Adjust, BalanceStore, Change, ErrorKind, Floor, Store};
use tokio::time::{sleep, timeout};

use super::support::{
    adjust, ensure_held, ensure_sound, held, needs_transfers, opened, transfer, whole_history,
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        faulty::{POLLS_MAX, every_cut, slow},
        support::{amount, refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure_eq,
    faults::{
        barrier::Barriers,
        polls::every_poll,
        proxy::{Proxy, Rule, Trigger},
    },
    harness::Harness,
};

/// Retries an adjustment of one unit: it must then have been applied once, whatever happened.
async fn settle<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    operation: &Adjust,
    changes: usize,
) -> CaseResult {
    let store = cx.store();
    let change = retry(|| store.adjust(operation))
        .await
        .expecting("the retry to succeed")?
        .change;
    ensure_eq!(
        change.delta,
        operation.delta,
        "the delta in the receipt of the retry"
    );
    let (state, history) = ensure_sound(cx.store(), operation.account.as_str()).await?;
    let times = history
        .iter()
        .filter(|line| line.key == operation.key)
        .count();
    ensure_eq!(times, 1, "how often the history has the operation");
    ensure_eq!(history.len(), changes + 1, "changes in the history");
    ensure_eq!(state.amount.get(), changes as i64, "the balance");
    Ok(())
}

/// Goal: a call may be dropped at any poll. Method: drop an adjustment at each; retry; it is
/// applied once.
async fn b54_dropped_at_every_poll<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b54", 0).await?;
    let (_proxy, store) = slow(&cx).await?;
    let operation = |k: usize| adjust(&format!("k{k}"), "b54", 1);
    every_poll(
        POLLS_MAX,
        |k| {
            let store = &store;
            async move { CaseResult::Ok(store.adjust(&operation(k)?).await) }
        },
        |k, _| {
            let cx = &cx;
            async move { settle(cx, &operation(k)?, k).await }
        },
    )
    .await?;
    Ok(())
}

/// Goal: a transfer may be dropped at any poll. Method: as B54; never one leg without the other.
async fn b54_transfer_dropped_at_every_poll<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    needs_transfers(&cx)?;
    opened(&cx, "b54/a", 1_000).await?;
    opened(&cx, "b54/b", 0).await?;
    let (_proxy, store) = slow(&cx).await?;
    let operation = |k: usize| transfer(&format!("k{k}"), &[("b54/a", -1), ("b54/b", 1)]);
    every_poll(
        POLLS_MAX,
        |k| {
            let store = &store;
            async move { CaseResult::Ok(store.transfer(&operation(k)?).await) }
        },
        |k, _| {
            let cx = &cx;
            async move {
                let (operation, store) = (operation(k)?, cx.store());
                retry(|| store.transfer(&operation))
                    .await
                    .expecting("the retry to succeed")?;
                for (holder, amount) in [("b54/a", 1_000 - k as i64), ("b54/b", k as i64)] {
                    let (state, _) = ensure_sound(cx.store(), holder).await?;
                    ensure_eq!(state.amount.get(), amount, "the balance of {holder:?}");
                }
                Ok(())
            }
        },
    )
    .await?;
    Ok(())
}

/// Goal: a connection may be cut before or after any request of a call. Method: cut at each, on
/// both sides; the answer is retryable or right, and the retry applies it once.
async fn b55_cut_at_every_request<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b55", 0).await?;
    let operation = |number: usize| adjust(&format!("k{number}"), "b55", 1);
    every_cut(
        &cx,
        |store, number| async move { CaseResult::Ok(store.adjust(&operation(number)?).await) },
        |number, answer: CaseResult<_>| {
            let cx = &cx;
            async move {
                if let Err(error) = answer? {
                    let kind = error.kind();
                    ensure_eq!(
                        error.is_retryable(),
                        true,
                        "whether {kind:?} may be retried"
                    );
                }
                settle(cx, &operation(number)?, number + 1).await
            }
        },
    )
    .await
}

/// The answers that the clients of a load got.
type Acknowledged = Arc<Mutex<BTreeMap<String, Change>>>;

fn told(acknowledged: &Acknowledged) -> MutexGuard<'_, BTreeMap<String, Change>> {
    acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Clients that add one each time, retrying as an engine does, until they are stopped.
fn load<S: BalanceStore>(
    store: &S,
    holder: &'static str,
    stop: &Arc<AtomicBool>,
    acknowledged: &Acknowledged,
) -> Vec<tokio::task::JoinHandle<CaseResult>> {
    let clients = (0..8).map(|client| {
        let (store, stop) = (store.clone(), Arc::clone(stop));
        let acknowledged = Arc::clone(acknowledged);
        tokio::spawn(async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let key = format!("{client}/{number}");
                let operation = adjust(&key, holder, 1)?;
                let change = retry(|| store.adjust(&operation)).await?.change;
                told(&acknowledged).insert(key, change);
                // A store that never waits must not keep the others from the processor.
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    });
    clients.collect()
}

/// Goal: what was acknowledged survives a kill of the server, and what was retried is applied once.
/// Method: kill it under the load of eight clients; every receipt must be in the history.
async fn b56_server_killed_under_load<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b56", 0).await?;
    // Once while idle: a harness that can't kill says so before there is a load to stop.
    cx.harness().crash(cx.guard()).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Acknowledged::default();
    let clients = load(cx.store(), "b56", &stop, &acknowledged);
    sleep(cx.tick() * 4).await;
    let crashed = cx.harness().crash(cx.guard()).await;
    sleep(cx.tick() * 4).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let ended = client.await?;
        if crashed.is_ok() {
            ended.expecting("a client to get through in the end")?;
        }
    }
    crashed?;
    let (_, history) = ensure_sound(cx.store(), "b56").await?;
    for (key, change) in told(&acknowledged).iter() {
        let stored = history
            .iter()
            .filter(|line| line.key.as_str() == key)
            .collect::<Vec<_>>();
        ensure_eq!(
            stored,
            [change],
            "what the history has of the acknowledged {key}"
        );
    }
    Ok(())
}

/// Applies the operation so that the caller doesn't learn of it: the reply is cut off where there
/// is a network, and not looked at where there is none.
async fn lose_the_answer<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    operation: &Adjust,
) -> CaseResult {
    let Some(server) = cx.harness().server(cx.guard()) else {
        cx.store().adjust(operation).await?;
        return Ok(());
    };
    let proxy = Proxy::start(server).await.expecting("a proxy to start")?;
    let store = cx.harness().open_through(cx.guard(), proxy.addr()).await?;
    store.now().await?;
    for request in 1..=20 {
        proxy.set(Rule::cut_after(Trigger::Request(request)));
        let answer = store.adjust(operation).await;
        if answer.is_ok() {
            break;
        }
        let holder = operation.account.as_str();
        let applied = whole_history(cx.store(), holder).await?;
        if applied.iter().any(|line| line.key == operation.key) {
            break;
        }
    }
    Ok(())
}

/// Goal: a retry after a lost answer must be the same request. Method: lose the answer, then retry
/// with another floor; the retry with the same one gives the receipt.
async fn b57_retry_with_another_floor<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b57", 10).await?;
    let operation = adjust("k", "b57", -4)?.with_floor(Floor::At(amount(0)));
    lose_the_answer(&cx, &operation).await?;
    let other = operation.clone().with_floor(Floor::At(amount(1)));
    let store = cx.store();
    let answer = retry(|| store.adjust(&other)).await;
    refused(answer, ErrorKind::Mismatch, "a retry with another floor")?;
    let store = cx.store();
    let replay = retry(|| store.adjust(&operation)).await?;
    ensure_eq!(
        (replay.replayed, replay.change.after.get()),
        (true, 6),
        "the retry's answer"
    );
    ensure_held(&cx, "b57", 6, 2).await
}

/// A first attempt that is held until its retry, and what the test does then, are done.
/// Whatever its retry got, success or refusal, it must get as well.
pub(super) async fn zombie<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    operation: &Adjust,
    later: Option<&Adjust>,
) -> CaseResult {
    let barriers = Barriers::default();
    let gate = barriers.hold("before the database");
    // Where there is a network, the request itself is on its way and held there.
    let (proxy, store) = match cx.harness().server(cx.guard()) {
        None => (None, cx.store().clone()),
        Some(server) => {
            let proxy = Proxy::start(server).await.expecting("a proxy to start")?;
            let store = cx.harness().open_through(cx.guard(), proxy.addr()).await?;
            store.now().await?;
            proxy.set(Rule::Blackhole);
            (Some(proxy), store)
        }
    };
    let late = tokio::spawn({
        let (operation, barriers, held_here) = (operation.clone(), barriers, proxy.is_none());
        async move {
            if held_here {
                barriers.pass("before the database").await;
            }
            store.adjust(&operation).await
        }
    });
    match &proxy {
        None => gate.reached().await,
        Some(_) => sleep(Duration::from_millis(50)).await,
    }
    let first = match cx.store().adjust(operation).await {
        Ok(applied) => Ok(applied.change),
        Err(error) if error.is_retryable() => return Err(error.into()),
        Err(refusal) => Err(refusal.kind()),
    };
    if let Some(later) = later {
        cx.store().adjust(later).await?;
    }
    gate.release();
    if let Some(proxy) = &proxy {
        proxy.set(Rule::Pass);
    }
    let ended = timeout(Duration::from_secs(20), late).await;
    match ended.map_err(|_| CaseFailure::new("the zombie to end", "it still waits"))?? {
        Ok(applied) => {
            ensure_eq!(Ok(applied.change), first, "what the zombie is told");
            ensure_eq!(
                applied.replayed,
                true,
                "whether the zombie's answer is a replay"
            );
        }
        Err(error) if error.is_retryable() => {}
        Err(refusal) => ensure_eq!(Err(refusal.kind()), first, "what the zombie is told"),
    }
    Ok(())
}

/// Goal: a zombie that lands after its retry's success changes nothing. Method: the first attempt
/// is held on its way until the retry was answered.
async fn b58_zombie_after_its_retry<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b58", 10).await?;
    zombie(&cx, &adjust("k", "b58", -7)?, None).await?;
    ensure_held(&cx, "b58", 3, 2).await?;
    ensure_sound(cx.store(), "b58").await?;
    Ok(())
}

/// Goal: nor does one that lands after a later operation. Method: as B58, with a change between,
/// after which the zombie's own would fit again.
async fn b59_zombie_after_a_later_operation<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b59", 10).await?;
    let first = adjust("k", "b59", -7)?.expecting(held(&cx, "b59").await?.version);
    zombie(&cx, &first, Some(&adjust("later", "b59", 100)?)).await?;
    ensure_held(&cx, "b59", 103, 3).await?;
    ensure_sound(cx.store(), "b59").await?;
    Ok(())
}

cases! { "balance::crash" for BalanceStore, "core::BalanceStore, Contract";
    B54 b54_dropped_at_every_poll: "an adjustment dropped at any poll is applied once by its retry",
        "a connection goes back to the pool with its transaction open";
    B54 b54_transfer_dropped_at_every_poll: "a transfer dropped at any poll is applied once, whole",
        "legs are applied in transactions of their own";
    B55 b55_cut_at_every_request: "an adjustment cut at any request is applied once by its retry",
        "a lost connection is told as a refusal, or the operation's record is written apart";
    B56 b56_server_killed_under_load: "what was acknowledged survives a kill of the server",
        "the commit is acknowledged before it is on the disk (synchronous=NORMAL, appendfsync)";
    B57 b57_retry_with_another_floor: "a retry after a lost answer must be the same request",
        "the floor is left out of the fingerprint";
    B58 b58_zombie_after_its_retry: "a zombie that lands after its retry changes nothing",
        "the key is looked up in another transaction than the change";
    B59 b59_zombie_after_a_later_operation: "a zombie that lands after a later operation changes nothing",
        "only the last operation's key is remembered";
}
