//! A handler that asks for a step's outcome gets an answer, also where no attempt will ever record one;
//! and nothing that was applied is refused by the size of what this version would answer.

use std::{
    future::{Future, ready},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use exactly_once::{
    ErrorKind, ExecuteOnce, LeaseStore, Leased, OneShot, OneShotStore, Outcome, Receipt, Statement,
    engine::{Effects, Engine, Refusal, Retry, Step, Timer},
    memory::MemoryStore,
    postgres::{TokioPostgresStore, TokioPostgresTx},
    redis::RedisStore,
    sqlite::SqliteStore,
};
use exactly_once_servers::{Postgres, Redis};
use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

use crate::claim;

/// A caller without a journal, whose next attempt is the test's business.
struct Plain;

#[derive(Debug)]
enum Ended {
    Refused,
    Again(ErrorKind),
}

enum Marker {}

impl<'run> Engine<'run, Marker> for Plain {
    type Failure = Ended;

    fn name(&self) -> &'static str {
        "plain"
    }

    fn identity<'a>(
        &'a self,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<exactly_once::IdempotencyKey, Ended>>
    where
        'run: 'a,
    {
        Box::pin(ready(Ok(claim(step.name()).key().clone())))
    }

    fn journal<'a, T, F, Fut>(&'a self, _: String, run: F) -> BoxFuture<'a, Result<T, Ended>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run,
    {
        Box::pin(async move {
            let answer = run().await;
            answer.map_err(|retry| Ended::Again(retry.error().kind()))
        })
    }

    fn has_journal(&self) -> bool {
        false
    }

    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<Ended>>
    where
        'run: 'a,
    {
        Box::pin(ready(None))
    }

    fn refused(&self, _: Refusal) -> Ended {
        Ended::Refused
    }

    fn timer(&self) -> Timer {
        Arc::new(|duration| Box::pin(tokio::time::sleep(duration)))
    }
}

fn step(name: &str) -> Step {
    Step::named(name).with_key(claim(name).key().clone())
}

/// Goal: a lease in force is waited for, and one whose attempt is gone is not.
#[tokio::test]
async fn a_lease_that_nobody_holds_is_no_attempt() -> Result<()> {
    let store = MemoryStore::new();
    for (name, ttl) in [
        ("held", Duration::from_secs(600)),
        ("left", Duration::from_millis(1)),
    ] {
        let lease = store.lease(&claim(name), ttl).await?;
        assert!(matches!(lease, Leased::Granted(_)));
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let held = Plain.outcome_of::<_, i64>(&store, &step("held")).await;
    assert!(
        matches!(held, Err(Ended::Again(ErrorKind::InProgress { .. }))),
        "{held:?}"
    );
    let left = Plain.outcome_of::<_, i64>(&store, &step("left")).await;
    assert!(matches!(left, Ok(None)), "{left:?}");
    Ok(())
}

/// Goal: work that has ended its own transaction left no outcome, and no attempt will ever record one.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_an_outcome_is_refused() -> Result<()> {
    let server = Postgres::start(15).await?;
    let store = TokioPostgresStore::builder(server.url()).connect().await?;
    let work = async |tx: &mut TokioPostgresTx| {
        tx.client()?.batch_execute("COMMIT").await?;
        Ok(1)
    };
    let ended = store.execute_once(&claim("ended"), work).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Invalid);
    let asked = Plain.outcome_of::<_, i64>(&store, &step("ended")).await;
    let Ok(Some(Err(refusal))) = asked else {
        panic!("no refusal: {asked:?}");
    };
    assert_eq!(refusal.kind(), ErrorKind::Invalid);
    assert!(refusal.message().contains("ended its transaction"));
    Ok(())
}

/// Goal: an effect that was applied is never refused for what this version of the program would store.
async fn applied_stays_applied<S: OneShotStore>(store: &S) {
    let shot = |name: &str, bytes: usize| OneShot {
        claim: claim(name),
        statements: Vec::new(),
        receipt: Receipt::from_bytes(vec![b'x'; bytes]),
    };
    let largest = store.capabilities().max_receipt_bytes;
    store.execute_one_shot(&shot("grown", 1)).await.unwrap();
    let again = store.execute_one_shot(&shot("grown", largest + 1)).await;
    let again = again.unwrap();
    assert!(again.replayed, "{}", store.backend());
    assert_eq!(again.outcome, Outcome::Applied(Receipt::from_bytes("x")));
    let fresh = store.execute_one_shot(&shot("large", largest + 1)).await;
    assert_eq!(fresh.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_is_never_too_large() -> Result<()> {
    applied_stays_applied(&MemoryStore::new()).await;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("asked.db");
    applied_stays_applied(&SqliteStore::builder(file).open().await?).await;
    let redis = Redis::start().await?;
    applied_stays_applied(&RedisStore::builder(redis.url()).connect().await?).await;
    let server = Postgres::start(15).await?;
    let store = TokioPostgresStore::builder(server.url()).connect().await?;
    applied_stays_applied(&store).await;
    // Nor for a statement that can't be one, which is counted from 1.
    let mut shot = OneShot {
        claim: claim("grown"),
        statements: vec![Statement::new("SELECT $1::int")],
        receipt: Receipt::from_bytes("x"),
    };
    assert!(store.execute_one_shot(&shot).await?.replayed);
    shot.claim = claim("unbound");
    let error = store.execute_one_shot(&shot).await.unwrap_err();
    assert!(error.to_string().contains("statement 1 names"), "{error}");
    Ok(())
}
