//! What one caller must not get for another, and whose transaction a call ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use exactly_once_core::{ErrorKind, ExecuteOnce, IdempotencyStore, Settled, Transactional};

use super::support::{completed, ensure_recorded, execute, executed, fresh, is_completed};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, race, receipt, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// For a connection that is given back in its own time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Goal: a store ends no transaction of another one. Method: complete, reject and commit a transaction
/// at a store of other data: refused, nothing there and nothing here; its own store goes on.
async fn e06_transaction_of_another_store<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let elsewhere = cx.harness().fresh().await?;
    let other = cx.harness().open(&elsewhere).await?;
    for (number, ending) in ["complete", "reject", "commit"].into_iter().enumerate() {
        let (name, store) = (format!("e06/{number}"), cx.store());
        let claim = claim(&name)?;
        let mut tx = fresh(store, &claim).await?;
        cx.write(&mut tx, &name).await?;
        let answer = match ending {
            "complete" => other.complete(tx, &claim, &receipt("06")).await,
            "reject" => {
                let no = exactly_once_core::Rejection::new(422, "no");
                other.reject(tx, &claim, &no).await
            }
            _ => other.commit(tx).await.map(|()| Settled::Recorded),
        };
        ensure!(answer.is_err(), seen: answer, "a {ending} at another store to be refused");
        ensure_eq!(
            cx.effects(&name).await?,
            0,
            "effects here of a {ending} there"
        );
        let there = retry(|| other.lookup(claim.key())).await?;
        ensure!(there.is_none(), seen: there, "no record there");
        ensure_eq!(is_completed(store, &claim).await?, false, "a record here");
        let done = completed(&cx, store, &claim, &name, &receipt("06")).await;
        ensure!(done.is_ok(), seen: done, "its own store to go on");
        ensure_eq!(cx.effects(&name).await?, 1, "effects in the end");
    }
    Ok(())
}

/// Goal: a step of the work that fails half way is never half committed. Method: the harness fails in a
/// step after a write, and the work swallows it; then one more write, and the completion.
async fn i45h_step_that_fails_half_way<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, store) = (claim("i45h")?, cx.store());
    let mut tx = fresh(store, &claim).await?;
    if !cx.harness().fail_half_way(&mut tx, "i45h/half").await {
        return cx.ignore("this harness has no step that fails half way (`fail_half_way`)");
    }
    // A store may refuse all that follows.
    let written = cx.write(&mut tx, "i45h").await;
    let settled = store.complete(tx, &claim, &receipt("45")).await;
    ensure_eq!(cx.effects("i45h/half").await?, 0, "effects of half a step");
    let effects = cx.effects("i45h").await?;
    if written.is_ok() && settled.is_ok() {
        ensure_recorded(settled)?;
        ensure_eq!(effects, 1, "effects of the step after it");
    } else {
        ensure_eq!(effects, 0, "effects of what was refused");
    }
    Ok(())
}

/// Goal: what work does to its connection never meets the next caller. Method: a handle with one
/// connection; change the session in each way of the harness and complete, roll back or drop; the next
/// transaction must not see it.
async fn s05_session_of_the_next_caller<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let store = cx.harness().open_starved(cx.guard(), PATIENCE).await?;
    for number in 0.. {
        for ending in ["completed", "rolled back", "dropped"] {
            let claim_of = |part| claim(&format!("s05/{number}/{ending}/{part}"));
            let changing = claim_of("changes")?;
            let mut tx = fresh(&store, &changing).await?;
            let Some(what) = cx.harness().change_session(&mut tx, number).await else {
                store.rollback(tx).await?;
                return match number {
                    0 => cx.ignore("this harness changes no session (`change_session`)"),
                    _ => Ok(()),
                };
            };
            // A store that refuses such work may refuse its completion, too.
            match ending {
                "completed" => drop(store.complete(tx, &changing, &receipt("05")).await),
                "rolled back" => drop(store.rollback(tx).await),
                _ => drop(tx),
            }
            let mut tx = fresh(&store, &claim_of("next")?).await?;
            let seen = cx.harness().sees_session(&mut tx, number).await;
            ensure!(!seen, seen: what, "no change of a transaction that was {ending} to be seen");
            store.rollback(tx).await?;
        }
    }
    Ok(())
}

/// Goal: what the database refuses at the commit is as final as what it refuses in the work. Method:
/// work with a violation that is found at the end only, three times; then the key's record.
async fn f05_refused_at_the_commit<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, store) = (claim("f05")?, cx.store());
    let mut tx = store.begin().await?;
    let can = cx.harness().violate_at_the_end(&mut tx).await;
    store.rollback(tx).await?;
    if !can {
        return cx.ignore("this harness has no deferred constraint (`violate_at_the_end`)");
    }
    let (mut texts, runs) = (Vec::new(), AtomicU64::new(0));
    for _ in 0..3 {
        let work = async |tx: &mut <H::Store as Transactional>::Tx| {
            runs.fetch_add(1, Ordering::SeqCst);
            cx.write(tx, "f05").await?;
            cx.harness().violate_at_the_end(tx).await;
            Ok("done".to_owned())
        };
        let answer = retry(|| store.execute_once(&claim, work)).await;
        let error = answer.err().expecting("a refusal")?;
        ensure_eq!(error.kind(), ErrorKind::Refused, "the answer ({error})");
        texts.push(error.to_string());
    }
    ensure_eq!(
        runs.load(Ordering::SeqCst),
        1,
        "runs of work that was refused for good"
    );
    texts.dedup();
    ensure_eq!(texts.len(), 1, "texts of one refusal ({texts:?})");
    ensure_eq!(cx.effects("f05").await?, 0, "effects of what was refused");
    ensure!(is_completed(store, &claim).await?, seen: "no record", "the refusal to be recorded");
    Ok(())
}

/// Goal: each call ends at one limit from its own start, also behind others that wait. Method: a handle
/// with one connection, held; calls at once: each is refused within its own limit, and none later.
async fn s07_one_limit_for_each_call<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (limit, calls) = (cx.tick() * 10, 32);
    let store = cx.harness().open_starved(cx.guard(), limit).await?;
    let held = fresh(&store, &claim("s07/held")?).await?;
    let (cx, store) = (Arc::new(cx), Arc::new(store));
    let waiting = (0..calls).map(|number| {
        let (cx, store) = (Arc::clone(&cx), Arc::clone(&store));
        async move {
            let (name, start) = (format!("s07/{number}"), Instant::now());
            let claim = claim(&name)?;
            let answer = execute(&cx, &store, &claim, &name, "07").await;
            CaseResult::Ok((answer, start.elapsed()))
        }
    });
    // What a loaded machine may take beside the limit: a quarter of one limit after another.
    let slack = limit * 7;
    for (number, call) in race(waiting.collect::<Vec<_>>())
        .await?
        .into_iter()
        .enumerate()
    {
        let (answer, waited) = call?;
        if let Err(error) = answer {
            ensure!(waited < limit + slack, seen: (error, waited), "call {number} to end at its limit");
        }
    }
    store.rollback(held).await?;
    for number in 0..calls {
        let name = format!("s07/{number}");
        executed(&cx, &store, &claim(&name)?, &name, "07").await?;
        ensure_eq!(cx.effects(&name).await?, 1, "effects of call {number}");
    }
    Ok(())
}

cases! { "idempotency::shared" for IdempotencyStore, "core::Transactional, IdempotencyStore";
    E06 e06_transaction_of_another_store: "a store ends no transaction of another one",
        "only the namespace is compared: the work is committed there, or recorded without it";
    I45H i45h_step_that_fails_half_way: "a step that fails half way is never half committed",
        "the error of a step undoes its last statement only";
    S05 s05_session_of_the_next_caller: "what work does to its connection never meets the next caller",
        "the connection goes back to the pool with its settings, temporary objects or locks";
    F05 f05_refused_at_the_commit: "what is refused at the commit is recorded as in the work",
        "an error of the commit is retried for ever, or the work runs again after it";
    S07 s07_one_limit_for_each_call: "each call ends at one limit from its own start",
        "the calls wait one limit each, one after another", waits;
}
