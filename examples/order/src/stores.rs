//! The three databases, and who sweeps them.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use exactly_once::{
    Namespace, Transactional, postgres::TokioPostgresStore, redis::RedisStore, sqlite::SqliteStore,
    two_phase::Sweeper,
};

use crate::{
    control::{Database, Faults},
    crash_store::CrashStore,
};

/// The namespace of everything here.
pub const NAMESPACE: &str = "orders";

/// The orders. There is no unique key on purpose: if an order were placed twice, both rows would
/// be there for the audit to see. The same goes for the other two.
const ORDERS: &str = "CREATE TABLE IF NOT EXISTS orders (
    name text NOT NULL,
    customer text NOT NULL,
    item text NOT NULL,
    units int8 NOT NULL
)";

const STOCK: &str = "
CREATE TABLE IF NOT EXISTS stock (
    item TEXT NOT NULL PRIMARY KEY,
    units INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS shipments (
    name TEXT NOT NULL,
    item TEXT NOT NULL,
    units INTEGER NOT NULL
) STRICT;
";

/// Where the databases are.
#[derive(Args, Clone, Debug)]
pub struct Addresses {
    /// The URL of the Postgres database with the orders; `max_prepared_transactions` must be set
    #[arg(long)]
    pub postgres: String,
    /// The SQLite file with the stock; made if it is not there
    #[arg(long)]
    pub sqlite: PathBuf,
    /// The URL of the Redis with the quotas; `appendfsync always`, `maxmemory-policy noeviction`
    #[arg(long)]
    pub redis: String,
}

/// The three databases, by this library.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The orders, and the register of decisions.
    pub orders: TokioPostgresStore,
    /// The stock.
    pub stock: SqliteStore,
    /// The quotas.
    pub quota: RedisStore,
}

impl Stores {
    /// Connects, and makes the tables.
    ///
    /// # Errors
    /// Where one can't be reached, or is not set up for two-phase commit.
    pub async fn connect(addresses: &Addresses) -> Result<Self> {
        let namespace = Namespace::new(NAMESPACE)?;
        let orders = TokioPostgresStore::builder(&addresses.postgres)
            .namespace(namespace.clone())
            .require_two_phase(true)
            .connect()
            .await?;
        let stock = SqliteStore::builder(&addresses.sqlite)
            .namespace(namespace)
            .open()
            .await?;
        let quota = RedisStore::builder(&addresses.redis)
            .namespace(NAMESPACE)
            .connect()
            .await?;
        let stores = Self {
            orders,
            stock,
            quota,
        };
        stores.create_tables().await?;
        Ok(stores)
    }

    async fn create_tables(&self) -> exactly_once::Result<()> {
        let tx = self.orders.begin().await?;
        tx.client()?
            .batch_execute(ORDERS)
            .await
            .map_err(|error| self.orders.classify("create", error.into()))?;
        self.orders.commit(tx).await?;
        let mut tx = self.stock.begin().await?;
        tx.run(|connection| connection.execute_batch(STOCK)).await?;
        self.stock.commit(tx).await
    }

    /// A sweeper over all three.
    ///
    /// # Errors
    /// Where one has no two-phase commit.
    pub fn sweeper(&self) -> exactly_once::Result<Sweeper<TokioPostgresStore>> {
        Sweeper::new(self.orders.clone())
            .participant(Database::Orders.name(), self.orders.clone())?
            .participant(Database::Stock.name(), self.stock.clone())?
            .participant(Database::Quota.name(), self.quota.clone())
    }
}

/// The three databases with crash points around them.
#[derive(Clone, Debug)]
pub struct CrashStores<F> {
    /// The orders, and the register of decisions.
    pub orders: CrashStore<TokioPostgresStore, F>,
    /// The stock.
    pub stock: CrashStore<SqliteStore, F>,
    /// The quotas.
    pub quota: CrashStore<RedisStore, F>,
    /// What happens there.
    pub faults: F,
}

impl<F: Faults> CrashStores<F> {
    /// Around these.
    pub fn new(stores: Stores, faults: F) -> Self {
        Self {
            orders: CrashStore::new(stores.orders, Database::Orders, faults.clone()),
            stock: CrashStore::new(stores.stock, Database::Stock, faults.clone()),
            quota: CrashStore::new(stores.quota, Database::Quota, faults.clone()),
            faults,
        }
    }
}
