//! The command `exactly-once`: what is in a store, what is in doubt, and how to end it.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    exactly_once::cli::main().await
}
