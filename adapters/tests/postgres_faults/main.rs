//! Faults of others that a caller must not pay for, and errors that say nothing about its work; each
//! on both drivers.
//!
//! | what | room |
//! |---|---|
//! | a caller that is alive and not polled, slow or failing members of a batch | `shared_fate` |
//! | errors that are never recorded: a standby, a plan, the client's side | `finality` |
//! | texts that reach beyond their statement, transactions ended by the work | `boundaries` |
//! | what work leaves in a session | `sessions` |
//! | a statement means the same alone and in a batch | `meaning` |
//! | a pooler in between | `poolers` |
//! | rows and identifiers of others | `strangers` |
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(all(feature = "tokio-postgres", feature = "sqlx-postgres"))]

#[path = "../support/postgres_world.rs"]
mod world;

/// Each as a test of its own on both drivers.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use exactly_once::postgres::{sqlx::SqlxDriver, tokio_postgres::TokioDriver};

            #[tokio::test(flavor = "multi_thread")]
            async fn tokio_postgres() {
                super::$name::<TokioDriver>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlx() {
                super::$name::<SqlxDriver>().await;
            }
        }
    )*};
}

mod boundaries;
mod finality;
mod frozen;
mod meaning;
mod one_statement;

mod poolers;
mod sessions;
mod shared_fate;
mod strangers;

use std::future::Future;

use exactly_once::{
    Claimed, IdempotencyStore, OneShot, OneShotDone, OneShotStore, Receipt, Result, Statement,
    WorkError,
    postgres::{
        Pooled, PostgresBuilder, PostgresStore, PostgresTx, sqlx::SqlxDriver,
        tokio_postgres::TokioDriver,
    },
};
use futures_util::future::join_all;
use world::{World, claim, timeouts, world};

/// A driver under test, and how a user runs SQL with it.
trait Under: Pooled {
    fn run<'a>(
        tx: &'a mut PostgresTx<Self::Connection>,
        sql: &'a str,
    ) -> impl Future<Output = Result<(), WorkError>> + Send + 'a;

    /// By a statement that stays prepared on the connection.
    fn query<'a>(
        tx: &'a mut PostgresTx<Self::Connection>,
        sql: &'static str,
    ) -> impl Future<Output = Result<usize, WorkError>> + Send + 'a;

    /// One text; fails where there is no row.
    fn one<'a>(
        tx: &'a mut PostgresTx<Self::Connection>,
        sql: &'static str,
    ) -> impl Future<Output = Result<String, WorkError>> + Send + 'a;
}

impl Under for TokioDriver {
    async fn run(tx: &mut PostgresTx<Self::Connection>, sql: &str) -> Result<(), WorkError> {
        Ok(tx.client()?.batch_execute(sql).await?)
    }

    async fn query(
        tx: &mut PostgresTx<Self::Connection>,
        sql: &'static str,
    ) -> Result<usize, WorkError> {
        let statement = tx.prepared(sql).await?;
        Ok(tx.client()?.query(&statement, &[]).await?.len())
    }

    async fn one(
        tx: &mut PostgresTx<Self::Connection>,
        sql: &'static str,
    ) -> Result<String, WorkError> {
        Ok(tx.client()?.query_one(sql, &[]).await?.try_get(0)?)
    }
}

impl Under for SqlxDriver {
    async fn run(tx: &mut PostgresTx<Self::Connection>, sql: &str) -> Result<(), WorkError> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(tx.connection()?).await?;
        Ok(())
    }

    async fn query(
        tx: &mut PostgresTx<Self::Connection>,
        sql: &'static str,
    ) -> Result<usize, WorkError> {
        let rows = sqlx::query(sql).fetch_all(tx.connection()?).await?;
        Ok(rows.len())
    }

    async fn one(
        tx: &mut PostgresTx<Self::Connection>,
        sql: &'static str,
    ) -> Result<String, WorkError> {
        Ok(sqlx::query_scalar(sql).fetch_one(tx.connection()?).await?)
    }
}

fn builder<D: Under>(url: &str) -> PostgresBuilder<D> {
    PostgresStore::<D>::builder(url).timeouts(timeouts())
}

/// A table of payments, and a store with so many connections.
async fn shop<D: Under>(connections: u32) -> (World, PostgresStore<D>) {
    let world = world().await;
    world
        .sql("CREATE TABLE payments (id text PRIMARY KEY, amount int8 NOT NULL CHECK (amount > 0))")
        .await;
    let builder = builder::<D>(&world.url()).pool_size(connections);
    let store = builder.connect().await.unwrap();
    (world, store)
}

fn shot(name: &str, statements: Vec<Statement>) -> OneShot {
    OneShot {
        claim: claim(name),
        statements,
        receipt: Receipt::from_bytes(name.to_owned()),
    }
}

fn payment(name: &str) -> OneShot {
    let text = "INSERT INTO payments (id, amount) VALUES ($1, $2)";
    shot(name, vec![Statement::new(text).bind(name).bind(5)])
}

/// A payment whose statement takes so many seconds.
fn slow(name: &str, seconds: &str) -> OneShot {
    let text = format!("INSERT INTO payments SELECT $1, 5 FROM pg_sleep({seconds})");
    shot(name, vec![Statement::new(text).bind(name)])
}

async fn at_once<D: Under>(
    store: &PostgresStore<D>,
    effects: &[OneShot],
) -> Vec<Result<OneShotDone>> {
    join_all(effects.iter().map(|effect| store.execute_one_shot(effect))).await
}

async fn fresh<D: Under>(store: &PostgresStore<D>, name: &str) -> PostgresTx<D::Connection> {
    match store.claim(&claim(name)).await.unwrap() {
        Claimed::Fresh(tx) => tx,
        other => panic!("{other:?}"),
    }
}

async fn number(world: &World, sql: &str) -> u64 {
    world.sql(sql).await.parse().unwrap()
}

const COUNT: &str = "SELECT count(*) FROM payments";
