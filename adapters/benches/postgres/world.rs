//! A database with the user's tables, and everything that works on it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, QueueMode, RecyclingMethod, Runtime,
};
use exactly_once::postgres::{SqlxPostgresStore, TokioPostgresStore};
use exactly_once_bench::{
    cases::{self, ACCOUNTS},
    counts::{Meter, Reading},
    relay::Relay,
};
use exactly_once_servers::Postgres;
use futures_util::FutureExt as _;
use tokio_postgres::NoTls;

use crate::bare::Bare;

/// Connections of each pool: they serve 128 callers better than 128 do.
pub(crate) const POOL: usize = 16;

const TABLES: &str = "CREATE TABLE payment (id bigint PRIMARY KEY, cents bigint NOT NULL);
    CREATE TABLE balance (id bigint PRIMARY KEY, cents bigint NOT NULL);
    CREATE TABLE done (key text PRIMARY KEY, receipt bigint NOT NULL);
    INSERT INTO balance SELECT i, 0 FROM generate_series(0, 9999) AS i;
    ANALYZE";

pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) bare: Bare,
    pub(crate) store: TokioPostgresStore,
    /// In another database: a second participant.
    pub(crate) other: TokioPostgresStore,
    pub(crate) sqlx: SqlxPostgresStore,
    pools: [Pool; 3],
    relay: Option<Arc<Relay>>,
}

impl World {
    pub(crate) async fn direct(server: &Postgres) -> Result<Self> {
        let urls = databases(server, "timed").await?;
        Self::over(urls, None).await
    }

    /// On a way on which round trips are counted.
    pub(crate) async fn counting(server: &Postgres) -> Result<Self> {
        let urls = databases(server, "counting").await?;
        let relay = Relay::start(server.port()).await?;
        let (from, to) = (format!(":{}/", server.port()), relay.address().port());
        let urls = urls.map(|url| url.replace(&from, &format!(":{to}/")));
        Self::over(urls, Some(Arc::new(relay))).await
    }

    async fn over([url, other]: [String; 2], relay: Option<Arc<Relay>>) -> Result<Self> {
        let pools = [pool(&url)?, pool(&url)?, pool(&other)?];
        let store = TokioPostgresStore::from_pool(pools[1].clone())
            .connect()
            .await?;
        let other = TokioPostgresStore::from_pool(pools[2].clone())
            .connect()
            .await?;
        let sqlx = SqlxPostgresStore::builder(url.clone())
            .pool_size(u32::try_from(POOL)?)
            .connect()
            .await?;
        cases::open_accounts(&store, ACCOUNTS).await?;
        Ok(Self {
            bare: Bare::new(pools[0].clone(), url.clone()),
            url,
            store,
            other,
            sqlx,
            pools,
            relay,
        })
    }

    /// Round trips by the relay, and syncs by the server's own count.
    pub(crate) fn meter(&self, server: &Postgres) -> Result<Meter> {
        let relay = self.relay.clone().context("trips are not counted here")?;
        let (pools, own) = (self.pools.clone(), Arc::new(AtomicU64::new(0)));
        let look = pool(&server.database_url("counting"))?;
        let syncs = if server.major() < 18 {
            "SELECT wal_sync FROM pg_stat_wal"
        } else {
            "SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'"
        };
        Ok(Arc::new(move || {
            let (relay, pools, own) = (relay.clone(), pools.clone(), own.clone());
            let look = look.clone();
            async move {
                let before = relay.trips();
                for pool in &pools {
                    tell_counts(pool).await?;
                }
                let syncs: i64 = look.get().await?.query_one(syncs, &[]).await?.get(0);
                // Our own trips don't count.
                own.fetch_add(relay.trips() - before, Ordering::Relaxed);
                Ok(Reading {
                    trips: Some(relay.trips() - own.load(Ordering::Relaxed)),
                    syncs: Some(u64::try_from(syncs)?),
                })
            }
            .boxed()
        }))
    }
}

async fn databases(server: &Postgres, name: &str) -> Result<[String; 2]> {
    let other = format!("{name}_other");
    let urls = [
        server.create_database(name).await?,
        server.create_database(&other).await?,
    ];
    server.sql(name, TABLES).await?;
    server.sql(&other, TABLES).await?;
    Ok(urls)
}

/// A backend keeps its counts to itself for up to a second; this makes all of a pool tell.
async fn tell_counts(pool: &Pool) -> Result<()> {
    let mut held: Vec<Object> = Vec::new();
    for _ in 0..pool.status().size {
        let free = pool.get();
        // One that is kept for good can't be asked.
        match tokio::time::timeout(std::time::Duration::from_millis(100), free).await {
            Ok(connection) => held.push(connection?),
            Err(_) => break,
        }
    }
    for connection in held {
        connection
            .simple_query("SELECT pg_stat_force_next_flush()")
            .await?;
    }
    Ok(())
}

fn pool(url: &str) -> Result<Pool> {
    let config = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_config(url.parse()?, NoTls, config);
    Ok(Pool::builder(manager)
        .max_size(POOL)
        .runtime(Runtime::Tokio1)
        // As the adapter's own pools.
        .queue_mode(QueueMode::Lifo)
        .build()?)
}
