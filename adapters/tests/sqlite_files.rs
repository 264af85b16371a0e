//! Files that can't be used are refused at open, with what to mend; and many processes at one file.

#![cfg(feature = "rusqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use exactly_once::sqlite::SqliteStore;
use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Error, ErrorKind, IdempotencyKey, OpenAccount, Store,
};
use rusqlite::Connection;

const FILE: &str = "EXACTLY_ONCE_FILES_FILE";
const NUMBER: &str = "EXACTLY_ONCE_FILES_NUMBER";
const PROCESSES: u32 = 10;
const CHANGES: u32 = 20;

async fn refusal(path: &Path, says: &str) -> Error {
    let error = SqliteStore::open(path).await.expect_err(says);
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    error
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.db");
    fs::write(
        &path,
        "This is a letter, and not a database at all. ".repeat(100),
    )
    .unwrap();
    refusal(&path, "no SQLite database").await;
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .starts_with("This is a letter")
    );
    refusal(folder.path(), "is a folder").await;
    refusal(&folder.path().join("missing/t.db"), "create it first").await;
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    SqliteStore::open(&path)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    for byte in &mut bytes[100..4096] {
        *byte = 0xa5;
    }
    fs::write(&path, bytes).unwrap();
    refusal(&path, "damaged").await;
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    if fs::OpenOptions::new().write(true).open(&path).is_ok() {
        // The superuser may write everything; a file that SQLite itself calls read-only will do.
        let marked = folder.path().join("marked.db");
        let mut bytes = fs::read(&path).unwrap();
        bytes[18] = 9; // a write format of the future: such a file may only be read
        fs::write(&marked, bytes).unwrap();
        refusal(&marked, "can't be written").await;
        return;
    }
    refusal(&path, "can't be written").await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    SqliteStore::open(&path)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute("UPDATE exactly_once_meta SET schema_version = 99", [])
        .unwrap();
    refusal(&path, "upgrade the program").await;
}

#[tokio::test]
async fn the_users_own_tables_and_settings_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE mine (a); PRAGMA user_version = 42")
        .unwrap();
    SqliteStore::open(&path)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let version: i64 = db
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 42);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("t.db")).await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    let account = AccountId::new("a").unwrap();
    assert_eq!(
        store.balance(&account).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    let open = OpenAccount::new(IdempotencyKey::new("k").unwrap(), account);
    assert_eq!(
        store.open_account(&open).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

/// Runs in a process of its own; as a test by itself it does nothing.
#[test]
fn child() {
    let Ok(path) = std::env::var(FILE) else {
        return;
    };
    let number = std::env::var(NUMBER).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let builder = SqliteStore::builder(PathBuf::from(path));
        let store = builder
            .busy_timeout(Duration::from_secs(30))
            .open()
            .await
            .unwrap();
        let key = |name: String| IdempotencyKey::new(name).unwrap();
        let account = AccountId::new("a").unwrap();
        // All of them: one opens it, the others are told how.
        let open = OpenAccount::new(key("open".to_owned()), account.clone());
        store.open_account(&open).await.unwrap();
        for change in 0..CHANGES {
            let name = key(format!("{number}/{change}"));
            store
                .adjust(&Adjust::new(name, account.clone(), Amount::new(1)))
                .await
                .unwrap();
        }
    });
}

#[tokio::test]
async fn ten_processes_migrate_and_write_one_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    let children: Vec<_> = (0..PROCESSES)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child", "--test-threads=1"])
                .env(FILE, &path)
                .env(NUMBER, number.to_string())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = SqliteStore::open(&path).await.unwrap();
    let account = AccountId::new("a").unwrap();
    let state = store.balance(&account).await.unwrap().unwrap();
    let changes = i64::from(PROCESSES * CHANGES);
    assert_eq!(
        (state.amount.get(), state.version.get()),
        (changes, changes + 1)
    );
}
