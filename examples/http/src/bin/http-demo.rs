//! The service, until SIGINT.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use exactly_once_http::{
    metrics::{install, watch},
    service::{open, router},
};
use tokio::net::TcpListener;

/// Payments over HTTP with Idempotency-Key, and /metrics for Prometheus
#[derive(Parser)]
struct Options {
    /// The SQLite file; made if it is not there
    #[arg(long, default_value = "payments.db")]
    database: PathBuf,
    /// The file that mails go to
    #[arg(long, default_value = "mails.txt")]
    outbox: PathBuf,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let metrics = install()?;
    let store = open(&options.database).await?;
    tokio::spawn(watch(store.clone(), metrics.clone()));
    let listener = TcpListener::bind(options.address)
        .await
        .with_context(|| format!("can't listen at {}", options.address))?;
    eprintln!("http://{}/payments, /mails, /metrics", options.address);
    axum::serve(listener, router(store, metrics, options.outbox))
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
