//! The services as processes of their own, so that they can be killed.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use exactly_once::restate::{serve, shutdown_signal};
use exactly_once_order::{
    control::Control, process::sweep, service::Orders, stores::Addresses, stores::CrashStores,
};
use restate_sdk::prelude::Endpoint;

use crate::{
    service::{Effects, Recipe, Versioned},
    stores::{Prevented, Stores},
};

/// Which services a process has. Both processes share the SQLite file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Effects of one store.
    Effects,
    /// Orders, and the virtual objects.
    Orders,
}

impl Part {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Effects => "effects",
            Self::Orders => "orders",
        }
    }
}

/// The arguments of a service process.
#[derive(Args, Clone, Debug)]
pub struct ServiceOptions {
    /// Which services
    #[arg(long, value_enum)]
    pub part: Part,
    /// Where the databases are
    #[command(flatten)]
    pub addresses: Addresses,
    /// Where Restate finds the services
    #[arg(long)]
    pub address: SocketAddr,
    /// Where the world outside is
    #[arg(long)]
    pub outside: SocketAddr,
    /// A folder for crash points and counters
    #[arg(long)]
    pub control: PathBuf,
    /// How many milliseconds an order has to be decided
    #[arg(long)]
    pub deadline_ms: u64,
    /// How effects are named
    #[arg(long, value_enum, default_value_t)]
    pub recipe: Recipe,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// Where a database can't be opened or the address can't be had.
pub async fn run(options: ServiceOptions) -> Result<()> {
    Prevented::new(&options.control).install()?;
    let stores = Stores::connect(&options.addresses).await?;
    let deadline = Duration::from_millis(options.deadline_ms.max(1));
    let endpoint = match options.part {
        Part::Effects => Endpoint::builder()
            .bind(Effects::new(stores, options.outside, options.recipe))
            .build(),
        Part::Orders => {
            tokio::spawn(sweep(stores.orders.sweeper()?, deadline / 2));
            let control = Control::new(&options.control);
            let orders = CrashStores::new(stores.orders.clone(), control);
            Endpoint::builder()
                .bind(Orders::new(orders, deadline))
                .bind(Versioned::new(stores, options.recipe))
                .build()
        }
    };
    serve(endpoint, options.address, shutdown_signal())
        .await
        .with_context(|| format!("can't listen at {}", options.address))
}
