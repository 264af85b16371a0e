//! The example `two_databases`: it runs, and a retry in another process pays once.
#![cfg(feature = "rusqlite")]
#![allow(clippy::unwrap_used)]

#[path = "../examples/two_databases.rs"]
mod example;

use std::path::Path;

use exactly_once::{sqlite::SqliteStore, two_phase::TwoPhaseOutcome};

#[test]
fn it_runs() {
    example::main().unwrap();
}

fn cents(file: &Path) -> i64 {
    let db = rusqlite::Connection::open(file).unwrap();
    db.query_row("SELECT cents FROM account", [], |row| row.get(0))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_gets_one_outcome_and_pays_once() {
    let folder = tempfile::tempdir().unwrap();
    let [bank, shop] = ["bank.db", "shop.db"].map(|file| folder.path().join(file));
    for file in [&bank, &shop] {
        let table = "CREATE TABLE account (owner TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT; \
                     INSERT INTO account VALUES ('alice', 100)";
        let db = rusqlite::Connection::open(file).unwrap();
        db.execute_batch(table).unwrap();
    }
    for _ in 0..3 {
        // As after a crash: handles of their own.
        let one = SqliteStore::open(&bank).await.unwrap();
        let other = SqliteStore::open(&shop).await.unwrap();
        let outcome = example::pay(&one, &other).await.unwrap();
        assert!(matches!(outcome, TwoPhaseOutcome::Committed), "{outcome:?}");
        assert_eq!((cents(&bank), cents(&shop)), (70, 130));
    }
}
