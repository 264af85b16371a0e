//! A pooler in between: no program runs another's statement.

use std::time::Duration;

use exactly_once::{
    ErrorKind, ExecuteOnce, WorkError,
    postgres::{PostgresTx, SqlxPostgresStore},
};
use exactly_once_servers::Pgbouncer;
use futures_util::future::join_all;

use crate::{
    Under, builder,
    world::{claim, refused, timeouts, world},
};

on_both!(
    statements_of_two_programs_are_never_mixed_up,
    a_pooler_in_statement_mode_is_refused,
    a_setting_of_work_does_not_stay_behind_a_pooler,
);

async fn statements_of_two_programs_are_never_mixed_up<D: Under>() {
    let world = world().await;
    world
        .sql("CREATE TABLE a (n int8); CREATE TABLE b (n int8)")
        .await;
    let pooler = Pgbouncer::start(&world.server).await.unwrap();
    let url = pooler.database_url(&world.database);
    let stores = [
        builder::<D>(&url).pool_size(4).connect().await.unwrap(),
        builder::<D>(&url).pool_size(4).connect().await.unwrap(),
    ];
    for round in 0..20 {
        let calls = (0..8).map(|number| {
            let store = &stores[number % 2];
            let text = if number % 2 == 0 {
                "INSERT INTO a SELECT count(*) FROM a HAVING count(*) >= 0"
            } else {
                "INSERT INTO b SELECT count(*) FROM b HAVING count(*) >= 0"
            };
            let claim = claim(&format!("{round} {number}"));
            async move {
                let work = async |tx: &mut PostgresTx<D::Connection>| D::query(tx, text).await;
                let mut tries = 0;
                while let Err(error) = store.execute_once(&claim, work).await {
                    assert!(error.is_retryable() && tries < 20, "{error} {error:?}");
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        join_all(calls).await;
    }
    let counts = "SELECT (SELECT count(*) FROM a) || ' ' || (SELECT count(*) FROM b)";
    assert_eq!(world.sql(counts).await, "80 80");
}

async fn a_pooler_in_statement_mode_is_refused<D: Under>() {
    let world = world().await;
    let pooler = Pgbouncer::start(&world.server).await.unwrap();
    let (client, connection) =
        tokio_postgres::connect(&pooler.database_url("pgbouncer"), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    client
        .simple_query("SET pool_mode = 'statement'")
        .await
        .unwrap();
    client.simple_query("RELOAD").await.ok();
    client
        .simple_query("SET pool_mode = 'statement'")
        .await
        .unwrap();
    let url = pooler.database_url(&world.database);
    let refusal = builder::<D>(&url).connect().await;
    refused(
        refusal,
        ErrorKind::Configuration,
        &["statement mode", "pool_mode"],
    );
}

async fn a_setting_of_work_does_not_stay_behind_a_pooler<D: Under>() {
    let world = world().await;
    let pooler = Pgbouncer::start(&world.server).await.unwrap();
    let url = pooler.database_url(&world.database);
    let store = builder::<D>(&url).pool_size(2).connect().await.unwrap();
    const PATH: &str = "SELECT current_setting('search_path')";
    let path = async |tx: &mut PostgresTx<D::Connection>| D::one(tx, PATH).await;
    let new = store.execute_once(&claim("new"), path).await.unwrap().value;
    for round in 0..5 {
        let work = async |tx: &mut PostgresTx<D::Connection>| -> Result<(), WorkError> {
            D::run(tx, "SET search_path = other").await
        };
        store
            .execute_once(&claim(&format!("{round}")), work)
            .await
            .unwrap();
        let after = store
            .execute_once(&claim(&format!("after {round}")), path)
            .await;
        assert_eq!(after.unwrap().value, new);
    }
}

// Of a pool of the user's own the store can't change anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_mixes_statements_up_is_refused() {
    let world = world().await;
    let pooler = Pgbouncer::start(&world.server).await.unwrap();
    if pooler.prepared_statements() {
        return;
    }
    let url = pooler.database_url(&world.database);
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let store = SqlxPostgresStore::from_pool(pool)
        .timeouts(timeouts())
        .connect()
        .await;
    refused(
        store,
        ErrorKind::Configuration,
        &["statement_cache_capacity"],
    );
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let pool = sqlx::PgPool::connect_with(options.statement_cache_capacity(0))
        .await
        .unwrap();
    let store = SqlxPostgresStore::from_pool(pool)
        .timeouts(timeouts())
        .connect()
        .await;
    store.unwrap();
}
