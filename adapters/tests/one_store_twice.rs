//! Goal: two participants that are really one store never leave out the work of one of them. Method:
//! one handle from before the server was restarted and one from after it, which name their place
//! differently, so the coordinator can't refuse them at once.

#![cfg(all(feature = "tokio-postgres", feature = "redis"))]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use exactly_once::{
    DecisionRegister, Error, ErrorKind, Fingerprint, OneShotParticipant, Participation, Statement,
    Store, TransactionId, postgres::TokioPostgresStore, redis::RedisStore,
    two_phase::TwoPhaseCommit,
};
use exactly_once_servers::{Postgres, Redis};

const HOUR: Duration = Duration::from_secs(3_600);

async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, Error>) -> T {
    for _ in 0..200 {
        match call().await {
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => return answer.unwrap(),
        }
    }
    panic!("it is still to be retried");
}

async fn work<S: Store>(store: &S, name: &str) -> Participation {
    let now = patiently(async || store.now().await).await;
    let not_after = now.checked_add(HOUR).unwrap();
    Participation::new(
        &TransactionId::new(name).unwrap(),
        Fingerprint::of("twice", name).unwrap(),
        not_after,
        not_after.checked_add(HOUR).unwrap(),
    )
    .unwrap()
}

/// It is refused, and nothing was begun.
async fn refused<'a, S>(store: &S, attempt: impl Fn() -> TwoPhaseCommit<'a, S>)
where
    S: OneShotParticipant + DecisionRegister,
{
    let error = attempt().run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("same identity"), "{error}");
    let page = patiently(async || store.in_doubt(None, 10).await).await;
    assert_eq!(page.entries, []);
}

fn pay(id: i64) -> Vec<Statement> {
    vec![Statement::new("INSERT INTO payment VALUES ($1)").bind(id)]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_postgres_under_two_names() {
    let server = Postgres::start(18).await.unwrap();
    let create = "CREATE TABLE payment (id int8)";
    server.sql("postgres", create).await.unwrap();
    let open = async || {
        TokioPostgresStore::builder(server.url())
            .connect()
            .await
            .unwrap()
    };
    let early = open().await;
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    let late = open().await;
    assert_ne!(
        early.place(),
        late.place(),
        "the places, as if there were two"
    );

    let first = work(&late, "both").await;
    refused(&late, || {
        TwoPhaseCommit::new(&late, first.clone())
            .one_shot_participant("early", &early, pay(1))
            .one_shot_participant("late", &late, pay(2))
    })
    .await;
    let second = work(&late, "last").await;
    refused(&late, || {
        TwoPhaseCommit::new(&late, second.clone())
            .one_shot_participant("early", &early, pay(3))
            .last_one_shot_participant("late", &late, pay(4))
    })
    .await;
    // The one that begins holds the marker; a later one waits for it, or finds what it has
    // prepared.
    let third = work(&late, "mixed").await;
    let attempt = || {
        TwoPhaseCommit::new(&late, third.clone())
            .one_shot_participant("early", &early, pay(5))
            .participant("late", &late, async |tx| {
                tx.client()?
                    .execute("INSERT INTO payment VALUES (6)", &[])
                    .await?;
                Ok(())
            })
    };
    refused(&late, attempt).await;
    let count = "SELECT count(*) FROM payment";
    assert_eq!(server.sql("postgres", count).await.unwrap().trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_redis_under_two_names() {
    let server = Redis::start().await.unwrap();
    let open = async || RedisStore::builder(server.url()).connect().await.unwrap();
    let early = open().await;
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    let late = open().await;
    assert_ne!(
        early.place(),
        late.place(),
        "the places, as if there were two"
    );

    let known = work(&late, "known").await;
    let set = |key: &str| vec![Statement::new("INCR").bind(key)];
    refused(&late, || {
        TwoPhaseCommit::new(&late, known.clone())
            .one_shot_participant("early", &early, set("one"))
            .one_shot_participant("late", &late, set("two"))
    })
    .await;
    // Nothing on the server is held while the work runs: so it is found by the next attempt.
    let closures = work(&late, "closures").await;
    refused(&late, || {
        TwoPhaseCommit::new(&late, closures.clone())
            .participant("early", &early, async |tx| Ok(tx.incr_by("three", 1)?))
            .participant("late", &late, async |tx| Ok(tx.incr_by("four", 1)?))
    })
    .await;
    for key in ["one", "two", "three", "four"] {
        let found = server.cli(["EXISTS", key]).await.unwrap();
        assert_eq!(found.trim(), "0", "{key}");
    }
}
