//! Creating the tables once, whichever process is first.

use exactly_once_core::{ErrorKind, Result};

use super::{
    driver::{Driver, Reply},
    error::{convert, error},
    schema::VERSION,
    sqlstate::Stage,
    statements::{self, cell, number},
    store::PostgresStore,
};

pub(super) const MIGRATE: &str = "migrate";

/// How many lock timeouts to wait for the others: on a slow disk, ten programs that start at once
/// take turns for longer than anybody should wait for a row.
const ROUNDS: usize = 20;

impl<D: Driver> PostgresStore<D> {
    /// Creates the tables; does nothing where they are there.
    ///
    /// Needs the right to create a schema (or an existing schema with CREATE), but only the first
    /// time: once the tables are there it only reads, so a role without such rights may call it.
    /// May be called by any number of processes at once.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration) where the right is missing, or where the tables
    /// are of another version of this crate.
    pub async fn migrate(&self) -> Result<()> {
        for _ in 1..ROUNDS {
            match self.migrate_round().await {
                // Another one is at it, and it is taking its time.
                Err(error) if error.kind() == ErrorKind::Busy => {}
                migrated => return migrated,
            }
        }
        self.migrate_round().await
    }

    async fn migrate_round(&self) -> Result<()> {
        if self.version(MIGRATE).await?.is_some() {
            return self.check_schema(MIGRATE).await;
        }
        // CREATE … IF NOT EXISTS does not stop two sessions from trying at once: a lock does.
        let begun = self
            .open(
                MIGRATE,
                &format!(
                    "SELECT pg_catalog.pg_advisory_xact_lock({}); {}; {}",
                    self.tables().migration_lock(),
                    self.tables().exists(),
                    self.tables().schema_exists(),
                ),
            )
            .await?;
        let mut tx = super::PostgresTx::new(begun.session, begun.identity);
        if is_true(begun.replies.get(1)) {
            tx.abandon().await;
            return self.check_schema(MIGRATE).await;
        }
        // Not `IF NOT EXISTS`, which asks for the right to create one also where it exists.
        let schema = match is_true(begun.replies.get(2)) {
            true => String::new(),
            false => format!("CREATE SCHEMA {}; ", self.tables().schema),
        };
        let create = format!("{schema}{}", self.tables().create());
        if let Err(failed) = tx.session().batch(&create).await {
            tx.abandon().await;
            return Err(convert(failed, MIGRATE, Stage::Ours));
        }
        let end = format!("{}; COMMIT", statements::probe(tx.identity()));
        tx.end(&end)
            .await
            .map_err(|failed| convert(failed, MIGRATE, Stage::Durable))
    }

    /// The tables are there and of this version.
    pub(super) async fn check_schema(&self, operation: &'static str) -> Result<()> {
        match self.version(operation).await? {
            Some(VERSION) => Ok(()),
            Some(other) => Err(error(
                ErrorKind::Configuration,
                operation,
                format!(
                    "the tables in schema {} have version {other}, this program knows {VERSION}: \
                     run the same version of the exactly-once crate everywhere",
                    self.tables().schema
                ),
            )),
            None => Err(error(
                ErrorKind::Configuration,
                operation,
                format!(
                    "the schema {} has no tables of exactly-once: check the database and the schema \
                     that the URL names, or make the tables once, as a role that may create them, with \
                     `migrate()` or `exactly-once migrate`",
                    self.tables().schema
                ),
            )),
        }
    }

    async fn version(&self, operation: &'static str) -> Result<Option<i64>> {
        let replies = self.read(operation, &self.tables().exists()).await?;
        if !is_true(replies.first()) {
            return Ok(None);
        }
        let replies = self.read(operation, &self.tables().read_version()).await?;
        // No row is a version that nothing knows.
        Ok(Some(number(replies.first(), 0).unwrap_or(0)))
    }
}

fn is_true(reply: Option<&Reply>) -> bool {
    cell(reply, 0) == Some("t")
}
