//! SQLite as the recipes use it: the driver's own connection and transactions.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use rusqlite::Connection;

/// A connection behind a lock.
#[derive(Clone, Debug)]
pub struct Plain(Arc<Mutex<Connection>>);

/// Opens the file and runs some SQL.
///
/// # Errors
/// As SQLite has them.
pub fn open(file: &Path, sql: &str) -> Result<Connection> {
    let connection = Connection::open(file).context("can't open the database")?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.execute_batch(sql)?;
    Ok(connection)
}

impl Plain {
    /// Opens the file.
    ///
    /// # Errors
    /// As SQLite has them.
    pub fn open(file: &Path) -> Result<Self> {
        Ok(Self(Arc::new(Mutex::new(open(file, "")?))))
    }

    /// Runs something on a thread that may block.
    ///
    /// # Errors
    /// What the closure gives.
    pub async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let connection = self.0.clone();
        tokio::task::spawn_blocking(move || {
            run(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
        .map_err(|error| anyhow!("the database thread ended: {error}"))?
    }
}
