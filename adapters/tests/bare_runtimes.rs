//! Runtimes that lack what tokio's own timer and sockets need, where tokio would panic: SQLite needs
//! neither, and the stores on a server say what is missing.
#![cfg(all(
    feature = "rusqlite",
    feature = "redis",
    feature = "tokio-postgres",
    feature = "sqlx-postgres"
))]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

use exactly_once::{
    Claim, Error, ErrorKind, Fingerprint, IdempotencyKey, IdempotencyStore, Store, Transactional,
    postgres::{SqlxPostgresStore, TokioPostgresStore},
    redis::RedisStore,
    sqlite::SqliteStore,
};
use tokio::runtime::{Builder, Runtime};

/// Runs a future without any runtime.
fn alone<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn bare() -> [Runtime; 3] {
    [
        Builder::new_multi_thread().build().unwrap(),
        Builder::new_current_thread().enable_io().build().unwrap(),
        Builder::new_current_thread().enable_time().build().unwrap(),
    ]
}

/// Each limit is met, and nothing panics.
async fn limits_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let limit = Duration::from_millis(50);
    let builder = SqliteStore::builder(folder.path().join("t.db"));
    let store = builder
        .lock_timeout(limit)
        .busy_timeout(limit)
        .open()
        .await
        .unwrap();
    let key = IdempotencyKey::new("k").unwrap();
    let claim = Claim::new(key, Fingerprint::of_bytes("t", b"k"));
    let held = store.begin().await.unwrap();
    let busy = store.begin().await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    let busy = store.claim(&claim).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    store.rollback(held).await.unwrap();
    let db = rusqlite::Connection::open(folder.path().join("t.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = store.begin().await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    store.close().await.unwrap();
}

#[test]
fn sqlite_needs_no_timer_and_no_runtime() {
    for runtime in bare() {
        runtime.block_on(limits_of_sqlite());
    }
    alone(limits_of_sqlite());
}

fn missing<T: std::fmt::Debug>(answer: Result<T, Error>, what: &str) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    let text = error.to_string();
    assert!(
        text.contains(what) && text.contains("enable_all()"),
        "{text}"
    );
}

#[test]
fn a_store_on_a_server_says_what_the_runtime_lacks() {
    // Nothing listens there, and nothing is connected.
    let (postgres, redis) = ("postgres://u@127.0.0.1:1/d", "redis://127.0.0.1:1");
    let connect_all = |what: &'static str| async move {
        missing(RedisStore::builder(redis).connect().await, what);
        missing(TokioPostgresStore::builder(postgres).connect().await, what);
        missing(SqlxPostgresStore::builder(postgres).connect().await, what);
    };
    for runtime in bare() {
        runtime.block_on(connect_all("no timer or no I/O"));
    }
    alone(connect_all("no tokio runtime"));
    let whole = Builder::new_current_thread().enable_all().build().unwrap();
    let failed = whole.block_on(RedisStore::builder(redis).connect());
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
}
