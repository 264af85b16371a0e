//! The one writer: groups whose members fail alone, full disks, dropped futures, interactive
//! transactions that hang.

#![cfg(feature = "rusqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use exactly_once::sqlite::{SqliteBuilder, SqliteStore, SqliteTx};
use exactly_once::{
    Claim, Claimed, ErrorKind, Fingerprint, IdempotencyKey, IdempotencyStore, OneShot,
    OneShotStore, Receipt, Rejection, Statement, Store, Transactional, WorkError,
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

const INSERT: &str = "INSERT INTO effects VALUES (?1)";

struct Place {
    folder: TempDir,
    store: SqliteStore,
    commits: Arc<AtomicU32>,
}

impl Place {
    async fn new(with: impl FnOnce(SqliteBuilder) -> SqliteBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let db = Connection::open(&path).unwrap();
        db.execute_batch("CREATE TABLE effects (id TEXT NOT NULL CHECK (id <> 'bad')) STRICT")
            .unwrap();
        let commits = Arc::new(AtomicU32::new(0));
        let counter = commits.clone();
        let builder = SqliteStore::builder(path).with_statement_hook(move |sql| {
            counter.fetch_add(u32::from(sql == "COMMIT"), Ordering::SeqCst);
        });
        let store = with(builder).open().await.unwrap();
        Self {
            folder,
            store,
            commits,
        }
    }

    fn foreign(&self) -> Connection {
        Connection::open(self.folder.path().join("t.db")).unwrap()
    }

    fn effects(&self) -> i64 {
        self.foreign()
            .query_row("SELECT count(*) FROM effects", [], |row| row.get(0))
            .unwrap()
    }

    async fn tx(&self) -> SqliteTx {
        self.store.begin().await.unwrap()
    }
}

fn claim(key: &str) -> Claim {
    Claim::new(
        IdempotencyKey::new(key).unwrap(),
        Fingerprint::of_bytes("t", key.as_bytes()),
    )
}

fn shot(key: &str, id: &str) -> OneShot {
    OneShot {
        claim: claim(key),
        statements: vec![
            Statement::new(INSERT).bind("first"),
            Statement::new(INSERT).bind(id),
        ],
        receipt: Receipt::from_bytes(key.to_owned()),
    }
}

#[tokio::test]
async fn many_callers_share_a_commit_and_each_fails_alone() {
    let place = Place::new(|builder| builder).await;
    // While an interactive transaction holds the writer, the others gather.
    let tx = place.tx().await;
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let store = place.store.clone();
        calls.spawn(async move {
            let id = if number % 4 == 0 { "bad" } else { "good" };
            let done = store
                .execute_one_shot(&shot(&format!("k{number}"), id))
                .await;
            (number, done)
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = place.commits.load(Ordering::SeqCst);
    place.store.rollback(tx).await.unwrap();
    while let Some(call) = calls.join_next().await {
        let (number, done) = call.unwrap();
        if number % 4 == 0 {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::Refused);
        } else {
            assert!(!done.unwrap().replayed);
        }
    }
    assert_eq!(
        place.effects(),
        60,
        "30 good calls of two rows each, and nothing of the bad"
    );
    let commits = place.commits.load(Ordering::SeqCst) - before;
    // Each refusal is recorded by a commit of its own.
    assert!(commits <= 2 + 10, "40 waiting calls took {commits} commits");
}

#[tokio::test]
async fn closures_share_a_commit_reject_and_panic_alone() {
    let place = Place::new(|builder| builder).await;
    let tx = place.tx().await;
    let mut calls = JoinSet::new();
    for number in 0..12 {
        let store = place.store.clone();
        calls.spawn(async move {
            let work = move |db: &Connection| -> Result<u32, WorkError> {
                db.execute(INSERT, [number.to_string()])?;
                match number % 4 {
                    1 => Err(Rejection::new(409, "closed").into()),
                    2 => panic!("a bug in the work"),
                    3 => Err(db.execute(INSERT, ["bad"]).unwrap_err().into()),
                    _ => Ok(number),
                }
            };
            let done = store
                .execute_once_blocking(&claim(&format!("c{number}")), work)
                .await;
            (number, done)
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    place.store.rollback(tx).await.unwrap();
    while let Some(call) = calls.join_next().await {
        let (number, done) = call.unwrap();
        let kind = done
            .as_ref()
            .map(|done| done.value)
            .map_err(exactly_once::Error::kind);
        match number % 4 {
            0 => assert_eq!(kind, Ok(number)),
            1 => assert_eq!(kind, Err(ErrorKind::Rejected { status: 409 })),
            2 => assert_eq!(kind, Err(ErrorKind::WorkFailed)),
            _ => assert_eq!(kind, Err(ErrorKind::Refused)),
        }
    }
    assert_eq!(place.effects(), 3);
    let unused = |_: &Connection| -> Result<u32, WorkError> { panic!("must not run again") };
    let replay = place
        .store
        .execute_once_blocking(&claim("c0"), unused)
        .await
        .unwrap();
    assert!(replay.replayed);
    let again = place
        .store
        .execute_once_blocking(&claim("c1"), unused)
        .await
        .unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Rejected { status: 409 });
}

#[tokio::test]
async fn a_job_that_breaks_the_transaction_does_not_let_anything_slip_through() {
    let place = Place::new(|builder| builder).await;
    let work = |db: &Connection| -> Result<u8, WorkError> {
        let _ = db.execute("INSERT OR ROLLBACK INTO effects VALUES ('bad')", []);
        // SQLite is in autocommit now: this must not be committed on its own.
        let _ = db.execute(INSERT, ["slipped"]);
        Ok(1)
    };
    let failed = place
        .store
        .execute_once_blocking(&claim("k"), work)
        .await
        .unwrap_err();
    assert!(failed.is_retryable(), "{failed}");
    assert_eq!(place.effects(), 0);
    let mut tx = place.tx().await;
    let _ = tx
        .run(|db| {
            let _ = db.execute("INSERT OR ROLLBACK INTO effects VALUES ('bad')", []);
            let _ = db.execute(INSERT, ["slipped"]);
            Ok(())
        })
        .await;
    assert!(tx.run(|db| db.execute(INSERT, ["slipped"])).await.is_err());
    assert!(place.store.commit(tx).await.is_err());
    assert_eq!(place.effects(), 0);
}

#[tokio::test]
async fn a_full_disk_is_retryable_and_nothing_is_half_there() {
    let place = Place::new(|builder| builder.max_pages(200)).await;
    let large = |db: &Connection| -> Result<u8, WorkError> {
        db.execute(INSERT, ["small"])?;
        // Careless: the error is swallowed, and SQLite has rolled everything back by itself.
        let _ = db.execute("INSERT INTO effects VALUES (hex(zeroblob(1000000)))", []);
        let _ = db.execute(INSERT, ["slipped"]);
        Ok(1)
    };
    // In a group: the others are asked to retry, and lose nothing.
    let tx = place.tx().await;
    let mut calls = JoinSet::new();
    for number in 0..9 {
        let store = place.store.clone();
        calls.spawn(async move {
            if number == 4 {
                let full = store
                    .execute_once_blocking(&claim("large"), large)
                    .await
                    .unwrap_err();
                assert_eq!(full.kind(), ErrorKind::Unavailable, "{full}");
                return;
            }
            let effect = shot(&format!("k{number}"), "good");
            let first = store.execute_one_shot(&effect).await;
            if let Err(failed) = first {
                assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
                assert!(!store.execute_one_shot(&effect).await.unwrap().replayed);
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    place.store.rollback(tx).await.unwrap();
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    assert_eq!(
        place.effects(),
        16,
        "8 good calls of two rows each, and nothing of the large one"
    );
    // The same in an interactive transaction, reported at once.
    let mut tx = place.tx().await;
    let insert = "INSERT INTO effects VALUES (hex(zeroblob(1000000)))";
    let full = tx.run(move |db| db.execute(insert, [])).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Unavailable);
    assert!(place.store.commit(tx).await.is_err());
    assert_eq!(place.effects(), 16);
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_open() {
    let hour = Duration::from_secs(3600);
    let place = Place::new(|builder| builder.lock_timeout(hour).idle_timeout(hour)).await;
    for polls in 0..6 {
        let dropped = async {
            let claimed = place.store.claim(&claim("k")).await.unwrap();
            let Claimed::Fresh(mut tx) = claimed else {
                panic!("not fresh")
            };
            tx.run(|db| db.execute(INSERT, ["half"])).await.unwrap();
            std::future::pending::<()>().await;
        };
        let mut dropped = Box::pin(dropped);
        for _ in 0..polls {
            let once = std::future::poll_fn(|context| {
                let _ = dropped.as_mut().poll(context);
                std::task::Poll::Ready(())
            });
            once.await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(dropped);
        // One that is held is held for an hour.
        let next = tokio::time::timeout(Duration::from_secs(60), place.tx()).await;
        place
            .store
            .rollback(next.expect("the writer is held"))
            .await
            .unwrap();
    }
    assert_eq!(place.effects(), 0);
}

#[tokio::test]
async fn a_transaction_that_hangs_is_rolled_back_and_told_so() {
    let short = Duration::from_millis(100);
    let place = Place::new(|builder| builder.idle_timeout(short)).await;
    let mut tx = place.tx().await;
    tx.run(|db| db.execute(INSERT, ["lost"])).await.unwrap();
    tokio::time::sleep(short * 3).await;
    let late = tx.run(|db| db.execute(INSERT, ["late"])).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Busy);
    let late = place.store.commit(tx).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Busy);
    assert_eq!(place.effects(), 0);
}

#[tokio::test]
async fn another_process_that_holds_the_lock_makes_it_busy() {
    let place = Place::new(|builder| builder.busy_timeout(Duration::from_millis(50))).await;
    let db = place.foreign();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = place
        .store
        .execute_one_shot(&shot("k", "x"))
        .await
        .unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert_eq!(
        place.store.begin().await.unwrap_err().kind(),
        ErrorKind::Busy
    );
    db.execute_batch("ROLLBACK").unwrap();
    place.store.execute_one_shot(&shot("k", "x")).await.unwrap();
}

#[tokio::test]
async fn close_returns_when_every_connection_is_closed() {
    let place = Place::new(|builder| builder.readers(4)).await;
    drop(place.store.begin().await.unwrap());
    let ended = Arc::new(AtomicU32::new(0));
    let (begun, waits) = tokio::sync::oneshot::channel();
    let (store, counter) = (place.store.clone(), ended.clone());
    let read = tokio::spawn(async move {
        let slow = move |db: &Connection| {
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            let seen = db.query_row("SELECT count(*) FROM effects", [], |row| {
                row.get::<_, i64>(0)
            });
            counter.fetch_add(1, Ordering::SeqCst);
            seen
        };
        store.read(slow).await
    });
    waits.await.unwrap();
    let log = place.folder.path().join("t.db-wal");
    assert!(log.exists());
    // Twice, one call beside the other: neither is ahead of the connections.
    for closed in futures_util::future::join_all([place.store.close(), place.store.close()]).await {
        closed.unwrap();
        assert_eq!(
            ended.load(Ordering::SeqCst),
            1,
            "a read was still under way"
        );
        // The last connection removes it.
        assert!(!log.exists());
    }
    assert_eq!(read.await.unwrap().unwrap(), 0);
}
