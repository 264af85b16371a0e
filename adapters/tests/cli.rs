//! The command, as people on call run it: each planted problem is found with its remedy, what is in
//! doubt is ended as the register says, and no secret is ever printed.
#![cfg(all(
    feature = "cli",
    feature = "rusqlite",
    feature = "tokio-postgres",
    feature = "redis"
))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use exactly_once::{
    BegunPrepared, Claim, Decision, DecisionRegister, ExecuteOnce, Fingerprint, IdempotencyKey,
    Participation, PreparedTransactions, Store, TransactionId,
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_servers::{Postgres, Redis};

fn run(url: &str, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_exactly-once"))
        .args(arguments)
        .env("EXACTLY_ONCE_URL", url)
        .output()
        .unwrap();
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        assert!(!text.contains("s3cret"), "a secret was printed: {text}");
    }
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The rows of the doctor that want mending, as `what: remedy`.
fn to_mend(url: &str) -> Vec<String> {
    let output = run(url, &["doctor", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    let rows = answer["rows"].as_array().unwrap().iter();
    let found: Vec<String> = rows
        .filter(|row| row["verdict"] == "MEND")
        .map(|row| {
            format!(
                "{}: {}",
                row["what"].as_str().unwrap(),
                row["remedy"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        output.status.code(),
        Some(i32::from(!found.is_empty())),
        "{}",
        text(&output)
    );
    found
}

fn assert_found(found: &[String], what: &str, remedy: &str) {
    assert!(
        found
            .iter()
            .any(|row| row.starts_with(what) && row.contains(remedy)),
        "{what} with {remedy:?} is missing among {found:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_a_default_postgres_lacks() {
    let server = Postgres::options(15)
        .setting("max_prepared_transactions", "0")
        .start()
        .await
        .unwrap();
    let found = to_mend(&server.url());
    assert_found(&found, "max_prepared_transactions", "RESTART");
    assert_found(&found, "schema exactly_once", "migrate");
    assert_eq!(run(&server.url(), &["migrate"]).status.code(), Some(0));
    assert!(
        !to_mend(&server.url())
            .iter()
            .any(|row| row.starts_with("schema"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_a_default_redis_lacks() {
    let server = Redis::options()
        .append_fsync("everysec")
        .eviction("allkeys-lru", "100mb")
        .start()
        .await
        .unwrap();
    let found = to_mend(&server.url());
    assert_found(&found, "maxmemory-policy", "CONFIG SET");
    assert_found(&found, "appendfsync", "always");
    server
        .cli(["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .await
        .unwrap();
    server
        .cli(["CONFIG", "SET", "appendfsync", "always"])
        .await
        .unwrap();
    assert_eq!(to_mend(&server.url()), Vec::<String>::new());
}

#[test]
fn the_doctor_finds_what_is_old_style_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE balance (cents INTEGER)")
        .unwrap();
    drop(db);
    let url = format!("sqlite:{}", path.display());
    let found = to_mend(&url);
    assert_found(&found, "journal_mode", "WAL");
    assert_found(&found, "tables that are not STRICT", "STRICT");
    assert_found(&found, "tables of exactly-once", "migrate");
    assert_eq!(run(&url, &["migrate"]).status.code(), Some(0));
    assert!(
        !to_mend(&url)
            .iter()
            .any(|row| row.starts_with("journal_mode"))
    );
}

#[test]
fn what_cannot_be_reached_is_said_without_the_secret() {
    for url in [
        "postgres://me:s3cret@127.0.0.1:1/db",
        "redis://:s3cret@127.0.0.1:1",
        "mysql://s3cret",
    ] {
        for arguments in [
            &["doctor"][..],
            &["key", "show", "k"],
            &["--json", "in-doubt", "list"],
        ] {
            assert_eq!(run(url, arguments).status.code(), Some(2), "{arguments:?}");
        }
    }
}

async fn store(path: &Path) -> SqliteStore {
    SqliteStore::open(path).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_and_forgotten_only_when_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let url = format!("sqlite:{}", path.display());
    let store = store(&path).await;
    let key = IdempotencyKey::new("charge/17").unwrap();
    let claim = Claim::new(key, Fingerprint::of("charge", &17).unwrap());
    store
        .execute_once(&claim, async |_tx: &mut SqliteTx| Ok(5))
        .await
        .unwrap();

    let shown = run(&url, &["key", "show", "charge/17"]);
    assert!(
        text(&shown).contains("applied") && shown.status.success(),
        "{}",
        text(&shown)
    );
    assert_eq!(
        run(&url, &["key", "show", "charge/18"]).status.code(),
        Some(1)
    );
    assert_eq!(
        run(&url, &["key", "forget", "charge/17"]).status.code(),
        Some(2),
        "not confirmed"
    );
    assert!(
        run(&url, &["key", "show", "charge/17"]).status.success(),
        "nothing was done"
    );
    assert!(
        run(&url, &["key", "forget", "charge/17", "--yes"])
            .status
            .success()
    );
    assert_eq!(
        run(&url, &["key", "show", "charge/17"]).status.code(),
        Some(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_ended_as_the_register_says_and_not_before_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doubt.db");
    let url = format!("sqlite:{}", path.display());
    let store = store(&path).await;
    let now = store.now().await.unwrap();
    let until = now.checked_add(Duration::from_secs(3)).unwrap();
    let forget = now.checked_add(Duration::from_secs(3_600)).unwrap();
    let mut names = Vec::new();
    for name in ["decided", "undecided"] {
        let name = TransactionId::new(name).unwrap();
        let print = Fingerprint::of("order", &1).unwrap();
        let participation = Participation::new(&name, print, until, forget).unwrap();
        let BegunPrepared::Fresh(tx) = store.begin_prepared(&participation).await.unwrap() else {
            panic!("it is new");
        };
        store.prepare(tx, &participation).await.unwrap();
        names.push(participation);
    }
    store.decide(&names[0], Decision::Commit).await.unwrap();
    let digest = |index: usize| names[index].transaction().to_string();

    let early = run(&url, &["in-doubt", "resolve", &digest(0), "--yes"]);
    assert_eq!(early.status.code(), Some(2), "{}", text(&early));
    assert!(text(&early).contains("deadline"), "{}", text(&early));
    assert_eq!(
        run(&url, &["in-doubt", "list"]).status.code(),
        Some(0),
        "in time"
    );
    while store.now().await.unwrap() <= until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let late = run(&url, &["in-doubt", "list"]);
    assert_eq!(late.status.code(), Some(1), "{}", text(&late));
    let decided = run(&url, &["in-doubt", "resolve", &digest(0)[..12], "--yes"]);
    assert!(text(&decided).contains("commit"), "{}", text(&decided));
    let undecided = run(&url, &["in-doubt", "resolve", &digest(1), "--yes"]);
    assert!(
        text(&undecided).contains("rollback"),
        "{}",
        text(&undecided)
    );
    assert!(text(&run(&url, &["in-doubt", "list"])).contains("nothing"));
    use exactly_once::PreparedStatus::{Committed, RolledBack};
    assert_eq!(store.prepared_status(&names[0]).await.unwrap(), Committed);
    assert_eq!(store.prepared_status(&names[1]).await.unwrap(), RolledBack);
}
