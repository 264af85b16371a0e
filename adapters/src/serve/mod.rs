//! `exactly-once serve`: named effects for handlers in any language, over Restate (feature `serve`).
//!
//! A file names stores, effects, queries and transactions; each becomes a handler of one service, so a
//! handler in TypeScript, Python, Java or Go gets an exactly-once effect by a plain call. Callers send
//! parameters and never SQL. The [guide](crate::guide::serve) has the file and the calls.
//!
//! # Layout
//! One direction: file → [`config`] → [`catalog`] → [`restate`].
//! - `config`: the file, and what is wrong with it.
//! - `stores`, `check`: opens the stores and prepares each statement there, before the first call.
//! - `catalog`, `current`: a configuration with its stores, and how a reload replaces it.
//! - `request`, `answer`, `schema`: JSON to typed values and back.
//! - `execute`: what a handler does, on any engine.
//! - `restate`: the handlers as a service of Restate; another engine is another file like it.
//! - `server`: from start to end, with reloads; `admin`: health and metrics; `schedules`: maintenance.
//! - `observe`: log lines and metrics; `types`: wrappers for TypeScript and Python.

mod admin;
mod answer;
mod catalog;
mod check;
mod config;
mod current;
mod execute;
mod observe;
mod request;
mod restate;
mod schedules;
mod schema;
mod server;
mod stores;
mod types;

use std::{collections::BTreeMap, io::Write, net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;

use crate::Error;
use catalog::{Catalog, Served};
use config::{Config, Problem, Problems};

/// What `serve` is asked for.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file that names stores, effects, queries and transactions
    #[arg(long, env = "EXACTLY_ONCE_CONFIG", default_value = "effects.toml")]
    config: PathBuf,
    /// Where Restate finds the service, in place of the file's `listen`
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where /livez, /readyz and /metrics are, in place of the file's `admin`
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Checks the file, and every statement against its database; serves nothing
    #[arg(long)]
    check: bool,
    /// Prints a typed wrapper of the service; needs no database
    #[arg(long, value_name = "LANGUAGE", conflicts_with = "check")]
    types: Option<types::Language>,
    /// How log lines are written, to standard error; RUST_LOG chooses which
    #[arg(long, value_enum, default_value_t)]
    log: server::Log,
}

/// What was done.
pub(crate) enum Done {
    /// A sentence.
    Said(String),
    /// A text for standard output, as it is.
    Text(String),
}

/// Checks, prints or serves.
///
/// # Errors
/// [Configuration](crate::ErrorKind::Configuration): what is wrong, each with file and line; nothing was
/// started.
pub(crate) async fn run(arguments: Arguments) -> Result<Done, Error> {
    let config = Config::load(&arguments.config).map_err(said)?;
    if let Some(language) = arguments.types {
        return Ok(Done::Text(types::of(&config, language)));
    }
    if arguments.check {
        let (handlers, stores) = (config.handlers.len(), config.stores.len());
        let catalog = open(config, BTreeMap::new()).await.map_err(said)?;
        restate::endpoint(&catalog)?;
        catalog.close().await;
        let file = arguments.config.display();
        return Ok(Done::Said(format!(
            "{file}: {handlers} handlers on {stores} stores, every statement prepared"
        )));
    }
    server::serve(arguments, config).await?;
    Ok(Done::Said("ended in order".to_owned()))
}

/// Opens the stores and checks the statements; what is open already is used as it is.
async fn open(config: Config, already: BTreeMap<String, Served>) -> Result<Arc<Catalog>, Refused> {
    let file = config.file.clone();
    let refused = |problems: Vec<Problem>| Refused::Problems(Problems::of(&file, problems));
    let environment = |name: &str| std::env::var_os(name);
    let opened = stores::open(&config, &environment, already)
        .await
        .map_err(refused)?;
    let catalog = Arc::new(Catalog::new(config, opened));
    let problems = check::statements(&catalog).await;
    match problems.is_empty() {
        true => Ok(catalog),
        false => Err(refused(problems)),
    }
}

/// Why a configuration is not served.
enum Refused {
    /// What is wrong with it.
    Problems(Problems),
    /// It could not be read.
    Error(Error),
}

/// One line for each problem, to standard error, and a summary as the error.
fn said(refused: Refused) -> Error {
    match refused {
        Refused::Error(error) => error,
        Refused::Problems(problems) => {
            for line in problems.to_string().lines() {
                let _ = writeln!(std::io::stderr(), "{}", crate::cli::plain(line));
            }
            problems.into()
        }
    }
}
