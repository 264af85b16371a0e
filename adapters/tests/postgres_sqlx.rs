//! The traps that sqlx adds to PostgreSQL's own, and one-shot effects with typed parameters.
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(all(feature = "sqlx-postgres", feature = "tokio-postgres"))]

#[path = "support/postgres_world.rs"]
mod world;

use std::{future::Future, pin::pin, task::Poll};

use exactly_once::{
    Claimed, ErrorKind, IdempotencyStore, OneShot, OneShotStore, PreparedTransactions, Receipt,
    Statement, Transactional, Value,
    postgres::{SqlxPostgresStore, TokioPostgresStore},
};
use sqlx::postgres::PgPoolOptions;
use world::{World, claim, participation, refused, timeouts, world};

async fn store(world: &World) -> SqlxPostgresStore {
    let builder = SqlxPostgresStore::builder(world.url()).timeouts(timeouts());
    builder.connect().await.unwrap()
}

fn receipt() -> Receipt {
    Receipt::from_bytes("r")
}

/// Polls so often, then drops.
async fn dropped_after<F: Future>(future: F, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

// 6. A `begin()` that is dropped at its second poll leaves its transaction on the connection.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dropped_begin_left_in_the_pool_is_not_used() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.connect(&world.url()).await.unwrap();
    let builder = SqlxPostgresStore::from_pool(pool.clone()).timeouts(timeouts());
    let store = builder.connect().await.unwrap();
    for polls in 1..6 {
        dropped_after(pool.begin(), polls).await;
        let mut connection = pool.acquire().await.unwrap();
        sqlx::raw_sql("BEGIN; INSERT INTO t VALUES (7)")
            .execute(&mut *connection)
            .await
            .unwrap();
        drop(connection);
        let name = format!("k{polls}");
        let Claimed::Fresh(mut tx) = store.claim(&claim(&name)).await.unwrap() else {
            panic!("it is not fresh");
        };
        let insert = sqlx::query("INSERT INTO t VALUES (1)");
        insert.execute(tx.connection().unwrap()).await.unwrap();
        let _ = store.complete(tx, &claim(&name), &receipt()).await.unwrap();
        let visible = world
            .sql("SELECT count(*) FILTER (WHERE n = 1) FROM t")
            .await;
        assert_eq!(visible, polls.to_string());
    }
    assert_eq!(world.sql("SELECT count(*) FROM t WHERE n = 7").await, "0");
    world.nothing_open().await;
}

// 6. Ours may be dropped at any poll.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_calls_may_be_dropped_at_any_poll() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let store = store(&world).await;
    for polls in 1..12 {
        dropped_after(store.begin(), polls).await;
        let name = format!("k{polls}");
        dropped_after(store.claim(&claim(&name)), polls).await;
        let effect = OneShot {
            claim: claim(&format!("one shot {polls}")),
            statements: vec![Statement::new("INSERT INTO t VALUES ($1)").bind(1)],
            receipt: receipt(),
        };
        dropped_after(store.execute_one_shot(&effect), polls).await;
        let transaction = participation(&store, &name).await;
        dropped_after(store.begin_prepared(&transaction), polls).await;
        world.nothing_open().await;
        store.execute_one_shot(&effect).await.unwrap();
        assert_eq!(world.sql("SELECT count(*) FROM t").await, polls.to_string());
        store.rollback_prepared(&transaction).await.unwrap();
    }
}

// 5. In sqlx as well, COMMIT in an aborted block says ok.
#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_error_is_never_a_silent_loss() {
    let world = world().await;
    let store = store(&world).await;
    let Claimed::Fresh(mut tx) = store.claim(&claim("k")).await.unwrap() else {
        panic!("it is not fresh");
    };
    assert!(
        sqlx::query("SELECT 1 / 0")
            .execute(tx.connection().unwrap())
            .await
            .is_err()
    );
    let answer = store.complete(tx, &claim("k"), &receipt()).await;
    refused(answer, ErrorKind::WorkFailed, &["swallowed"]);
    assert_eq!(store.lookup(claim("k").key()).await.unwrap(), None);
}

/// A parameter of each kind, for columns of many types.
fn typed(name: &str) -> OneShot {
    let insert = "INSERT INTO many VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    OneShot {
        claim: claim(name),
        statements: vec![
            Statement::new(insert)
                .bind(-7)
                .bind(i64::MIN)
                .bind("'; DROP TABLE many; -- \\ é")
                .bind(uuid)
                .bind(r#"{"a": 1}"#)
                .bind("2026-01-02T03:04:05Z")
                .bind(vec![0_u8, 255, 39, 92])
                .bind(true)
                .bind(0.1)
                .bind(123)
                .bind(Value::Null)
                .bind(""),
            Statement::new("UPDATE many SET a = a + $1 WHERE d = $2 -- a comment")
                .bind(1)
                .bind(uuid)
                .expecting_rows(1),
        ],
        receipt: receipt(),
    }
}

const MANY: &str = "CREATE TABLE many (a int4, b int8, c text, d uuid, e jsonb, f timestamptz, \
     g bytea, h bool, i float8, j numeric, k text, l varchar)";

#[tokio::test(flavor = "multi_thread")]
async fn parameters_take_the_type_that_the_server_infers() {
    let world = world().await;
    world.sql(MANY).await;
    let (sqlx, tokio) = (store(&world).await, {
        let builder = TokioPostgresStore::builder(world.url()).timeouts(timeouts());
        builder.connect().await.unwrap()
    });
    sqlx.execute_one_shot(&typed("sqlx")).await.unwrap();
    // The second statement would change both rows now: one too many.
    refused(
        tokio.execute_one_shot(&typed("tokio")).await,
        ErrorKind::Refused,
        &["statement 2"],
    );
    let select = "SELECT a, b, c, d, e, f AT TIME ZONE 'UTC', g, h, i, j, k IS NULL, l FROM many";
    assert_eq!(
        world.sql(select).await,
        "-6|-9223372036854775808|'; DROP TABLE many; -- \\ é|\
         a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|{\"a\": 1}|2026-01-02 03:04:05|\
         \\x00ff275c|t|0.1|123|t|"
    );
    let effect = OneShot {
        claim: claim("broken"),
        statements: vec![Statement::new("INSERT INTO many (a) VALUES ($1)").bind("no number")],
        receipt: receipt(),
    };
    for _ in 0..2 {
        refused(
            tokio.execute_one_shot(&effect).await,
            ErrorKind::Invalid,
            &[],
        );
        refused(
            sqlx.execute_one_shot(&effect).await,
            ErrorKind::Invalid,
            &[],
        );
        // The refusal is kept, by whichever driver it was met.
        let kept = sqlx.lookup(effect.claim.key()).await.unwrap().unwrap();
        assert!(
            format!("{kept:?}").contains("exactly-once/invalid"),
            "{kept:?}"
        );
    }
    world.nothing_open().await;
}

// What can't be connected to is typed, and the password is in no error.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_urls_are_typed_and_keep_the_password() {
    let world = world().await;
    let url = world.url();
    for (url, kind) in [
        (
            url.replace("throwaway", "sesame-42"),
            ErrorKind::Configuration,
        ),
        (format!("{url}_missing"), ErrorKind::Configuration),
        ("nonsense sesame-42".to_owned(), ErrorKind::Configuration),
        (
            "postgres://a:sesame-42@h:port/d".to_owned(),
            ErrorKind::Configuration,
        ),
        (
            "postgres://u:sesame-42@127.0.0.1:1/d".to_owned(),
            ErrorKind::Unavailable,
        ),
    ] {
        // sqlx tries again, until its time has passed, where nothing listens.
        let patience = match kind {
            ErrorKind::Unavailable => std::time::Duration::from_secs(1),
            _ => timeouts().connect,
        };
        let patient = exactly_once::postgres::Timeouts {
            connect: patience,
            acquire: patience,
            ..timeouts()
        };
        let builder = SqlxPostgresStore::builder(url).timeouts(patient);
        assert!(!format!("{builder:?}").contains("sesame-42"));
        let error = builder.connect().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("sesame-42"), "{text}");
        assert_eq!(error.kind(), kind, "{text}");
    }
}
