//! Runs the payment service on the real Restate server, kills it again and again, and audits.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use exactly_once_payments::{
    driver::{self, DemoOptions},
    process::{self, ServiceOptions},
};

/// Payments, kills, and an audit of the database
///
/// Ends with 0 if nothing was lost, doubled or left behind, with 1 if anything was.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    demo: DemoOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The service process; the demo starts it by itself
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
    exactly_once_servers::demo::run(driver::run(&options.demo), |report| {
        println!("{report}");
        report.anomalies.is_empty()
    })
    .await
}
