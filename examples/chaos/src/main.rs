//! Kills, cuts and cancels for a given time, and audits.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use exactly_once_chaos::{
    driver::{self, ChaosOptions},
    flows::{self, FlowsOptions},
    process::{self, ServiceOptions},
};

/// Chaos over Restate, Postgres, SQLite and Redis, and an audit of all of them
///
/// Ends with 0 if every operation was applied exactly once and nothing is left behind, with 1 if not.
/// After the services come two flows with two registers over one shared store.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    chaos: ChaosOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Only the two flows with two registers over one shared store
    Flows(FlowsOptions),
    /// A service process; the driver starts it by itself
    #[command(hide = true)]
    Service(ServiceOptions),
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    match options.command {
        Some(Command::Service(service)) => {
            process::run(service).await?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Flows(flows)) => both(None, &flows).await,
        None => {
            let flows = FlowsOptions {
                operations: options.chaos.planned(),
                seed: options.chaos.seed,
                any_register: false,
            };
            both(Some(&options.chaos), &flows).await
        }
    }
}

/// The services under chaos, if they are asked for, and then the two flows.
async fn both(chaos: Option<&ChaosOptions>, flows: &FlowsOptions) -> Result<ExitCode> {
    let runs = async {
        let mut passed = true;
        if let Some(chaos) = chaos {
            let report = driver::run(chaos).await?;
            println!("{report}");
            passed = report.anomalies.is_empty();
        }
        let report = flows::run(flows).await?;
        println!("{report}");
        Ok(passed && report.anomalies.is_empty())
    };
    exactly_once_servers::demo::run(Box::pin(runs), |passed| passed).await
}
