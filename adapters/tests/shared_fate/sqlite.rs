//! SQLite: one thread and one commit.

use std::{future::Future, time::Duration};

use exactly_once::{Statement, Transactional, sqlite::SqliteStore};
use futures_util::future::join;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{Ground, every_answer_is_that_of_a_member_alone};

const TABLES: &str = "CREATE TABLE effect (name TEXT NOT NULL, n INTEGER NOT NULL) STRICT;
    CREATE TABLE one (id INTEGER PRIMARY KEY) STRICT;
    INSERT INTO one VALUES (1);
    CREATE TABLE child (id INTEGER REFERENCES one DEFERRABLE INITIALLY DEFERRED) STRICT;";

struct Sqlite {
    folder: TempDir,
    store: SqliteStore,
}

impl Ground for Sqlite {
    type Store = SqliteStore;

    fn store(&self) -> &SqliteStore {
        &self.store
    }

    fn effect(&self, name: &str) -> Statement {
        Statement::new("INSERT INTO effect VALUES (?1, 1)").bind(name)
    }

    async fn effects(&self, name: &str) -> u64 {
        let db = Connection::open(self.folder.path().join("t.db")).unwrap();
        let count = "SELECT count(*) FROM effect WHERE name = ?1";
        db.query_row(count, [name], |row| row.get::<_, i64>(0))
            .unwrap()
            .unsigned_abs()
    }

    fn poisons(&self) -> Vec<(&'static str, Vec<Statement>)> {
        [
            ("a constraint", "INSERT INTO one VALUES (1)"),
            ("a deferred constraint", "INSERT INTO child VALUES (7)"),
            (
                "a rollback by SQLite",
                "INSERT OR ROLLBACK INTO one VALUES (1)",
            ),
            (
                "a wrong type",
                "INSERT INTO effect VALUES ('x', 'no number')",
            ),
            (
                "an oversize value",
                "INSERT INTO effect VALUES (zeroblob(2000000000), 1)",
            ),
            ("a savepoint", "SAVEPOINT x"),
            ("a rollback to a savepoint", "ROLLBACK TO x"),
            ("a commit", "COMMIT"),
            ("a setting", "PRAGMA defer_foreign_keys = ON"),
        ]
        .map(|(what, sql)| (what, vec![Statement::new(sql)]))
        .into()
    }

    /// While a transaction holds the writer, the calls gather.
    async fn together<T>(&self, calls: impl Future<Output = T>) -> T {
        let held = self.store.begin().await.unwrap();
        let release = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.store.rollback(held).await.unwrap();
        };
        join(calls, release).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(TABLES)
        .unwrap();
    let builder = SqliteStore::builder(&path).lock_timeout(Duration::from_secs(60));
    let store = builder.open().await.unwrap();
    let ground = Sqlite { folder, store };
    Box::pin(every_answer_is_that_of_a_member_alone(&ground)).await;
}
