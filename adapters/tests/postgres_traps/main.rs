//! The traps of PostgreSQL, each with a test that fails where the store does not answer it.
//!
//! | trap | room |
//! |---|---|
//! | 1, 2, 3 two-phase commit is off, its slots are full, it is turned off later | `settings` |
//! | 3, 4, 16 identifiers: in use, unknown, busy, their length | `identifiers` |
//! | 4, 13, 16 the server's defaults | `defaults` |
//! | 5 COMMIT and PREPARE that say nothing and do nothing | `silent_rollback` |
//! | 6 dropped futures, dirty connections | `cancellation`, and `postgres_sqlx` |
//! | 7 roles and databases | `ownership` |
//! | 8, 10 prepared locks | `blocking`, and `postgres_failover` |
//! | 9 work that can't be prepared | `unpreparable` |
//! | 11 reading a status beside a commit | `races` |
//! | 12 standbys | `replication`, and `postgres_failover` |
//! | 14 transaction poolers | `pooler`, and the suite through pgbouncer |
//! | 15 ten that migrate at once | `migration` |
//! | 17 `pg_xact_status`, which forgets | not used |
//! | volatile clocks and old statistics: a batch that reads all that is stored | `expiry` |
//! | transactions that all end at one moment, and an index by that | `one_end` |
//! | a participant's whole work in one message | `one_message` |
//! | a mark that no call waits for, and a crash | `unflushed` |
//! | URLs, passwords, pools | `connecting` |
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(feature = "tokio-postgres")]

#[path = "../support/postgres_world.rs"]
mod world;

mod blocking;
mod cancellation;
mod connecting;
mod defaults;
mod expiry;
mod identifiers;
mod migration;
mod one_end;
mod one_message;
mod ownership;
mod pooler;
mod races;
mod replication;
mod settings;
mod silent_rollback;
mod unflushed;
mod unpreparable;

use exactly_once::{
    BegunPrepared, Claimed, IdempotencyStore, Participation, PreparedTransactions, Receipt,
    postgres::{TokioPostgresStore, TokioPostgresTx},
};
use world::{World, claim, participation, timeouts};

async fn store(world: &World) -> TokioPostgresStore {
    connect(&world.url()).await
}

async fn connect(url: &str) -> TokioPostgresStore {
    let builder = TokioPostgresStore::builder(url).timeouts(timeouts());
    builder.connect().await.unwrap()
}

async fn fresh(store: &TokioPostgresStore, name: &str) -> TokioPostgresTx {
    match store.claim(&claim(name)).await.unwrap() {
        Claimed::Fresh(tx) => tx,
        other => panic!("{other:?}"),
    }
}

async fn begun(store: &TokioPostgresStore, name: &str) -> (TokioPostgresTx, Participation) {
    let participation = participation(store, name).await;
    match store.begin_prepared(&participation).await.unwrap() {
        BegunPrepared::Fresh(tx) => (tx, participation),
        other => panic!("{other:?}"),
    }
}

/// Prepared, with nothing but its marker in it.
async fn prepared(store: &TokioPostgresStore, name: &str) -> Participation {
    let (tx, participation) = begun(store, name).await;
    store.prepare(tx, &participation).await.unwrap();
    participation
}

fn receipt() -> Receipt {
    Receipt::from_bytes("r")
}

/// Runs SQL in the transaction, as a user's work does.
async fn run(tx: &TokioPostgresTx, sql: &str) {
    tx.client().unwrap().batch_execute(sql).await.unwrap();
}
