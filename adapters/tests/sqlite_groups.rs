//! Many effects in one commit: each still succeeds or fails alone, and the syncs are few.
//!
//! An interactive transaction holds the writer until all callers wait; they then make one group.
#![cfg(feature = "rusqlite")]
// Helpers of tests may panic, as tests do.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use exactly_once::sqlite::SqliteStore;
use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Claim, ErrorKind, Fingerprint, IdempotencyKey,
    IdempotencyStore, OneShot, OneShotStore, OpenAccount, Receipt, Statement, Transactional,
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

const CALLERS: i64 = 40;

const TABLES: &str = "CREATE TABLE payment (id INTEGER PRIMARY KEY, who INTEGER
        REFERENCES person (id) DEFERRABLE INITIALLY DEFERRED) STRICT;
    CREATE TABLE person (id INTEGER PRIMARY KEY) STRICT;
    INSERT INTO person VALUES (1);
    CREATE TABLE stock (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL) STRICT;
    INSERT INTO stock VALUES (1, 1000)";

struct World {
    store: SqliteStore,
    commits: Arc<AtomicUsize>,
    file: std::path::PathBuf,
    _folder: TempDir,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    Connection::open(&file)
        .unwrap()
        .execute_batch(TABLES)
        .unwrap();
    let commits = Arc::new(AtomicUsize::new(0));
    let counter = commits.clone();
    let store = SqliteStore::builder(&file)
        .lock_timeout(Duration::from_secs(60))
        .with_statement_hook(move |sql| {
            counter.fetch_add(usize::from(sql == "COMMIT"), Ordering::Relaxed);
        })
        .open()
        .await
        .unwrap();
    World {
        store,
        commits,
        file,
        _folder: folder,
    }
}

impl World {
    fn ask(&self, sql: &str) -> i64 {
        let db = Connection::open(&self.file).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Runs all calls as one group, and gives what each was answered.
    async fn group(&self, effects: Vec<OneShot>) -> Vec<Result<(), ErrorKind>> {
        let held = self.store.begin().await.unwrap();
        let mut calls = JoinSet::new();
        for (at, effect) in effects.into_iter().enumerate() {
            let store = self.store.clone();
            calls.spawn(async move {
                let done = store.execute_one_shot(&effect).await;
                (at, done.map(drop).map_err(|error| error.kind()))
            });
        }
        // A call that is late makes the group smaller, and the answers are the same.
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.store.rollback(held).await.unwrap();
        let mut answers = calls.join_all().await;
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

fn effect(number: i64, statements: Vec<Statement>) -> OneShot {
    let name = format!("effect-{number}");
    OneShot {
        claim: Claim::new(key(&name), Fingerprint::of("effect", &number).unwrap()),
        statements,
        receipt: Receipt::json(&number).unwrap(),
    }
}

fn sell() -> Statement {
    Statement::new("UPDATE stock SET amount = amount - 1 WHERE id = 1")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_fails_half_way_fails_alone() {
    let world = world().await;
    for round in 0..2 {
        let effects = (0..CALLERS).map(|number| {
            let none = Statement::new("UPDATE stock SET amount = 0 WHERE id = 99");
            let statements = match number % 10 {
                3 => vec![sell(), none.expecting_rows(1)],
                7 => vec![sell(), Statement::new("INSERT INTO person VALUES (1)")],
                _ => vec![sell()],
            };
            effect(round * CALLERS + number, statements)
        });
        let answers = world.group(effects.collect()).await;
        for (number, answer) in (0..).zip(answers) {
            let bad = matches!(number % 10, 3 | 7);
            let wanted = if bad { Err(ErrorKind::Refused) } else { Ok(()) };
            assert_eq!(answer, wanted, "effect {number} of round {round}");
            let key = key(&format!("effect-{}", round * CALLERS + number));
            let stored = world.store.lookup(&key).await.unwrap();
            // Its receipt, or its refusal.
            let kept = format!("{:?}", stored.unwrap().state);
            assert_eq!(kept.contains("Rejected"), bad, "{kept}");
        }
    }
    let sold = 1000 - world.ask("SELECT amount FROM stock WHERE id = 1");
    assert_eq!(sold, 2 * CALLERS * 8 / 10);
}

/// What the store itself says to SQLite is compiled once and kept by its text; the same words of a
/// user's must not be taken for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_stores_own_words_are_not_the_users() {
    let world = world().await;
    for round in 0..3 {
        let effects = (0..CALLERS).map(|number| {
            let words = match number % 10 {
                // After the first round, the store has said each of these.
                3 => vec![
                    sell(),
                    Statement::new("ROLLBACK"),
                    Statement::new("BEGIN IMMEDIATE"),
                ],
                7 => vec![
                    sell(),
                    Statement::new("COMMIT"),
                    Statement::new("BEGIN IMMEDIATE"),
                ],
                _ => vec![sell()],
            };
            effect(round * CALLERS + number, words)
        });
        let answers = world.group(effects.collect()).await;
        for (number, answer) in (0..).zip(answers) {
            let bad = matches!(number % 10, 3 | 7);
            assert_eq!(answer.is_err(), bad, "effect {number} of round {round}");
        }
        let sold = 1000 - world.ask("SELECT amount FROM stock WHERE id = 1");
        assert_eq!(sold, (round + 1) * CALLERS * 8 / 10, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constraint_that_fails_at_commit_fails_its_own_effect_only() {
    let world = world().await;
    let effects = (0..CALLERS).map(|number| {
        let who: i64 = if number == 5 { 404 } else { 1 };
        let insert = Statement::new("INSERT INTO payment (id, who) VALUES (?1, ?2)");
        effect(number, vec![insert.bind(number).bind(who)])
    });
    let answers = world.group(effects.collect()).await;
    for (number, answer) in answers.iter().enumerate() {
        let wanted = if number == 5 {
            Err(ErrorKind::Refused)
        } else {
            Ok(())
        };
        assert_eq!(*answer, wanted, "effect {number}");
    }
    assert_eq!(world.ask("SELECT count(*) FROM payment"), CALLERS - 1);
}

/// Counts, unlike times, hardly differ from run to run.
#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_few_syncs() {
    let world = world().await;
    let before = world.commits.load(Ordering::Relaxed);
    let effects = (0..CALLERS).map(|number| effect(number, vec![sell()]));
    for answer in world.group(effects.collect()).await {
        answer.unwrap();
    }
    let commits = world.commits.load(Ordering::Relaxed) - before;
    assert!(
        commits <= 8,
        "{commits} commits, each with a sync, for {CALLERS} effects that came together"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_beside_failing_effects_are_exact() {
    let world = world().await;
    let account = AccountId::new("hot").unwrap();
    let open = OpenAccount::new(key("open"), account.clone());
    world
        .store
        .open_account(&open.with_amount(Amount::new(10)))
        .await
        .unwrap();
    let held = world.store.begin().await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..CALLERS {
        let (store, account) = (world.store.clone(), account.clone());
        calls.spawn(async move {
            if number % 2 == 0 {
                let wrong = Statement::new("INSERT INTO person VALUES (1)");
                let spoilt = effect(number, vec![sell(), wrong]);
                store.execute_one_shot(&spoilt).await.unwrap_err();
                return false;
            }
            let debit = Adjust::new(key(&format!("debit-{number}")), account, Amount::new(-1));
            match store.adjust(&debit).await {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InsufficientFunds);
                    false
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.store.rollback(held).await.unwrap();
    let paid = calls.join_all().await.into_iter().filter(|paid| *paid);
    assert_eq!(paid.count(), 10);
    let state = world.store.balance(&account).await.unwrap().unwrap();
    assert_eq!((state.amount, state.version.get()), (Amount::ZERO, 11));
    assert_eq!(world.ask("SELECT amount FROM stock WHERE id = 1"), 1000);
}
