//! A file that is deleted, moved, linked or replaced under an open store.

#![cfg(unix)]

use std::time::Duration;

use exactly_once::sqlite::SqliteStore;
use exactly_once::{
    AccountId, BalanceStore, BegunPrepared, ErrorKind, Fingerprint, IdempotencyStore, OneShotStore,
    Participation, PreparedTransactions, Store, TransactionId, Transactional,
};
use rusqlite::Connection;

use crate::effect;

#[tokio::test]
async fn nothing_is_acknowledged_into_a_file_that_is_gone_or_has_two_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.execute_one_shot(&effect("before")).await.unwrap();
    let other = folder.path().join("b.db");
    std::fs::hard_link(&path, &other).unwrap();
    for refused in [
        store.execute_one_shot(&effect("linked")).await.map(drop),
        SqliteStore::open(&other).await.map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration, "{refused}");
        assert!(refused.to_string().contains("hard link"), "{refused}");
    }
    std::fs::remove_file(&other).unwrap();
    store.execute_one_shot(&effect("linked")).await.unwrap();
    // Moved away: the same, in a group and in a transaction.
    std::fs::rename(&path, &other).unwrap();
    for replaced in [false, true] {
        if replaced {
            Connection::open(&path)
                .unwrap()
                .execute_batch("CREATE TABLE t (a)")
                .unwrap();
        }
        let gone = store.execute_one_shot(&effect("gone")).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Configuration, "{gone}");
        let tx = store.begin().await.unwrap();
        let gone = store.commit(tx).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Configuration, "{gone}");
    }
    // SQLite has deleted the log that it found beside an empty file of this name, and what is written
    // into it is gone with the process.
    std::fs::rename(&other, &path).unwrap();
    let gone = store.execute_one_shot(&effect("gone")).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Configuration, "{gone}");
    assert!(gone.to_string().contains("-wal"), "{gone}");
    store.close().await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    for (name, known) in [("before", true), ("linked", true), ("gone", false)] {
        let done = store.execute_one_shot(&effect(name)).await.unwrap();
        assert_eq!(done.replayed, known, "{name}");
    }
}

// Another process makes an index of its own then, and the two do not see each other's locks.
#[tokio::test]
async fn nothing_is_acknowledged_without_the_index_that_others_share() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.execute_one_shot(&effect("before")).await.unwrap();
    std::fs::remove_file(folder.path().join("a.db-shm")).unwrap();
    for _ in 0..2 {
        let gone = store.execute_one_shot(&effect("gone")).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::Configuration, "{gone}");
        assert!(gone.to_string().contains("-shm"), "{gone}");
    }
    store.close().await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    for (name, known) in [("before", true), ("gone", false)] {
        let done = store.execute_one_shot(&effect(name)).await.unwrap();
        assert_eq!(done.replayed, known, "{name}");
    }
}

// A process that opened the file since then has committed into the log that both have.
#[tokio::test]
async fn what_others_commit_outlives_a_store_that_lost_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.execute_one_shot(&effect("before")).await.unwrap();
    std::fs::remove_file(folder.path().join("a.db-shm")).unwrap();
    let other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--test-threads=1"])
        .env(crate::FILE, &path)
        .env(crate::NUMBER, "0")
        .status();
    assert!(other.unwrap().success());
    store
        .execute_one_shot(&effect("gone"))
        .await
        .map(drop)
        .unwrap_err();
    store.close().await.unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let account = AccountId::new("a").unwrap();
    let amount = store.balance(&account).await.unwrap().unwrap().amount;
    assert_eq!(amount.get(), i64::from(crate::CHANGES));
    let done = store.execute_one_shot(&effect("before")).await.unwrap();
    assert!(done.replayed);
}

#[tokio::test]
async fn a_file_that_is_put_back_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a.db"), folder.path().join("b.db"));
    let store = SqliteStore::open(&path).await.unwrap();
    std::fs::rename(&path, &other).unwrap();
    let gone = store.execute_one_shot(&effect("gone")).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Configuration, "{gone}");
    std::fs::rename(&other, &path).unwrap();
    let done = store.execute_one_shot(&effect("gone")).await.unwrap();
    assert!(!done.replayed);
}

#[tokio::test]
async fn a_symbolic_link_is_the_file_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.execute_one_shot(&effect("before")).await.unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let same = SqliteStore::open(&link).await.unwrap();
    let replay = same.execute_one_shot(&effect("before")).await.unwrap();
    assert!(replay.replayed);
}

#[tokio::test]
async fn a_first_read_after_the_file_was_replaced_reads_the_file_that_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a.db"), folder.path().join("b.db"));
    let store = SqliteStore::open(&path).await.unwrap();
    let done = effect("before");
    store.execute_one_shot(&done).await.unwrap();
    std::fs::rename(&path, &other).unwrap();
    // SQLite deletes the log that it finds beside an empty file of this name.
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE t (a)").unwrap();
    // Each of the reading connections, whatever it has read before.
    for _ in 0..8 {
        let reads = (0..8).map(|_| store.lookup(done.claim.key()));
        for found in futures_util::future::join_all(reads).await {
            assert!(found.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn no_connection_is_opened_on_the_file_that_took_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a.db"), folder.path().join("b.db"));
    let store = SqliteStore::open(&path).await.unwrap();
    let copy = folder.path().join("copy.db");
    let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY); PRAGMA wal_checkpoint(TRUNCATE)";
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    std::fs::copy(&path, &copy).unwrap();
    std::fs::rename(&path, &other).unwrap();
    std::fs::rename(&copy, &path).unwrap();
    let now = store.now().await.unwrap();
    let at = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
    let (name, print) = (
        TransactionId::new("t").unwrap(),
        Fingerprint::of_bytes("t", b""),
    );
    let part = Participation::new(&name, print, at(60), at(3600)).unwrap();
    // The first staged work, so its connections are opened here.
    let refused = store.begin_prepared(&part).await.map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration, "{refused}");
    std::fs::rename(&path, &copy).unwrap();
    std::fs::rename(&other, &path).unwrap();
    let BegunPrepared::Fresh(mut tx) = store.begin_prepared(&part).await.unwrap() else {
        panic!("not fresh");
    };
    tx.run(|db| db.execute("INSERT INTO t VALUES (1)", []))
        .await
        .unwrap();
    store.prepare(tx, &part).await.unwrap();
    store.commit_prepared(&part).await.unwrap();
    let rows = |file| -> i64 {
        let db = Connection::open(file).unwrap();
        db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!((rows(&path), rows(&copy)), (1, 0));
}
