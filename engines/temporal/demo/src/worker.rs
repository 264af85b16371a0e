//! A worker process.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, Url};
use temporalio_sdk::{Runtime, Worker, WorkerOptions};

use crate::{naive::Naive, shop::Shop, till::Till};

/// The task queue.
pub const QUEUE: &str = "shop";

/// The arguments of a worker process.
#[derive(Args, Clone, Debug)]
pub struct WorkerArguments {
    /// Where the Temporal server listens
    #[arg(long)]
    pub url: String,
    /// The folder of the databases and of the crash points
    #[arg(long)]
    pub folder: PathBuf,
}

/// Connects, and waits for a server that is being started again.
///
/// # Errors
/// The URL is none.
pub async fn connect(url: &str) -> Result<Client> {
    let url = Url::parse(url)?;
    loop {
        match Connection::connect(ConnectionOptions::new(url.clone()).build()).await {
            Ok(connection) => {
                return Ok(Client::new(
                    connection,
                    ClientOptions::new("default").build(),
                )?);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Works until it is killed.
///
/// # Errors
/// Where a database can't be opened, or the worker ends.
pub async fn run(arguments: &WorkerArguments) -> Result<()> {
    let till = Till::open(&arguments.folder).await?;
    let naive = Naive::open(&arguments.folder)?;
    let runtime = Runtime::from_current_tokio(Default::default())?;
    let client = connect(&arguments.url).await?;
    let options = WorkerOptions::new(QUEUE)
        // After a kill, the workflows that this worker had cached go to the other one.
        .sticky_queue_schedule_to_start_timeout(Duration::from_secs(1))
        .register_workflow::<Shop>()?
        .register_activities(till)
        .register_activities(naive)
        .build();
    let mut worker = Worker::new(&runtime, client, options)?;
    worker.run().await.context("the worker ended")
}
