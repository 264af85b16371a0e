//! The doctor: each planted problem is found, and the remedy that it prints fixes it.
//!
//! Method: break the server or the file; take the remedies out of what the command prints and apply
//! them word for word; ask again, and all is well.
#![cfg(all(
    feature = "cli",
    feature = "rusqlite",
    feature = "tokio-postgres",
    feature = "redis"
))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{collections::BTreeMap, process::Command, time::Duration};

use exactly_once_servers::{Postgres, Redis, Replication, Standby};

/// What has to be fixed, with its remedy.
type Found = BTreeMap<String, String>;

fn doctor(url: &str, arguments: &[&str]) -> Found {
    let output = Command::new(env!("CARGO_BIN_EXE_exactly-once"))
        .args(["doctor", "--json"])
        .args(arguments)
        .env("EXACTLY_ONCE_URL", url)
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let rows = answer["rows"].as_array().unwrap().iter();
    let word = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap().to_owned();
    let found: Found = rows
        .filter(|row| row["verdict"] == "MEND")
        .map(|row| (word(row, "what"), word(row, "remedy")))
        .collect();
    assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())));
    found
}

fn whats(found: &Found) -> Vec<&str> {
    found.keys().map(String::as_str).collect()
}

fn migrate(url: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_exactly-once"))
        .args(["migrate", "--yes"])
        .env("EXACTLY_ONCE_URL", url)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// The statements in a remedy: from a word of SQL to its semicolon.
fn statements(remedy: &str) -> Vec<String> {
    let parts = remedy.split_inclusive(';').filter_map(|part| {
        let begin = ["ALTER SYSTEM", "SELECT pg_", "PRAGMA"]
            .iter()
            .filter_map(|word| part.find(word))
            .min()?;
        part.ends_with(';').then(|| part[begin..].to_owned())
    });
    parts.collect()
}

/// Does what the remedies say, and nothing else.
async fn mend(server: &Postgres, found: &Found) {
    let (mut restart, mut tables) = (false, false);
    for (what, remedy) in found {
        let statements = statements(remedy);
        restart |= remedy.contains("RESTART");
        tables |= remedy.contains("exactly-once migrate");
        assert!(
            !statements.is_empty() || remedy.contains("migrate"),
            "{what} has no remedy that can be applied: {remedy}"
        );
        for statement in statements {
            server.sql("postgres", &statement).await.unwrap();
        }
    }
    if restart {
        server.stop().await.unwrap();
        server.restart().await.unwrap();
    }
    if tables {
        migrate(&server.url());
    }
}

/// Goal: a default Postgres, and one that was made fast and unsafe, is fixed by what is printed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_postgres_lacks_is_mended_by_the_remedy() {
    let server = Postgres::options(15)
        .setting("max_prepared_transactions", "0")
        .setting("full_page_writes", "off")
        .setting("synchronous_commit", "off")
        .fsync(false)
        .start()
        .await
        .unwrap();
    let found = doctor(&server.url(), &[]);
    let planted = [
        "fsync",
        "full_page_writes",
        "max_prepared_transactions",
        "schema version",
        "synchronous_commit",
    ];
    assert_eq!(whats(&found), planted);
    mend(&server, &found).await;
    // A reload takes a moment to reach every process of the server.
    for _ in 0..100 {
        if doctor(&server.url(), &[]).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(doctor(&server.url(), &[]), Found::new());
}

/// Goal: what holds locks and holds back vacuum is found by its age, and ended by the remedy; slots
/// that run out are seen.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_open_in_postgres_is_found() {
    let server = Postgres::options(15)
        .setting("max_prepared_transactions", "1")
        .start()
        .await
        .unwrap();
    migrate(&server.url());
    assert_eq!(doctor(&server.url(), &["--max-age", "0"]), Found::new());
    let prepare = "BEGIN; CREATE TABLE orphan (); PREPARE TRANSACTION 'orphan'";
    let (client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(prepare).await.unwrap();
    client
        .batch_execute("BEGIN; SELECT txid_current()")
        .await
        .unwrap();
    // Ages are reported in whole seconds.
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    assert_eq!(
        whats(&doctor(&server.url(), &[])),
        ["slots used"],
        "not old yet"
    );
    let mut found = doctor(&server.url(), &["--max-age", "0"]);
    let old = ["oldest in doubt", "oldest open transaction", "slots used"];
    assert_eq!(whats(&found), old);
    found.retain(|what, _| what == "oldest open transaction");
    mend(&server, &found).await;
    assert!(connection.await.unwrap().is_err(), "its session was ended");
    server
        .sql("postgres", "ROLLBACK PREPARED 'orphan'")
        .await
        .unwrap();
    assert_eq!(doctor(&server.url(), &["--max-age", "0"]), Found::new());
}

/// Goal: a failover that would lose what was acknowledged is found before it happens.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_not_waited_for_is_found() {
    let primary = Postgres::start(15).await.unwrap();
    migrate(&primary.url());
    let _standby = Standby::of(&primary, Replication::Asynchronous)
        .await
        .unwrap();
    let found = doctor(&primary.url(), &[]);
    assert_eq!(whats(&found), ["standbys"]);
    mend(&primary, &found).await;
    for _ in 0..100 {
        if doctor(&primary.url(), &[]).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", doctor(&primary.url(), &[]));
}

/// Goal: a default Redis, and one that evicts, is fixed by what is printed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_redis_lacks_is_mended_by_the_remedy() {
    let server = Redis::options()
        .setting("appendonly", "no")
        .append_fsync("everysec")
        .eviction("allkeys-lru", "100mb")
        .start()
        .await
        .unwrap();
    let found = doctor(&server.url(), &[]);
    assert_eq!(
        whats(&found),
        ["appendfsync", "appendonly", "maxmemory-policy"]
    );
    for remedy in found.values() {
        let (_, set) = remedy.split_once("CONFIG SET ").unwrap();
        let (setting, _) = set.split_once(',').unwrap();
        let (name, value) = setting.split_once(' ').unwrap();
        server.cli(["CONFIG", "SET", name, value]).await.unwrap();
    }
    // Switching appendonly on rewrites the file first: nothing is on disk before that has ended.
    let mut found = doctor(&server.url(), &[]);
    for _ in 0..100 {
        if whats(&found) != ["aof_rewrite"] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        found = doctor(&server.url(), &[]);
    }
    assert_eq!(found, Found::new());
}

/// Goal: a file of the old style is fixed by what is printed, and keeps its rows.
#[test]
fn what_is_old_style_in_a_file_is_mended_by_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let old = "CREATE TABLE balance (cents INTEGER); INSERT INTO balance VALUES (17);";
    db.execute_batch(old).unwrap();
    drop(db);
    let url = format!("sqlite:{}", path.display());
    let found = doctor(&url, &[]);
    let planted = [
        "journal_mode",
        "schema version",
        "tables that are not STRICT",
    ];
    assert_eq!(whats(&found), planted);

    let db = rusqlite::Connection::open(&path).unwrap();
    for statement in statements(&found["journal_mode"]) {
        let mode: String = db.query_row(&statement, [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }
    assert_eq!(
        found["tables that are not STRICT"].matches("TABLE").count(),
        3,
        "the steps below"
    );
    db.execute_batch(
        "BEGIN; CREATE TABLE balance_new (cents INTEGER) STRICT; \
         INSERT INTO balance_new SELECT * FROM balance; DROP TABLE balance; \
         ALTER TABLE balance_new RENAME TO balance; COMMIT",
    )
    .unwrap();
    migrate(&url);
    assert_eq!(doctor(&url, &[]), Found::new());
    let cents: i64 = db
        .query_row("SELECT cents FROM balance", [], |row| row.get(0))
        .unwrap();
    assert_eq!(cents, 17);
}

/// Goal: tables of a newer program are not taken for old ones.
#[test]
fn a_newer_schema_is_not_to_be_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer.db");
    let url = format!("sqlite:{}", path.display());
    migrate(&url);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("UPDATE exactly_once_meta SET schema_version = 99", [])
        .unwrap();
    let found = doctor(&url, &[]);
    assert!(
        found["schema version"].contains("newer program"),
        "{found:?}"
    );
}
