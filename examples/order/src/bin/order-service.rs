//! The order service alone: register its address with a Restate server and call it.

use anyhow::Result;
use clap::Parser;
use exactly_once_order::process::{ServiceOptions, run};

/// An order service on Restate, Postgres, SQLite and Redis
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    service: ServiceOptions,
}

#[tokio::main]
async fn main() -> Result<()> {
    run(Options::parse().service).await
}
