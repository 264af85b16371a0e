//! Shared fate: callers share a commit and a thread, and none gets an answer for another.
#![cfg(feature = "rusqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod groups;
mod limits;
mod thread;
mod transactions;

use std::{future::Future, time::Duration};

use exactly_once::sqlite::{SqliteBuilder, SqliteStore};
use exactly_once::{
    Claim, Fingerprint, IdempotencyKey, OneShot, Participation, Receipt, Statement, Store,
    TransactionId,
};
use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) const TABLES: &str = "CREATE TABLE person (id INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE effect (name TEXT NOT NULL, id INTEGER) STRICT;
    CREATE TABLE one (id INTEGER PRIMARY KEY) STRICT;
    INSERT INTO one VALUES (1);
    CREATE TABLE friend (id INTEGER REFERENCES person) STRICT;";

pub(crate) struct World {
    pub(crate) store: SqliteStore,
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) async fn with(
        schema: &str,
        build: impl FnOnce(SqliteBuilder) -> SqliteBuilder,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        Connection::open(&file)
            .unwrap()
            .execute_batch(&format!("{TABLES} {schema}"))
            .unwrap();
        let store = build(SqliteStore::builder(&file)).open().await.unwrap();
        Self { store, folder }
    }

    pub(crate) async fn new(schema: &str) -> Self {
        Self::with(schema, |builder| {
            builder.lock_timeout(Duration::from_secs(30))
        })
        .await
    }

    pub(crate) fn db(&self) -> Connection {
        let db = Connection::open(self.folder.path().join("store.db")).unwrap();
        db.busy_timeout(Duration::from_secs(5)).unwrap();
        db
    }

    pub(crate) fn ask(&self, sql: &str) -> i64 {
        self.db().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn effects(&self, name: &str) -> i64 {
        self.ask(&format!(
            "SELECT count(*) FROM effect WHERE name = '{name}'"
        ))
    }

    pub(crate) async fn part(&self, name: &str) -> Participation {
        let now = self.store.now().await.unwrap();
        let at = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
        let name = TransactionId::new(name).unwrap();
        let print = Fingerprint::of_bytes("test", b"x");
        Participation::new(&name, print, at(60), at(3600)).unwrap()
    }
}

pub(crate) fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

pub(crate) fn claim(name: &str) -> Claim {
    Claim::new(key(name), Fingerprint::of("effect", &name).unwrap())
}

pub(crate) fn effect(name: &str) -> String {
    format!("INSERT INTO effect VALUES ('{name}', 1)")
}

pub(crate) fn one_shot(name: &str, statements: &[&str]) -> OneShot {
    OneShot {
        claim: claim(name),
        statements: statements.iter().map(|sql| Statement::new(*sql)).collect(),
        receipt: Receipt::json(name).unwrap(),
    }
}

/// Fails if the call hangs; whatever machine it runs on, it takes a fraction of this.
pub(crate) async fn in_time<T>(call: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, call)
        .await
        .expect("a call hangs")
}
