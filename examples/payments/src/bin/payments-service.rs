//! The payment service alone: register its address with a Restate server and call it.

use anyhow::Result;
use clap::Parser;
use exactly_once_payments::process::{ServiceOptions, run};

/// A payment service on Restate and SQLite
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    service: ServiceOptions,
}

#[tokio::main]
async fn main() -> Result<()> {
    run(Options::parse().service).await
}
