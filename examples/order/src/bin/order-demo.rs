//! Runs the order service on real servers, kills all of them again and again, and audits.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use exactly_once_order::{
    driver::{self, DemoOptions},
    process::{self, ServiceOptions},
};

/// Orders over three databases, kills, and an audit of all three
///
/// Ends with 0 if each order is everywhere or nowhere and nothing is left behind, with 1 if not.
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
    exactly_once_servers::demo::run(Box::pin(driver::run(&options.demo)), |report| {
        println!("{report}");
        report.anomalies.is_empty()
    })
    .await
}
