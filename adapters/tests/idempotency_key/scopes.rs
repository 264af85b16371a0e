//! Keys of clients, beside the service's own, and what removes them.

use std::time::Duration;

use exactly_once::{
    Claim, Claimed, Fingerprint, IdempotencyKey, IdempotencyStore, KeyState, Namespace, Receipt,
    Retention,
    http::{IdempotencyKeyLayer, stored_key},
    memory::{MemoryStore, VirtualClock},
};
use http::StatusCode;

use crate::bench::{Bench, post, send};

fn by_header(parts: &http::request::Parts) -> Result<Namespace, StatusCode> {
    let client = parts
        .headers
        .get("client")
        .ok_or(StatusCode::UNAUTHORIZED)?;
    Namespace::from_bytes(client.as_bytes()).map_err(|_| StatusCode::UNAUTHORIZED)
}

fn name(key: &str) -> IdempotencyKey {
    IdempotencyKey::new(key).unwrap()
}

/// Goal: no key that a client sends is one of the service's own. Method: the service has used the
/// key, and clients send it, and names made to look like it.
#[tokio::test]
async fn a_client_takes_no_key_of_the_service() {
    let bench = Bench::new();
    let claim = Claim::new(name("charge/17"), Fingerprint::of_bytes("charge", b"17"));
    let Claimed::Fresh(tx) = bench.store.claim(&claim).await.unwrap() else {
        panic!("not fresh");
    };
    let receipt = Receipt::from_bytes("own");
    let _ = bench.store.complete(tx, &claim, &receipt).await.unwrap();
    let open = bench.paying(bench.transactional());
    let scoped = IdempotencyKeyLayer::transactional(bench.store.clone()).scope(by_header);
    let scoped = bench.paying(scoped);
    let paid = send(&open, post("/pay", Some("\"charge/17\""), "5")).await;
    assert_eq!(paid.status(), StatusCode::CREATED);
    assert!(!paid.headers().contains_key("idempotent-replayed"));
    // Neither does a client take another one's.
    for (client, key) in [("ann", "k"), ("ann:k", "k"), ("a", "nn:k"), ("3:ann", "k")] {
        let mut request = post("/pay", Some(&format!("\"{key}\"")), "5");
        let headers = request.headers_mut();
        headers.insert("client", client.parse().unwrap());
        let paid = send(&scoped, request).await;
        assert_eq!(paid.status(), StatusCode::CREATED);
        assert!(
            !paid.headers().contains_key("idempotent-replayed"),
            "{client} {key}"
        );
    }
    // No unscoped key is a scoped one.
    let paid = send(&open, post("/pay", Some("\"3:ann:k\""), "5")).await;
    assert!(!paid.headers().contains_key("idempotent-replayed"));
    let own = bench
        .store
        .lookup(&name("charge/17"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(own.fingerprint, *claim.fingerprint());
}

/// Goal: expiry covers all scopes, and a client's key can be looked up and forgotten. Method: keys
/// of several clients pass their retention, one that is longer does not.
#[tokio::test]
async fn expiry_covers_all_scopes() {
    let clock = VirtualClock::default();
    let bench = Bench::on(MemoryStore::with_clock(clock.clone()));
    let day = Duration::from_secs(24 * 3600);
    let layer = || IdempotencyKeyLayer::transactional(bench.store.clone()).scope(by_header);
    let short = bench.paying(layer().retention(Retention::new(day).unwrap()));
    let long = bench.paying(layer());
    let ask = |service, client: &str| {
        let mut request = post("/pay", Some("\"k\""), "5");
        request
            .headers_mut()
            .insert("client", client.parse().unwrap());
        send(service, request)
    };
    let ann = Namespace::new("ann").unwrap();
    for client in ["ann", "bob", "x"] {
        ask(&short, client).await;
    }
    ask(&long, "carl").await;
    let stored = stored_key(Some(&ann), &name("k")).unwrap();
    let record = bench.store.lookup(&stored).await.unwrap().unwrap();
    assert!(matches!(record.state, KeyState::Completed { .. }));
    assert_eq!(bench.store.expire(100).await.unwrap(), 0);
    clock.advance(day * 2);
    assert_eq!(bench.store.expire(100).await.unwrap(), 3);
    assert!(bench.store.lookup(&stored).await.unwrap().is_none());
    let carl = ask(&long, "carl").await;
    assert_eq!(carl.headers()["idempotent-replayed"], "true");
    let carl = stored_key(Some(&Namespace::new("carl").unwrap()), &name("k")).unwrap();
    assert!(bench.store.forget(&carl).await.unwrap());
    let repeated = ask(&long, "carl").await;
    assert!(!repeated.headers().contains_key("idempotent-replayed"));
}
