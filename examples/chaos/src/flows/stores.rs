//! The three stores: orders in SQLite, the shared stock in Postgres, shipping in Redis.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use exactly_once::{
    AnyStore, Namespace, postgres::Timeouts, postgres::TokioPostgresStore, redis::RedisStore,
    sqlite::SqliteStore,
};
use exactly_once_servers::{Postgres, Redis};
use tempfile::TempDir;
use tokio::time::sleep;

/// The namespace of everything here, in each of the stores.
pub const NAMESPACE: &str = "flows";
/// The stores, by their numbers.
pub const NAMES: [&str; 3] = ["orders", "stock", "shipping"];
/// The number of the shared store.
pub const STOCK: usize = 1;

/// No unique key on purpose: if work was committed twice, both rows are there to see.
const TABLE: &str = "CREATE TABLE work (name text NOT NULL, members text NOT NULL)";
/// Never written, and counted by a statement that must change one row of it.
const MISSING: &str = "CREATE TABLE missing (name text NOT NULL)";

/// The servers, the file, and what was opened on them.
#[derive(Debug)]
pub struct World {
    /// The shared store.
    pub postgres: Postgres,
    /// Where its database is.
    pub postgres_url: String,
    /// The second flow's own store.
    pub redis: Redis,
    /// The file of the first flow's own store.
    pub sqlite: PathBuf,
    /// What the clients use.
    pub stores: [AnyStore; 3],
    _folder: TempDir,
}

impl World {
    /// Starts the servers, and makes the tables.
    ///
    /// # Errors
    /// Where a server is not installed or does not get ready.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        let options = Postgres::options(18).setting("max_prepared_transactions", "400");
        let (postgres, redis) = tokio::try_join!(options.start(), Redis::start())?;
        let postgres_url = postgres.create_database("stock").await?;
        for table in [TABLE, MISSING] {
            postgres.sql("stock", table).await?;
        }
        let sqlite = folder.path().join("orders.sqlite");
        let connection = rusqlite::Connection::open(&sqlite)?;
        connection.execute_batch(&format!("{TABLE} STRICT; {MISSING} STRICT"))?;
        drop(connection);
        let stores = open(&sqlite, &postgres_url, &redis.url()).await?;
        Ok(Self {
            postgres,
            postgres_url,
            redis,
            sqlite,
            stores,
            _folder: folder,
        })
    }

    /// Handles of their own, with connections of their own.
    ///
    /// # Errors
    /// Where a store is away.
    pub async fn open(&self) -> Result<[AnyStore; 3]> {
        open(&self.sqlite, &self.postgres_url, &self.redis.url()).await
    }

    /// Takes a store away for this time: a server is killed, and a file's writers are kept out.
    ///
    /// # Errors
    /// Where it does not come back.
    pub async fn away(&self, store: usize, time: Duration) -> Result<()> {
        match store {
            0 => {
                let writer = rusqlite::Connection::open(&self.sqlite)?;
                writer.busy_timeout(Duration::from_secs(30))?;
                let writer = tokio::task::spawn_blocking(move || {
                    writer.execute_batch("BEGIN IMMEDIATE").map(|()| writer)
                });
                let writer = writer.await??;
                sleep(time).await;
                writer.execute_batch("ROLLBACK")?;
            }
            STOCK => {
                self.postgres.kill();
                sleep(time).await;
                self.postgres.restart().await?;
            }
            _ => {
                self.redis.kill();
                sleep(time).await;
                self.redis.restart().await?;
            }
        }
        Ok(())
    }
}

async fn open(sqlite: &std::path::Path, postgres: &str, redis: &str) -> Result<[AnyStore; 3]> {
    let namespace = Namespace::new(NAMESPACE)?;
    let timeouts = Timeouts {
        connect: Duration::from_secs(2),
        acquire: Duration::from_secs(3),
        ..Timeouts::default()
    };
    let orders = SqliteStore::builder(sqlite)
        .namespace(namespace.clone())
        .busy_timeout(Duration::from_millis(500))
        .open()
        .await?;
    let stock = TokioPostgresStore::builder(postgres)
        .namespace(namespace)
        .timeouts(timeouts)
        .pool_size(20)
        .require_two_phase(true)
        .connect()
        .await?;
    let shipping = RedisStore::builder(redis)
        .namespace(NAMESPACE)
        .response_timeout(Duration::from_secs(2))
        .connect()
        .await?;
    Ok([
        AnyStore::new(orders),
        AnyStore::new(stock),
        AnyStore::new(shipping),
    ])
}
