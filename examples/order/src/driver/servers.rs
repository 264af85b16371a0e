//! Everything that runs, and that can be killed and started again.

use std::path::PathBuf;

use anyhow::{Context, Result};
use exactly_once_servers::{Postgres, Redis, Restate, Service, launch::Launch, service};
use redis::AsyncCommands;
use tempfile::TempDir;

use super::{DEADLINE, SWEEP_EVERY};
use crate::{
    audit::Seeds,
    control::Control,
    stores::{Addresses, Stores},
};

const POSTGRES: u32 = 18;

/// The servers and the service. They stop when this is dropped.
#[derive(Debug)]
pub struct Servers {
    /// The engine.
    pub restate: Restate,
    /// The database with the orders and the register.
    pub postgres: Postgres,
    /// The database with the quotas.
    pub redis: Redis,
    /// Where the databases are.
    pub addresses: Addresses,
    /// The crash points that are shared with the service.
    pub control: Control,
    /// The service.
    pub service: Service,
    _folder: TempDir,
}

impl Servers {
    /// Starts all of them, and registers the service, which is this program or another that has
    /// the subcommand `service`.
    ///
    /// # Errors
    /// Where one is not installed or does not get ready.
    pub async fn start(program: Option<PathBuf>) -> Result<Self> {
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        let (restate, postgres, redis) =
            tokio::try_join!(Restate::start(), Postgres::start(POSTGRES), Redis::start())?;
        let addresses = Addresses {
            postgres: postgres.create_database("shop").await?,
            sqlite: folder.path().join("stock.sqlite"),
            redis: redis.url(),
        };
        // Makes the tables, for the seeds.
        Stores::connect(&addresses).await?;
        let program = service::program(program.as_deref())?;
        let service = Service::start(launch(program, &folder, &addresses)).await?;
        restate.register(&service.url()).await?;
        Ok(Self {
            restate,
            postgres,
            redis,
            addresses,
            control: Control::new(folder.path()),
            service,
            _folder: folder,
        })
    }

    /// Fills stock and quotas, by plain drivers.
    ///
    /// # Errors
    /// Where a database refuses.
    pub async fn seed(&self, seeds: &Seeds) -> Result<()> {
        seed(&self.addresses, seeds).await
    }
}

fn launch(program: PathBuf, folder: &TempDir, addresses: &Addresses) -> Launch {
    Launch::new(program, folder.path())
        .log(folder.path().join("service.log"))
        .argument("service")
        .argument("--postgres")
        .argument(&addresses.postgres)
        .argument("--sqlite")
        .argument(&addresses.sqlite)
        .argument("--redis")
        .argument(&addresses.redis)
        .argument("--control")
        .argument(folder.path())
        .argument("--deadline-ms")
        .argument(DEADLINE.as_millis().to_string())
        .argument("--sweep-every-ms")
        .argument(SWEEP_EVERY.as_millis().to_string())
}

/// Fills stock and quotas, by plain drivers.
///
/// # Errors
/// Where a database refuses.
pub async fn seed(addresses: &Addresses, seeds: &Seeds) -> Result<()> {
    let mut connection = rusqlite::Connection::open(&addresses.sqlite)?;
    let transaction = connection.transaction()?;
    for (item, units) in &seeds.stock {
        transaction.execute(
            "INSERT INTO stock (item, units) VALUES (?1, ?2)",
            (item, units),
        )?;
    }
    transaction.commit()?;
    let client = redis::Client::open(addresses.redis.as_str())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    for (customer, units) in &seeds.quota {
        let _: () = connection.set(format!("quota:{customer}"), units).await?;
    }
    Ok(())
}
