//! A hot standby of a Postgres, to be promoted when the primary is gone.
//!
//! The copy is taken while the primary is stopped: that needs no `pg_basebackup`, which the
//! packages of newer versions lack, and can't go wrong in any other way. Make the standby before
//! the test connects.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use crate::identity::{give_away, temporary_folder};
use crate::postgres::{PASSWORD, Postgres, USER, data};
use crate::tools;

/// The name by which the primary knows its standby.
const STANDBY: &str = "standby";
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);

/// Whether the primary waits for its standby at each commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// It waits: nothing acknowledged is lost by a failover.
    Synchronous,
    /// It does not: a failover may lose what was acknowledged last.
    Asynchronous,
}

/// A streaming replica of a primary. It answers reads; after [`Standby::promote`] it is a primary.
#[derive(Debug)]
pub struct Standby {
    postgres: Postgres,
}

impl Standby {
    /// Makes a standby of this server, which is stopped and started meanwhile, and waits until it
    /// streams.
    ///
    /// # Errors
    /// When either server does not start, or the standby does not catch up.
    pub async fn of(primary: &Postgres, replication: Replication) -> Result<Self> {
        let folder = temporary_folder()?;
        give_away(folder.path())?;
        primary.stop().await?;
        copy_owned(&primary.data_folder(), &data(folder.path()))?;
        let binaries = tools::postgres(primary.major())?;
        let postgres = Postgres::new(primary.major(), binaries, folder, primary.trusting())?;
        let signal = postgres.data_folder().join("standby.signal");
        fs::write(&signal, "")?;
        give_away(&signal)?;
        let source = format!(
            "host=127.0.0.1 port={} user={USER} password={PASSWORD} application_name={STANDBY}",
            primary.port()
        );
        postgres.write_settings(&BTreeMap::from([
            ("primary_conninfo".to_owned(), source),
            ("hot_standby".to_owned(), "on".to_owned()),
            ("wal_retrieve_retry_interval".to_owned(), "100ms".to_owned()),
        ]))?;
        primary.restart().await?;
        postgres.restart().await?;
        let standby = Self { postgres };
        standby.wait_until_it_streams(primary).await?;
        if replication == Replication::Synchronous {
            primary.set("synchronous_standby_names", STANDBY).await?;
        }
        Ok(standby)
    }

    /// The server: its URL, kill, restart, SQL.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// Makes it a primary. The old one should be dead: nothing here fences it.
    ///
    /// # Errors
    /// When it is a primary already, or does not become one in time.
    pub async fn promote(&self) -> Result<()> {
        match self
            .postgres
            .sql("postgres", "SELECT pg_promote(true, 60)")
            .await?
            .as_str()
        {
            "t" => Ok(()),
            _ => bail!(
                "the standby was not promoted:\n{}",
                self.postgres.server().log()
            ),
        }
    }

    /// Stops receiving from the primary, so that an asynchronous failover loses what comes now.
    ///
    /// # Errors
    /// When the standby does not run.
    pub async fn disconnect(&self, primary: &Postgres) -> Result<()> {
        self.postgres.set("primary_conninfo", "").await?;
        self.until(primary, "SELECT count(*) = 0 FROM pg_stat_replication")
            .await
    }

    async fn wait_until_it_streams(&self, primary: &Postgres) -> Result<()> {
        let sql = format!(
            "SELECT count(*) = 1 FROM pg_stat_replication \
             WHERE application_name = '{STANDBY}' AND state = 'streaming'"
        );
        self.until(primary, &sql).await
    }

    async fn until(&self, primary: &Postgres, sql: &str) -> Result<()> {
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        while primary.sql("postgres", sql).await? != "t" {
            if Instant::now() >= deadline {
                bail!("not so in time: {sql}\n{}", self.postgres.server().log());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Copies a folder with all in it, modes kept, for the user that Postgres runs as.
fn copy_owned(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, from.metadata()?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_owned(&source, &target)?;
        } else {
            fs::copy(&source, &target)?;
            give_away(&target)?;
        }
    }
    give_away(to)
}
