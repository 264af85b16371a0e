//! The one thread that writes: nothing that a caller leaves behind ends it.

use std::time::Duration;

use exactly_once::{ErrorKind, OneShotStore, Store, Transactional, WorkError};
use rusqlite::Connection;

use crate::{World, claim, effect, one_shot};

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_drop_ends_no_thread() {
    let world = World::new("").await;
    let store = &world.store;
    // An answer that no caller takes.
    let held = store.begin().await.unwrap();
    let slow = |_: &Connection| -> rusqlite::Result<Bomb> { Ok(Bomb) };
    for _ in 0..4 {
        let copy = store.clone();
        let call = tokio::spawn(async move { copy.read(slow).await.map(std::mem::forget) });
        tokio::task::yield_now().await;
        call.abort();
        let bomb = Bomb;
        let copy = store.clone();
        let abandoned = tokio::spawn(async move {
            copy.execute_once_blocking(&claim("x"), move |_| {
                let _kept = &bomb;
                Ok::<_, WorkError>(())
            })
            .await
            .map(drop)
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        abandoned.abort();
    }
    store.rollback(held).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let mut step = Box::pin(tx.run(|_| {
        std::thread::sleep(Duration::from_millis(30));
        Ok(Bomb)
    }));
    assert!(
        tokio::time::timeout(Duration::from_millis(5), &mut step)
            .await
            .is_err()
    );
    drop(step);
    store.rollback(tx).await.unwrap();
    let failed = store
        .read(|_| -> rusqlite::Result<()> { std::panic::panic_any(Bomb) })
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::WorkFailed);
    let done = store
        .execute_one_shot(&one_shot("after", &[&effect("after")]))
        .await;
    done.unwrap();
    let read = store.read(|db| db.query_row("SELECT 1", [], |row| row.get::<_, i64>(0)));
    assert_eq!(read.await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_served_before_the_begins_that_wait() {
    let world = World::new("").await;
    let mut held = world.store.begin().await.unwrap();
    let waiting = world.store.clone();
    let begin = tokio::spawn(async move { waiting.begin().await.map(drop) });
    tokio::time::sleep(Duration::from_millis(30)).await;
    world.store.close().await.unwrap();
    let refused = begin.await.unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    held.run(|_| Ok(())).await.unwrap_err();
    assert!(
        world
            .db()
            .execute_batch("BEGIN IMMEDIATE; ROLLBACK")
            .is_ok()
    );
}
