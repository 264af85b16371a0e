//! A real Postgres whose replies are lost.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use exactly_once::{
    Store,
    http::{IdempotencyKeyLayer, KeyedTx},
    postgres::TokioPostgresStore,
};
use exactly_once_conformance::faults::proxy::{Proxy, Rule, Trigger};
use exactly_once_servers::Postgres;
use http::StatusCode;

use crate::bench::{Asked, Bench, TTL, answer, body, post, send};

/// Goal: where it is not known whether it was committed, the client is asked to repeat the request with
/// the same key, and then finds one effect. Method: the connection is cut before the server sees the
/// commit, and after it has committed.
#[tokio::test]
async fn a_commit_whose_reply_is_lost_is_found_by_the_retry() -> Result<()> {
    static PAYMENT: AtomicU32 = AtomicU32::new(0);
    let server = Postgres::start(15).await?;
    let direct = TokioPostgresStore::builder(server.url()).connect().await?;
    let (client, connection) =
        tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client
        .batch_execute("CREATE TABLE payment (number int)")
        .await?;
    let proxy = Arc::new(Proxy::start(([127, 0, 0, 1], server.port()).into()).await?);
    let url = server.url().replace(
        &format!(":{}/", server.port()),
        &format!(":{}/", proxy.addr().port()),
    );
    let store = TokioPostgresStore::builder(url).connect().await?;
    let bench = Bench::new();
    let layer = crate::bench::transactional(store.clone());
    // Set by the handler when its writes are done: what follows is the commit.
    let next: Arc<Mutex<Option<Rule>>> = Arc::default();
    let (network, rule) = (proxy.clone(), next.clone());
    let service = bench.service(layer, move |request: Asked| {
        let (network, rule) = (network.clone(), rule.clone());
        async move {
            let keyed = request
                .extensions()
                .get::<KeyedTx<TokioPostgresStore>>()
                .unwrap();
            let tx = keyed.lock().await.unwrap();
            let number = i32::try_from(PAYMENT.fetch_add(1, Ordering::SeqCst)).unwrap();
            let insert = "INSERT INTO payment VALUES ($1)";
            let written = tx.client().unwrap().execute(insert, &[&number]).await;
            if let Some(rule) = rule.lock().unwrap().take() {
                network.set(rule);
            }
            match written {
                Ok(_) => answer(StatusCode::CREATED, &format!("payment {number}")),
                Err(error) => keyed.problem(error),
            }
        }
    });
    for (key, after) in [("\"before\"", false), ("\"after\"", true)] {
        let commit = Trigger::Request(1);
        *next.lock().unwrap() = Some(if after {
            Rule::cut_after(commit)
        } else {
            Rule::cut_before(commit)
        });
        let lost = send(&service, post("/pay", Some(key), "5")).await;
        assert_eq!(
            proxy.stats().cuts,
            1 + u64::from(after),
            "{key}: nothing was cut"
        );
        assert_eq!(lost.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(lost.headers().contains_key("retry-after"));
        assert!(body(lost).await.contains("same key"));
        proxy.set(Rule::Pass);
        let retried = send(&service, post("/pay", Some(key), "5")).await;
        assert_eq!(retried.status(), StatusCode::CREATED);
        assert_eq!(
            retried.headers().contains_key("idempotent-replayed"),
            after,
            "{key}"
        );
        body(retried).await;
    }
    let rows = client
        .query_one("SELECT count(*) FROM payment", &[])
        .await?;
    assert_eq!(rows.get::<_, i64>(0), 2, "one for each key");
    // Not through the proxy, which would wait for its connections.
    drop(service);
    store.close().await?;
    direct.close().await?;
    Ok(())
}

/// Goal: where the handler has answered and its outcome can't be recorded, the answer is not that
/// nothing was done. Method: the store goes away while the handler works.
#[tokio::test(flavor = "multi_thread")]
async fn an_effect_whose_record_is_lost_is_not_denied() -> Result<()> {
    let server = Arc::new(Postgres::start(15).await?);
    let store = TokioPostgresStore::builder(server.url()).connect().await?;
    let layer = IdempotencyKeyLayer::leased(store, TTL).unscoped();
    let bench = Bench::new();
    let service = bench.service(layer, move |_| {
        let server = server.clone();
        async move {
            server.stop_immediate().await.unwrap();
            answer(StatusCode::ACCEPTED, "mailed")
        }
    });
    let response = send(&service, post("/mail", Some("\"k\""), "hi")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let said = body(response).await;
    assert!(said.contains("may or may not have taken effect"), "{said}");
    Ok(())
}
