//! What bounds an attempt: the size of its response, its time, and the wait for another one.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use exactly_once::{
    http::KeyedTx,
    memory::MemoryStore,
    postgres::{Timeouts, TokioPostgresStore},
};
use exactly_once_servers::Postgres;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::Semaphore;
use tower::Layer;

use crate::bench::{Asked, Bench, TTL, answer, body, pay, post, send};

static KEY: Option<&str> = Some("\"k\"");

/// Goal: a response is not collected past the limit. Method: a body without end counts what is read
/// of it.
#[tokio::test]
async fn a_response_is_limited_while_it_is_read() {
    let (bench, read) = (Bench::new(), Arc::new(AtomicU64::new(0)));
    let counter = read.clone();
    let inner = tower::service_fn(move |request: Asked| {
        let read = counter.clone();
        async move {
            if request.extensions().get::<KeyedTx<MemoryStore>>().is_some() {
                pay(&request).await;
            }
            let chunks = stream::repeat_with(move || {
                read.fetch_add(1 << 16, Ordering::SeqCst);
                Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; 1 << 16])))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(chunks)))
        }
    });
    let limit = (1 << 20) + (1 << 17);
    let once = bench.transactional().layer(inner.clone());
    let large = send(&once, post("/pay", KEY, "5")).await;
    assert_eq!(large.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(read.swap(0, Ordering::SeqCst) <= limit);
    assert_eq!(bench.paid().await, 0, "undone");
    assert_eq!(bench.store.open_transactions(), 0);
    let held = bench.leased(TTL).layer(inner);
    let mut told = Vec::new();
    for _ in 0..2 {
        let large = send(&held, post("/mail", Some("\"mail\""), "5")).await;
        assert_eq!(large.status(), StatusCode::GONE, "it took effect");
        told.push(body(large).await);
    }
    assert_eq!(told[0], told[1]);
    assert!(read.load(Ordering::SeqCst) <= limit, "it ran once");
}

/// What comes without waiting for what never ends; a machine may be slow.
async fn in_time<F: Future>(answer: F) -> F::Output {
    let limit = Duration::from_secs(120);
    let answer = tokio::time::timeout(limit, answer).await;
    answer.unwrap()
}

/// Goal: an attempt that never ends is ended. Method: a handler that waits for ever, and a response
/// whose body does; the retry then takes effect.
#[tokio::test]
async fn an_attempt_ends_in_time() {
    let time = Duration::from_millis(200);
    let bench = Bench::new();
    let hanging = tower::service_fn(async |request: Asked| {
        if request.extensions().get::<KeyedTx<MemoryStore>>().is_some() {
            pay(&request).await;
        }
        if request.uri().path() == "/handler" {
            std::future::pending::<()>().await;
        }
        let body = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        Ok::<_, Infallible>(Response::new(StreamBody::new(body)))
    });
    let once = bench.transactional().max_duration(time).layer(hanging);
    let held = bench.leased(TTL).max_duration(time).layer(hanging);
    for path in ["/handler", "/body"] {
        let late = in_time(send(&once, post(path, Some(path_key(path)), "5"))).await;
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(late.headers().contains_key("retry-after"));
        assert_eq!(bench.store.open_transactions(), 0);
        let mail = format!("\"mail {}\"", &path[1..]);
        let late = in_time(send(&held, post(path, Some(&mail), "5"))).await;
        assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
        let paying = bench.paying(bench.transactional());
        let retried = send(&paying, post(path, Some(path_key(path)), "5")).await;
        assert_eq!(retried.status(), StatusCode::CREATED);
        let sending = bench.service(bench.leased(TTL), async |_| answer(StatusCode::OK, "sent"));
        let retried = send(&sending, post(path, Some(&mail), "5")).await;
        assert_eq!(body(retried).await, "sent", "the lease was given back");
    }
    assert_eq!(bench.paid().await, 2);
}

fn path_key(path: &str) -> &str {
    if path == "/handler" {
        "\"one\""
    } else {
        "\"two\""
    }
}

/// Goal: a response that is not recorded has no limit of size or time.
#[tokio::test]
async fn a_failure_passes_as_it_is() {
    let bench = Bench::new();
    let large = "x".repeat(2 * 1024 * 1024);
    let failing = |layer| {
        let large = large.clone();
        bench.service(layer, move |_| {
            let large = large.clone();
            async move { answer(StatusCode::BAD_GATEWAY, &large) }
        })
    };
    let failed = send(&failing(bench.transactional()), post("/pay", KEY, "5")).await;
    assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(body(failed).await.len(), large.len());
}

/// Goal: repeats of a request in progress hold no connection, and delay no other key. Method: the
/// first one's handler waits with its transaction open on a real Postgres; 60 repeats, here and at
/// another instance of the service, then another key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_in_progress_are_answered_at_once() {
    static GO: Semaphore = Semaphore::const_new(0);
    let server = Postgres::start(15).await.unwrap();
    let bench = Bench::new();
    let mut instances = Vec::new();
    for _ in 0..2 {
        // A repeat that waits for the first one, or for one of the repeats' connections, waits for ever.
        let timeouts = Timeouts {
            acquire: Duration::from_secs(600),
            lock: Duration::from_secs(600),
            statement: Duration::from_secs(700),
            reply: Duration::from_secs(800),
            ..Timeouts::default()
        };
        let builder = TokioPostgresStore::builder(server.url()).timeouts(timeouts);
        let layer = crate::bench::transactional(builder.connect().await.unwrap());
        instances.push(bench.service(layer, async |request: Asked| {
            if request.uri().path() == "/slow" {
                GO.acquire().await.unwrap().forget();
            }
            answer(StatusCode::OK, "receipt")
        }));
    }
    let first = tokio::spawn(send(&instances[0], post("/slow", KEY, "5")));
    while bench.handled() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for instance in &instances {
        let repeats: Vec<_> = (0..60)
            .map(|_| tokio::spawn(send(instance, post("/slow", KEY, "5"))))
            .collect();
        let other = format!("\"other {}\"", bench.handled());
        let other = in_time(send(instance, post("/fast", Some(&other), "5"))).await;
        assert_eq!(other.status(), StatusCode::OK);
        for repeat in repeats {
            let repeat = in_time(repeat).await.unwrap();
            assert_eq!(repeat.status(), StatusCode::CONFLICT);
            assert!(repeat.headers().contains_key("retry-after"));
        }
        let reused = send(instance, post("/slow", KEY, "6")).await;
        assert_eq!(reused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
    GO.add_permits(1);
    assert_eq!(body(first.await.unwrap()).await, "receipt");
    let again = send(&instances[1], post("/slow", KEY, "5")).await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
}
