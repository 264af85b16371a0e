//! What is recorded: what the handler decided, and nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    extract::DefaultBodyLimit,
    response::IntoResponse,
    routing::{get, post as posted},
};
use exactly_once::{
    Error, ErrorKind, Transactional,
    http::{Ending, KeyedTx},
    memory::{MemoryStore, VirtualClock},
    sqlite::SqliteStore,
};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::bench::{Asked, Bench, TTL, answer, body, pay, post, send};

static KEY: Option<&str> = Some("\"k\"");

/// Goal: a transient error of the work never becomes the final answer. Method: the work meets each
/// transient kind once, and the request is repeated.
#[tokio::test]
async fn a_transient_error_is_not_recorded() {
    let retry_after = Duration::from_secs(3);
    for kind in [
        ErrorKind::InProgress { retry_after },
        ErrorKind::Busy,
        ErrorKind::Reserved,
        ErrorKind::Ambiguous,
        ErrorKind::Lost,
        ErrorKind::Configuration,
        ErrorKind::Fenced,
        ErrorKind::Mismatch,
    ] {
        let bench = Bench::new();
        let met = Arc::new(AtomicU32::new(0));
        let service = bench.service(bench.transactional(), move |request: Asked| {
            let first = met.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                pay(&request).await;
                let keyed = request.extensions().get::<KeyedTx<MemoryStore>>().unwrap();
                if first {
                    return keyed.problem(Error::new(kind, "adjust", "memory"));
                }
                answer(StatusCode::CREATED, "receipt")
            }
        });
        let first = send(&service, post("/pay", KEY, "5")).await;
        if kind.is_retryable() {
            assert_eq!(first.status(), StatusCode::SERVICE_UNAVAILABLE, "{kind:?}");
            assert!(first.headers().contains_key("retry-after"), "{kind:?}");
        }
        let text = body(first).await;
        assert!(!text.contains("method, path or body"), "{kind:?}: {text}");
        let second = send(&service, post("/pay", KEY, "5")).await;
        assert_eq!(second.status(), StatusCode::CREATED, "{kind:?}");
        assert_eq!(bench.paid().await, 1, "{kind:?}");
    }
}

/// Goal: a refusal that the work met is recorded by its kind, whatever its status.
#[tokio::test]
async fn a_refusal_of_the_work_is_recorded() {
    for kind in [
        ErrorKind::InsufficientFunds,
        ErrorKind::UnknownAccount,
        ErrorKind::TooLarge,
        ErrorKind::Unsupported,
    ] {
        let bench = Bench::new();
        let service = bench.service(bench.transactional(), move |request: Asked| async move {
            let keyed = request.extensions().get::<KeyedTx<MemoryStore>>().unwrap();
            keyed.problem(Error::new(kind, "adjust", "memory"))
        });
        let first = body(send(&service, post("/pay", KEY, "5")).await).await;
        let second = send(&service, post("/pay", KEY, "5")).await;
        assert_eq!(second.status().as_u16(), kind.http_status());
        assert_eq!(body(second).await, first, "{kind:?}");
        assert_eq!(bench.handled(), 1, "{kind:?}");
    }
}

#[derive(serde::Deserialize)]
struct Payment {
    cents: i64,
}

async fn create(
    Extension(keyed): Extension<KeyedTx<MemoryStore>>,
    Json(payment): Json<Payment>,
) -> impl IntoResponse {
    let mut tx = keyed.lock().await.unwrap();
    tx.add("paid", payment.cents).unwrap();
    StatusCode::CREATED
}

/// Goal: what the router and the extractors answer is not the handler's decision. Method: each such
/// answer, and then the same request to the next release of the service, which takes it.
#[tokio::test]
async fn answers_of_the_router_and_its_extractors_are_not_recorded() {
    let bench = Bench::new();
    let today = Router::new()
        .route("/pay", posted(create))
        .route("/read", get(async || "read"))
        .layer(DefaultBodyLimit::max(50))
        .route(
            "/moved",
            posted(async || (StatusCode::PERMANENT_REDIRECT, [("location", "/pay")])),
        )
        .layer(bench.transactional());
    let tomorrow = bench.paying(bench.transactional());
    let json = |path: &str, key: &str, text: &str| {
        let mut request = post(path, Some(key), text);
        let headers = request.headers_mut();
        headers.insert("content-type", "application/json".parse().unwrap());
        request
    };
    let long = format!("{{\"cents\":5,\"note\":\"{}\"}}", "x".repeat(100));
    let requests: [(u16, Request<Full<bytes::Bytes>>); 7] = [
        (404, json("/nowhere", "\"404\"", "{\"cents\":5}")),
        (405, json("/read", "\"405\"", "{\"cents\":5}")),
        (413, json("/pay", "\"413\"", &long)),
        (415, post("/pay", Some("\"415\""), "{\"cents\":5}")),
        (422, json("/pay", "\"422\"", "{\"amount\":5}")),
        (400, json("/pay", "\"400\"", "{\"cents\":")),
        (308, json("/moved", "\"308\"", "{\"cents\":5}")),
    ];
    let mut taken = 0;
    for (status, request) in requests {
        let answer = send(&today, request.clone()).await;
        assert_eq!(answer.status().as_u16(), status);
        assert!(bench.store.open_transactions() == 0);
        let answer = send(&tomorrow, request).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "after {status}");
        assert!(!answer.headers().contains_key("idempotent-replayed"));
        taken += 1;
        assert_eq!(bench.paid().await, taken);
    }
}

/// Goal: what a constraint refuses at the commit is as final as what it refuses before: the first
/// answer is the answer on every retry. Method: a deferred foreign key, and its parent later.
#[tokio::test]
async fn a_refusal_at_the_commit_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("db")).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.run(|db| {
        db.execute_batch(
            "CREATE TABLE payer (id INTEGER PRIMARY KEY) STRICT; \
             CREATE TABLE payment (payer INTEGER REFERENCES payer DEFERRABLE INITIALLY DEFERRED) STRICT",
        )
    })
    .await
    .unwrap();
    store.commit(tx).await.unwrap();
    let bench = Bench::new();
    let layer = crate::bench::transactional(store.clone());
    let service = bench.service(layer, async |request: Asked| {
        let keyed = request.extensions().get::<KeyedTx<SqliteStore>>().unwrap();
        let mut tx = keyed.lock().await.unwrap();
        tx.run(|db| db.execute("INSERT INTO payment VALUES (17)", []))
            .await
            .unwrap();
        answer(StatusCode::CREATED, "receipt")
    });
    let first = send(&service, post("/pay", KEY, "5")).await;
    assert_eq!(first.status(), StatusCode::CONFLICT);
    let told = body(first).await;
    let mut tx = store.begin().await.unwrap();
    tx.run(|db| db.execute("INSERT INTO payer VALUES (17)", []))
        .await
        .unwrap();
    store.commit(tx).await.unwrap();
    let again = send(&service, post("/pay", KEY, "5")).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    assert_eq!(body(again).await, told);
    assert_eq!(bench.handled(), 1);
}

/// Goal: an attempt that was overtaken gives the answer that stands. Method: the lease of the first
/// attempt has expired by the store's clock while its handler runs; another process takes over, and ends
/// before or after it.
#[tokio::test]
async fn an_overtaken_attempt_gives_the_stored_answer() {
    for second_ends_first in [true, false] {
        let clock = VirtualClock::default();
        let bench = Bench::on(MemoryStore::with_clock(clock.clone()));
        let gates = Arc::new([Semaphore::new(0), Semaphore::new(0)]);
        let arrived = Arc::new(AtomicU32::new(0));
        let process = || {
            let (gates, arrived) = (gates.clone(), arrived.clone());
            bench.service(bench.leased(TTL), move |_| {
                let number = arrived.fetch_add(1, Ordering::SeqCst);
                let gates = gates.clone();
                async move {
                    gates[number as usize].acquire().await.unwrap().forget();
                    answer(StatusCode::CREATED, &format!("attempt {number}"))
                }
            })
        };
        let wait_for = async |attempts| {
            while arrived.load(Ordering::SeqCst) < attempts {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (one, two) = (process(), process());
        let first = tokio::spawn(send(&one, post("/mail", KEY, "hi")));
        wait_for(1).await;
        clock.advance(TTL * 2);
        let second = tokio::spawn(send(&two, post("/mail", KEY, "hi")));
        wait_for(2).await;
        if second_ends_first {
            gates[1].add_permits(1);
            let second: Response<_> = second.await.unwrap();
            assert_eq!(body(second).await, "attempt 1");
            gates[0].add_permits(1);
            let first: Response<_> = first.await.unwrap();
            assert_eq!(first.status(), StatusCode::CREATED);
            assert_eq!(first.headers()["idempotent-replayed"], "true");
            assert_eq!(body(first).await, "attempt 1");
        } else {
            gates[0].add_permits(1);
            let first: Response<_> = first.await.unwrap();
            assert_eq!(first.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(first.headers().contains_key("retry-after"));
            gates[1].add_permits(1);
            let second: Response<_> = second.await.unwrap();
            assert_eq!(body(second).await, "attempt 1");
        }
    }
}

/// Goal: a handler may say what becomes of its response, and a service may judge it otherwise.
#[tokio::test]
async fn a_handler_says_what_becomes_of_its_response() {
    for (said, judged, runs, paid) in [
        // 404, by status alone: the router may have said it.
        (None, None, 2, 0),
        (Some(Ending::Refuse), None, 1, 0),
        (Some(Ending::Commit), None, 1, 1),
        (Some(Ending::Refuse), Some(Ending::RollBack), 2, 0),
        (None, Some(Ending::Refuse), 1, 0),
    ] {
        let bench = Bench::new();
        let layer = bench.transactional().judge(move |_| judged);
        let service = bench.service(layer, move |request: Asked| async move {
            if said == Some(Ending::Commit) {
                pay(&request).await;
            }
            let mut response = answer(StatusCode::NOT_FOUND, "no");
            if let Some(said) = said {
                response.extensions_mut().insert(said);
            }
            response
        });
        for _ in 0..2 {
            let response = send(&service, post("/pay", KEY, "5")).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND);
            assert_eq!(body(response).await, "no");
        }
        let seen = (bench.handled(), bench.paid().await);
        assert_eq!(seen, (runs, paid), "{said:?}, {judged:?}");
    }
}
