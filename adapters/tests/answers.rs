//! Goal: what a caller gets is true, the same each time, and holds no value of a row.
//! Method: random values through every backend, each executed and replayed; and a corpus of refused
//! statements and wrong settings, whose errors, logs and records are searched for planted values.
#![cfg(all(
    feature = "memory",
    feature = "redis",
    feature = "rusqlite",
    feature = "sqlx-postgres",
    feature = "tokio-postgres"
))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    error::Error as StdError,
    fmt::Write as _,
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use exactly_once::{
    AnyStore, Claim, ConnectByUrl, Error, ErrorKind, ExecuteOnce, Fingerprint, IdempotencyKey,
    KeyState, LeaseStore, Leased, OneShot, OneShotStore, Outcome, Receipt, Statement, WorkError,
    memory::MemoryStore,
    postgres::{SqlxPostgresStore, TokioPostgresStore, TokioPostgresTx},
    redis::RedisStore,
    sqlite::SqliteStore,
};
use exactly_once_servers::{Postgres, Redis};
use serde::{Deserialize, Serialize};

fn claim(name: &str) -> Claim {
    let key = IdempotencyKey::new(name).unwrap();
    Claim::new(key, Fingerprint::of("answers", name).unwrap())
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Value {
    Unit,
    Double(f64),
    Single(f32),
    Whole(i64),
    Wide(i128),
    Unsigned(u128),
    Text(String),
    Letter(char),
    Bytes(Vec<u8>),
    Maybe(Option<Option<Box<Value>>>),
    MaybeFloat(Option<f64>),
    List(Vec<Value>),
    Map(HashMap<String, Value>),
    Numbers(BTreeMap<i64, u8>),
    Pairs(BTreeMap<(u8, u8), u8>),
    Set(HashSet<u64>),
    Struct { a: u8, b: Option<()>, c: Box<Value> },
    Tagged(Tagged),
    Flat(Flat),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", content = "content")]
enum Tagged {
    Float(f64),
    Wide(u128),
    Text(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, f64>,
}

fn double(random: &mut Random) -> f64 {
    match random.below(8) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => -0.0,
        3 => f64::from_bits(random.below(1 << 52)),
        4 => f64::from_bits(random.next()),
        _ => random.next() as f64 / u64::MAX as f64,
    }
}

fn text(random: &mut Random) -> String {
    let letter = |random: &mut Random| {
        let ends = [0x80, 0x800, 0x1_0000, 0x11_0000];
        let end = ends[random.below(4) as usize];
        char::from_u32(random.below(end) as u32).unwrap_or('\0')
    };
    (0..random.below(6)).map(|_| letter(random)).collect()
}

fn value(random: &mut Random, depth: u32) -> Value {
    let wide = |random: &mut Random| u128::from(random.next()) << 64 | u128::from(random.next());
    let deeper = if depth == 0 { 10 } else { 20 };
    match random.below(deeper) {
        0 => Value::Unit,
        1 => Value::Double(double(random)),
        2 => Value::Single(f32::from_bits(random.next() as u32)),
        3 => Value::Whole(random.next() as i64),
        4 => Value::Wide(wide(random) as i128),
        5 => Value::Unsigned(wide(random)),
        6 => Value::Text(text(random)),
        7 => Value::Letter(text(random).chars().next().unwrap_or('x')),
        8 => Value::Bytes((0..random.below(20)).map(|_| random.next() as u8).collect()),
        9 => Value::MaybeFloat((random.below(3) > 0).then(|| double(random))),
        10 => Value::Maybe(match random.below(3) {
            0 => None,
            1 => Some(None),
            _ => Some(Some(Box::new(value(random, depth - 1)))),
        }),
        11 => Value::List(
            (0..random.below(4))
                .map(|_| value(random, depth - 1))
                .collect(),
        ),
        12 => Value::Map(
            (0..random.below(4))
                .map(|_| (text(random), value(random, depth - 1)))
                .collect(),
        ),
        13 => Value::Numbers(
            (0..random.below(4))
                .map(|_| (random.next() as i64, 1))
                .collect(),
        ),
        14 => Value::Pairs((0..random.below(2)).map(|at| ((at as u8, 1), 1)).collect()),
        15 => Value::Set((0..random.below(9)).map(|_| random.next()).collect()),
        16 => Value::Struct {
            a: random.next() as u8,
            b: (random.below(2) > 0).then_some(()),
            c: Box::new(value(random, depth - 1)),
        },
        17 => Value::Tagged(match random.below(3) {
            0 => Tagged::Float(double(random)),
            1 => Tagged::Wide(wide(random)),
            _ => Tagged::Text(text(random)),
        }),
        18 => Value::Flat(Flat {
            id: 1,
            rest: (0..random.below(3))
                .map(|_| (text(random), double(random)))
                .collect(),
        }),
        _ => Value::Flat(Flat {
            id: 1,
            rest: BTreeMap::from([("id".to_owned(), 1.0)]),
        }),
    }
}

/// The value bit by bit, apart from the order of maps. Sets have an order each time, so not theirs.
fn bits(value: &Value) -> Option<Fingerprint> {
    (!format!("{value:?}").contains("Set(")).then(|| Fingerprint::of("bits", value).unwrap())
}

/// Executes and replays so many values; says how many were kept.
async fn values<S: exactly_once::IdempotencyStore>(store: &S, count: u64, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut kept = 0;
    for at in 0..count {
        let value = value(&mut random, 3);
        let claim = claim(&format!("value/{seed}/{at}"));
        let (shown, given) = (format!("{value:?}"), bits(&value));
        let first = store
            .execute_once(&claim, async move |_tx: &mut S::Tx| Ok(value))
            .await;
        let stored = store.lookup(claim.key()).await.unwrap();
        let again = store
            .execute_once(&claim, async |_tx: &mut S::Tx| Ok(Value::Unit))
            .await;
        assert_eq!(store.lookup(claim.key()).await.unwrap(), stored, "{shown}");
        match (first, again) {
            (Ok(first), Ok(again)) => {
                assert!(!first.replayed && again.replayed, "{shown}");
                assert_eq!(bits(&first.value), given, "{shown}");
                assert_eq!(bits(&again.value), given, "{shown}");
                kept += 1;
            }
            (Err(first), Err(again)) => {
                assert_eq!(first.kind(), ErrorKind::Invalid, "{shown}: {first}");
                assert_eq!(first.to_string(), again.to_string(), "{shown}");
                let Some(KeyState::Completed { outcome, .. }) = stored.map(|key| key.state) else {
                    panic!("nothing is recorded of {shown}");
                };
                assert!(matches!(outcome, Outcome::Rejected(_)), "{shown}");
            }
            other => panic!("two answers for {shown}: {other:?}"),
        }
    }
    kept
}

/// How many values, 100,000 where `EXACTLY_ONCE_VALUES` says so.
fn count(few: u64) -> u64 {
    std::env::var("EXACTLY_ONCE_VALUES").map_or(few, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_values_read_back_or_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sqlite = SqliteStore::builder(folder.path().join("values.db"))
        .open()
        .await?;
    let redis = Redis::start().await?;
    let redis = AnyStore::connect(&redis.url()).await?;
    let server = Postgres::start(15).await?;
    let postgres = TokioPostgresStore::builder(server.url()).connect().await?;
    for (kept, of) in [
        (
            values(&MemoryStore::new(), count(3_000), 1).await,
            count(3_000),
        ),
        (values(&sqlite, count(300), 2).await, count(300)),
        (values(&redis, count(200), 3).await, count(200)),
        (values(&postgres, count(200), 4).await, count(200)),
    ] {
        // Both ends are met.
        assert!(kept > of / 4 && kept < of, "{kept} of {of}");
    }
    Ok(())
}

const PLANTED: [&str; 2] = ["s3cret-pl4nted", "47114711"];

/// Everything that an error may show, and what the driver says behind it is not part of.
fn said(error: &Error) -> String {
    let mut said = format!("{error}\n{error:?}\n{error:#?}\n");
    let mut next = StdError::source(error);
    while let Some(link) = next {
        let _ = writeln!(said, "{link}\n{link:?}");
        next = link.source();
    }
    said
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn clean(what: &str, text: &str) {
    for planted in PLANTED.iter().chain(&["DETAIL", "HINT", "Failing row"]) {
        assert!(!text.contains(planted), "{what} shows {planted}: {text}");
    }
}

const TABLES: [&str; 4] = [
    "CREATE TABLE parent (id bigint PRIMARY KEY)",
    "CREATE TABLE account (id bigint PRIMARY KEY, owner text UNIQUE NOT NULL, \
     amount bigint NOT NULL CONSTRAINT enough CHECK (amount >= 0), \
     parent bigint REFERENCES parent (id))",
    "CREATE TABLE later (id bigint PRIMARY KEY, \
     parent bigint REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO account (id, owner, amount) VALUES (47114711, 's3cret-pl4nted', 1)",
];

/// Statements that are refused, by name, and a word that the text must hold.
fn corpus() -> Vec<(&'static str, Statement, &'static str)> {
    let secret = PLANTED[0];
    let insert = "INSERT INTO account (id, owner, amount, parent) VALUES ($1, $2, $3, $4)";
    let account = |id: i64, owner: Option<&str>, amount: i64, parent: Option<i64>| {
        Statement::new(insert)
            .bind(id)
            .bind(owner.map(str::to_owned))
            .bind(amount)
            .bind(parent)
    };
    vec![
        ("unique", account(2, Some(secret), 1, None), "account"),
        (
            "primary key",
            account(47_114_711, Some("x"), 1, None),
            "account",
        ),
        (
            "check",
            account(3, Some(secret), -47_114_711, None),
            "enough",
        ),
        ("not null", account(47_114_711, None, 1, None), "owner"),
        (
            "foreign key",
            account(4, Some("y"), 1, Some(47_114_711)),
            "",
        ),
        (
            "update",
            Statement::new("UPDATE account SET amount = amount - $1").bind(47_114_711),
            "enough",
        ),
        (
            "deferred",
            Statement::new("INSERT INTO later (id, parent) VALUES ($1, $2)")
                .bind(1)
                .bind(47_114_711),
            "",
        ),
        (
            "rows",
            Statement::new("UPDATE account SET amount = 2 WHERE owner = $1")
                .bind("absent")
                .expecting_rows(1),
            "statement 1 changed 0 rows and must change exactly 1",
        ),
    ]
}

/// Each of the corpus, alone and again.
async fn refusals<S: OneShotStore>(store: &S) {
    let backend = store.backend();
    for (name, statement, word) in corpus() {
        let effect = OneShot {
            claim: claim(&format!("refused/{name}")),
            statements: vec![statement],
            receipt: Receipt::json(&1).unwrap(),
        };
        let first = store.execute_one_shot(&effect).await.unwrap_err();
        let again = store.execute_one_shot(&effect).await.unwrap_err();
        assert_eq!(
            first.kind(),
            ErrorKind::Refused,
            "{backend}, {name}: {first}"
        );
        assert_eq!(first.to_string(), again.to_string(), "{backend}, {name}");
        assert!(
            first.to_string().contains(word),
            "{backend}, {name}: {first}"
        );
        clean(name, &said(&first));
        clean(name, &said(&again));
        let record = store.lookup(effect.claim.key()).await.unwrap();
        clean(name, &format!("{record:?}"));
    }
}

/// A handler's own error type.
#[derive(Debug)]
struct Own(tokio_postgres::Error);

impl std::fmt::Display for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Own {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_row_is_ever_reported() -> Result<()> {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .init();
    let server = Postgres::start(15).await?;
    for (database, by_sqlx) in [("by_tokio", false), ("by_sqlx", true)] {
        server.create_database(database).await?;
        for sql in TABLES {
            server.sql(database, sql).await?;
        }
        let url = server.database_url(database);
        if by_sqlx {
            refusals(&SqlxPostgresStore::builder(&url).connect().await?).await;
            continue;
        }
        let store = TokioPostgresStore::builder(&url).connect().await?;
        refusals(&store).await;
        let claim = claim("wrapped");
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = store
                .execute_once(&claim, async |tx: &mut TokioPostgresTx| {
                    let sql = "UPDATE account SET amount = -47114711";
                    let done = tx.client()?.execute(sql, &[]).await;
                    done.map_err(|error| WorkError::from(Own(error)))
                })
                .await;
            answers.push(answer.unwrap_err());
        }
        assert_eq!(answers[0].kind(), ErrorKind::Refused, "{}", answers[0]);
        assert!(
            answers[0].to_string().contains("\"enough\""),
            "{}",
            answers[0]
        );
        assert_eq!(answers[0].to_string(), answers[1].to_string());
        answers
            .iter()
            .for_each(|error| clean("wrapped", &said(error)));
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("answers.db");
    let sqlite = SqliteStore::builder(&file).open().await?;
    let plain = rusqlite::Connection::open(&file)?;
    for sql in TABLES {
        plain.execute_batch(sql)?;
    }
    refusals(&sqlite).await;

    // Settings: what the server said, and its code.
    let postgres = server.port();
    for (url, words) in [
        (
            format!(
                "postgres://absent:{}@127.0.0.1:{postgres}/by_sqlx",
                PLANTED[0]
            ),
            ["28", "absent"],
        ),
        (
            server.database_url("by_sqlx_missing"),
            ["3D000", "by_sqlx_missing"],
        ),
    ] {
        for error in [
            TokioPostgresStore::builder(&url)
                .connect()
                .await
                .map(drop)
                .unwrap_err(),
            SqlxPostgresStore::builder(&url)
                .connect()
                .await
                .map(drop)
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
            words
                .iter()
                .for_each(|word| assert!(error.to_string().contains(word), "{error}"));
            clean("settings", &said(&error));
        }
    }
    clean("the log", &String::from_utf8_lossy(&log.0.lock().unwrap()));
    Ok(())
}

/// What SQLite says of a value is no configuration to be fixed.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_says_what_a_value_does_not_fit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::builder(folder.path().join("said.db"))
        .open()
        .await?;
    let sum = "SELECT sum(x) FROM (SELECT 9223372036854775807 AS x UNION ALL SELECT 1)";
    for (name, statement, kind) in [
        ("sum", Statement::new(sum), ErrorKind::Overflow),
        (
            "json",
            Statement::new("SELECT json($1)").bind("{"),
            ErrorKind::Invalid,
        ),
        ("empty", Statement::new(""), ErrorKind::Invalid),
        (
            "table",
            Statement::new("DELETE FROM no_such_table"),
            ErrorKind::Configuration,
        ),
        (
            "typo",
            Statement::new("DELET FROM x"),
            ErrorKind::Configuration,
        ),
    ] {
        let effect = OneShot {
            claim: claim(name),
            statements: vec![statement],
            receipt: Receipt::json(&1)?,
        };
        let error = store.execute_one_shot(&effect).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(!error.to_string().contains("report"), "{error}");
        assert!(!error.to_string().contains("execute_once"), "{error}");
    }
    Ok(())
}

/// The texts of the refusals of keys, on one backend.
async fn texts<S: OneShotStore + LeaseStore>(store: &S) -> Vec<String> {
    let text_of = |error: Error| {
        let text = error.to_string();
        let (_, text) = text
            .split_once("): ")
            .unwrap_or_else(|| panic!("no text: {text}"));
        text.to_owned()
    };
    let other = |name: &str| {
        let key = IdempotencyKey::new(name).unwrap();
        Claim::new(key, Fingerprint::of("answers", "another").unwrap())
    };
    let shot = |claim: Claim| OneShot {
        claim,
        statements: Vec::new(),
        receipt: Receipt::json(&1).unwrap(),
    };
    store.execute_one_shot(&shot(claim("done"))).await.unwrap();
    let ttl = Duration::from_secs(60);
    let Leased::Granted(lease) = store.lease(&claim("leased"), ttl).await.unwrap() else {
        panic!("the lease is not granted");
    };
    store.release(&claim("leased"), lease.token).await.unwrap();
    let applied = Outcome::Applied(Receipt::json(&1).unwrap());
    let stale = store
        .finalize(&claim("leased"), lease.token, &applied)
        .await;
    assert!(matches!(
        store.lease(&claim("held"), ttl).await,
        Ok(Leased::Granted(_))
    ));
    let once = async |claim: Claim| {
        store
            .execute_once(&claim, async |_tx: &mut S::Tx| Ok(1))
            .await
    };
    vec![
        text_of(once(other("done")).await.unwrap_err()),
        text_of(
            store
                .execute_one_shot(&shot(other("done")))
                .await
                .unwrap_err(),
        ),
        text_of(stale.unwrap_err()),
        text_of(once(claim("held")).await.unwrap_err()),
        text_of(
            store
                .execute_one_shot(&shot(claim("held")))
                .await
                .unwrap_err(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_has_one_text_on_every_backend() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sqlite = SqliteStore::builder(folder.path().join("texts.db"))
        .open()
        .await?;
    let redis = Redis::start().await?;
    let redis = RedisStore::builder(redis.url()).connect().await?;
    let server = Postgres::start(15).await?;
    let tokio = TokioPostgresStore::builder(server.url()).connect().await?;
    let reference = texts(&MemoryStore::new()).await;
    assert_eq!(reference[0], reference[1]);
    assert_eq!(reference[3], reference[4]);
    assert_eq!(texts(&sqlite).await, reference);
    assert_eq!(texts(&redis).await, reference);
    assert_eq!(texts(&tokio).await, reference);
    server.create_database("again").await?;
    let sqlx = SqlxPostgresStore::builder(server.database_url("again"))
        .connect()
        .await?;
    assert_eq!(texts(&sqlx).await, reference);
    Ok(())
}
