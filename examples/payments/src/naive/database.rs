//! What the naive service does to SQLite: one connection behind a lock.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rusqlite::Connection;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS accounts (account TEXT PRIMARY KEY, balance INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS payments (
    payment TEXT NOT NULL, account TEXT NOT NULL, amount INTEGER NOT NULL,
    refunded INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS payments_by_name ON payments (payment);
CREATE TABLE IF NOT EXISTS refunds (
    request TEXT PRIMARY KEY, payment TEXT NOT NULL, account TEXT NOT NULL, amount INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS transfers (
    name TEXT NOT NULL, account TEXT NOT NULL, amount INTEGER NOT NULL
) STRICT;
";

/// The database.
#[derive(Clone, Debug)]
pub struct Database(Arc<Mutex<Connection>>);

impl Database {
    /// Opens the file and makes the tables.
    ///
    /// # Errors
    /// As SQLite has them.
    pub fn open(file: &Path) -> Result<Self> {
        let connection = Connection::open(file).context("can't open the database")?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.execute_batch(TABLES)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
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
