//! Trap 12: cancelling the wait for a standby commits all the same.

use std::time::Duration;

use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Decision, DecisionRegister, Dispute, ErrorKind,
    IdempotencyStore, LeaseStore, OneShot, OneShotStore, OpenAccount, PreparedStatus,
    PreparedTransactions, identity_of,
    postgres::{Timeouts, TokioPostgresStore},
};
use exactly_once_servers::Postgres;

use crate::{
    begun, fresh, participation, receipt,
    world::{claim, major, refused},
};

/// A store that does not wait long.
async fn impatient(server: &Postgres) -> TokioPostgresStore {
    let timeouts = Timeouts {
        lock: Duration::from_millis(300),
        statement: Duration::from_millis(700),
        reply: Duration::from_millis(1_500),
        ..Timeouts::default()
    };
    let builder = TokioPostgresStore::builder(server.url()).timeouts(timeouts);
    builder.connect().await.unwrap()
}

// 12. A statement timeout must not acknowledge a commit that no standby has. Up to PostgreSQL 18 the
// server stops it before it commits; were that to change, this goes red.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_a_standby_is_not_acknowledged() {
    let server = Postgres::start(major()).await.unwrap();
    let store = impatient(&server).await;
    let tx = fresh(&store, "k").await;
    let (prepared, participation) = begun(&store, "t").await;
    server
        .set("synchronous_standby_names", "nobody")
        .await
        .unwrap();
    let answer = store.complete(tx, &claim("k"), &receipt()).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.prepare(prepared, &participation).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    // It can be seen already, and is no vote yet.
    let answer = store.begin_prepared(&participation).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let shared = OneShot {
        claim: claim("o"),
        statements: Vec::new(),
        receipt: receipt(),
    };
    let answer = store.execute_one_shot(&shared).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
}

// 12. COMMIT PREPARED is no COMMIT: there the server's own timeout cancels the wait.
#[tokio::test(flavor = "multi_thread")]
async fn nor_is_a_prepared_one_whose_wait_was_cancelled() {
    prepared_without_a_standby("statement_timeout", "400ms").await;
}

// 12, 13. And it waits for no standby where the session's settings say so.
#[tokio::test(flavor = "multi_thread")]
async fn nor_is_a_prepared_one_that_would_not_wait() {
    prepared_without_a_standby("synchronous_commit", "local").await;
}

async fn prepared_without_a_standby(setting: &str, value: &str) {
    let server = Postgres::start(major()).await.unwrap();
    server.set(setting, value).await.unwrap();
    let store = impatient(&server).await;
    let (prepared, participation) = begun(&store, "t").await;
    store.prepare(prepared, &participation).await.unwrap();
    server
        .set("synchronous_standby_names", "nobody")
        .await
        .unwrap();
    for _ in 0..2 {
        let answer = store.commit_prepared(&participation).await;
        refused(answer, ErrorKind::Ambiguous, &[]);
    }
    let answer = store.begin_prepared(&participation).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    server.set("synchronous_standby_names", "").await.unwrap();
    store.commit_prepared(&participation).await.unwrap();
}

// 12. The tombstone of a lone participant is the decision: it is reported when a standby has it.
#[tokio::test(flavor = "multi_thread")]
async fn nor_is_a_rollback_again_whose_tombstone_no_standby_has() {
    let server = Postgres::start(major()).await.unwrap();
    let store = impatient(&server).await;
    let (working, participation) = begun(&store, "t").await;
    drop(working);
    server
        .set("synchronous_standby_names", "nobody")
        .await
        .unwrap();
    let answer = store.rollback_prepared(&participation).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    server.kill();
    server.restart().await.unwrap();

    let store = impatient(&server).await;
    let answer = store.rollback_prepared(&participation).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    server.set("synchronous_standby_names", "").await.unwrap();
    store.rollback_prepared(&participation).await.unwrap();
}

// 12. The server dies while commits wait for a standby, and comes back: what they wrote can be seen, and
// the standby may never have it. So no answer vouches for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_made_visible_is_vouched_for_when_a_standby_has_it() {
    let server = Postgres::start(major()).await.unwrap();
    let store = impatient(&server).await;
    let tx = fresh(&store, "k").await;
    let (prepared, participation) = begun(&store, "t").await;
    store.prepare(prepared, &participation).await.unwrap();
    let account = AccountId::new("a").unwrap();
    let open = OpenAccount::new(claim("open").key().clone(), account.clone());
    store.open_account(&open).await.unwrap();
    let adjust = Adjust::new(claim("adjust").key().clone(), account, Amount::new(1));
    let shot = OneShot {
        claim: claim("shot"),
        statements: Vec::new(),
        receipt: receipt(),
    };
    server
        .set("synchronous_standby_names", "nobody")
        .await
        .unwrap();
    let answer = store.complete(tx, &claim("k"), &receipt()).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.decide(&participation, Decision::Commit).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.adjust(&adjust).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.execute_one_shot(&shot).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    server.kill();
    server.restart().await.unwrap();

    let store = impatient(&server).await;
    let key = claim("k").key().clone();
    refused(store.lookup(&key).await, ErrorKind::Ambiguous, &[]);
    let answer = store.begin_prepared(&participation).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.prepared_status(&participation).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.decision(&participation).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    // A late rollback reads what stands, and must not carry it out either.
    let answer = store.decide(&participation, Decision::Rollback).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    // Replays, of a key and of a balance, by every call that has them.
    let answer = store.claim(&claim("k")).await.map(drop);
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.execute_one_shot(&shot).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.lease(&claim("k"), Duration::from_secs(60)).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.adjust(&adjust).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.open_account(&open).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    // What says that there is nothing vouches for nothing.
    let unknown = claim("unknown").key().clone();
    assert!(store.lookup(&unknown).await.unwrap().is_none());

    server.set("synchronous_standby_names", "").await.unwrap();
    assert!(store.lookup(&key).await.unwrap().is_some());
    let status = store.prepared_status(&participation).await.unwrap();
    assert_eq!(status, PreparedStatus::Prepared);
    let stands = store.decide(&participation, Decision::Rollback).await;
    assert_eq!(stands.unwrap(), Decision::Commit);
}

// 12. So it is with the note that a participant did not obey.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_is_noted_when_a_standby_has_it() {
    let server = Postgres::start(major()).await.unwrap();
    let store = impatient(&server).await;
    let participation = participation(&store, "disputed").await;
    let decision = Decision::Commit;
    store.decide(&participation, decision).await.unwrap();
    let itself = identity_of(&store).await.unwrap();
    let dispute = Dispute::now(&store, itself, decision).await.unwrap();
    server
        .set("synchronous_standby_names", "nobody")
        .await
        .unwrap();
    let answer = store.dispute(&participation, &dispute).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    server.kill();
    server.restart().await.unwrap();

    let store = impatient(&server).await;
    let answer = store.dispute(&participation, &dispute).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    server.set("synchronous_standby_names", "").await.unwrap();
    let noted = store.dispute(&participation, &dispute).await.unwrap();
    assert_eq!(noted, None);
}
