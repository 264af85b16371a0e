//! Key, response and the handler's writes in one transaction.

use std::{panic::AssertUnwindSafe, time::Duration};

use exactly_once::http::{KeyedTx, TxGuard};
use exactly_once::memory::MemoryStore;
use exactly_once_conformance::faults::polls::every_poll;
use futures_util::FutureExt;
use http::StatusCode;
use tokio::sync::Semaphore;

use crate::bench::{Asked, Bench, answer, body, pay, post, send};

static KEY: Option<&str> = Some("\"k\"");

/// Goal: the retry gets the same response, and the effect is there once.
#[tokio::test]
async fn the_stored_response_is_replayed() {
    let bench = Bench::new();
    let service = bench.paying(bench.transactional());
    let first = send(&service, post("/pay", KEY, "5")).await;
    assert!(
        first.headers().contains_key("set-cookie"),
        "the first one is untouched"
    );
    assert!(!first.headers().contains_key("idempotent-replayed"));
    for _ in 0..3 {
        let again = send(&service, post("/pay", KEY, "5")).await;
        assert_eq!(again.status(), StatusCode::CREATED);
        assert_eq!(again.headers()["location"], "/payments/17");
        assert_eq!(again.headers()["idempotent-replayed"], "true");
        assert!(
            !again.headers().contains_key("set-cookie"),
            "it was not chosen"
        );
        assert_eq!(body(again).await, "receipt 17");
    }
    assert_eq!((bench.handled(), bench.paid().await), (1, 1));
}

/// Goal: a refusal undoes the handler's writes, and is the answer on every retry, word for word; an
/// answer that depends on the moment is not kept.
#[tokio::test]
async fn a_refusal_is_recorded_and_a_failure_is_not() {
    for (status, runs) in [(409, 1), (422, 1), (401, 2), (429, 2), (500, 2), (503, 2)] {
        let bench = Bench::new();
        let layer = bench.transactional();
        let status = StatusCode::from_u16(status).unwrap();
        let service = bench.service(layer, move |request: Asked| async move {
            pay(&request).await;
            answer(status, "no")
        });
        for _ in 0..2 {
            let response = send(&service, post("/pay", KEY, "5")).await;
            assert_eq!(response.status(), status);
            assert_eq!(body(response).await, "no");
        }
        assert_eq!((bench.handled(), bench.paid().await), (runs, 0), "{status}");
    }
}

/// Goal: a panic leaves nothing behind. Method: the first attempt panics after its write.
#[tokio::test]
async fn a_handler_that_panics_is_rolled_back() {
    let bench = Bench::new();
    let layer = bench.transactional();
    let panicking = bench.service(layer.clone(), async |request| {
        pay(&request).await;
        panic!("planted")
    });
    let sent = AssertUnwindSafe(send(&panicking, post("/pay", KEY, "5")));
    assert!(sent.catch_unwind().await.is_err(), "the panic goes on");
    assert_eq!(bench.paid().await, 0);
    let retried = send(&bench.paying(layer), post("/pay", KEY, "5")).await;
    assert_eq!(retried.status(), StatusCode::CREATED);
    assert_eq!(bench.paid().await, 1);
}

/// Goal: a client that hangs up at any moment finds one effect when it comes back. Method: the
/// request's future is dropped at every poll, and the request repeated.
#[tokio::test]
async fn a_client_may_hang_up_at_any_moment() {
    let bench = Bench::new();
    let layer = bench.transactional();
    let service = bench.service(layer, async |request| {
        tokio::task::yield_now().await;
        pay(&request).await;
        tokio::task::yield_now().await;
        answer(StatusCode::OK, "receipt")
    });
    let (bench, service) = (&bench, &service);
    let key = |k: usize| format!("\"{k}\"");
    let polls = every_poll(
        50,
        |k| send(service, post("/pay", Some(&key(k)), "5")),
        |k, _| async move {
            let response = send(service, post("/pay", Some(&key(k)), "5")).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(bench.paid().await, i64::try_from(k).unwrap(), "at poll {k}");
            Ok(())
        },
    )
    .await;
    assert!(polls.unwrap() >= 3, "there was nothing to interrupt");
}

/// Goal: a duplicate while the first is in flight is asked to come back, and finds the response then.
#[tokio::test]
async fn a_duplicate_in_flight_is_a_conflict() {
    static GO: Semaphore = Semaphore::const_new(0);
    let bench = Bench::new();
    let layer = bench.transactional();
    let service = bench.service(layer, async |request| {
        pay(&request).await;
        GO.acquire().await.unwrap().forget();
        answer(StatusCode::OK, "receipt")
    });
    let first = tokio::spawn(send(&service, post("/pay", KEY, "5")));
    while bench.handled() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = send(&service, post("/pay", KEY, "5")).await;
    assert_eq!(second.status(), StatusCode::CONFLICT);
    let after: u64 = second.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(after >= 1);
    GO.add_permits(1);
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    let third = send(&service, post("/pay", KEY, "5")).await;
    assert_eq!(body(third).await, "receipt");
    assert_eq!((bench.handled(), bench.paid().await), (1, 1));
}

/// Goal: of many at once, one takes effect, and in the end all have its response.
#[tokio::test]
async fn of_many_duplicates_one_takes_effect() {
    let bench = Bench::new();
    let service = bench.paying(bench.transactional());
    let senders = (0..32).map(|_| {
        let service = service.clone();
        tokio::spawn(async move {
            loop {
                let response = send(&service, post("/pay", KEY, "5")).await;
                match response.status() {
                    StatusCode::CREATED => return body(response).await,
                    status => assert!([409, 503].contains(&status.as_u16()), "{status}"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        assert_eq!(sender.await.unwrap(), "receipt 17");
    }
    assert_eq!(bench.paid().await, 1);
}

/// Goal: a transaction that the handler does not give back is never committed.
#[tokio::test]
async fn a_transaction_that_is_kept_is_rolled_back() {
    let (keep, mut kept) = tokio::sync::mpsc::unbounded_channel::<TxGuard<MemoryStore>>();
    let bench = Bench::new();
    let layer = bench.transactional();
    let service = bench.service(layer.clone(), move |request: Asked| {
        let keep = keep.clone();
        async move {
            pay(&request).await;
            let keyed = request.extensions().get::<KeyedTx<MemoryStore>>().unwrap();
            keep.send(keyed.lock().await.unwrap()).unwrap();
            answer(StatusCode::OK, "receipt")
        }
    });
    let response = send(&service, post("/pay", KEY, "5")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    drop(kept.recv().await);
    assert_eq!(bench.paid().await, 0);
    assert_eq!(
        send(&bench.paying(layer), post("/pay", KEY, "5"))
            .await
            .status(),
        201
    );
    assert_eq!(bench.paid().await, 1);
}

/// Goal: after the answer the transaction has ended for every holder of a handle on it.
#[tokio::test]
async fn a_transaction_that_is_over_is_said_to_be() {
    let (keep, mut kept) = tokio::sync::mpsc::unbounded_channel::<KeyedTx<MemoryStore>>();
    let bench = Bench::new();
    let layer = bench.transactional();
    let service = bench.service(layer, move |request: Asked| {
        let keyed = request.extensions().get::<KeyedTx<MemoryStore>>().cloned();
        keep.send(keyed.unwrap()).unwrap();
        async move { answer(StatusCode::OK, "receipt") }
    });
    send(&service, post("/pay", KEY, "5")).await;
    let late = kept.recv().await.unwrap();
    assert!(late.lock().await.is_err());
}

/// Goal: a response that can't be stored is not given, and its effect is undone.
#[tokio::test]
async fn a_response_that_is_too_large_is_rolled_back() {
    let bench = Bench::new();
    let layer = bench.transactional();
    let service = bench.service(layer, async |request| {
        pay(&request).await;
        answer(StatusCode::OK, &"x".repeat(2 * 1024 * 1024))
    });
    let response = send(&service, post("/pay", KEY, "5")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(body(response).await.contains("too large"));
    assert_eq!(bench.paid().await, 0);
}
