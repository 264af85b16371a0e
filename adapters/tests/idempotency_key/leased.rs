//! A lease on the key while the effect happens somewhere else.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use exactly_once::http::Attempt;
use futures_util::FutureExt;
use http::StatusCode;
use tokio::sync::Semaphore;

use crate::bench::{Asked, Bench, TTL, answer, body, post, send};

static KEY: Option<&str> = Some("\"k\"");

/// Goal: a client that hangs up does not stop the effect half way, and finds its response later; a
/// duplicate meanwhile is asked to come back.
#[tokio::test]
async fn the_effect_goes_on_without_its_client() {
    static GO: Semaphore = Semaphore::const_new(0);
    let sent = Arc::new(AtomicU32::new(0));
    let bench = Bench::new();
    let layer = bench.leased(TTL);
    let mails = sent.clone();
    let service = bench.service(layer, move |_| {
        let mails = mails.clone();
        async move {
            GO.acquire().await.unwrap().forget();
            mails.fetch_add(1, Ordering::SeqCst);
            answer(StatusCode::ACCEPTED, "mailed")
        }
    });
    let client = tokio::spawn(send(&service, post("/mail", KEY, "hi")));
    while bench.handled() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    let early = send(&service, post("/mail", KEY, "hi")).await;
    assert_eq!(early.status(), StatusCode::CONFLICT);
    assert!(early.headers().contains_key("retry-after"));
    let other = send(&service, post("/mail", KEY, "bye")).await;
    assert_eq!(
        other.status(),
        StatusCode::UNPROCESSABLE_ENTITY,
        "also in flight"
    );
    GO.add_permits(1);
    let response = loop {
        let response = send(&service, post("/mail", KEY, "hi")).await;
        if response.status() != StatusCode::CONFLICT {
            break response;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(response.headers()["idempotent-replayed"], "true");
    assert_eq!(body(response).await, "mailed");
    assert_eq!((bench.handled(), sent.load(Ordering::SeqCst)), (1, 1));
}

/// Goal: after a panic or a failure the retry need not wait for the lease to end.
#[tokio::test]
async fn a_handler_that_fails_gives_the_key_back() {
    let bench = Bench::new();
    let layer = bench.leased(TTL);
    let panicking = bench.service(layer.clone(), async |_| panic!("planted"));
    let panicked = AssertUnwindSafe(send(&panicking, post("/mail", KEY, "hi")));
    assert!(panicked.catch_unwind().await.is_err(), "the panic goes on");
    let failing = bench.service(layer.clone(), async |_| answer(StatusCode::BAD_GATEWAY, ""));
    let failed = send(&failing, post("/mail", KEY, "hi")).await;
    assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
    let refusing = bench.service(layer.clone(), async |request: Asked| {
        // With this the answer is the handler's own.
        let _ = request.extensions().get::<Attempt>().unwrap().token();
        answer(StatusCode::CONFLICT, "never")
    });
    for _ in 0..2 {
        let refused = send(&refusing, post("/mail", KEY, "hi")).await;
        assert_eq!(body(refused).await, "never");
    }
    assert_eq!(bench.handled(), 3);
}

/// Goal: after a crash the handler runs again, and can be distinguished from its zombie. Method: the whole
/// runtime of the first attempt goes away; the retry waits for the lease to end.
#[test]
fn after_a_crash_another_attempt_has_a_higher_token() {
    let ttl = Duration::from_millis(300);
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let bench = Bench::new();
    let layer = bench.leased(ttl);
    let seen = tokens.clone();
    let service = bench.service(layer, move |request: Asked| {
        let attempt = request.extensions().get::<Attempt>().unwrap();
        assert_eq!(attempt.key().as_str(), "http::k");
        let mut seen = seen.lock().unwrap();
        seen.push(attempt.token());
        let crash = seen.len() == 1;
        async move {
            if crash {
                std::future::pending::<()>().await;
            }
            answer(StatusCode::OK, "mailed")
        }
    });
    let first = tokio::runtime::Runtime::new().unwrap();
    let client = first.spawn(send(&service, post("/mail", KEY, "hi")));
    while bench.handled() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    first.shutdown_background();
    drop(client);
    let second = tokio::runtime::Runtime::new().unwrap();
    let status = second.block_on(async {
        loop {
            let response = send(&service, post("/mail", KEY, "hi")).await;
            if response.status() != StatusCode::CONFLICT {
                break response.status();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(status, StatusCode::OK);
    let tokens = tokens.lock().unwrap();
    assert!(tokens.len() == 2 && tokens[1] > tokens[0], "{tokens:?}");
}

/// Goal: an attempt longer than its lease keeps the key, since the lease is renewed.
#[tokio::test]
async fn a_lease_is_renewed_while_the_handler_runs() {
    let ttl = Duration::from_secs(1);
    let bench = Bench::new();
    let layer = bench.leased(ttl);
    let service = bench.service(layer, move |_| async move {
        tokio::time::sleep(ttl * 2).await;
        answer(StatusCode::OK, "mailed")
    });
    let first = tokio::spawn(send(&service, post("/mail", KEY, "hi")));
    tokio::time::sleep(ttl * 3 / 2).await;
    let second = send(&service, post("/mail", KEY, "hi")).await;
    assert_eq!(second.status(), StatusCode::CONFLICT);
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    assert_eq!(bench.handled(), 1);
}

/// Goal: an effect that has happened is remembered although its response is too large, and the first
/// answer is the one of every retry.
#[tokio::test]
async fn an_effect_is_remembered_without_its_response() {
    let bench = Bench::new();
    let layer = bench.leased(TTL);
    let large = "x".repeat(2 * 1024 * 1024);
    let service = bench.service(layer, move |_| {
        let large = large.clone();
        async move { answer(StatusCode::OK, &large) }
    });
    let mut told = Vec::new();
    for _ in 0..2 {
        let gone = send(&service, post("/mail", KEY, "hi")).await;
        assert_eq!(gone.status(), StatusCode::GONE);
        assert_eq!(gone.headers()["content-type"], "application/problem+json");
        told.push(body(gone).await);
    }
    assert!(told[0].contains("took effect"));
    assert_eq!(told[0], told[1]);
    assert_eq!(bench.handled(), 1);
}
