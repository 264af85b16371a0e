//! The service of one pattern, as a process of its own.

use anyhow::Result;
use clap::Parser;
use exactly_once_patterns::process::{self, ServiceOptions};

#[derive(Parser)]
#[command(about = "The service of one pattern")]
struct Options {
    #[command(flatten)]
    service: ServiceOptions,
}

#[tokio::main]
async fn main() -> Result<()> {
    process::run(Options::parse().service).await
}
