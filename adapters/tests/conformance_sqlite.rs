//! The conformance suite, on SQLite: `cargo test --features rusqlite --test conformance_sqlite`.

use std::{process::ExitCode, time::Duration};

use exactly_once::sqlite::{SqliteStore, SqliteTx};
use exactly_once::{Statement, WorkError};
use exactly_once_conformance::{CaseFailure, CaseResult, Harness, run};
use rusqlite::Connection;
use tempfile::TempDir;

struct Sqlite;

const INSERT: &str = "INSERT INTO effects (id) VALUES (?1)";

fn unexpected(error: impl std::fmt::Display) -> CaseFailure {
    CaseFailure::unexpected(error.to_string())
}

fn file(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("store.db")
}

impl Harness for Sqlite {
    type Store = SqliteStore;
    type Guard = TempDir;

    fn name(&self) -> &str {
        "sqlite"
    }

    async fn fresh(&self) -> CaseResult<TempDir> {
        let folder = tempfile::tempdir().map_err(unexpected)?;
        Connection::open(file(&folder))
            .and_then(|db| db.execute_batch("CREATE TABLE effects (id TEXT NOT NULL) STRICT"))
            .map_err(unexpected)?;
        Ok(folder)
    }

    async fn open(&self, folder: &TempDir) -> CaseResult<SqliteStore> {
        let builder = SqliteStore::builder(file(folder));
        let builder = builder.lock_timeout(Duration::from_secs(2));
        builder.open().await.map_err(unexpected)
    }

    async fn write_effect(&self, tx: &mut SqliteTx, id: &str) -> Result<(), WorkError> {
        let id = id.to_owned();
        tx.run(move |db| db.execute(INSERT, [id])).await?;
        Ok(())
    }

    async fn count_effects(&self, folder: &TempDir, id: &str) -> CaseResult<u64> {
        let count = "SELECT count(*) FROM effects WHERE id = ?1";
        Connection::open(file(folder))
            .and_then(|db| db.query_row(count, [id], |row| row.get::<_, i64>(0)))
            .map(i64::unsigned_abs)
            .map_err(unexpected)
    }

    fn effect_statement(&self, id: &str) -> Option<Statement> {
        Some(Statement::new(INSERT).bind(id))
    }

    fn refused_statement(&self) -> Option<Statement> {
        Some(Statement::new("INSERT INTO effects (id) VALUES (NULL)"))
    }
}

fn main() -> ExitCode {
    run(Sqlite)
}
