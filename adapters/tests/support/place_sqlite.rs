//! Places in SQLite, for tests that need any store: the matrix of engines, say.

use std::path::PathBuf;

use exactly_once::{
    Statement, WorkError,
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_conformance::{CaseFailure, CaseResult, Harness};
use rusqlite::Connection;
use tempfile::TempDir;

/// A file of SQLite.
pub(crate) struct Sqlite;

/// The file, in a folder that goes with it.
pub(crate) struct File {
    path: PathBuf,
    _folder: TempDir,
}

fn unexpected(error: impl std::fmt::Display) -> CaseFailure {
    CaseFailure::unexpected(error.to_string())
}

impl Harness for Sqlite {
    type Store = SqliteStore;
    type Guard = File;

    fn name(&self) -> &str {
        "sqlite"
    }
    async fn fresh(&self) -> CaseResult<File> {
        let folder = tempfile::tempdir().map_err(unexpected)?;
        let path = folder.path().join("store.db");
        Connection::open(&path)
            .and_then(|db| db.execute_batch("CREATE TABLE effects (id TEXT NOT NULL) STRICT"))
            .map_err(unexpected)?;
        Ok(File {
            path,
            _folder: folder,
        })
    }
    async fn open(&self, file: &File) -> CaseResult<SqliteStore> {
        SqliteStore::open(&file.path).await.map_err(unexpected)
    }
    async fn write_effect(&self, tx: &mut SqliteTx, id: &str) -> Result<(), WorkError> {
        let id = id.to_owned();
        tx.run(move |db| db.execute("INSERT INTO effects VALUES (?1)", [id]))
            .await?;
        Ok(())
    }
    async fn count_effects(&self, file: &File, id: &str) -> CaseResult<u64> {
        let count = "SELECT count(*) FROM effects WHERE id = ?1";
        Connection::open(&file.path)
            .and_then(|db| db.query_row(count, [id], |row| row.get::<_, i64>(0)))
            .map(i64::unsigned_abs)
            .map_err(unexpected)
    }
    fn effect_statement(&self, id: &str) -> Option<Statement> {
        Some(Statement::new("INSERT INTO effects VALUES ($1)").bind(id))
    }
    fn refused_statement(&self) -> Option<Statement> {
        Some(Statement::new("INSERT INTO effects VALUES (NULL)"))
    }
}
