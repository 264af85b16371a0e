//! Runs every pattern under crashes, and prints the tables of `PATTERNS.md`.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use exactly_once_patterns::{
    driver::{self, Answer, Servers},
    table::{HEAD, RESTARTS_HEAD},
};

#[derive(Parser)]
#[command(about = "Every pattern, by the usual recipe and by this library, under crashes")]
struct Options {
    /// The binary `patterns-service`, if it is not beside this one
    #[arg(long)]
    service: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let program = match Options::parse().service {
        Some(program) => program,
        None => std::env::current_exe()
            .context("which program is this?")?
            .with_file_name("patterns-service"),
    };
    let servers = Servers::start(program).await?;
    let (rows, restarts) = driver::tables(&servers).await?;
    println!("{HEAD}");
    for row in &rows {
        println!("{row}");
    }
    println!("\n{RESTARTS_HEAD}");
    for restart in &restarts {
        println!("{restart}");
    }
    println!();
    for cell in rows.iter().flat_map(|row| row.cells()) {
        match &cell.answer {
            Answer::Never(failure) => println!("retries for ever: {failure}"),
            Answer::Refused(status, body) => println!("answered {status}: {body}"),
            Answer::Value(_) => {}
        }
    }
    Ok(())
}
