//! The user's own statements, prepared once for each connection of the pool.
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(feature = "tokio-postgres")]

#[path = "support/postgres_world.rs"]
mod world;

use exactly_once::{
    ErrorKind, ExecuteOnce, IdempotencyStore,
    postgres::{TokioPostgresStore, TokioPostgresTx},
};
use world::{World, claim, timeouts, world};

const INSERT: &str = "INSERT INTO paid (id) VALUES ($1)";

/// A store with a single connection, and a table of the user's.
async fn shop() -> (World, TokioPostgresStore) {
    let world = world().await;
    world.sql("CREATE TABLE paid (id int8 PRIMARY KEY)").await;
    let builder = TokioPostgresStore::builder(world.url()).pool_size(1);
    let store = builder.timeouts(timeouts()).connect().await.unwrap();
    (world, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_prepared_once_for_each_connection() {
    let (world, store) = shop().await;
    let mut kept = Vec::new();
    for id in 0..3_i64 {
        let done = store
            .execute_once(
                &claim(&format!("pay {id}")),
                async |tx: &mut TokioPostgresTx| {
                    let insert = tx.prepared(INSERT).await?;
                    tx.client()?.execute(&insert, &[&id]).await?;
                    let when = "SELECT prepare_time::text FROM pg_prepared_statements \
                                WHERE statement = $1";
                    let when = tx.client()?.query(when, &[&INSERT]).await?;
                    Ok(when.iter().map(|row| row.get(0)).collect::<Vec<String>>())
                },
            )
            .await
            .unwrap();
        kept.push(done.value);
    }
    assert_eq!(kept[0].len(), 1, "{kept:?}");
    assert!(kept.iter().all(|one| *one == kept[0]), "{kept:?}");
    assert_eq!(world.sql("SELECT count(*) FROM paid").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_the_server_refuses_undoes_the_work_and_can_be_retried() {
    let (world, store) = shop().await;
    let pay = claim("pay");
    let refused = store
        .execute_once(&pay, async |tx: &mut TokioPostgresTx| {
            tx.client()?
                .execute("INSERT INTO paid VALUES (9)", &[])
                .await?;
            let missing = tx.prepared("INSERT INTO receipts VALUES ($1)").await?;
            tx.client()?.execute(&missing, &[&9_i64]).await?;
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration, "{refused:?}");
    assert_eq!(world.sql("SELECT count(*) FROM paid").await, "0");
    assert!(store.lookup(pay.key()).await.unwrap().is_none());
    world.nothing_open().await;
    // The migration that was missing.
    world.sql("CREATE TABLE receipts (id int8)").await;
    store
        .execute_once(&pay, async |tx: &mut TokioPostgresTx| {
            let there = tx.prepared("INSERT INTO receipts VALUES ($1)").await?;
            tx.client()?.execute(&there, &[&9_i64]).await?;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM receipts").await, "1");
}
