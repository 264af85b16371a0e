//! The conformance suite, on SQLite: `cargo test --features rusqlite --test conformance_sqlite`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use exactly_once::sqlite::{SqliteStore, SqliteTx};
use exactly_once::{AccountId, Error, Namespace, Statement, Version, WorkError};
use exactly_once_conformance::{
    CaseFailure, CaseResult, Harness,
    harness::{Age, RowsOf},
    run,
};
use rusqlite::Connection;
use tempfile::TempDir;

struct Sqlite;

/// A database file; its folder goes with the guard that made it.
struct Place(PathBuf, #[allow(dead_code)] Option<TempDir>);

const TABLES: &str = "CREATE TABLE effects (id TEXT NOT NULL) STRICT;
    CREATE TABLE kept (value ANY) STRICT;
    CREATE TABLE parents (id INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED) STRICT;
    CREATE VIRTUAL TABLE words USING fts5 (word);";
const ORPHAN: &str = "INSERT INTO children (parent) VALUES (7)";
/// What can't be staged, by what it is.
const UNPREPARABLE: [(&str, &str); 5] = [
    ("a change of the schema", "CREATE TABLE more (a)"),
    ("a temporary table", "CREATE TEMP TABLE more (a)"),
    ("a row with a foreign key", ORPHAN),
    ("a row of a virtual table", "INSERT INTO words VALUES ('a')"),
    ("a pragma", "PRAGMA user_version = 7"),
];
/// What a connection keeps: how it is changed, and how that is seen.
const SESSION: [(&str, &str, &str); 5] = [
    (
        "a temporary table",
        "CREATE TEMP TABLE left_behind (n)",
        "SELECT 1 + count(*) FROM temp.left_behind",
    ),
    (
        "deferred checks",
        "PRAGMA defer_foreign_keys = ON",
        "PRAGMA defer_foreign_keys",
    ),
    (
        "the last row id",
        "INSERT INTO parents VALUES (4711); DELETE FROM parents",
        "SELECT last_insert_rowid()",
    ),
    (
        "a schema of another name",
        "ATTACH ':memory:' AS left_behind",
        "SELECT count(*) FROM left_behind.sqlite_schema UNION ALL SELECT 1",
    ),
    (
        "the safety of commits",
        "PRAGMA synchronous = OFF",
        "SELECT synchronous = 0 FROM pragma_synchronous",
    ),
];
const INSERT: &str = "INSERT INTO effects (id) VALUES (?1)";
const INSERT_MANY: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
    WHERE i < :count) INSERT INTO effects (id) SELECT :id FROM n RETURNING rowid";
const KEEP: &str = "INSERT INTO kept VALUES (?1) RETURNING value";
const SPOIL: &str = "INSERT OR ROLLBACK INTO effects (id) VALUES (NULL)";

fn unexpected(error: impl std::fmt::Display) -> CaseFailure {
    CaseFailure::unexpected(error.to_string())
}

async fn open(place: &Place, timeout: Duration) -> CaseResult<SqliteStore> {
    let builder = SqliteStore::builder(&place.0).lock_timeout(timeout);
    builder.open().await.map_err(unexpected)
}

impl Harness for Sqlite {
    type Store = SqliteStore;
    type Guard = Place;

    fn name(&self) -> &str {
        "sqlite"
    }

    async fn fresh(&self) -> CaseResult<Place> {
        let folder = tempfile::tempdir().map_err(unexpected)?;
        let file = folder.path().join("store.db");
        Connection::open(&file)
            .and_then(|db| db.execute_batch(TABLES))
            .map_err(unexpected)?;
        Ok(Place(file, Some(folder)))
    }

    async fn open(&self, place: &Place) -> CaseResult<SqliteStore> {
        open(place, Duration::from_secs(2)).await
    }

    async fn open_starved(&self, place: &Place, acquire: Duration) -> CaseResult<SqliteStore> {
        open(place, acquire).await
    }

    async fn write_effect(&self, tx: &mut SqliteTx, id: &str) -> Result<(), WorkError> {
        let id = id.to_owned();
        tx.run(move |db| db.execute(INSERT, [id])).await?;
        Ok(())
    }

    async fn count_effects(&self, place: &Place, id: &str) -> CaseResult<u64> {
        let count = "SELECT count(*) FROM effects WHERE id = ?1";
        Connection::open(&place.0)
            .and_then(|db| db.query_row(count, [id], |row| row.get::<_, i64>(0)))
            .map(i64::unsigned_abs)
            .map_err(unexpected)
    }

    fn effect_statement(&self, id: &str) -> Option<Statement> {
        Some(Statement::new(INSERT).bind(id))
    }

    fn returning_statement(&self, _: &Place, wanted: RowsOf<'_>) -> Option<Statement> {
        Some(match wanted {
            RowsOf::Effects { id, count } => Statement::named(INSERT_MANY)
                .bind_named("id", id)
                .bind_named("count", count),
            RowsOf::Value { value, .. } => Statement::new(KEEP).bind(value.clone()),
        })
    }

    fn refused_statement(&self) -> Option<Statement> {
        Some(Statement::new("INSERT INTO effects (id) VALUES (NULL)"))
    }

    fn poisoned_statements(&self) -> Vec<(&'static str, Vec<Statement>)> {
        let one = |what, sql: &str| (what, vec![Statement::new(sql)]);
        vec![
            one("a deferred constraint", ORPHAN),
            one("a rollback by SQLite", SPOIL),
            one("a savepoint", "SAVEPOINT x"),
            one("a released savepoint", "RELEASE x"),
            one("a rollback to a savepoint", "ROLLBACK TO x"),
            one("a commit", "COMMIT"),
            one("a setting", "PRAGMA defer_foreign_keys = ON"),
        ]
    }

    async fn fail_half_way(&self, tx: &mut SqliteTx, id: &str) -> bool {
        let id = id.to_owned();
        let half = move |db: &Connection| {
            db.execute(INSERT, [id])?;
            db.execute("INSERT INTO effects (id) VALUES (NULL)", [])
        };
        tx.run(half).await.is_err()
    }

    async fn spoil(&self, tx: &mut SqliteTx) -> bool {
        tx.run(|db| db.execute(SPOIL, [])).await.is_err()
    }

    async fn left_open(&self, place: &Place) -> CaseResult<Option<u64>> {
        let db = Connection::open(&place.0).map_err(unexpected)?;
        db.busy_timeout(Duration::ZERO).map_err(unexpected)?;
        Ok(Some(u64::from(
            db.execute_batch("BEGIN IMMEDIATE").is_err(),
        )))
    }

    async fn end_behind(&self, tx: &mut SqliteTx) -> bool {
        tx.run(|db| db.execute_batch("COMMIT")).await.is_ok()
    }

    async fn violate_at_the_end(&self, tx: &mut SqliteTx) -> bool {
        // Refused at once, and the work goes on all the same.
        let _ = tx.run(|db| db.execute(ORPHAN, [])).await;
        true
    }

    async fn change_session(&self, tx: &mut SqliteTx, number: usize) -> Option<&'static str> {
        let (what, change, _) = *SESSION.get(number)?;
        // Some of them are refused at once.
        let _ = tx.run(move |db| db.execute_batch(change)).await;
        Some(what)
    }

    async fn sees_session(&self, tx: &mut SqliteTx, number: usize) -> bool {
        let Some((_, _, question)) = SESSION.get(number).copied() else {
            return false;
        };
        let seen = tx.run(move |db| db.query_row(question, [], |row| row.get::<_, i64>(0)));
        seen.await.is_ok_and(|seen| seen != 0)
    }

    async fn unpreparable(&self, tx: &mut SqliteTx, number: usize) -> Option<&'static str> {
        let (kind, sql) = *UNPREPARABLE.get(number)?;
        // Refused at once, and the work goes on all the same.
        let _ = tx.run(move |db| db.execute_batch(sql)).await;
        Some(kind)
    }

    async fn open_aged(&self, place: &Place, age: Age) -> CaseResult<Result<SqliteStore, Error>> {
        if age != Age::Newer {
            return Err(CaseFailure::ignored("there is no older schema"));
        }
        let change = "UPDATE exactly_once_meta SET schema_version = 999";
        Connection::open(&place.0)
            .and_then(|db| db.execute_batch(change))
            .map_err(unexpected)?;
        Ok(SqliteStore::builder(&place.0).open().await)
    }

    async fn set_version(
        &self,
        place: &Place,
        namespace: &Namespace,
        account: &AccountId,
        version: Version,
    ) -> CaseResult {
        let set =
            "UPDATE exactly_once_account SET version = ?3 WHERE namespace = ?1 AND account = ?2";
        let key = (namespace.as_str(), account.as_str(), version.get());
        let changed = Connection::open(&place.0).and_then(|db| db.execute(set, key));
        match changed.map_err(unexpected)? {
            1 => Ok(()),
            other => Err(unexpected(format!("{other} accounts were changed"))),
        }
    }

    fn locate(&self, place: &Place) -> Option<String> {
        place.0.to_str().map(str::to_owned)
    }

    async fn attach(&self, place: &str) -> CaseResult<Place> {
        Ok(Place(PathBuf::from(place), None))
    }
}

fn main() -> ExitCode {
    run(Sqlite)
}
