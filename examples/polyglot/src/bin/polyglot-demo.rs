//! Orders by handlers in TypeScript and Python, kills, and an audit of both databases.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use exactly_once_polyglot::{
    driver::{self, DemoOptions},
    measure::{self, MeasureOptions},
};

/// Orders by handlers in TypeScript and Python, kills, and an audit of both databases
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
    /// Measures the share of `serve` in the time of a call, beside an empty handler
    Measure(MeasureOptions),
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    // The command `exactly-once` itself: the demo starts it as a process of its own.
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return Ok(exactly_once::cli::main().await);
    }
    let options = Options::parse();
    if let Some(Command::Measure(measure)) = options.command {
        return exactly_once_servers::demo::run(measure::run(&measure), |figures| {
            println!("{figures}");
            true
        })
        .await;
    }
    exactly_once_servers::demo::run(driver::run(&options.demo), |report| {
        println!("{report}");
        report.anomalies.is_empty()
    })
    .await
}
