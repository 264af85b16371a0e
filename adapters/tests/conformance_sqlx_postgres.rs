//! The conformance suite, on Postgres through sqlx:
//! `cargo test --features sqlx-postgres --test conformance_sqlx_postgres`.
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]

#[path = "support/postgres/mod.rs"]
mod postgres;

use std::process::ExitCode;

use exactly_once::postgres::{SqlxPostgresStore, SqlxPostgresTx, Timeouts};
use exactly_once::{Result, WorkError};
use postgres::{Adapter, PostgresHarness};

struct Sqlx;

impl Adapter for Sqlx {
    type Store = SqlxPostgresStore;
    const NAME: &'static str = "sqlx-postgres";

    async fn connect(
        url: String,
        schema: String,
        pool: u32,
        timeouts: Timeouts,
    ) -> Result<SqlxPostgresStore> {
        SqlxPostgresStore::builder(url)
            .schema(schema)
            .pool_size(pool)
            .timeouts(timeouts)
            .connect()
            .await
    }

    async fn execute(
        tx: &mut SqlxPostgresTx,
        sql: &'static str,
        id: &str,
    ) -> Result<(), WorkError> {
        // Not kept as a prepared statement, so that it works behind a transaction pooler.
        let query = sqlx::query(sql).bind(id.to_owned()).persistent(false);
        query.execute(tx.connection()?).await?;
        Ok(())
    }

    async fn batch(tx: &mut SqlxPostgresTx, sql: &'static str) -> Result<(), WorkError> {
        sqlx::raw_sql(sql).execute(tx.connection()?).await?;
        Ok(())
    }
}

fn main() -> ExitCode {
    PostgresHarness::<Sqlx>::run()
}
