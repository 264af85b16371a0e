//! Goal: two flows over a shared store, whatever backends they are on, undo and finish nothing of each
//! other. Method: each ordered pair of SQLite, Postgres and Redis; the register and the first
//! participant on one, the shared store on the other, and sweepers that know the wrong register, a part,
//! or more than took part.
#![cfg(all(feature = "rusqlite", feature = "tokio-postgres", feature = "redis"))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod away;
mod faults;
mod flows;

use exactly_once::{AnyStore, ConnectByUrl};
use exactly_once_servers::{Postgres, Redis};

use faults::every_fault;

async fn both_ways(one: AnyStore, two: AnyStore) {
    every_fault(&one, &two).await;
    every_fault(&two, &one).await;
}

async fn sqlite() -> (tempfile::TempDir, AnyStore) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/store.db", folder.path().display());
    let store = AnyStore::connect(&url).await.unwrap();
    (folder, store)
}

async fn postgres() -> (Postgres, AnyStore) {
    let server = Postgres::start(15).await.unwrap();
    let store = AnyStore::connect(&server.url()).await.unwrap();
    (server, store)
}

async fn redis() -> (Redis, AnyStore) {
    let server = Redis::start().await.unwrap();
    let store = AnyStore::connect(&server.url()).await.unwrap();
    (server, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_postgres() {
    let ((_folder, one), (_server, two)) = (sqlite().await, postgres().await);
    both_ways(one, two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_postgres() {
    let ((_redis, one), (_server, two)) = (redis().await, postgres().await);
    both_ways(one, two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_redis() {
    let ((_folder, one), (_server, two)) = (sqlite().await, redis().await);
    both_ways(one, two).await;
}
