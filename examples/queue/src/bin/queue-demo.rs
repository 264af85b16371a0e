//! The demo, and the consumer that it starts and kills.
#![allow(clippy::print_stdout)]

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use exactly_once_queue::{
    consumer,
    driver::{DemoOptions, run},
};

/// An at-least-once queue whose consumers are killed between effect and acknowledgement
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(flatten)]
    demo: DemoOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// One consumer, until it is killed
    Consumer(consumer::Options),
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(Command::Consumer(options)) = options.command {
        return consumer::run(options).await;
    }
    let report = run(&options.demo).await?;
    println!("{report}");
    ensure!(report.anomalies.is_empty(), "the audit has found anomalies");
    Ok(())
}
