//! The service as a process of its own, so that it can be killed.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use exactly_once::{
    DecisionRegister,
    restate::{serve, shutdown_signal},
    two_phase::Sweeper,
};
use restate_sdk::prelude::Endpoint;

use crate::{
    control::Control,
    service::Orders,
    stores::{Addresses, CrashStores, Stores},
};

/// The arguments of a service process.
#[derive(Args, Clone, Debug)]
pub struct ServiceOptions {
    /// Where the databases are
    #[command(flatten)]
    pub addresses: Addresses,
    /// Where Restate finds the service
    #[arg(long, default_value = "127.0.0.1:9080")]
    pub address: SocketAddr,
    /// A folder for crash points
    #[arg(long)]
    pub control: PathBuf,
    /// How many milliseconds an order has to be decided
    #[arg(long, default_value_t = 60_000)]
    pub deadline_ms: u64,
    /// How many milliseconds between two sweeps
    #[arg(long, default_value_t = 30_000)]
    pub sweep_every_ms: u64,
}

/// Serves, and sweeps, until SIGINT or SIGTERM.
///
/// # Errors
/// Where a database can't be opened or the address can't be had.
pub async fn run(options: ServiceOptions) -> Result<()> {
    let stores = Stores::connect(&options.addresses).await?;
    let sweeping = tokio::spawn(sweep(
        stores.sweeper()?,
        Duration::from_millis(options.sweep_every_ms.max(1)),
    ));
    let stores = CrashStores::new(stores, Control::new(&options.control));
    let deadline = Duration::from_millis(options.deadline_ms);
    let endpoint = Endpoint::builder()
        .bind(Orders::new(stores, deadline))
        .build();
    let served = serve(endpoint, options.address, shutdown_signal())
        .await
        .with_context(|| format!("can't listen at {}", options.address));
    sweeping.abort();
    served
}

/// Sweeps for ever, this often. Any number of services may sweep at once.
pub async fn sweep<R: DecisionRegister>(sweeper: Sweeper<R>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match sweeper.sweep().await {
            Ok(report) => {
                for alarm in report.alarms {
                    eprintln!("ALARM: {alarm}");
                }
                for failed in report.failed {
                    eprintln!("sweep: {failed}");
                }
            }
            Err(error) => eprintln!("sweep: {error}"),
        }
    }
}
