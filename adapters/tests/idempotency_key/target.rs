//! Which request it is: the target as the client sent it.

use axum::{Extension, Router, extract::Path, routing::post as posted};
use exactly_once::{http::KeyedTx, memory::MemoryStore};
use http::StatusCode;

use crate::bench::{Bench, body, post, send};

static KEY: Option<&str> = Some("\"k\"");

async fn create(
    Path(account): Path<String>,
    Extension(keyed): Extension<KeyedTx<MemoryStore>>,
) -> (StatusCode, String) {
    keyed.lock().await.unwrap().add("paid", 1).unwrap();
    (StatusCode::CREATED, format!("paid by {account}"))
}

/// Goal: below a nested router, another account is another request. Method: the same key and body.
#[tokio::test]
async fn a_nested_router_does_not_hide_the_path() {
    let bench = Bench::new();
    let payments = Router::new()
        .route("/payments", posted(create))
        .layer(bench.transactional());
    let accounts = Router::new().nest("/{id}", payments);
    let service = Router::new().nest("/accounts", accounts);
    let alice = send(&service, post("/accounts/alice/payments", KEY, "5")).await;
    assert_eq!(alice.status(), StatusCode::CREATED);
    let bob = send(&service, post("/accounts/bob/payments", KEY, "5")).await;
    assert_eq!(bob.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!body(bob).await.contains("alice"));
    let again = send(&service, post("/accounts/alice/payments", KEY, "5")).await;
    assert_eq!(body(again).await, "paid by alice");
    assert_eq!(bench.paid().await, 1);
}

/// Goal: another host is another request, in whichever way the client names it.
#[tokio::test]
async fn another_host_is_another_request() {
    let bench = Bench::new();
    let service = bench.paying(bench.transactional());
    let by_header = |host: &str| {
        let mut request = post("/pay", KEY, "5");
        request.headers_mut().insert("host", host.parse().unwrap());
        request
    };
    let first = send(&service, by_header("ann.example.com")).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let other = send(&service, by_header("bob.example.com")).await;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    for same in [
        by_header("ANN.example.com"),
        // As HTTP/2 has it.
        post("http://ann.example.com/pay", KEY, "5"),
    ] {
        let again = send(&service, same).await;
        assert_eq!(again.headers()["idempotent-replayed"], "true");
    }
    assert_eq!(bench.paid().await, 1);
}

/// Goal: a service with several names may leave the host out.
#[tokio::test]
async fn the_host_may_be_left_out() {
    let bench = Bench::new();
    let service = bench.paying(bench.transactional().any_host());
    for (host, replayed) in [("eu.example.com", false), ("us.example.com", true)] {
        let mut request = post("/pay", KEY, "5");
        request.headers_mut().insert("host", host.parse().unwrap());
        let response = send(&service, request).await;
        let header = response.headers().contains_key("idempotent-replayed");
        assert_eq!(header, replayed, "{host}");
    }
}
