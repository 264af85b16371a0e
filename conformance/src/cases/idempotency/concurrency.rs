//! Concurrency: of any number of attempts at one key, one commits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use exactly_once_core::{
    Claimed, ErrorKind, ExecuteOnce, IdempotencyStore, Outcome, Transactional, WorkError,
};
use tokio::task::yield_now;

use super::support::{claimed, completed, ensure_recorded, executed, fresh, is_completed};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, other_claim, race, receipt, retry},
    },
    check::CaseFailure,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
    process::Child,
};

/// Goal: of N racers on one key one executes, and all get its receipt. Method: 2, 8 and 64 racers,
/// let go together, each with a value of its own, on several keys.
async fn i30_racers_on_one_key<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (rounds, cx) = (cx.case().scaled(4, 1), Arc::new(cx));
    for racers in [2, 8, 64] {
        for round in 0..rounds {
            let name = format!("i30/{racers}/{round}");
            let ended = race((0..racers).map(|racer| {
                let (cx, name) = (Arc::clone(&cx), name.clone());
                async move {
                    let claim = claim(&name)?;
                    executed(&cx, cx.store(), &claim, &name, &format!("racer {racer}")).await
                }
            }))
            .await?;
            let mut values = Vec::new();
            let mut winners = 0;
            for done in ended {
                let done = done?;
                winners += u32::from(!done.replayed);
                values.push(done.value);
            }
            values.dedup();
            ensure_eq!(
                values.len(),
                1,
                "the number of receipts of {racers} racers ({values:?})"
            );
            ensure_eq!(
                winners,
                1,
                "the number of {racers} racers who say that they executed"
            );
            ensure_eq!(cx.effects(&name).await?, 1, "effects of {racers} racers");
        }
    }
    Ok(())
}

/// Goal: keys don't wait for one another. Method: N keys at once, each once; then a key is claimed
/// while another one's transaction is open, where a store with one writer may say that it is busy,
/// but never that *this* key is in progress, mismatched or done.
async fn i31_keys_are_independent<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (keys, cx) = (cx.case().scaled(64, 16), Arc::new(cx));
    let ended = race((0..keys).map(|number| {
        let cx = Arc::clone(&cx);
        async move {
            let name = format!("i31/{number}");
            executed(&cx, cx.store(), &claim(&name)?, &name, &name).await
        }
    }))
    .await?;
    for (number, done) in ended.into_iter().enumerate() {
        let (done, name) = (done?, format!("i31/{number}"));
        ensure_eq!(done.value, name, "the value of key {number}");
        ensure_eq!(done.replayed, false, "whether key {number} was a replay");
        ensure_eq!(cx.effects(&name).await?, 1, "effects of key {number}");
    }
    let holder = cx.store();
    let tx = fresh(holder, &claim("i31/held")?).await?;
    match cx.store().claim(&claim("i31/free")?).await {
        Ok(Claimed::Fresh(free)) => drop(free),
        Err(error) if error.is_retryable() && error.kind() != ErrorKind::Ambiguous => {}
        other => {
            return Err(CaseFailure::new(
                "a free key to be fresh while another key is held",
                format!("{other:?}"),
            ));
        }
    }
    holder.rollback(tx).await?;
    Ok(())
}

/// Goal: two requests that race for one key: one wins, and the other's racers are mismatches.
/// Method: 16 racers, half with another request.
async fn i32_racers_with_two_requests<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (rounds, cx) = (cx.case().scaled(8, 2), Arc::new(cx));
    for round in 0..rounds {
        let name = format!("i32/{round}");
        let ended = race((0..16).map(|racer| {
            let (cx, name) = (Arc::clone(&cx), name.clone());
            async move {
                let request = format!("request {}", racer % 2);
                let claim = other_claim(&name, &request)?;
                executed(&cx, cx.store(), &claim, &name, &request).await
            }
        }))
        .await?;
        let mut won = [0, 0];
        for (racer, done) in ended.into_iter().enumerate() {
            match done {
                Ok(done) => {
                    ensure_eq!(
                        done.value,
                        format!("request {}", racer % 2),
                        "racer {racer}'s own"
                    );
                    won[racer % 2] += 1;
                }
                Err(error) => {
                    ensure_eq!(
                        error.kind(),
                        ErrorKind::Mismatch,
                        "the answer to racer {racer}"
                    );
                }
            }
        }
        let whole = won == [8, 0] || won == [0, 8];
        ensure!(whole, seen: won, "all racers of one request answered, and none of the other");
        ensure_eq!(cx.effects(&name).await?, 1, "effects");
    }
    Ok(())
}

/// Goal: when the work fails, the key is free, and exactly one next attempt has it. Method: work
/// that fails with an unknown error, then 8 racers.
async fn i33_failed_work_frees_the_key<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, cx) = (claim("i33")?, Arc::new(cx));
    let failed = cx
        .store()
        .execute_once(&claim, async |tx| {
            cx.write(tx, "i33").await?;
            Err::<(), _>(WorkError::from(std::io::Error::other("the line is down")))
        })
        .await;
    match &failed {
        Err(error) => ensure!(error.is_retryable(), seen: error, "an error that is retried"),
        Ok(_) => ensure!(false, seen: failed, "failed work to be an error"),
    }
    ensure_eq!(cx.effects("i33").await?, 0, "effects of failed work");
    let ended = race((0..8).map(|racer| {
        let (cx, claim) = (Arc::clone(&cx), claim.clone());
        async move { executed(&cx, cx.store(), &claim, "i33", &racer.to_string()).await }
    }))
    .await?;
    let mut winners = 0;
    for done in ended {
        winners += u32::from(!done?.replayed);
    }
    ensure_eq!(winners, 1, "attempts that executed after the failure");
    ensure_eq!(cx.effects("i33").await?, 1, "effects");
    Ok(())
}

/// Goal: a transaction that is rolled back or dropped leaves no row, and the key fresh. Method:
/// both ways, in turn, with a write.
async fn i34_rollback_leaves_nothing<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claim = claim("i34")?;
    for round in 0..4 {
        let store = cx.store();
        let mut tx = fresh(store, &claim).await?;
        cx.write(&mut tx, "i34").await?;
        match round % 2 {
            0 => store.rollback(tx).await?,
            _ => drop(tx),
        }
        let record = retry(|| cx.store().lookup(claim.key())).await?;
        ensure_eq!(record, None, "the key after rollback {round}");
        ensure_eq!(
            cx.effects("i34").await?,
            0,
            "effects after rollback {round}"
        );
    }
    completed(&cx, cx.store(), &claim, "i34", &receipt("34")).await?;
    ensure_eq!(cx.effects("i34").await?, 1, "effects");
    Ok(())
}

/// Goal: racers in several processes are racers like any other. Method: four processes execute the
/// same keys, beside this one.
async fn i35_racers_in_processes<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    const KEYS: usize = 5;
    let argument = |racer: usize| format!("i35 {KEYS} process{racer}");
    let children: Vec<Child> = (0..4)
        .map(|racer| Child::start(&cx, "execute", &argument(racer)))
        .collect::<CaseResult<_>>()?;
    let mut answers = vec![Vec::new(); KEYS];
    for (number, answer) in answers.iter_mut().enumerate() {
        let name = format!("i35/{number}");
        let done = executed(&cx, cx.store(), &claim(&name)?, &name, "this process").await?;
        answer.push(done.value);
    }
    for child in children {
        let said = child.answer().await?;
        let values: Vec<&str> = said.split(',').collect();
        ensure_eq!(
            values.len(),
            KEYS,
            "the number of values that a process gave ({said})"
        );
        for (answer, value) in answers.iter_mut().zip(values) {
            answer.push(value.to_owned());
        }
    }
    for (number, mut answer) in answers.into_iter().enumerate() {
        answer.dedup();
        ensure_eq!(answer.len(), 1, "receipts of key {number} ({answer:?})");
        ensure_eq!(
            cx.effects(&format!("i35/{number}")).await?,
            1,
            "effects of key {number}"
        );
    }
    Ok(())
}

/// Goal: once a reader saw the key completed, none finds it fresh or absent. Method: readers by
/// several handles look and claim while a writer completes.
async fn i36_completed_is_seen_by_all<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (rounds, cx) = (cx.case().scaled(12, 3), Arc::new(cx));
    for round in 0..rounds {
        let seen = Arc::new(AtomicBool::new(false));
        let name = format!("i36/{round}");
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (cx, seen, name) = (Arc::clone(&cx), Arc::clone(&seen), name.clone());
                async move { read_until_completed(&cx, &seen, &name).await }
            })
            .collect();
        let reading = tokio::spawn(race(readers));
        let tx_store = cx.store();
        let mut tx = fresh(tx_store, &claim(&name)?).await?;
        cx.write(&mut tx, &name).await?;
        yield_now().await;
        ensure_recorded(tx_store.complete(tx, &claim(&name)?, &receipt("36")).await)?;
        seen.store(true, Ordering::SeqCst);
        for reader in reading.await?? {
            reader?;
        }
    }
    Ok(())
}

/// Looks until the key is completed; then a claim must say so as well.
async fn read_until_completed<H: Harness<Store: IdempotencyStore>>(
    cx: &Context<H>,
    seen: &AtomicBool,
    name: &str,
) -> CaseResult {
    let claim = claim(name)?;
    loop {
        let completed_before = seen.load(Ordering::SeqCst);
        let completed_now = is_completed(cx.store(), &claim).await?;
        ensure!(
            completed_now || !completed_before,
            "a key that somebody saw completed to be completed for every reader"
        );
        if completed_now {
            seen.store(true, Ordering::SeqCst);
            break;
        }
        yield_now().await;
    }
    match claimed(cx.store(), &claim).await? {
        Claimed::Completed(Outcome::Applied(_)) => Ok(()),
        other => Err(CaseFailure::new(
            "the claim of a key that was seen completed to be answered with its outcome",
            format!("{other:?}"),
        )),
    }
}

cases! { "idempotency::concurrency" for IdempotencyStore, "core::IdempotencyStore, Contract";
    I30 i30_racers_on_one_key: "of N racers one executes, and all get its receipt",
        "check-then-insert without a unique key: two racers both find nothing";
    I31 i31_keys_are_independent: "keys don't wait for one another",
        "one lock for all keys, or a lock by a short hash";
    I32 i32_racers_with_two_requests: "of two racing requests one wins, the other is a mismatch",
        "the fingerprint is compared before the key is locked";
    I33 i33_failed_work_frees_the_key: "failed work is undone and frees the key for one",
        "the key is committed before the work, or the work's writes are";
    I34 i34_rollback_leaves_nothing: "a rollback leaves no row, and the key fresh",
        "the key is written in a transaction of its own";
    I35 i35_racers_in_processes: "racers in several processes have one effect",
        "racers are told apart by something in the process's memory";
    I36 i36_completed_is_seen_by_all: "what one has seen completed is completed for all",
        "readers are answered from a cache or a replica that lags";
}
