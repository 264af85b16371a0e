//! What a user would write without this library: the floors, and the usual recipes.

use std::future::Future;

use anyhow::{Result, ensure};
use deadpool_postgres::Pool;
use exactly_once_bench::{Operation, Turn, cases::scattered, operation};
use sqlx::{Row as _, postgres::PgPoolOptions};
use tokio_postgres::{Client, NoTls};

use crate::{PAY, world::POOL};

const ADD: &str = "UPDATE balance SET cents = cents + 1 WHERE id = $1";
const KNOWN: &str = "SELECT receipt FROM done WHERE key = $1";
const DONE: &str = "INSERT INTO done (key, receipt) VALUES ($1, $2)";

pub(crate) struct Bare {
    pool: Pool,
    url: String,
}

fn key(turn: Turn) -> String {
    format!("charge/{:016x}", turn.number)
}

impl Bare {
    pub(crate) fn new(pool: Pool, url: String) -> Self {
        Self { pool, url }
    }

    fn operation<F, Fut>(&self, call: F) -> Operation
    where
        F: Fn(Pool, Turn) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let pool = self.pool.clone();
        operation(move |turn| call(pool.clone(), turn))
    }

    pub(crate) fn insert(&self) -> Operation {
        self.operation(async |pool, turn| {
            let client = pool.get().await?;
            let insert = client.prepare_cached(PAY).await?;
            client
                .execute(&insert, &[&turn.number.cast_signed()])
                .await?;
            Ok(())
        })
    }

    pub(crate) fn update(&self, rows: u64) -> Operation {
        self.operation(move |pool, turn| async move {
            let client = pool.get().await?;
            let update = client.prepare_cached(ADD).await?;
            let id = scattered(turn, rows).cast_signed();
            client.execute(&update, &[&id]).await?;
            Ok(())
        })
    }

    pub(crate) fn two_updates(&self) -> Operation {
        self.operation(async |pool, turn| {
            let client = pool.get().await?;
            let update = client.prepare_cached(ADD).await?;
            for which in 0..2 {
                let id = i64::try_from(turn.caller)? * 2 + which;
                client.execute(&update, &[&id]).await?;
            }
            Ok(())
        })
    }

    /// Known? BEGIN, key, payment, COMMIT.
    pub(crate) fn usual_recipe(&self) -> Operation {
        self.operation(async |pool, turn| {
            let mut client = pool.get().await?;
            let known = client.prepare_cached(KNOWN).await?;
            let (pay, done) = (
                client.prepare_cached(PAY).await?,
                client.prepare_cached(DONE).await?,
            );
            let (key, id) = (key(turn), turn.number.cast_signed());
            ensure!(client.query_opt(&known, &[&key]).await?.is_none());
            let tx = client.transaction().await?;
            tx.execute(&done, &[&key, &id]).await?;
            tx.execute(&pay, &[&id]).await?;
            tx.commit().await?;
            Ok(())
        })
    }

    pub(crate) fn usual_recipe_connecting(&self) -> Operation {
        let url = self.url.clone();
        operation(move |turn| {
            let url = url.clone();
            async move {
                let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
                tokio::spawn(connection);
                once(&mut client, turn).await
            }
        })
    }

    /// Read the balance, then set it if it still has this value; again until it does.
    pub(crate) fn compare(&self, rows: u64) -> Operation {
        self.operation(move |pool, turn| async move {
            let client = pool.get().await?;
            let read = client
                .prepare_cached("SELECT cents FROM balance WHERE id = $1")
                .await?;
            let set = client
                .prepare_cached("UPDATE balance SET cents = $2 + 1 WHERE id = $1 AND cents = $2")
                .await?;
            let id = scattered(turn, rows).cast_signed();
            loop {
                let cents: i64 = client.query_one(&read, &[&id]).await?.get(0);
                if client.execute(&set, &[&id, &cents]).await? == 1 {
                    return Ok(());
                }
            }
        })
    }
}

async fn once(client: &mut Client, turn: Turn) -> Result<()> {
    let (key, id) = (key(turn), turn.number.cast_signed());
    ensure!(client.query_opt(KNOWN, &[&key]).await?.is_none());
    let tx = client.transaction().await?;
    tx.execute(DONE, &[&key, &id]).await?;
    tx.execute(PAY, &[&id]).await?;
    tx.commit().await?;
    Ok(())
}

pub(crate) async fn usual_recipe_by_sqlx(url: &str) -> Result<Operation> {
    let pool = PgPoolOptions::new()
        .max_connections(u32::try_from(POOL)?)
        .acquire_timeout(std::time::Duration::from_secs(30))
        .connect(url)
        .await?;
    Ok(operation(move |turn| {
        let pool = pool.clone();
        async move {
            let (key, id) = (key(turn), turn.number.cast_signed());
            let known = sqlx::query(KNOWN).bind(&key).fetch_optional(&pool).await?;
            if let Some(row) = known {
                let _receipt: i64 = row.try_get(0)?;
                return Ok(());
            }
            let mut tx = pool.begin().await?;
            sqlx::query(DONE)
                .bind(&key)
                .bind(id)
                .execute(&mut *tx)
                .await?;
            sqlx::query(PAY).bind(id).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }
    }))
}
