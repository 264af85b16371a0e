//! The service as a process of its own, so that it can be killed.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use exactly_once::{
    Namespace,
    restate::{serve, shutdown_signal},
    sqlite::SqliteStore,
};
use restate_sdk::prelude::Endpoint;

use crate::{
    control::Control,
    naive::{Naive, database::Database},
    service::{Payments, crash_store::CrashStore, table},
};

/// How the service makes its effects happen once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Recipe {
    /// With this library.
    #[default]
    Ours,
    /// By the recipes of the usual guides.
    Naive,
}

impl Recipe {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Naive => "naive",
        }
    }
}

/// The arguments of a service process.
#[derive(Args, Clone, Debug)]
pub struct ServiceOptions {
    /// The SQLite file; made if it is not there
    #[arg(long)]
    pub database: PathBuf,
    /// Where Restate finds the service
    #[arg(long, default_value = "127.0.0.1:9080")]
    pub address: SocketAddr,
    /// A folder for crash points and counters
    #[arg(long)]
    pub control: PathBuf,
    /// How effects happen once
    #[arg(long, value_enum, default_value_t)]
    pub recipe: Recipe,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// Where the database can't be opened or the address can't be had.
pub async fn run(options: ServiceOptions) -> Result<()> {
    let control = Control::new(&options.control);
    let endpoint = match options.recipe {
        Recipe::Ours => {
            let store = SqliteStore::builder(&options.database)
                .namespace(Namespace::new("payments")?)
                .open()
                .await?;
            table::create(&store).await?;
            let store = CrashStore::new(store, control.clone());
            Endpoint::builder()
                .bind(Payments::new(store, control))
                .build()
        }
        Recipe::Naive => {
            let database = Database::open(&options.database)?;
            Endpoint::builder()
                .bind(Naive::new(database, control))
                .build()
        }
    };
    serve(endpoint, options.address, shutdown_signal())
        .await
        .with_context(|| format!("can't listen at {}", options.address))
}
