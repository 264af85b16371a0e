//! Files that can't be used are refused at open, with what to fix; and many processes at one file.

#![cfg(feature = "rusqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod moved;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use exactly_once::sqlite::SqliteStore;
use exactly_once::{
    AccountId, Adjust, Amount, AnyStore, BalanceStore, Claim, ConnectByUrl, Error, ErrorKind,
    Fingerprint, IdempotencyKey, IdempotencyStore, OneShot, OneShotStore, OpenAccount, Receipt,
    Store,
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
        // All of them: one opens it, the others learn how.
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

#[tokio::test]
async fn a_url_names_the_file_as_other_libraries_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my shop.db");
    let text = path.to_str().unwrap().replace(' ', "%20");
    for url in [
        format!("sqlite:file:{text}"),
        format!("sqlite://{text}?mode=rwc"),
        format!("SQLITE:{text}"),
    ] {
        let store = AnyStore::connect(&url).await.unwrap();
        store.now().await.unwrap();
        assert_eq!(
            store.place(),
            SqliteStore::open(&path).await.unwrap().place(),
            "{url}"
        );
        store.close().await.unwrap();
    }
    for url in ["sqlite:shop.db?mode=ro", "sqlite:file:shop.db?cache=shared"] {
        let refused = AnyStore::connect(url).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration, "{url}");
    }
    let uri = format!("file:{}", path.display());
    SqliteStore::open(uri).await.unwrap().now().await.unwrap();
}

pub(crate) fn effect(name: &str) -> OneShot {
    let key = IdempotencyKey::new(name).unwrap();
    OneShot {
        claim: Claim::new(key, Fingerprint::of("effect", &name).unwrap()),
        statements: Vec::new(),
        receipt: Receipt::json(name).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_short_while_reads_overlap() {
    const LIMIT: u64 = 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let builder = SqliteStore::builder(&path).log_limit(LIMIT).readers(4);
    let store = builder.open().await.unwrap();
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut reads = tokio::task::JoinSet::new();
    for reader in 0..4_u64 {
        let (store, ended) = (store.clone(), ended.clone());
        reads.spawn(async move {
            tokio::time::sleep(Duration::from_millis(reader * 5)).await;
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                let slow = |db: &rusqlite::Connection| {
                    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
                    std::thread::sleep(Duration::from_millis(20));
                    Ok(())
                };
                store.read(slow).await.unwrap();
            }
        });
    }
    let mut longest = 0;
    for number in 0..150 {
        let mut large = effect(&format!("k{number}"));
        large.receipt = Receipt::from_bytes(vec![7_u8; 100_000]);
        store.execute_one_shot(&large).await.unwrap();
        longest = longest.max(
            std::fs::metadata(folder.path().join("a.db-wal"))
                .unwrap()
                .len(),
        );
    }
    ended.store(true, std::sync::atomic::Ordering::Relaxed);
    reads.join_all().await;
    assert!(longest < 3 * LIMIT, "the log grew to {longest} bytes");
}

const FULL: &str = "EXACTLY_ONCE_FULL";

/// Writes the same account again and again, where no file may grow past a megabyte; in a process of
/// its own. As a test by itself it does nothing.
#[test]
fn child_on_a_full_disk() {
    let Ok(path) = std::env::var(FULL) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let store = SqliteStore::open(PathBuf::from(path)).await.unwrap();
        let mut full = 0;
        for number in 0..150 {
            let mut large = effect(&format!("k{}", number % 5));
            large.receipt = Receipt::from_bytes(vec![7_u8; 40_000]);
            while let Err(failure) = store.execute_one_shot(&large).await {
                assert!(failure.is_retryable(), "{failure}");
                full += 1;
                assert!(full < 150, "the store stays stuck: {failure}");
            }
            // The space comes back, in the file as in the log.
            while let Err(failure) = store.forget(large.claim.key()).await {
                assert!(failure.is_retryable(), "{failure}");
                full += 1;
                assert!(full < 150, "the store stays stuck: {failure}");
            }
        }
        assert!(full > 0, "there was room for everything");
    });
}

/// Goal: a full disk is full of the log; once a write has failed, the log gives its space back. Method:
/// a process whose files may not grow past a megabyte, a fraction of what it writes in all.
#[test]
fn a_full_disk_gives_the_space_of_the_log_back() {
    let folder = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes; a write past it fails, instead of ending the process.
    let limited = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    let ended = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_on_a_full_disk",
            "--test-threads=1",
            "--nocapture",
        ])
        .env(FULL, folder.path().join("t.db"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{told}");
}
