//! Kills, cuts and cancels for as long as it is told, and audits.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use exactly_once_chaos::{
    driver::{self, ChaosOptions},
    process::{self, ServiceOptions},
};

/// Chaos over Restate, Postgres, SQLite and Redis, and an audit of all of them
///
/// Ends with 0 if every operation was applied exactly once and nothing is left behind, with 1 if not.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    chaos: ChaosOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// A service process; the driver starts it by itself
    #[command(hide = true)]
    Service(ServiceOptions),
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if let Some(Command::Service(service)) = options.command {
        process::run(service).await?;
        return Ok(ExitCode::SUCCESS);
    }
    exactly_once_servers::demo::run(Box::pin(driver::run(&options.chaos)), |report| {
        println!("{report}");
        report.anomalies.is_empty()
    })
    .await
}
