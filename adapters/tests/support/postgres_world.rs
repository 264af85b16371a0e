//! A real server for the tests of this process, and small helpers.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use exactly_once::{
    Claim, Error, ErrorKind, Fingerprint, IdempotencyKey, Participation, Store, Timestamp,
    TransactionId, postgres::Timeouts,
};
use exactly_once_servers::Postgres;

/// The version to test.
pub fn major() -> u32 {
    std::env::var("EXACTLY_ONCE_POSTGRES").map_or(15, |major| major.parse().unwrap())
}

/// A server with an empty database in it.
pub struct World {
    pub server: Arc<Postgres>,
    pub database: String,
}

/// An empty database on the server of this process, which is gone with the last test.
pub async fn world() -> World {
    // Each test has a runtime and a thread of its own: waiting in the lock is fine.
    static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let server = {
        let mut slot = SERVER.lock().unwrap_or_else(|broken| broken.into_inner());
        match slot.upgrade() {
            Some(server) => server,
            None => {
                let start = async { Arc::new(Postgres::start(major()).await.unwrap()) };
                let handle = tokio::runtime::Handle::current();
                let server = tokio::task::block_in_place(|| handle.block_on(start));
                *slot = Arc::downgrade(&server);
                server
            }
        }
    };
    let database = format!("world_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    server.create_database(&database).await.unwrap();
    World { server, database }
}

impl World {
    pub fn url(&self) -> String {
        self.server.database_url(&self.database)
    }

    /// Past the store.
    pub async fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.database, sql).await.unwrap()
    }

    /// What is open in this database, once the server had a moment to see closed connections.
    pub async fn nothing_open(&self) {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL \
                   AND datname = current_database() AND pid <> pg_backend_pid()";
        for _ in 0..100 {
            if self.sql(sql).await == "0" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("a transaction is left open in {}", self.database);
    }
}

/// Short, so that what must wait is soon over.
pub fn timeouts() -> Timeouts {
    Timeouts {
        // A busy machine may take long to let a connection in.
        connect: Duration::from_secs(60),
        acquire: Duration::from_secs(60),
        lock: Duration::from_millis(300),
        statement: Duration::from_secs(10),
        reply: Duration::from_secs(60),
        ..Timeouts::default()
    }
}

pub fn claim(name: &str) -> Claim {
    let key = IdempotencyKey::new(name).unwrap();
    Claim::new(key, Fingerprint::of("test", name).unwrap())
}

/// A transaction that may be prepared for a minute, by the store's clock.
pub async fn participation(store: &impl Store, name: &str) -> Participation {
    let now = store.now().await.unwrap();
    let after = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
    between(name, after(60), after(120))
}

pub fn between(name: &str, not_after: Timestamp, forget_after: Timestamp) -> Participation {
    Participation::new(
        &TransactionId::new(name).unwrap(),
        Fingerprint::of("test", name).unwrap(),
        not_after,
        forget_after,
    )
    .unwrap()
}

/// The error, which must be of this kind and say all of these words.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = format!("{error} {error:?}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
}
