//! Runs orders on a real Temporal server, kills workers and server again and again, and audits.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use exactly_once_temporal_demo::{
    driver::{self, DemoOptions},
    worker::{self, WorkerArguments},
};

/// Payments and two-database orders on Temporal, kills, and an audit of both databases
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
    /// A worker process; the demo starts it by itself
    #[command(hide = true)]
    Worker(WorkerArguments),
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if let Some(Command::Worker(arguments)) = options.command {
        worker::run(&arguments).await?;
        return Ok(ExitCode::SUCCESS);
    }
    exactly_once_servers::demo::run(driver::run(&options.demo), |report| {
        println!("{report}");
        report.anomalies.is_empty()
    })
    .await
}
