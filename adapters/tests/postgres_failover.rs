//! What survives a server that dies, and a standby that takes over.
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(feature = "tokio-postgres")]

#[path = "support/postgres_world.rs"]
mod world;

use exactly_once::{
    BegunPrepared, Decision, DecisionRegister, ErrorKind, PreparedStatus, PreparedTransactions,
    postgres::TokioPostgresStore,
};
use exactly_once_servers::{Postgres, Replication, Standby};
use world::{major, participation, refused, timeouts};

async fn connect(url: String) -> TokioPostgresStore {
    let builder = TokioPostgresStore::builder(url).timeouts(timeouts());
    builder.connect().await.unwrap()
}

/// Prepares one insert.
async fn prepare(store: &TokioPostgresStore, name: &str) -> exactly_once::Participation {
    let participation = participation(store, name).await;
    let BegunPrepared::Fresh(tx) = store.begin_prepared(&participation).await.unwrap() else {
        panic!("it is not fresh");
    };
    let insert = "INSERT INTO t VALUES (1)";
    tx.client().unwrap().execute(insert, &[]).await.unwrap();
    store.prepare(tx, &participation).await.unwrap();
    participation
}

async fn rows(server: &Postgres) -> String {
    let count = "SELECT count(*) FROM t";
    server.sql("postgres", count).await.unwrap()
}

async fn started() -> Postgres {
    let server = Postgres::start(major()).await.unwrap();
    let create = "CREATE TABLE t (n int8)";
    server.sql("postgres", create).await.unwrap();
    server
}

// 8. PREPARE on one connection, the server dies, commit by somebody else: one effect.
#[tokio::test(flavor = "multi_thread")]
async fn prepared_work_outlives_the_server() {
    let server = started().await;
    let store = connect(server.url()).await;
    let participation = prepare(&store, "t").await;
    server.stop_immediate().await.unwrap();
    server.restart().await.unwrap();
    let other = connect(server.url()).await;
    let doubt = other.in_doubt(None, 9).await.unwrap().entries;
    assert_eq!(doubt.len(), 1);
    assert_eq!(doubt[0].participation, participation);
    assert_eq!(rows(&server).await, "0");
    other.commit_prepared(&participation).await.unwrap();
    // The first handle's connections are all dead: it goes on with new ones.
    store
        .commit_prepared(&participation)
        .await
        .unwrap_or_else(|error| {
            assert!(error.is_retryable(), "{error}");
        });
    store.commit_prepared(&participation).await.unwrap();
    assert_eq!(rows(&server).await, "1");
}

// 12. With synchronous replication the standby has what was prepared, and commits it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_synchronous_standby_commits_once() {
    let primary = started().await;
    connect(primary.url()).await;
    let standby = Standby::of(&primary, Replication::Synchronous)
        .await
        .unwrap();
    let store = connect(primary.url()).await;
    let participation = prepare(&store, "t").await;
    store
        .decide(&participation, Decision::Commit)
        .await
        .unwrap();
    let url = standby.postgres().url();
    let builder = TokioPostgresStore::builder(&url).timeouts(timeouts());
    refused(
        builder.connect().await,
        ErrorKind::Configuration,
        &["standby", "pg_promote"],
    );
    primary.kill();
    standby.promote().await.unwrap();
    let promoted = connect(url).await;
    let status = promoted.prepared_status(&participation).await.unwrap();
    assert_eq!(status, PreparedStatus::Prepared);
    let entry = promoted.decision(&participation).await.unwrap().unwrap();
    assert_eq!(entry.decision, Decision::Commit);
    promoted.commit_prepared(&participation).await.unwrap();
    promoted.commit_prepared(&participation).await.unwrap();
    assert_eq!(rows(standby.postgres()).await, "1");
}

// 12. Without it, what was acknowledged last is gone, and that is never told as a success.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_asynchronous_failover_lost_is_not_told_as_committed() {
    let primary = started().await;
    connect(primary.url()).await;
    let standby = Standby::of(&primary, Replication::Asynchronous)
        .await
        .unwrap();
    standby.disconnect(&primary).await.unwrap();
    let store = connect(primary.url()).await;
    let participation = prepare(&store, "t").await;
    primary.kill();
    standby.promote().await.unwrap();
    let promoted = connect(standby.postgres().url()).await;
    let answer = promoted.commit_prepared(&participation).await;
    refused(answer, ErrorKind::NotPrepared, &[]);
    let status = promoted.prepared_status(&participation).await.unwrap();
    assert_eq!(status, PreparedStatus::None);
    assert_eq!(rows(standby.postgres()).await, "0");
}
