//! Shared fate: callers share a commit and a thread, and none gets an answer for another.
#![cfg(feature = "rusqlite")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use exactly_once::sqlite::{SqliteBuilder, SqliteStore};
use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Claim, Claimed, Decision, DecisionRegister, Error,
    ErrorKind, ExecuteOnce, Fingerprint, IdempotencyKey, IdempotencyStore, LeaseStore, Leased,
    OneShot, OneShotStore, OpenAccount, Outcome, Participation, PreparedTransactions, Receipt,
    Statement, Store, TransactionId, Transactional, WorkError,
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

const TABLES: &str = "CREATE TABLE person (id INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE effect (name TEXT NOT NULL, id INTEGER) STRICT;
    CREATE TABLE one (id INTEGER PRIMARY KEY) STRICT;
    INSERT INTO one VALUES (1);
    CREATE TABLE friend (id INTEGER REFERENCES person) STRICT;";
const DEFERRED: &str = "CREATE TABLE payment (who INTEGER REFERENCES person (id)
        DEFERRABLE INITIALLY DEFERRED) STRICT";

struct World {
    store: SqliteStore,
    folder: TempDir,
}

impl World {
    async fn with(schema: &str, build: impl FnOnce(SqliteBuilder) -> SqliteBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        Connection::open(&file)
            .unwrap()
            .execute_batch(&format!("{TABLES} {schema}"))
            .unwrap();
        let store = build(SqliteStore::builder(&file)).open().await.unwrap();
        Self { store, folder }
    }

    async fn new(schema: &str) -> Self {
        Self::with(schema, |builder| {
            builder.lock_timeout(Duration::from_secs(30))
        })
        .await
    }

    fn db(&self) -> Connection {
        let db = Connection::open(self.folder.path().join("store.db")).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db
    }

    fn ask(&self, sql: &str) -> i64 {
        self.db().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn effects(&self, name: &str) -> i64 {
        self.ask(&format!(
            "SELECT count(*) FROM effect WHERE name = '{name}'"
        ))
    }

    async fn part(&self, name: &str) -> Participation {
        let now = self.store.now().await.unwrap();
        let at = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
        let name = TransactionId::new(name).unwrap();
        let print = Fingerprint::of_bytes("test", b"x");
        Participation::new(&name, print, at(60), at(3600)).unwrap()
    }
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

fn claim(name: &str) -> Claim {
    Claim::new(key(name), Fingerprint::of("effect", &name).unwrap())
}

fn effect(name: &str) -> String {
    format!("INSERT INTO effect VALUES ('{name}', 1)")
}

fn one_shot(name: &str, statements: &[&str]) -> OneShot {
    OneShot {
        claim: claim(name),
        statements: statements.iter().map(|sql| Statement::new(*sql)).collect(),
        receipt: Receipt::json(name).unwrap(),
    }
}

/// What kinds of members a group may have.
#[derive(Clone, Debug)]
enum Member {
    OneShot(&'static str, Vec<String>),
    Closure(&'static str, String),
    Lease(&'static str),
    Decide,
    Adjust(&'static str),
}

impl Member {
    async fn call(self, store: SqliteStore, part: Participation) -> Result<(), Error> {
        match self {
            Self::OneShot(name, sql) => {
                let sql: Vec<&str> = sql.iter().map(String::as_str).collect();
                store
                    .execute_one_shot(&one_shot(name, &sql))
                    .await
                    .map(drop)
            }
            Self::Closure(name, sql) => store
                .execute_once_blocking(&claim(name), move |db| {
                    db.execute_batch(&sql).map_err(WorkError::from)
                })
                .await
                .map(drop),
            Self::Lease(name) => {
                let leased = store.lease(&claim(name), Duration::from_secs(60)).await?;
                assert!(matches!(leased, Leased::Granted(_)));
                Ok(())
            }
            Self::Decide => store.decide(&part, Decision::Commit).await.map(drop),
            Self::Adjust(name) => {
                let account = AccountId::new("a").unwrap();
                let change = Adjust::new(key(name), account, Amount::new(5));
                store.adjust(&change).await.map(drop)
            }
        }
    }
}

/// Runs all as one group, and gives the answers in order.
async fn group(world: &World, members: Vec<Member>) -> Vec<Result<(), Error>> {
    let part = world.part("t").await;
    let held = world.store.begin().await.unwrap();
    let mut calls = JoinSet::new();
    for (at, member) in members.into_iter().enumerate() {
        let (store, part) = (world.store.clone(), part.clone());
        calls.spawn(async move { (at, member.call(store, part).await) });
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    world.store.rollback(held).await.unwrap();
    let mut answers = calls.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn innocents() -> Vec<Member> {
    vec![
        Member::Lease("lease"),
        Member::OneShot("shot", vec![effect("shot")]),
        Member::Closure("first", effect("first")),
        Member::Decide,
        Member::Adjust("adjust"),
        Member::Closure("second", effect("second")),
    ]
}

/// Puts the poisoned member at each place of a group, and checks that nobody else notices.
async fn poison(schema: &str, member: Member, kind: ErrorKind, says: &str, records: bool) {
    for at in 0..=innocents().len() {
        let world = World::new(schema).await;
        let open = OpenAccount::new(key("open"), AccountId::new("a").unwrap());
        world.store.open_account(&open).await.unwrap();
        let mut members = innocents();
        members.insert(at, member.clone());
        let answers = group(&world, members).await;
        for (place, answer) in answers.iter().enumerate() {
            if place == at {
                let failure = answer.as_ref().unwrap_err();
                assert_eq!(failure.kind(), kind, "{member:?}: {failure}");
                assert!(failure.to_string().contains(says), "{failure}");
            } else {
                assert!(answer.is_ok(), "{member:?} at {at}: {place}: {answer:?}");
            }
        }
        for name in ["shot", "first", "second"] {
            assert_eq!(world.effects(name), 1, "{name}");
        }
        assert_eq!(world.effects("bad"), 0);
        let recorded = world.store.lookup(&key("bad")).await.unwrap();
        assert_eq!(recorded.is_some(), records, "{recorded:?}");
        world.store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_violation_is_the_answer_of_its_own_member() {
    let orphan = format!("{}; INSERT INTO payment VALUES (7)", effect("bad"));
    let shot = vec![effect("bad"), "INSERT INTO payment VALUES (7)".to_owned()];
    let refused = ErrorKind::Refused;
    let says = "FOREIGN KEY";
    poison(
        DEFERRED,
        Member::Closure("bad", orphan),
        refused,
        says,
        true,
    )
    .await;
    poison(DEFERRED, Member::OneShot("bad", shot), refused, says, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_defers_the_checks_of_a_batch() {
    let defer = "PRAGMA defer_foreign_keys = ON; INSERT INTO friend VALUES (7)";
    let defer = Member::Closure("bad", format!("{}; {defer}", effect("bad")));
    poison("", defer, ErrorKind::Refused, "defer_foreign_keys", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_by_sqlite_is_the_refusal_of_its_own_member() {
    let refused = ErrorKind::Refused;
    let taken = "INSERT OR ROLLBACK INTO one VALUES (1)";
    let raise = "CREATE TRIGGER no BEFORE INSERT ON person BEGIN SELECT RAISE(ROLLBACK, 'no way'); \
                 END";
    let shot = vec![effect("bad"), taken.to_owned()];
    poison("", Member::OneShot("bad", shot), refused, "one.id", true).await;
    let shot = vec![effect("bad"), "INSERT INTO person VALUES (1)".to_owned()];
    poison(raise, Member::OneShot("bad", shot), refused, "no way", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closures_beside_one_that_sqlite_rolled_back_are_busy_or_done() {
    let world = World::new("").await;
    let bad = format!("{}; INSERT OR ROLLBACK INTO one VALUES (1)", effect("bad"));
    let members = vec![
        Member::Closure("first", effect("first")),
        Member::OneShot("shot", vec![effect("shot")]),
        Member::Closure("bad", bad),
        Member::Closure("second", effect("second")),
    ];
    let answers = group(&world, members).await;
    let kinds: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().map_err(Error::kind).copied())
        .collect();
    assert_eq!(
        kinds,
        [
            Err(ErrorKind::Busy),
            Ok(()),
            Err(ErrorKind::Refused),
            Ok(())
        ]
    );
    assert!(world.store.lookup(&key("bad")).await.unwrap().is_some());
    assert!(world.store.lookup(&key("first")).await.unwrap().is_none());
    for (name, count) in [("first", 0), ("shot", 1), ("bad", 0), ("second", 1)] {
        assert_eq!(world.effects(name), count, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_are_refused_in_one_shots() {
    // Also where a closure has compiled the same text before.
    for sql in [
        "SAVEPOINT x",
        "RELEASE x",
        "ROLLBACK TO x",
        "PRAGMA defer_foreign_keys = ON",
    ] {
        let shot = vec![effect("bad"), sql.to_owned()];
        poison(
            "",
            Member::OneShot("bad", shot),
            ErrorKind::Refused,
            "",
            true,
        )
        .await;
    }
    let world = World::new("").await;
    let asked = claim("cached");
    let cached = world.store.execute_once_blocking(&asked, |db| {
        db.prepare_cached("SAVEPOINT x")?.execute([])?;
        db.prepare_cached("ROLLBACK TO x")?.execute([])?;
        Ok::<_, WorkError>(())
    });
    cached.await.unwrap();
    let members = vec![
        Member::OneShot("a", vec!["SAVEPOINT x".to_owned()]),
        Member::OneShot("b", vec![effect("b")]),
        Member::OneShot("c", vec!["ROLLBACK TO x".to_owned()]),
    ];
    let answers = group(&world, members).await;
    assert!(answers[0].is_err() && answers[1].is_ok() && answers[2].is_err());
    assert_eq!(world.effects("b"), 1);
    assert!(world.store.lookup(&key("b")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_id_of_one_caller_is_hidden_from_the_next() {
    let world = World::new("").await;
    let last = "INSERT INTO effect VALUES ('last', last_insert_rowid())";
    let first = effect("first");
    let insert = "INSERT INTO one VALUES (77)".to_owned();
    let members = vec![
        Member::OneShot("first", vec![first, insert]),
        Member::OneShot("last", vec![last.to_owned()]),
        Member::Closure("closure", last.to_owned()),
    ];
    for answer in group(&world, members).await {
        answer.unwrap();
    }
    let mut tx = world.store.begin().await.unwrap();
    let seen = tx.run(|db| Ok(db.last_insert_rowid())).await.unwrap();
    assert_eq!(seen, 0);
    world.store.rollback(tx).await.unwrap();
    assert_eq!(
        world.ask("SELECT max(id) FROM effect WHERE name = 'last'"),
        0
    );
}

#[tokio::test]
async fn work_that_sqlite_rolled_back_is_refused_and_recorded_with_its_reason() {
    let world = World::new("").await;
    let work = async |tx: &mut exactly_once::sqlite::SqliteTx| -> Result<(), WorkError> {
        let bad = "INSERT OR ROLLBACK INTO one VALUES (1)";
        tx.run(move |db| db.execute(bad, [])).await?;
        Ok(())
    };
    let mut texts = Vec::new();
    for _ in 0..2 {
        let refused = world
            .store
            .execute_once(&claim("k"), work)
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
        texts.push(refused.to_string());
    }
    assert!(texts[0].contains("one.id"), "{texts:?}");
    assert!(world.store.lookup(&key("k")).await.unwrap().is_some());
    // A swallowed one is no success, and no reason to retry for ever.
    let mut tx = world.store.begin().await.unwrap();
    let bad = "INSERT OR ROLLBACK INTO one VALUES (1)";
    tx.run(move |db| db.execute(bad, [])).await.unwrap_err();
    let refused = world.store.commit(tx).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.to_string().contains("one.id"), "{refused}");
}

#[tokio::test]
async fn a_transaction_of_another_file_is_refused() {
    let (here, there) = (World::new("").await, World::new("").await);
    let asked = claim("k");
    let Claimed::Fresh(tx) = here.store.claim(&asked).await.unwrap() else {
        panic!("not fresh")
    };
    let receipt = Receipt::json(&1).unwrap();
    let foreign = there
        .store
        .complete(tx, &asked, &receipt)
        .await
        .unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::Invalid);
    let part = here.part("t").await;
    let begun = here.store.begin_prepared(&part).await.unwrap();
    let exactly_once::BegunPrepared::Fresh(tx) = begun else {
        panic!("not fresh")
    };
    let foreign = there.store.prepare(tx, &part).await.unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::Invalid);
    let tx = here.store.begin().await.unwrap();
    assert_eq!(
        there.store.commit(tx).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
    // Another handle on the same file is the same store.
    let again = SqliteStore::open(here.folder.path().join("store.db"))
        .await
        .unwrap();
    let Claimed::Fresh(tx) = here.store.claim(&asked).await.unwrap() else {
        panic!("not fresh")
    };
    let settled = again.complete(tx, &asked, &receipt).await.unwrap();
    assert_eq!(settled, exactly_once::Settled::Recorded);
}

#[tokio::test]
async fn a_step_that_fails_half_way_leaves_nothing() {
    let world = World::new("").await;
    let asked = claim("k");
    let Claimed::Fresh(mut tx) = world.store.claim(&asked).await.unwrap() else {
        panic!("not fresh")
    };
    let half = |db: &Connection| {
        db.execute_batch("INSERT INTO effect VALUES ('half', 1); INSERT INTO one VALUES (1)")
    };
    tx.run(half).await.unwrap_err();
    let panicking = |db: &Connection| -> rusqlite::Result<()> {
        db.execute_batch("INSERT INTO effect VALUES ('half', 1)")?;
        panic!("half way")
    };
    assert_eq!(
        tx.run(panicking).await.unwrap_err().kind(),
        ErrorKind::WorkFailed
    );
    tx.run(|db| db.execute_batch("INSERT INTO effect VALUES ('whole', 1)"))
        .await
        .unwrap();
    let receipt = Receipt::json(&1).unwrap();
    let settled = world.store.complete(tx, &asked, &receipt).await.unwrap();
    assert_eq!(settled, exactly_once::Settled::Recorded);
    assert_eq!((world.effects("half"), world.effects("whole")), (0, 1));
}

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
    // An answer that nobody takes.
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

fn short(builder: SqliteBuilder) -> SqliteBuilder {
    let limit = Duration::from_millis(300);
    builder.lock_timeout(limit).busy_timeout(limit)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_ends_at_its_own_limit_behind_a_foreign_lock() {
    let world = World::with("", short).await;
    let db = world.db();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut calls = JoinSet::new();
    for number in 0..8 {
        let store = world.store.clone();
        calls.spawn(async move {
            let start = Instant::now();
            let name = format!("k{number}");
            let busy = match number % 2 {
                0 => store.claim(&claim(&name)).await.unwrap_err(),
                _ => store
                    .execute_one_shot(&one_shot(&name, &[]))
                    .await
                    .unwrap_err(),
            };
            assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
            start.elapsed()
        });
    }
    for waited in calls.join_all().await {
        assert!(waited < Duration::from_millis(500), "{waited:?}");
    }
    db.execute_batch("ROLLBACK").unwrap();
    // What was given up was never begun, and the store goes on.
    let done = world
        .store
        .execute_one_shot(&one_shot("k1", &[&effect("k1")]))
        .await;
    assert!(!done.unwrap().replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_step_and_slow_reads_hold_up_no_call_past_its_limit() {
    let world = World::with("", short).await;
    let mut tx = world.store.begin().await.unwrap();
    let slow = tokio::spawn(async move {
        let pause = |_: &Connection| {
            std::thread::sleep(Duration::from_millis(1500));
            Ok(())
        };
        tx.run(pause).await.map(|()| drop(tx))
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    let busy = world
        .store
        .execute_one_shot(&one_shot("k", &[&effect("k")]))
        .await
        .unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert!(
        start.elapsed() < Duration::from_millis(600),
        "{:?}",
        start.elapsed()
    );
    slow.await.unwrap().unwrap();
    assert_eq!(world.effects("k"), 0, "what was given up is never applied");
    let mut reads = JoinSet::new();
    for _ in 0..2 {
        let store = world.store.clone();
        reads.spawn(async move {
            let pause = |_: &Connection| {
                std::thread::sleep(Duration::from_millis(1500));
                Ok(())
            };
            store.read(pause).await
        });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let start = Instant::now();
    let claimed = world.store.claim(&claim("k")).await.unwrap();
    assert!(matches!(claimed, Claimed::Fresh(_)));
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    let busy = world.store.read(|_| Ok(())).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    for read in reads.join_all().await {
        read.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_from_inside_of_a_closure_is_an_error_at_once() {
    let world = World::new("").await;
    let start = Instant::now();
    let runtime = tokio::runtime::Handle::current();
    let nested = Arc::new((runtime, world.store.clone()));
    let inner = nested.clone();
    let asked = claim("k");
    let kind = world.store.execute_once_blocking(&asked, move |_| {
        let (runtime, store) = &*inner;
        let failure = |error: Error| format!("{:?}", error.kind());
        let claimed = runtime.block_on(store.claim(&claim("other"))).map(drop);
        let read = runtime.block_on(store.read(|_| Ok(()))).map(drop);
        let closed = runtime.block_on(store.close());
        let all = [claimed, read, closed];
        Ok::<_, WorkError>(all.map(|answer| answer.err().map(failure)).to_vec())
    });
    let kinds = kind.await.unwrap().value;
    let invalid = Some(format!("{:?}", ErrorKind::Invalid));
    assert_eq!(kinds, vec![invalid; 3]);
    let inner = nested.clone();
    let read = world.store.read(move |_| {
        let (runtime, store) = &*inner;
        Ok(runtime
            .block_on(store.begin())
            .map(drop)
            .map_err(|error| error.kind()))
    });
    assert_eq!(read.await.unwrap(), Err(ErrorKind::Invalid));
    assert!(start.elapsed() < Duration::from_secs(2));
    let recorded = world.store.lookup(&key("k")).await.unwrap().unwrap();
    assert!(matches!(
        recorded.state,
        exactly_once::KeyState::Completed {
            outcome: Outcome::Applied(_),
            ..
        }
    ));
}
