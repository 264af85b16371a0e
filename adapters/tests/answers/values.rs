//! Random values through every backend: executed and replayed, each is the same value and the same
//! bytes, or refused with nothing applied.
//!
//! `EXACTLY_ONCE_VALUES` says how many for each backend.

use std::{future::Future, time::Instant};

use anyhow::Result;
use exactly_once::{
    ErrorKind, ExecuteOnce, IdempotencyStore, KeyState, Outcome, WorkError,
    memory::{MemoryStore, MemoryTx},
    postgres::{SqlxPostgresStore, SqlxPostgresTx, TokioPostgresStore, TokioPostgresTx},
    redis::{RedisStore, RedisTx},
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_servers::{Postgres, Redis};

use crate::{
    claim,
    generated::{Random, Value, bits, value},
};

/// A row of the user's own for each value, in the transaction.
trait Rows: IdempotencyStore + Clone + 'static {
    fn insert(tx: &mut Self::Tx, row: &str) -> impl Future<Output = Result<(), WorkError>> + Send;
}

const INSERT: &str = "INSERT INTO answered (row) VALUES ($1)";
const TABLE: &str = "CREATE TABLE answered (row text PRIMARY KEY)";

impl Rows for MemoryStore {
    async fn insert(tx: &mut MemoryTx, _: &str) -> Result<(), WorkError> {
        tx.add("answered", 1)?;
        Ok(())
    }
}

impl Rows for SqliteStore {
    async fn insert(tx: &mut SqliteTx, row: &str) -> Result<(), WorkError> {
        let row = row.to_owned();
        tx.run(move |db| db.execute(INSERT, [row])).await?;
        Ok(())
    }
}

impl Rows for RedisStore {
    async fn insert(tx: &mut RedisTx, _: &str) -> Result<(), WorkError> {
        tx.incr_by("answered", 1)?;
        Ok(())
    }
}

impl Rows for TokioPostgresStore {
    async fn insert(tx: &mut TokioPostgresTx, row: &str) -> Result<(), WorkError> {
        tx.client()?.execute(INSERT, &[&row]).await?;
        Ok(())
    }
}

impl Rows for SqlxPostgresStore {
    async fn insert(tx: &mut SqlxPostgresTx, row: &str) -> Result<(), WorkError> {
        let query = sqlx::query(INSERT).bind(row);
        query.execute(tx.connection()?).await?;
        Ok(())
    }
}

/// Executes and replays one value; says whether it was kept.
async fn answered<S: Rows>(store: &S, value: Value, name: &str) -> bool {
    let claim = claim(name);
    let (shown, given) = (format!("{value:?}"), bits(&value));
    let first = store
        .execute_once(&claim, async |tx: &mut S::Tx| {
            S::insert(tx, name).await?;
            Ok(value.clone())
        })
        .await;
    let stored = store.lookup(claim.key()).await.unwrap();
    let again = store
        .execute_once(&claim, async |tx: &mut S::Tx| {
            S::insert(tx, name).await?;
            Ok(Value::Unit)
        })
        .await;
    assert_eq!(store.lookup(claim.key()).await.unwrap(), stored, "{shown}");
    let Some(KeyState::Completed { outcome, .. }) = stored.map(|key| key.state) else {
        panic!("nothing is recorded of {shown}");
    };
    match (first, again, outcome) {
        (Ok(first), Ok(again), Outcome::Applied(receipt)) => {
            assert!(!first.replayed && again.replayed, "{shown}");
            let stored = receipt.decode::<Value>().unwrap();
            for value in [&first.value, &again.value, &stored] {
                assert_eq!(bits(value), given, "{shown}");
            }
            true
        }
        (Err(first), Err(again), Outcome::Rejected(_)) => {
            assert_eq!(first.kind(), ErrorKind::Invalid, "{shown}: {first}");
            assert_eq!(first.to_string(), again.to_string(), "{shown}");
            false
        }
        other => panic!("two answers for {shown}: {other:?}"),
    }
}

/// Executes and replays so many values, several at once; says how many were kept.
async fn values<S: Rows>(store: &S, lanes: u64, few: u64) -> u64 {
    let chosen = std::env::var("EXACTLY_ONCE_VALUES").ok();
    let count = chosen.map_or(few, |count| count.parse().unwrap());
    let began = Instant::now();
    let running: Vec<_> = (0..lanes)
        .map(|lane| {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut random, mut kept) = (Random(lane), 0);
                for at in 0..count / lanes {
                    let name = format!("value/{lane}/{at}");
                    let value = value(&mut random, 3);
                    kept += u64::from(answered(&store, value, &name).await);
                }
                kept
            })
        })
        .collect();
    let mut kept = 0;
    for lane in running {
        kept += lane.await.unwrap();
    }
    let (backend, took) = (store.backend(), began.elapsed());
    eprintln!("{backend}: {kept} of {count} values kept, in {took:.1?}");
    // Both ends are met.
    assert!(kept > count / 4 && kept < count, "{kept} of {count}");
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    let store = MemoryStore::new();
    let kept = values(&store, 1, 2_000).await;
    assert_eq!(store.get("answered").unwrap(), kept.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() -> Result<()> {
    // In memory where there is such a folder: no power cut to survive.
    let shared = std::path::Path::new("/dev/shm");
    let folder = tempfile::tempdir_in(shared).or_else(|_| tempfile::tempdir())?;
    let file = folder.path().join("values.db");
    let db = rusqlite::Connection::open(&file)?;
    db.execute_batch(TABLE)?;
    let store = SqliteStore::builder(&file).open().await?;
    let kept = values(&store, 4, 2_000).await;
    let count = "SELECT count(*) FROM answered";
    let rows: i64 = db.query_row(count, [], |row| row.get(0))?;
    assert_eq!(rows, i64::try_from(kept)?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redis() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    let kept = values(&store, 8, 2_000).await;
    assert_eq!(server.cli(["GET", "answered"]).await?, kept.to_string());
    Ok(())
}

async fn on_postgres<S: Rows>(
    connect: impl AsyncFnOnce(&str) -> exactly_once::Result<S>,
) -> Result<()> {
    let server = Postgres::start(15).await?;
    let url = server.create_database("values").await?;
    server.sql("values", TABLE).await?;
    let store = connect(&url).await?;
    let kept = values(&store, 8, 2_000).await;
    let expected = format!("SELECT 1 / (count(*) = {kept})::int FROM answered");
    server.sql("values", &expected).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_tokio_postgres() -> Result<()> {
    on_postgres(async |url| TokioPostgresStore::builder(url).connect().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlx_postgres() -> Result<()> {
    on_postgres(async |url| SqlxPostgresStore::builder(url).connect().await).await
}
