//! What survives a server that dies, and a standby that takes over.
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(all(feature = "tokio-postgres", feature = "memory", feature = "cli"))]

#[path = "support/postgres_world.rs"]
mod world;

use std::{process::Command, time::Duration};

use exactly_once::{
    BegunPrepared, Decision, DecisionRegister, ErrorKind, Participants, Participation,
    PreparedStatus, PreparedTransactions, Store, identity_of,
    memory::{MemoryStore, MemoryTx},
    postgres::{TokioPostgresStore, TokioPostgresTx},
    two_phase::{Sweeper, TwoPhaseCommit, TwoPhaseOutcome},
};
use exactly_once_servers::{Postgres, Replication, Standby};
use world::{between, major, participation, refused, timeouts};

async fn connect(url: String) -> TokioPostgresStore {
    let builder = TokioPostgresStore::builder(url).timeouts(timeouts());
    builder.connect().await.unwrap()
}

const INSERT: &str = "INSERT INTO t VALUES (1)";

/// Prepares one insert.
async fn prepare(store: &TokioPostgresStore, name: &str) -> Participation {
    let participation = participation(store, name).await;
    prepare_as(store, &participation).await;
    participation
}

async fn prepare_as(store: &TokioPostgresStore, participation: &Participation) {
    let BegunPrepared::Fresh(tx) = store.begin_prepared(participation).await.unwrap() else {
        panic!("it is not fresh");
    };
    tx.client().unwrap().execute(INSERT, &[]).await.unwrap();
    store.prepare(tx, participation).await.unwrap();
}

/// A transaction that may be prepared and decided for so long.
async fn within(store: &impl Store, name: &str, deadline: Duration) -> Participation {
    let now = store.now().await.unwrap();
    let kept = now.checked_add(Duration::from_secs(600)).unwrap();
    between(name, now.checked_add(deadline).unwrap(), kept)
}

/// Waits until its deadline has passed.
async fn overdue(store: &impl Store, transaction: &Participation) {
    while store.now().await.unwrap() <= transaction.not_after() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Completed, as the coordinator does it.
async fn between_both(
    register: &MemoryStore,
    store: &TokioPostgresStore,
    transaction: &Participation,
) -> Participation {
    let held = identity_of(register).await.unwrap();
    let member = identity_of(store).await.unwrap();
    transaction
        .clone()
        .entitled(held, Participants::of([held, member]))
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

// 8. PREPARE on one connection, the server dies, commit by another: one effect.
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

// 8. And by another process, a person's, long after the one that prepared is gone.
#[tokio::test(flavor = "multi_thread")]
async fn prepared_work_is_committed_once_by_another_process() {
    let server = started().await;
    let store = connect(server.url()).await;
    let transaction = within(&store, "t", Duration::from_secs(2)).await;
    let own = identity_of(&store).await.unwrap();
    let transaction = transaction.entitled(own, Participants::of([own]));
    prepare_as(&store, &transaction).await;
    let decided = store.decide(&transaction, Decision::Commit).await;
    assert_eq!(decided.unwrap(), Decision::Commit);
    server.stop_immediate().await.unwrap();
    server.restart().await.unwrap();
    drop(store);
    overdue(&connect(server.url()).await, &transaction).await;
    let digest = transaction.transaction().to_string();
    let resolve = || {
        Command::new(env!("CARGO_BIN_EXE_exactly-once"))
            .args(["in-doubt", "resolve", &digest, "--yes"])
            .env("EXACTLY_ONCE_URL", server.url())
            .output()
            .unwrap()
    };
    let first = resolve();
    let said = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(
        first.status.success() && said.contains("commit"),
        "{first:?}"
    );
    assert_eq!(rows(&server).await, "1");
    // Nothing is in doubt any more: the second one finds the decision, and nothing to do.
    let second = resolve();
    let said = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(
        second.status.success() && said.contains("commit"),
        "{second:?}"
    );
    assert_eq!(rows(&server).await, "1");
    let again = connect(server.url()).await;
    again.commit_prepared(&transaction).await.unwrap();
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

// 12. Without it, what was acknowledged last is gone, and that is never reported as a success.
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

/// An asynchronous pair whose primary dies with all that it did after `did` began.
async fn lost(did: impl AsyncFnOnce(&TokioPostgresStore)) -> (Standby, TokioPostgresStore) {
    let primary = started().await;
    connect(primary.url()).await;
    let standby = Standby::of(&primary, Replication::Asynchronous);
    let standby = standby.await.unwrap();
    standby.disconnect(&primary).await.unwrap();
    did(&connect(primary.url()).await).await;
    primary.kill();
    standby.promote().await.unwrap();
    let promoted = connect(standby.postgres().url()).await;
    (standby, promoted)
}

/// One attempt at the transaction, as a handler's retry makes it.
async fn attempt(
    register: &MemoryStore,
    store: &TokioPostgresStore,
    transaction: &Participation,
) -> exactly_once::Result<TwoPhaseOutcome> {
    TwoPhaseCommit::new(register, transaction.clone())
        // With a second one, or it would commit in one phase and ask no register.
        .participant("b", register, async |_tx: &mut MemoryTx| Ok(()))
        .participant("a", store, async |tx: &mut TokioPostgresTx| {
            tx.client()?.execute(INSERT, &[]).await?;
            Ok(())
        })
        .run()
        .await
}

// 12. A PREPARE, or a PREPARE and its COMMIT, that a failover lost: the coordinator that decided
// *commit* reports it as lost. So does its sweeper, by leaving the decision unfinished.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_asynchronous_failover_lost_is_told_as_lost() {
    // Elsewhere: it has lost nothing.
    let register = MemoryStore::new();
    // Long enough for a busy machine to start two servers in.
    let deadline = Duration::from_secs(20);
    let prepared = within(&register, "prepared", deadline).await;
    let committed = within(&register, "committed", deadline).await;
    let (standby, promoted) = lost(async |primary| {
        for transaction in [&prepared, &committed] {
            let transaction = &between_both(&register, primary, transaction).await;
            prepare_as(primary, transaction).await;
            let decided = register.decide(transaction, Decision::Commit).await;
            assert_eq!(decided.unwrap(), Decision::Commit);
        }
        // Acknowledged, and lost all the same.
        let committed = between_both(&register, primary, &committed).await;
        primary.commit_prepared(&committed).await.unwrap();
    })
    .await;
    overdue(&register, &prepared).await;
    overdue(&promoted, &prepared).await;
    for transaction in [&prepared, &committed] {
        let answer = attempt(&register, &promoted, transaction).await;
        refused(answer, ErrorKind::Lost, &["\"a\""]);
    }
    let sweeper = Sweeper::new(register.clone());
    let sweeper = sweeper.participant("a", promoted.clone()).unwrap();
    let report = sweeper.sweep().await.unwrap();
    assert_eq!(report.committed, 0, "{report:?}");
    // Of each: the participant that lost it, and the one that this sweeper does not know.
    assert_eq!(report.alarms.len(), 2, "{report:?}");
    assert_eq!(report.unfinished.len(), 4, "{report:?}");
    for transaction in [&prepared, &committed] {
        let transaction = between_both(&register, &promoted, transaction).await;
        let entry = register.decision(&transaction).await.unwrap().unwrap();
        assert!(!entry.finished, "a loss is not finished");
    }
    assert_eq!(rows(standby.postgres()).await, "0");
}

// 12. In time, a retry does the lost work again: one effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_in_time_mends_what_a_failover_lost() {
    let register = MemoryStore::new();
    let transaction = within(&register, "t", Duration::from_secs(120)).await;
    let (standby, promoted) = lost(async |primary| {
        let transaction = between_both(&register, primary, &transaction).await;
        prepare_as(primary, &transaction).await;
        let decided = register.decide(&transaction, Decision::Commit).await;
        assert_eq!(decided.unwrap(), Decision::Commit);
    })
    .await;
    for _ in 0..2 {
        let outcome = attempt(&register, &promoted, &transaction).await.unwrap();
        assert!(matches!(outcome, TwoPhaseOutcome::Committed), "{outcome:?}");
        assert_eq!(rows(standby.postgres()).await, "1");
    }
}
