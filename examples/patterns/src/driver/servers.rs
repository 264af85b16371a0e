//! Restate, and Postgres if a pattern needs it.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use exactly_once_servers::{Postgres, Restate};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::patterns::Way;

/// The servers of a run, and the program that serves the patterns.
#[derive(Debug)]
pub struct Servers {
    pub(super) restate: Restate,
    pub(super) http: reqwest::Client,
    pub(super) program: PathBuf,
    pub(super) folder: TempDir,
    postgres: OnceCell<Postgres>,
}

impl Servers {
    /// Starts Restate. `program` is the binary `patterns-service`.
    ///
    /// # Errors
    /// Where it is not installed or does not get ready.
    pub async fn start(program: PathBuf) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            restate: Restate::start().await?,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(60))
                .build()?,
            program,
            folder,
            postgres: OnceCell::new(),
        })
    }

    /// Postgres, which is started when it is asked for.
    ///
    /// # Errors
    /// Where it is not installed or does not get ready.
    pub(super) async fn postgres(&self) -> Result<&Postgres> {
        let start = async || {
            let postgres = Postgres::start(18).await?;
            for way in [Way::Recipe, Way::Ours] {
                postgres.create_database(way.word()).await?;
            }
            anyhow::Ok(postgres)
        };
        self.postgres.get_or_try_init(start).await
    }
}
