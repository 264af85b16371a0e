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
    ErrorKind, ExecuteOnce, IdempotencyStore, OneShot, OneShotStore, Receipt, Returning, Rows,
    Statement, StatementTransaction,
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

/// Settings of the database that change how values are written as text.
const ODD: [(&str, &str); 5] = [
    ("TimeZone", "Asia/Kolkata"),
    ("bytea_output", "escape"),
    ("DateStyle", "German, DMY"),
    ("IntervalStyle", "sql_standard"),
    ("extra_float_digits", "-10"),
];

/// Values whose text depends on them; names that are ours in the statement around it; and what the
/// user's own expressions make of the settings.
const MADE: &str = "INSERT INTO made (r, rows, json, at, bytes, third, span, since) \
     VALUES (1, 2, 3, '2026-01-31 20:00:00+00', '\\x00ff41', 1 / 3::float8, '26:00:00', \
     tstzrange('2026-01-31 20:00:00+00', NULL)) \
     RETURNING *, at::date = '2026-02-01' AS tomorrow, \
     current_setting('bytea_output') || current_setting('IntervalStyle') AS settings";

/// Rows are one text, whatever the session writes: moments in UTC, bytes in hexadecimal digits, numbers
/// with all of theirs. The user's own expressions see the session's settings, before and after.
async fn rows_have_one_form<S>(world: &World, store: &S, zone: &str)
where
    S: OneShotStore + StatementTransaction,
{
    let row = |ahead: bool| {
        format!(
            r#"[{{"r":1,"rows":2,"json":3,"at":"2026-01-31T20:00:00+00:00","bytes":"\\x00ff41","third":0.3333333333333333,"span":"26:00:00","since":"[\"2026-01-31 20:00:00+00\",)","tomorrow":{ahead},"settings":"escapesql_standard"}}]"#
        )
    };
    let returning = |text: &str| Statement::new(text).returning(Returning::rows(1));
    let settings = "SELECT string_agg(current_setting(name), '|' ORDER BY name COLLATE \"C\") AS all \
         FROM unnest(ARRAY['TimeZone', 'bytea_output', 'DateStyle', 'IntervalStyle']) name";
    let other = format!("WITH nothing AS (SELECT 1) {MADE}");
    for (name, text) in [("batch", MADE), ("own transaction", &other)] {
        let effect = OneShot {
            claim: claim(name),
            statements: vec![returning(text)],
            receipt: Receipt::default(),
        };
        let done = store.execute_one_shot(&effect).await.unwrap();
        let rows: Rows = done.returned().unwrap().into_last();
        assert_eq!(rows.as_json(), row(zone != "UTC"), "{name}");
        let again = store.execute_one_shot(&effect).await.unwrap();
        assert_eq!(again.outcome, done.outcome, "{name}");
    }
    let mut tx = store.begin().await.unwrap();
    // A transaction may have settings of its own.
    let india = returning("SELECT set_config('TimeZone', 'Asia/Kolkata', true)");
    store.run_in(&mut tx, &india).await.unwrap();
    let before = store.run_in(&mut tx, &returning(settings)).await.unwrap();
    let ran = store.run_in(&mut tx, &returning(MADE)).await.unwrap();
    let after = store.run_in(&mut tx, &returning(settings)).await.unwrap();
    store.commit(tx).await.unwrap();
    assert_eq!(ran.rows.as_json(), row(true), "in a transaction");
    assert_eq!(after.rows, before.rows, "settings");
    // sqlx asks for ISO dates, too, as it connects.
    let before: String = before.rows.one().unwrap();
    assert!(
        before.ends_with("|sql_standard|Asia/Kolkata|escape"),
        "{before}"
    );
    assert_eq!(world.sql("SELECT count(*) FROM made").await, "3");
    world.sql("DELETE FROM made").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_have_one_form_under_any_settings_of_the_session() {
    let world = world().await;
    world
        .sql(
            "CREATE TABLE made (r int, rows int, json int, at timestamptz, bytes bytea, \
             third float8, span interval, since tstzrange)",
        )
        .await;
    for (name, value) in ODD {
        let set = format!(
            "ALTER DATABASE {} SET \"{name}\" = '{value}'",
            world.database
        );
        world.sql(&set).await;
    }
    let builder = TokioPostgresStore::builder(world.url()).timeouts(timeouts());
    let store = builder.connect().await.unwrap();
    rows_have_one_form(&world, &store, "Asia/Kolkata").await;
    #[cfg(feature = "sqlx-postgres")]
    {
        use exactly_once::{Namespace, Store, postgres::SqlxPostgresStore};
        let builder = SqlxPostgresStore::builder(world.url()).timeouts(timeouts());
        let store = builder.connect().await.unwrap();
        let store = store.with_namespace(Namespace::new("sqlx").unwrap());
        // The driver itself asks for UTC as it connects.
        rows_have_one_form(&world, &store, "UTC").await;
    }
}
