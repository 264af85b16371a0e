//! Everything that runs, and that can be killed and started again.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use exactly_once_servers::{Port, Postgres, Process, Redis, Restate, launch::Launch};
use redis::AsyncCommands;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{DEADLINE, SWEEP_EVERY};
use crate::{
    audit::Seeds,
    control::Control,
    stores::{Addresses, Stores},
};

const POSTGRES: u32 = 18;
const READY: Duration = Duration::from_secs(30);

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
    service: Mutex<Process>,
    launch: Launch,
    address: SocketAddr,
    _port: Port,
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
        let port = Port::reserve()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let program = match program {
            Some(program) => program,
            None => std::env::current_exe().context("which program is this?")?,
        };
        let launch = launch(program, &folder, &addresses, address);
        let service = begin(&launch, address).await?;
        restate.register(&format!("http://{address}")).await?;
        Ok(Self {
            restate,
            postgres,
            redis,
            addresses,
            control: Control::new(folder.path()),
            service: Mutex::new(service),
            launch,
            address,
            _port: port,
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

    /// Waits until the service has died by itself, at most this long; says whether it has.
    ///
    /// # Errors
    /// Where the system can't tell.
    pub async fn service_died(&self, within: Duration) -> Result<bool> {
        let deadline = Instant::now() + within;
        let mut process = self.service.lock().await;
        loop {
            if process.ended()?.is_some() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// SIGKILL to the service, now.
    pub async fn kill_service(&self) {
        self.service.lock().await.kill();
    }

    /// Starts the service again, after it has died.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn restart_service(&self) -> Result<()> {
        let mut process = self.service.lock().await;
        *process = begin(&self.launch, self.address).await?;
        Ok(())
    }
}

fn launch(
    program: PathBuf,
    folder: &TempDir,
    addresses: &Addresses,
    address: SocketAddr,
) -> Launch {
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
        .argument("--address")
        .argument(address.to_string())
        .argument("--deadline-ms")
        .argument(DEADLINE.as_millis().to_string())
        .argument("--sweep-every-ms")
        .argument(SWEEP_EVERY.as_millis().to_string())
}

async fn begin(launch: &Launch, address: SocketAddr) -> Result<Process> {
    let mut process = Process::start(launch)?;
    let listens = async || TcpStream::connect(address).await.is_ok();
    process.ready(READY, listens).await?;
    Ok(process)
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
