//! Kills a process before each single SQL statement of each operation, opens the file again, and
//! finds one of the two right states; a retry then gives the one right answer.
//!
//! The killed process is this very test binary, started again for one scenario.

#![cfg(feature = "rusqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use exactly_once::sqlite::{SqliteStore, SqliteTx};
use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, BegunPrepared, Claim, Decision, DecisionRegister,
    Error, ErrorKind, ExecuteOnce, Fingerprint, IdempotencyKey, IdempotencyStore, LeaseStore,
    Leased, OneShot, OneShotStore, OpenAccount, Outcome, Participation, PreparedTransactions,
    Receipt, Rejection, Result, Statement, Store, Timestamp, TransactionId, Transfer, WorkError,
};
use rusqlite::Connection;

const FILE: &str = "EXACTLY_ONCE_KILL_FILE";
const SCENARIO: &str = "EXACTLY_ONCE_KILL_SCENARIO";
const BEFORE: &str = "EXACTLY_ONCE_KILL_BEFORE";

const INSERT: &str = "INSERT INTO effects VALUES ('e')";
const SCENARIOS: [&str; 12] = [
    "claim", "reject", "closure", "one_shot", "lease", "adjust", "transfer", "prepare", "commit",
    "rollback", "decide", "open",
];

fn claim() -> Claim {
    Claim::new(key("k"), Fingerprint::of_bytes("kill", b""))
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

/// Deadlines in the year 2100, so that parent and child mean the same transaction.
fn part() -> Participation {
    let at = |days: i64| Timestamp::from_micros(days * 86_400_000_000);
    let name = TransactionId::new("t").unwrap();
    Participation::new(
        &name,
        Fingerprint::of_bytes("kill", b""),
        at(47_482),
        at(84_006),
    )
    .unwrap()
}

async fn insert(tx: &mut SqliteTx) -> Result<()> {
    tx.run(|db| db.execute(INSERT, [])).await.map(drop)
}

async fn prepare(store: &SqliteStore) -> Result<()> {
    match store.begin_prepared(&part()).await? {
        BegunPrepared::Fresh(mut tx) => {
            insert(&mut tx).await?;
            store.prepare(tx, &part()).await
        }
        _ => Ok(()),
    }
}

/// The operation, as the first attempt and every retry do it.
async fn operate(store: &SqliteStore, scenario: &str) -> Result<()> {
    match scenario {
        "claim" => {
            let work = async |tx: &mut SqliteTx| -> Result<u8, WorkError> {
                insert(tx).await?;
                Ok(7)
            };
            store
                .execute_once(&claim(), work)
                .await
                .map(|done| assert_eq!(done.value, 7))
        }
        "reject" => {
            let work = async |tx: &mut SqliteTx| -> Result<u8, WorkError> {
                insert(tx).await?;
                Err(Rejection::new(422, "no").into())
            };
            let refused = store.execute_once(&claim(), work).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Rejected { status: 422 });
            Ok(())
        }
        "closure" => {
            let work = |db: &Connection| -> Result<u8, WorkError> {
                db.execute(INSERT, [])?;
                Ok(7)
            };
            store.execute_once_blocking(&claim(), work).await.map(drop)
        }
        "one_shot" => {
            let effect = OneShot {
                claim: claim(),
                statements: vec![Statement::new(INSERT)],
                receipt: Receipt::from_bytes("r"),
            };
            store.execute_one_shot(&effect).await.map(drop)
        }
        "lease" => lease(store).await,
        "adjust" => {
            let change = Adjust::new(key("k"), account("a"), Amount::new(5));
            store.adjust(&change).await.map(drop)
        }
        "transfer" => {
            let five = Amount::new(5);
            let transfer = Transfer::between(key("k"), account("a"), account("b"), five)?;
            store.transfer(&transfer).await.map(drop)
        }
        "prepare" => prepare(store).await,
        "commit" => store.commit_prepared(&part()).await,
        "rollback" => store.rollback_prepared(&part()).await,
        "decide" => store.decide(&part(), Decision::Commit).await.map(drop),
        "open" => Ok(()),
        other => panic!("no scenario {other}"),
    }
}

async fn lease(store: &SqliteStore) -> Result<()> {
    loop {
        match store.lease(&claim(), Duration::from_millis(50)).await? {
            Leased::Granted(lease) => {
                let outcome = Outcome::Applied(Receipt::from_bytes("r"));
                return store.finalize(&claim(), lease.token, &outcome).await;
            }
            Leased::Completed(_) => return Ok(()),
            Leased::InProgress { retry_after } => tokio::time::sleep(retry_after).await,
            Leased::Mismatch => panic!("mismatch"),
        }
    }
}

/// The file as it is before the operation.
async fn set_up(path: &Path, scenario: &str) {
    let db = Connection::open(path).unwrap();
    db.execute_batch("CREATE TABLE effects (id TEXT) STRICT")
        .unwrap();
    if scenario == "open" {
        return;
    }
    let store = SqliteStore::open(path).await.unwrap();
    for name in ["a", "b"] {
        let open = OpenAccount::new(key(name), account(name)).with_amount(Amount::new(100));
        store.open_account(&open).await.unwrap();
    }
    if matches!(scenario, "commit" | "rollback") {
        prepare(&store).await.unwrap();
    }
    store.close().await.unwrap();
}

fn count(db: &Connection, what: &str) -> i64 {
    db.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| {
        row.get(0)
    })
    .unwrap()
}

/// Whether the file shows the operation as done, and no half of it.
fn is_done(path: &Path, scenario: &str) -> bool {
    let db = Connection::open(path).unwrap();
    let effects = count(&db, "effects") == 1;
    let both = |effect: bool, record: bool| {
        assert_eq!(
            effect, record,
            "{scenario}: the effect and its record disagree"
        );
        effect
    };
    match scenario {
        "claim" | "closure" | "one_shot" => both(effects, count(&db, "exactly_once_key") == 1),
        "reject" | "lease" => {
            assert!(!effects);
            count(&db, "exactly_once_key WHERE state <> 'leased'") == 1
        }
        "adjust" | "transfer" => {
            let sums = "SELECT (SELECT sum(amount) FROM exactly_once_account) = (SELECT sum(delta) \
                        FROM exactly_once_change) AND (SELECT sum(version) FROM \
                        exactly_once_account) = (SELECT count(*) FROM exactly_once_change)";
            let agree: bool = db.query_row(sums, [], |row| row.get(0)).unwrap();
            assert!(agree, "{scenario}: accounts and history disagree");
            count(&db, "exactly_once_change WHERE key = 'k'") > 0
        }
        "prepare" => {
            assert!(!effects, "prepared work is visible");
            let held = count(&db, "exactly_once_redo") > 0;
            both(
                held,
                count(&db, "exactly_once_outcome WHERE state = 'prepared'") == 1,
            )
        }
        "commit" => {
            assert_eq!(effects, count(&db, "exactly_once_redo") == 0);
            both(
                effects,
                count(&db, "exactly_once_outcome WHERE state = 'committed'") == 1,
            )
        }
        "rollback" => {
            assert!(!effects);
            let gone = count(&db, "exactly_once_redo") == 0;
            both(
                gone,
                count(&db, "exactly_once_outcome WHERE state = 'rolled_back'") == 1,
            )
        }
        "decide" => count(&db, "exactly_once_decision") == 1,
        "open" => count(&db, "sqlite_schema WHERE name = 'exactly_once_meta'") == 1,
        other => panic!("no scenario {other}"),
    }
}

/// Runs in the process that is to be killed; as a test of its own it does nothing.
#[test]
fn child() {
    let Ok(path) = std::env::var(FILE) else {
        return;
    };
    let scenario = std::env::var(SCENARIO).unwrap();
    let before: i64 = std::env::var(BEFORE).unwrap().parse().unwrap();
    let idle = i64::MAX;
    let left = Arc::new(AtomicI64::new(if scenario == "open" {
        before
    } else {
        idle
    }));
    let counter = left.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let hook = move |_: &str| {
            if counter.load(Ordering::SeqCst) < idle && counter.fetch_sub(1, Ordering::SeqCst) == 1
            {
                std::process::abort();
            }
        };
        let builder = SqliteStore::builder(PathBuf::from(path)).with_statement_hook(hook);
        let store = builder.open().await.unwrap();
        if scenario == "prepare" {
            // The connection's own TEMP triggers are no part of the file.
            let name = TransactionId::new("warm").unwrap();
            let at = (part().not_after(), part().forget_after());
            let warm = Participation::new(&name, *part().fingerprint(), at.0, at.1).unwrap();
            drop(store.begin_prepared(&warm).await.unwrap());
            store.expire(1).await.unwrap();
        }
        if scenario != "open" {
            left.store(before, Ordering::SeqCst);
        }
        operate(&store, &scenario).await.unwrap();
    });
}

/// Says whether the child came to its end.
fn run_child(path: &Path, scenario: &str, before: u32) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--test-threads=1"])
        .env(FILE, path)
        .env(SCENARIO, scenario)
        .env(BEFORE, before.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(
        status.success() || status.code().is_none(),
        "{scenario}: the child failed: {status}"
    );
    status.success()
}

async fn kill_everywhere(scenario: &str) -> u32 {
    let mut kills = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        set_up(&path, scenario).await;
        let survived = run_child(&path, scenario, kills + 1);
        // Either all of it or nothing; all, where it came to its end.
        assert!(
            is_done(&path, scenario) || !survived,
            "{scenario}: acknowledged and lost"
        );
        let store = SqliteStore::open(&path).await.unwrap();
        for attempt in ["retry", "replay"] {
            let answer: Result<(), Error> = operate(&store, scenario).await;
            answer.unwrap_or_else(|error| panic!("{scenario}, {attempt}: {error}"));
            assert!(is_done(&path, scenario), "{scenario}, {attempt}");
        }
        store.close().await.unwrap();
        if survived {
            return kills;
        }
        kills += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_any_statement_leaves_one_of_the_two_right_states() {
    for scenario in SCENARIOS {
        let kills = kill_everywhere(scenario).await;
        let least = if scenario == "open" { 10 } else { 3 };
        assert!(
            kills >= least,
            "{scenario}: only {kills} statements were seen"
        );
    }
}
