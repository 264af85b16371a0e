//! The three stores, and what counts the answers that came from an earlier attempt.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use exactly_once::{
    AccountId, Amount, BalanceStore, IdempotencyKey, Namespace, OpenAccount, Store, Transactional,
    observe::Observed, postgres::TokioPostgresStore, redis::RedisStore, sqlite::SqliteStore,
};
use exactly_once_order::stores::{self, Addresses};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tokio::time::{Instant, sleep};

use crate::model::{NAMESPACE, Place};

/// How long a service waits for databases that are down.
const PATIENCE: Duration = Duration::from_secs(50);

/// No unique key on purpose: if an effect happened twice, both rows would be there to see.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS effects (
    name text NOT NULL,
    amount bigint NOT NULL,
    stamp bigint NOT NULL
)";
const STRICT_TABLE: &str = "CREATE TABLE IF NOT EXISTS effects (
    name TEXT NOT NULL,
    amount INTEGER NOT NULL,
    stamp INTEGER NOT NULL
) STRICT";

/// The three stores, in a namespace beside that of the orders.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Postgres.
    pub postgres: Observed<TokioPostgresStore>,
    /// SQLite.
    pub sqlite: Observed<SqliteStore>,
    /// Redis.
    pub redis: Observed<RedisStore>,
    /// The same, for orders.
    pub orders: stores::Stores,
}

/// The same expression for the store that is named, whichever it is.
macro_rules! at {
    ($stores:expr, $place:expr, |$store:ident| $do:expr) => {
        match $place {
            $crate::model::Place::Postgres => {
                let $store = &$stores.postgres;
                $do
            }
            $crate::model::Place::Sqlite => {
                let $store = &$stores.sqlite;
                $do
            }
            $crate::model::Place::Redis => {
                let $store = &$stores.redis;
                $do
            }
        }
    };
}
pub(crate) use at;

impl Stores {
    /// Connects; tries again while a database is down.
    ///
    /// # Errors
    /// The last one, when the patience is at its end.
    pub async fn connect(addresses: &Addresses) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::try_connect(addresses).await {
                Ok(stores) => return Ok(stores),
                Err(error) if Instant::now() < deadline => eprintln!("not yet: {error:#}"),
                Err(error) => return Err(error),
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn try_connect(addresses: &Addresses) -> Result<Self> {
        let orders = stores::Stores::connect(addresses).await?;
        let namespace = Namespace::new(NAMESPACE)?;
        Ok(Self {
            postgres: Observed::new(orders.orders.with_namespace(namespace.clone())),
            sqlite: Observed::new(orders.stock.with_namespace(namespace.clone())),
            redis: Observed::new(orders.quota.with_namespace(namespace)),
            orders,
        })
    }

    /// Makes the tables, and the accounts with their first balances.
    ///
    /// # Errors
    /// As the stores have them.
    pub async fn prepare(&self, accounts: &[(String, i64)]) -> Result<()> {
        let tx = self.postgres.begin().await?;
        tx.client()?.batch_execute(TABLE).await?;
        self.postgres.commit(tx).await?;
        let mut tx = self.sqlite.begin().await?;
        tx.run(|connection| connection.execute_batch(STRICT_TABLE))
            .await?;
        self.sqlite.commit(tx).await?;
        for place in Place::ALL {
            for (name, amount) in accounts {
                let key = IdempotencyKey::new(format!("open/{name}"))?;
                let open = OpenAccount::new(key, AccountId::new(name.as_str())?)
                    .with_amount(Amount::new(*amount));
                at!(self, place, |store| store.open_account(&open).await)?;
            }
        }
        Ok(())
    }
}

/// A file with one byte for each duplicate that was prevented: it is there after a SIGKILL.
#[derive(Clone, Debug)]
pub struct Prevented(PathBuf);

impl Prevented {
    /// In this folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(folder.join("duplicates-prevented"))
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        std::fs::metadata(&self.0).map_or(0, |file| file.len())
    }

    /// Counts in this process from now on.
    ///
    /// # Errors
    /// Where this process counts already.
    pub fn install(self) -> Result<()> {
        metrics::set_global_recorder(self)
            .ok()
            .context("this process has a recorder already")
    }
}

impl CounterFn for Prevented {
    fn increment(&self, value: u64) {
        let file = OpenOptions::new().create(true).append(true).open(&self.0);
        // For the report only: the audit does not lean on it.
        let bytes = vec![b'.'; usize::try_from(value).unwrap_or(1)];
        let _ = file.and_then(|mut file| file.write_all(&bytes));
    }

    fn absolute(&self, _value: u64) {}
}

impl Recorder for Prevented {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let again = |label: &metrics::Label| {
            label.key() == "outcome" && matches!(label.value(), "replayed" | "superseded")
        };
        if key.labels().any(again) {
            return Counter::from_arc(Arc::new(self.clone()));
        }
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
