//! The tower layer for `Idempotency-Key`: each answer of the IETF draft, and one effect whatever
//! crashes, panics, hangs up or comes twice at once.
#![cfg(all(feature = "tower", feature = "memory", feature = "tokio-postgres"))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod ambiguous;
mod bench;
mod bounds;
mod decided;
mod leased;
mod requests;
mod scopes;
mod target;
mod transactional;

use bench::{Bench, body, post};
use exactly_once::{Namespace, http::IdempotencyKeyLayer, memory::MemoryStore};
use http::{Method, StatusCode};

/// Goal: what the draft refuses is refused before the handler runs, as a problem.
#[tokio::test]
async fn a_key_that_is_missing_or_malformed_is_a_bad_request() {
    let bench = Bench::new();
    let service = bench.paying(bench.transactional());
    for key in [
        None,
        Some("bare"),
        Some("\"\""),
        Some("\"a\", \"b\""),
        Some("17"),
    ] {
        let response = bench::send(&service, post("/pay", key, "x")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{key:?}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let problem: serde_json::Value = serde_json::from_str(&body(response).await).unwrap();
        assert_eq!(problem["status"], 400);
        assert!(
            problem["title"]
                .as_str()
                .unwrap()
                .contains("Idempotency-Key")
        );
    }
    assert_eq!(bench.handled(), 0);
}

/// Goal: a key belongs to one request. Method: the same key with another body, path and kind.
#[tokio::test]
async fn a_key_with_another_request_is_refused_and_told_nothing() {
    let bench = Bench::new();
    let layer = bench
        .transactional()
        .documentation("https://example.com/keys");
    let service = bench.paying(layer);
    let first = bench::send(&service, post("/pay", Some("\"k\""), "5")).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let mut typed = post("/pay", Some("\"k\""), "5");
    typed
        .headers_mut()
        .insert("content-type", "text/csv".parse().unwrap());
    for other in [
        post("/pay", Some("\"k\""), "6"),
        post("/pay?twice", Some("\"k\""), "5"),
        post("/refund", Some("\"k\""), "5"),
        typed,
    ] {
        let response = bench::send(&service, other).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let text = body(response).await;
        assert!(
            !text.contains("receipt"),
            "the stored response leaked: {text}"
        );
        assert!(text.contains("https://example.com/keys"), "{text}");
    }
    assert_eq!(bench.paid().await, 1);
}

/// Goal: what needs no key passes untouched, body and all.
#[tokio::test]
async fn other_methods_pass() {
    let bench = Bench::new();
    let service = bench.echoing(bench.transactional().max_request_bytes(1));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let mut request = post("/pay", None, "a long body");
        *request.method_mut() = method;
        let response = bench::send(&service, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(body(response).await, "a long body");
    }
    let response = bench::send(&service, post("/pay", Some("\"k\""), "a long body")).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

/// Goal: keys are scoped per client. Method: the same key and request from two.
#[tokio::test]
async fn clients_have_keys_of_their_own() {
    let bench = Bench::new();
    let layer = IdempotencyKeyLayer::transactional(bench.store.clone()).scope(|parts| {
        let client = parts
            .headers
            .get("client")
            .ok_or(StatusCode::UNAUTHORIZED)?;
        let client = client.to_str().map_err(|_| StatusCode::UNAUTHORIZED)?;
        Namespace::new(client).map_err(|_| StatusCode::UNAUTHORIZED)
    });
    let service = bench.paying(layer);
    for (client, replayed) in [("ann", false), ("bob", false), ("ann", true), ("bob", true)] {
        let mut request = post("/pay", Some("\"k\""), "5");
        request
            .headers_mut()
            .insert("client", client.parse().unwrap());
        let response = bench::send(&service, request).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let said = response.headers().contains_key("idempotent-replayed");
        assert_eq!(said, replayed, "{client}");
    }
    let stranger = bench::send(&service, post("/pay", Some("\"k\""), "5")).await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(bench.handled(), 2);
}

/// Goal: a store chosen at run time will do. Method: the erased store, in both forms.
#[tokio::test]
async fn an_erased_store_serves_both_forms() {
    let store = exactly_once::AnyStore::new(MemoryStore::new());
    let bench = Bench::new();
    let once = bench.echoing(crate::bench::transactional(store.clone()));
    let held = bench.echoing(IdempotencyKeyLayer::leased(store, bench::TTL).unscoped());
    for _ in 0..2 {
        let first = bench::send(&once, post("/", Some("\"once\""), "a")).await;
        let second = bench::send(&held, post("/", Some("\"held\""), "b")).await;
        assert_eq!(
            (body(first).await, body(second).await),
            ("a".into(), "b".into())
        );
    }
    assert_eq!(bench.handled(), 2);
}
