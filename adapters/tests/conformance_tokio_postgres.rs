//! The conformance suite, on Postgres through tokio-postgres:
//! `cargo test --features tokio-postgres --test conformance_tokio_postgres`.
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

use exactly_once::postgres::{Timeouts, TokioPostgresStore, TokioPostgresTx};
use exactly_once::{Result, WorkError};
use postgres::{Adapter, PostgresHarness};

struct TokioPostgres;

impl Adapter for TokioPostgres {
    type Store = TokioPostgresStore;
    const NAME: &'static str = "tokio-postgres";

    async fn connect(
        url: String,
        schema: String,
        pool: u32,
        timeouts: Timeouts,
    ) -> Result<TokioPostgresStore> {
        TokioPostgresStore::builder(url)
            .schema(schema)
            .pool_size(pool)
            .timeouts(timeouts)
            .connect()
            .await
    }

    async fn execute(
        tx: &mut TokioPostgresTx,
        sql: &'static str,
        id: &str,
    ) -> Result<(), WorkError> {
        let id = (
            &id as &(dyn tokio_postgres::types::ToSql + Sync),
            tokio_postgres::types::Type::TEXT,
        );
        tx.client()?.execute_typed(sql, &[id]).await?;
        Ok(())
    }

    async fn batch(tx: &mut TokioPostgresTx, sql: &'static str) -> Result<(), WorkError> {
        Ok(tx.client()?.batch_execute(sql).await?)
    }
}

fn main() -> ExitCode {
    PostgresHarness::<TokioPostgres>::run()
}
