//! A pattern's service as a process of its own, so that it can die.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use exactly_once::{
    postgres::TokioPostgresStore,
    restate::{serve, shutdown_signal},
    sqlite::SqliteStore,
};
use restate_sdk::prelude::Endpoint;

use crate::{
    control::Control,
    crash_store::CrashStore,
    patterns::{
        PAYMENTS, Pattern, Way,
        key::{self, KeyOurs, KeyRecipe},
        read::{self, ReadOurs, ReadRecipe},
        simple::{SimpleOurs, SimpleRecipe},
        state::{self, StateOurs, StateRecipe},
        two_phase::{self, TwoPhaseOurs, TwoPhaseRecipe},
        version::{self, VersionOurs, VersionRecipe},
    },
    plain::{self, Plain},
};

/// The arguments of a service process.
#[derive(Args, Clone, Debug)]
pub struct ServiceOptions {
    /// Which pattern
    #[arg(long, value_enum)]
    pub pattern: Pattern,
    /// How it is done
    #[arg(long, value_enum)]
    pub way: Way,
    /// A folder for the SQLite file and the crash points
    #[arg(long)]
    pub folder: PathBuf,
    /// Where Restate finds the service
    #[arg(long, default_value = "127.0.0.1:9080")]
    pub address: SocketAddr,
    /// The URL of the Postgres database, for two-phase commit
    #[arg(long, env = "EXACTLY_ONCE_POSTGRES_URL", hide_env_values = true)]
    pub postgres: Option<String>,
}

impl ServiceOptions {
    /// The SQLite file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.join("pattern.sqlite")
    }
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// Where a database can't be opened or the address can't be had.
pub async fn run(options: ServiceOptions) -> Result<()> {
    let control = Control::new(&options.folder);
    make_tables(&options, &control).await?;
    let endpoint = match options.way {
        Way::Recipe => recipe(&options, control)?,
        Way::Ours => ours(&options, control).await?,
    };
    serve(endpoint, options.address, shutdown_signal())
        .await
        .with_context(|| format!("can't listen at {}", options.address))
}

async fn make_tables(options: &ServiceOptions, control: &Control) -> Result<()> {
    let tables = match options.pattern {
        Pattern::Simple | Pattern::TwoPhase => PAYMENTS.to_owned(),
        Pattern::Key => format!("{PAYMENTS}{}", key::KEYS),
        Pattern::Version => version::TABLES.to_owned(),
        Pattern::State => state::TABLES.to_owned(),
        // While the process was down, the price was raised.
        Pattern::Read => format!(
            "{} {} DELETE FROM price; INSERT INTO price VALUES ({});",
            read::PRICE,
            match options.way {
                Way::Recipe => read::UNIQUE_PAYMENTS,
                Way::Ours => PAYMENTS,
            },
            read::FIRST_PRICE * (1 + control.crashes()?)
        ),
    };
    plain::open(&options.database(), &tables)?;
    if options.pattern == Pattern::TwoPhase {
        let client = two_phase::connect(postgres(options)?).await?;
        client.batch_execute(two_phase::ORDERS).await?;
    }
    Ok(())
}

fn postgres(options: &ServiceOptions) -> Result<&str> {
    let url = options.postgres.as_deref();
    url.context("two-phase commit needs --postgres")
}

fn recipe(options: &ServiceOptions, control: Control) -> Result<Endpoint> {
    let database = Plain::open(&options.database())?;
    let endpoint = Endpoint::builder();
    Ok(match options.pattern {
        Pattern::Simple => endpoint.bind(SimpleRecipe(database, control)),
        Pattern::Read => endpoint.bind(ReadRecipe(database, control)),
        Pattern::Version => endpoint.bind(VersionRecipe(database, control)),
        Pattern::Key => endpoint.bind(KeyRecipe(database, control)),
        Pattern::TwoPhase => endpoint.bind(TwoPhaseRecipe(postgres(options)?.to_owned(), control)),
        Pattern::State => endpoint.bind(StateRecipe(database, control)),
    }
    .build())
}

async fn ours(options: &ServiceOptions, control: Control) -> Result<Endpoint> {
    let sqlite = SqliteStore::open(options.database()).await?;
    let crashing = CrashStore::new(sqlite.clone(), control.clone());
    let endpoint = Endpoint::builder();
    Ok(match options.pattern {
        Pattern::Simple => endpoint.bind(SimpleOurs(crashing, control)),
        Pattern::Read => endpoint.bind(ReadOurs(crashing, sqlite, control)),
        Pattern::Version => endpoint.bind(VersionOurs(crashing, sqlite, control)),
        Pattern::Key => endpoint.bind(KeyOurs(crashing, control)),
        Pattern::TwoPhase => {
            let orders = TokioPostgresStore::builder(postgres(options)?)
                .connect()
                .await?;
            let orders = CrashStore::new(orders, control.clone());
            endpoint.bind(TwoPhaseOurs(orders, sqlite, control))
        }
        Pattern::State => endpoint.bind(StateOurs(control)),
    }
    .build())
}
