//! Trap 15: CREATE TABLE IF NOT EXISTS stops no two from trying at once.

use exactly_once::{ErrorKind, Store, postgres::TokioPostgresStore};

use crate::world::{refused, timeouts, world};

// 15. Ten sessions at CREATE TABLE IF NOT EXISTS fail; under a lock they don't.
#[tokio::test(flavor = "multi_thread")]
async fn ten_migrate_at_once() {
    let world = world().await;
    for round in 0..5 {
        let schema = format!("odd \"schema\" \\' {round}");
        let connects = (0..10).map(|_| {
            TokioPostgresStore::builder(world.url())
                .schema(&schema)
                .timeouts(timeouts())
                .pool_size(1)
                .connect()
        });
        for connected in futures_util::future::join_all(connects).await {
            connected.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_tables_is_refused() {
    let world = world().await;
    let builder = || TokioPostgresStore::builder(world.url());
    let words = ["migrate()"];
    let answer = builder().migrate_at_connect(false).connect().await;
    refused(answer, ErrorKind::Configuration, &words);
    builder().connect().await.unwrap();
    builder().migrate_at_connect(false).connect().await.unwrap();
    world
        .sql("UPDATE exactly_once.schema_version SET version = 999")
        .await;
    refused(
        builder().connect().await,
        ErrorKind::Configuration,
        &["999"],
    );
}

// Change data capture publishes every table: a row without a primary key could not be updated.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_all_tables_stops_nothing() {
    let world = world().await;
    let builder = || TokioPostgresStore::builder(world.url());
    let store = builder().connect().await.unwrap();
    world
        .sql("CREATE PUBLICATION everything FOR ALL TABLES")
        .await;
    let adopted = store.adopt().await.unwrap();
    assert_eq!(store.identity().await.unwrap(), adopted);
    builder().connect().await.unwrap();
    let without = "SELECT string_agg(c.relname, ' ') FROM pg_class c \
                   JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = 'exactly_once' AND c.relkind = 'r' AND NOT EXISTS \
                   (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)";
    assert_eq!(world.sql(without).await, "", "tables without a primary key");
}
