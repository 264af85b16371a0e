//! Everything that runs, with a fault proxy before all of it.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use exactly_once_conformance::faults::proxy::Proxy;
use exactly_once_order::{audit::Seeds, control::Control, driver::servers, stores::Addresses};
use exactly_once_servers::{Postgres, Redis, Restate, Service, launch::Launch, service};
use tempfile::TempDir;

use super::{ChaosOptions, DEADLINE};
use crate::{
    outside::Outside,
    process::Part,
    stores::{Prevented, Stores},
};

const POSTGRES: u32 = 18;

/// The network between all of them.
pub struct Network {
    /// Services to Postgres.
    pub postgres: Proxy,
    /// Services to Redis.
    pub redis: Proxy,
    /// Services to the world outside.
    pub outside: Proxy,
    /// Restate to the effects.
    pub effects: Proxy,
    /// Restate to the orders and objects.
    pub orders: Proxy,
}

/// Servers, services and network. All of it stops when this is dropped.
pub struct World {
    /// The engine.
    pub restate: Restate,
    /// A database.
    pub postgres: Postgres,
    /// Another one.
    pub redis: Redis,
    /// The world outside.
    pub outside: Outside,
    /// The process with the effects.
    pub effects: Service,
    /// The process with the orders and objects.
    pub orders: Service,
    /// The proxies.
    pub network: Network,
    /// Where the databases are, past the proxies.
    pub addresses: Addresses,
    /// Crash points in the orders.
    pub control: Control,
    /// Counts duplicates prevented.
    pub prevented: Prevented,
    _folder: TempDir,
}

impl World {
    /// Starts all of it.
    ///
    /// # Errors
    /// Where something is not installed or does not get ready.
    pub async fn start(
        options: &ChaosOptions,
        accounts: &[(String, i64)],
        seeds: &Seeds,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        let (restate, postgres, redis, outside) = tokio::try_join!(
            Restate::start(),
            Postgres::start(POSTGRES),
            Redis::start(),
            Outside::start()
        )?;
        let addresses = Addresses {
            postgres: postgres.create_database("chaos").await?,
            sqlite: folder.path().join("chaos.sqlite"),
            redis: redis.url(),
        };
        Stores::connect(&addresses).await?.prepare(accounts).await?;
        servers::seed(&addresses, seeds).await?;

        let to_postgres = proxy(local(postgres.port())).await?;
        let to_redis = proxy(local(redis.port())).await?;
        let to_outside = proxy(outside.address()).await?;
        let port = |port: u16| format!(":{port}");
        let proxied = Addresses {
            postgres: addresses
                .postgres
                .replace(&port(postgres.port()), &port(to_postgres.addr().port())),
            sqlite: addresses.sqlite.clone(),
            redis: format!("redis://{}", to_redis.addr()),
        };
        let begin = |part| {
            let launch = launch(options, part, folder.path(), &proxied, to_outside.addr());
            async { Service::start(launch?).await }
        };
        let (effects, orders) = tokio::try_join!(begin(Part::Effects), begin(Part::Orders))?;
        let network = Network {
            postgres: to_postgres,
            redis: to_redis,
            outside: to_outside,
            effects: proxy(effects.address()).await?,
            orders: proxy(orders.address()).await?,
        };
        for proxy in [&network.effects, &network.orders] {
            restate
                .register(&format!("http://{}", proxy.addr()))
                .await?;
        }
        Ok(Self {
            restate,
            postgres,
            redis,
            outside,
            effects,
            orders,
            network,
            addresses,
            control: Control::new(folder.path()),
            prevented: Prevented::new(folder.path()),
            _folder: folder,
        })
    }
}

impl Network {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&Proxy; 5] {
        [
            &self.postgres,
            &self.redis,
            &self.outside,
            &self.effects,
            &self.orders,
        ]
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn proxy(upstream: SocketAddr) -> Result<Proxy> {
    Proxy::start(upstream).await.context("can't start a proxy")
}

fn launch(
    options: &ChaosOptions,
    part: Part,
    folder: &Path,
    addresses: &Addresses,
    outside: SocketAddr,
) -> Result<Launch> {
    let program = service::program(options.program.as_deref())?;
    Ok(Launch::new(program, folder)
        .log(folder.join(format!("{}.log", part.name())))
        .argument("service")
        .argument("--part")
        .argument(part.name())
        .argument("--postgres")
        .argument(&addresses.postgres)
        .argument("--sqlite")
        .argument(&addresses.sqlite)
        .argument("--redis")
        .argument(&addresses.redis)
        .argument("--outside")
        .argument(outside.to_string())
        .argument("--control")
        .argument(folder)
        .argument("--deadline-ms")
        .argument(DEADLINE.as_millis().to_string())
        .argument("--recipe")
        .argument(options.recipe.name()))
}
