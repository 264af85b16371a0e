//! Each call ends at one limit from its own start, and a nested one at once.
//!
//! What holds a call up here goes on until the call has ended: no machine is too slow for that.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Claimed, Decision, DecisionRegister, Error, ErrorKind,
    ExecuteOnce, IdempotencyStore, KeyState, LeaseStore, OneShotStore, Outcome,
    PreparedTransactions, Store, Transactional, WorkError,
    sqlite::{SqliteBuilder, SqliteTx},
};
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::{World, claim, effect, in_time, key, one_shot};

const LIMIT: Duration = Duration::from_millis(300);

fn short(builder: SqliteBuilder) -> SqliteBuilder {
    builder.lock_timeout(LIMIT).busy_timeout(LIMIT)
}

/// With limits that no test lives to see.
fn patient(builder: SqliteBuilder) -> SqliteBuilder {
    let hour = Duration::from_secs(3600);
    builder.lock_timeout(hour).busy_timeout(hour)
}

/// What the call gives at last: a machine may be too slow for its limit.
async fn retried<T>(call: impl AsyncFn() -> Result<T, Error>) -> T {
    loop {
        match call().await {
            Err(error) if error.is_retryable() => {}
            ended => return ended.unwrap(),
        }
    }
}

/// Work that begins, and then goes on until the sender is dropped.
fn held_up() -> (
    mpsc::Sender<()>,
    mpsc::Receiver<()>,
    impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
) {
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let work = move |_: &Connection| {
        let _ = begin.send(());
        let _ = released.recv();
        Ok(())
    };
    (release, begun, work)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_ends_at_its_own_limit_behind_a_foreign_lock() {
    let world = World::with("", short).await;
    let db = world.db();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut calls = JoinSet::new();
    // One limit after another, they would take two minutes.
    for number in 0..400 {
        let store = world.store.clone();
        calls.spawn(async move {
            let name = format!("k{number}");
            let busy = match number % 2 {
                0 => store.claim(&claim(&name)).await.unwrap_err(),
                _ => store
                    .execute_one_shot(&one_shot(&name, &[]))
                    .await
                    .unwrap_err(),
            };
            assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
        });
    }
    in_time(calls.join_all()).await;
    db.execute_batch("ROLLBACK").unwrap();
    // What was given up was never begun, and the store goes on.
    let done = world
        .store
        .execute_one_shot(&one_shot("k1", &[&effect("k1")]))
        .await;
    assert!(!done.unwrap().replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_step_holds_up_no_call_past_its_limit() {
    let world = World::with("", short).await;
    let mut tx = world.store.begin().await.unwrap();
    let (release, begun, work) = held_up();
    let slow = tokio::spawn(async move { tx.run(work).await.map(|()| drop(tx)) });
    begun.recv().unwrap();
    let shot = one_shot("k", &[&effect("k")]);
    let busy = in_time(world.store.execute_one_shot(&shot)).await;
    assert_eq!(busy.unwrap_err().kind(), ErrorKind::Busy);
    drop(release);
    slow.await.unwrap().unwrap();
    // After this begin the thread has come past all that waited before it.
    let next = in_time(retried(async || world.store.begin().await)).await;
    world.store.rollback(next).await.unwrap();
    assert_eq!(world.effects("k"), 0, "what was given up is never applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reads_of_users_hold_up_no_call_of_the_store() {
    let world = World::with("", |builder| short(builder).readers(2)).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let (release, begun, work) = held_up();
        let store = world.store.clone();
        let read = tokio::spawn(async move { store.read(work).await });
        begun.recv().unwrap();
        held.push((release, read));
    }
    // Each of these is the store's own read, or begins with one.
    in_time(retried(async || {
        world.store.claim(&claim("k")).await.map(drop)
    }))
    .await;
    in_time(retried(async || world.store.lookup(&key("k")).await)).await;
    in_time(retried(async || world.store.now().await)).await;
    let busy = in_time(world.store.read(|_| Ok(()))).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy, "a third read of the user's");
    for (release, read) in held {
        drop(release);
        read.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_from_inside_of_a_closure_is_an_error_at_once() {
    let world = World::with("", patient).await;
    let runtime = tokio::runtime::Handle::current();
    let nested = Arc::new((runtime, world.store.clone()));
    let inner = nested.clone();
    let asked = claim("k");
    let kind = world.store.execute_once_blocking(&asked, move |_| {
        let (runtime, store) = &*inner;
        let failure = |error: Error| format!("{:?}", error.kind());
        let claimed = runtime.block_on(store.claim(&claim("other"))).map(drop);
        let read = runtime.block_on(store.read(|_| Ok(()))).map(drop);
        let closed = runtime.block_on(store.close());
        let all = [claimed, read, closed];
        Ok::<_, WorkError>(all.map(|answer| answer.err().map(failure)).to_vec())
    });
    let kinds = in_time(kind).await.unwrap().value;
    let invalid = Some(format!("{:?}", ErrorKind::Invalid));
    assert_eq!(kinds, vec![invalid; 3]);
    let inner = nested.clone();
    let read = world.store.read(move |_| {
        let (runtime, store) = &*inner;
        Ok(runtime
            .block_on(store.begin())
            .map(drop)
            .map_err(|error| error.kind()))
    });
    assert_eq!(in_time(read).await.unwrap(), Err(ErrorKind::Invalid));
    let recorded = world.store.lookup(&key("k")).await.unwrap().unwrap();
    assert!(matches!(
        recorded.state,
        KeyState::Completed {
            outcome: Outcome::Applied(_),
            ..
        }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_from_work_that_holds_the_writer_is_an_error_at_once() {
    let world = World::with("", patient).await;
    let part = world.part("nested").await;
    let store = &world.store;
    // Another handle on the file waits for the same lock.
    let beside = exactly_once::sqlite::SqliteStore::builder(world.folder.path().join("store.db"));
    let beside = patient(beside).open().await.unwrap();
    let adjust = Adjust::new(key("a"), AccountId::new("a").unwrap(), Amount::new(1));
    let work = async |tx: &mut SqliteTx| -> Result<u8, WorkError> {
        let other = claim("other");
        let calls = [
            store.claim(&other).await.map(drop),
            store.claim(&claim("k")).await.map(drop),
            store.begin().await.map(drop),
            store.begin_prepared(&part).await.map(drop),
            store.lease(&other, LIMIT).await.map(drop),
            store
                .execute_one_shot(&one_shot("shot", &[]))
                .await
                .map(drop),
            store.adjust(&adjust).await.map(drop),
            store.decide(&part, Decision::Commit).await.map(drop),
            store
                .execute_once(&other, async |_: &mut SqliteTx| Ok(1))
                .await
                .map(drop),
            beside.begin().await.map(drop),
        ];
        for (number, call) in calls.into_iter().enumerate() {
            let nested = call.unwrap_err();
            assert_eq!(nested.kind(), ErrorKind::Invalid, "{number}: {nested}");
        }
        // Reads go beside the writer, and the transaction goes on.
        store.lookup(other.key()).await?;
        store.now().await?;
        tx.run(|db| db.execute_batch(&effect("k"))).await?;
        Ok(1)
    };
    let asked = claim("k");
    let done = in_time(Box::pin(store.execute_once(&asked, work))).await;
    assert!(!done.unwrap().replayed);
    assert_eq!(world.effects("k"), 1);
    // Beside the work, another task's call waits as ever, and gets its turn.
    let (begin, begun) = tokio::sync::oneshot::channel();
    let other = world.store.clone();
    let waiting = async move {
        begun.await.unwrap();
        let claimed = other.claim(&claim("beside")).await;
        matches!(claimed, Ok(Claimed::Fresh(_)))
    };
    let work = async |_: &mut SqliteTx| -> Result<u8, WorkError> {
        begin.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(1)
    };
    let long = claim("long");
    let both = futures_util::future::join(waiting, store.execute_once(&long, work));
    let (waited, done) = in_time(both).await;
    assert!(waited && done.is_ok());
}
