//! Each small program in `examples/` runs, and what it is about holds when it is run again.
#![cfg(all(
    feature = "memory",
    feature = "redis",
    feature = "rusqlite",
    feature = "tokio-postgres",
    feature = "tower"
))]
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

#[path = "../examples/any_store_by_url.rs"]
mod any_store_by_url;
#[path = "../examples/balances_transfer.rs"]
mod balances_transfer;
#[path = "../examples/http_idempotency_key.rs"]
mod http_idempotency_key;
#[path = "../examples/one_shot_batch.rs"]
mod one_shot_batch;
#[path = "../examples/postgres_closure.rs"]
mod postgres_closure;
#[path = "../examples/queue_consumer.rs"]
mod queue_consumer;
#[path = "../examples/returning_rows.rs"]
mod returning_rows;
#[path = "../examples/sqlite_quickstart.rs"]
mod sqlite_quickstart;

use exactly_once::{
    AnyStore, ConnectByUrl, ErrorKind, memory::MemoryStore, postgres::TokioPostgresStore,
    sqlite::SqliteStore,
};
use exactly_once_servers::{Postgres, Redis};
use queue_consumer::{Delivery, Message};

#[tokio::test]
async fn a_payment_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let pay = async |order| sqlite_quickstart::pay(&file, order, 500).await.unwrap();
    assert_eq!(pay("17").await, (1, false));
    assert_eq!(pay("17").await, (1, true));
    assert_eq!(pay("18").await, (2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_is_booked_once_and_its_rejection_stays() {
    let server = Postgres::start(15).await.unwrap();
    server
        .sql("postgres", postgres_closure::TABLES)
        .await
        .unwrap();
    let url = server.database_url("postgres");
    let store = TokioPostgresStore::builder(url).connect().await.unwrap();
    for _ in 0..2 {
        assert_eq!(postgres_closure::book(&store, "alice").await.unwrap(), 1);
        let late = postgres_closure::book(&store, "bob").await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Rejected { status: 409 });
    }
    server
        .sql("postgres", "INSERT INTO seat VALUES (2, false)")
        .await
        .unwrap();
    assert!(postgres_closure::book(&store, "bob").await.is_err());
    assert_eq!(postgres_closure::book(&store, "carol").await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_pays_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let url = one_shot_batch::create(&folder.path().join("shop.db")).unwrap();
    let store = AnyStore::connect(&url).await.unwrap();
    assert_eq!(one_shot_batch::pay_all(&store, 0..100).await.unwrap(), 100);
    assert_eq!(one_shot_batch::pay_all(&store, 50..150).await.unwrap(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_row_of_the_first_call() {
    let folder = tempfile::tempdir().unwrap();
    let url = returning_rows::create(&folder.path().join("shop.db")).unwrap();
    let store = AnyStore::connect(&url).await.unwrap();
    let place = async |request| {
        let (placed, replayed) = returning_rows::place(&store, request, "tea").await.unwrap();
        assert_eq!(placed.item, "tea");
        (placed.number, replayed)
    };
    assert_eq!(place("a").await, (1, false));
    assert_eq!(place("b").await, (2, false));
    assert_eq!(place("a").await, (1, true));
}

#[tokio::test]
async fn a_transfer_is_made_once() {
    let store = MemoryStore::new();
    for _ in 0..2 {
        assert_eq!(balances_transfer::transfers(&store).await.unwrap(), [0, 80]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_from_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("shop.db"))
        .await
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/payments", listener.local_addr().unwrap());
    let server = axum::serve(listener, http_idempotency_key::shop(store));
    let server = tokio::spawn(server.into_future());
    let pay = async |key: &str, cents: i64| {
        let request = reqwest::Client::new().post(&url).json(&cents);
        let answer = request.header("Idempotency-Key", key).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for _ in 0..2 {
        assert_eq!(pay("\"one\"", 500).await, (200, "payment 1".to_owned()));
    }
    assert_eq!(pay("\"two\"", 500).await, (200, "payment 2".to_owned()));
    assert_eq!(pay("\"one\"", 501).await.0, 422);
    server.abort();
}

#[tokio::test]
async fn a_message_is_consumed_once_and_a_bad_one_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    queue_consumer::create(&file).unwrap();
    let store = SqliteStore::open(&file).await.unwrap();
    let consume = async |number, cents| {
        let message = Message { number, cents };
        queue_consumer::consume(&store, &message).await.unwrap()
    };
    for _ in 0..2 {
        assert_eq!(consume(1, 500).await, Delivery::Acknowledge);
        assert_eq!(consume(2, -1).await, Delivery::PutAside);
    }
    let db = rusqlite::Connection::open(&file).unwrap();
    let count = "SELECT count(*) FROM payment";
    let rows: i64 = db.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_program_runs_on_each_backend() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(15).await.unwrap();
    let redis = Redis::start().await.unwrap();
    for url in [
        format!("sqlite:{}", folder.path().join("visits.db").display()),
        postgres.database_url("postgres"),
        redis.url(),
    ] {
        let visit = async |visitor| any_store_by_url::visit(&url, visitor).await.unwrap();
        assert_eq!(visit("alice").await, 1, "{url}");
        assert_eq!(visit("alice").await, 1, "{url}");
        assert_eq!(visit("bob").await, 2, "{url}");
    }
}
