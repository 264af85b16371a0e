//! Staged two-phase commit: after a yes the commit can't fail, and the content is what a plain
//! transaction leaves.

#![cfg(feature = "rusqlite")]
// A fuzz prints what it tried, and a table of breaches is best read as one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
#![allow(clippy::type_complexity)]

mod faults;
mod fuzz;
mod guards;
mod many_tables;

use std::time::Duration;

use exactly_once::sqlite::{SqliteBuilder, SqliteStore, SqliteTx};
use exactly_once::{
    BegunPrepared, Error, Fingerprint, Participation, PreparedTransactions, Store, TransactionId,
    Transactional,
};
use rusqlite::{Connection, types::ValueRef};
use tempfile::TempDir;

pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) store: SqliteStore,
}

impl Place {
    pub(crate) async fn new(schema: &str) -> Self {
        Self::with(schema, |builder| builder).await
    }

    pub(crate) async fn with(
        schema: &str,
        build: impl FnOnce(SqliteBuilder) -> SqliteBuilder,
    ) -> Self {
        // In memory where there is such a folder: thousands of files, and no power cut to survive.
        let shared = std::path::Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(shared).or_else(|_| tempfile::tempdir());
        let folder = folder.unwrap();
        let path = folder.path().join("t.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(schema)
            .unwrap();
        let builder = SqliteStore::builder(path).lock_timeout(Duration::from_secs(60));
        let store = build(builder.readers(1)).open().await.unwrap();
        Self { folder, store }
    }

    /// A connection of a program that does not know this library.
    pub(crate) fn foreign(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("t.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(2)).unwrap();
        connection
    }

    pub(crate) async fn part(&self, name: &str) -> Participation {
        let now = self.store.now().await.unwrap();
        let at = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
        let print = Fingerprint::of_bytes("test", name.as_bytes());
        let name = TransactionId::new(name).unwrap();
        Participation::new(&name, print, at(60), at(3600)).unwrap()
    }

    pub(crate) async fn begin(&self, part: &Participation) -> SqliteTx {
        match self.store.begin_prepared(part).await.unwrap() {
            BegunPrepared::Fresh(tx) => tx,
            other => panic!("not fresh: {other:?}"),
        }
    }

    /// Prepares statements as one transaction.
    pub(crate) async fn prepare(&self, name: &str, sql: &str) -> Result<Participation, Error> {
        let part = self.part(name).await;
        let mut tx = self.begin(&part).await;
        let sql = sql.to_owned();
        tx.run(move |db| db.execute_batch(&sql)).await?;
        self.store.prepare(tx, &part).await?;
        Ok(part)
    }

    pub(crate) async fn commit(&self, part: &Participation) {
        self.store.commit_prepared(part).await.unwrap();
    }

    /// Runs statements as one plain transaction.
    pub(crate) async fn plain(&self, sql: &str) -> Result<(), Error> {
        let mut tx = self.store.begin().await?;
        let sql = sql.to_owned();
        tx.run(move |db| db.execute_batch(&sql)).await?;
        self.store.commit(tx).await
    }

    pub(crate) fn dump(&self, table: &str) -> Vec<String> {
        dump(&self.foreign(), table)
    }
}

/// The rows of a table, bit by bit and sorted.
pub(crate) fn dump(db: &Connection, table: &str) -> Vec<String> {
    let mut query = db.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
    let width = query.column_count();
    let mut rows: Vec<String> = query
        .query_map([], |row| {
            let values = (0..width).map(|at| {
                row.get_ref(at).map(|value| match value {
                    ValueRef::Real(number) => format!("real {number} {:x}", number.to_bits()),
                    other => format!("{other:?}"),
                })
            });
            values.collect::<rusqlite::Result<Vec<_>>>()
        })
        .unwrap()
        .map(|row| row.unwrap().join(" | "))
        .collect();
    rows.sort();
    rows
}
