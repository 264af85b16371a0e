//! Staged two-phase commit: what is captured, what is refused, and by when.

#![cfg(feature = "rusqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod reservations;

use std::time::Duration;

use exactly_once::sqlite::{SqliteStore, SqliteTx};
use exactly_once::{
    BegunPrepared, Error, ErrorKind, Fingerprint, Participation, PreparedStatus,
    PreparedTransactions, Store, Timestamp, TransactionId,
};
use rusqlite::Connection;
use tempfile::TempDir;

struct Place {
    folder: TempDir,
    store: SqliteStore,
}

impl Place {
    async fn new(schema: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(schema)
            .unwrap();
        let builder = SqliteStore::builder(path).lock_timeout(Duration::from_millis(300));
        let store = builder.open().await.unwrap();
        Self { folder, store }
    }

    /// A connection of a program that does not know this library.
    fn foreign(&self) -> Connection {
        let connection = Connection::open(self.folder.path().join("t.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(2)).unwrap();
        connection
    }

    async fn part(&self, name: &str) -> Participation {
        let now = self.store.now().await.unwrap();
        let at = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
        Participation::new(
            &TransactionId::new(name).unwrap(),
            Fingerprint::of_bytes("test", name.as_bytes()),
            at(60),
            at(3600),
        )
        .unwrap()
    }

    async fn begin(&self, part: &Participation) -> SqliteTx {
        match self.store.begin_prepared(part).await.unwrap() {
            BegunPrepared::Fresh(tx) => tx,
            other => panic!("not fresh: {other:?}"),
        }
    }

    /// Prepares statements as one transaction.
    async fn prepare(&self, name: &str, sql: &'static str) -> Result<Participation, Error> {
        let part = self.part(name).await;
        let mut tx = self.begin(&part).await;
        tx.run(move |db| db.execute_batch(sql)).await?;
        self.store.prepare(tx, &part).await?;
        Ok(part)
    }

    fn dump(&self, table: &str) -> Vec<String> {
        let db = self.foreign();
        let mut query = db
            .prepare(&format!("SELECT rowid, * FROM {table} ORDER BY 1"))
            .unwrap();
        let width = query.column_count();
        query
            .query_map([], |row| {
                (0..width)
                    .map(|at| row.get_ref(at).map(|value| format!("{value:?}")))
                    .collect::<rusqlite::Result<Vec<_>>>()
                    .map(|cells| cells.join("|"))
            })
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap()
    }
}

const STOCK: &str = "
    CREATE TABLE stock (id INTEGER PRIMARY KEY, name TEXT UNIQUE COLLATE NOCASE, n INTEGER) STRICT;
    INSERT INTO stock VALUES (1, 'pen', 10), (2, 'ink', 20), (3, NULL, 0), (4, NULL, 0);
    CREATE TABLE audit (what TEXT);
    CREATE TRIGGER stock_audit AFTER UPDATE ON stock BEGIN
        INSERT INTO audit VALUES (old.n || '>' || new.n); END;";

#[tokio::test]
async fn prepared_work_is_invisible_and_commits_once_with_its_triggers() {
    let place = Place::new(STOCK).await;
    let before = place.dump("stock");
    let sql = "UPDATE stock SET n = n - 1 WHERE id = 1; INSERT INTO stock VALUES (9, 'cap', 5);
               DELETE FROM stock WHERE id = 4";
    let part = place.prepare("t", sql).await.unwrap();
    assert_eq!(place.dump("stock"), before);
    assert!(place.dump("audit").is_empty());
    for _ in 0..2 {
        place.store.commit_prepared(&part).await.unwrap();
        let audit = place.dump("audit");
        assert_eq!(
            audit.len(),
            1,
            "the user's trigger must not fire twice: {audit:?}"
        );
    }
    let after: Vec<(i64, i64)> = place
        .foreign()
        .prepare("SELECT id, n FROM stock ORDER BY id")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert_eq!(after, [(1, 9), (2, 20), (3, 0), (9, 5)]);
}

#[tokio::test]
async fn every_value_and_every_kind_of_table_comes_out_exactly() {
    let schema = "
        CREATE TABLE mixed (a, b REAL, c BLOB, \"od d\"\" name\" TEXT);
        CREATE TABLE keyed (x TEXT, y INTEGER, v, PRIMARY KEY (x, y)) WITHOUT ROWID;
        CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, v);
        INSERT INTO keyed VALUES ('k', 1, 'old'), ('k', 2, 'gone');
        INSERT INTO mixed VALUES (1, 2, 3, 4);";
    let work = "
        INSERT INTO mixed VALUES
            (9223372036854775807, 0.1, x'00ff', 'it''s'), (-9223372036854775808, -0.0, x'', ''),
            (1e300, 9e999, NULL, CAST(x'610062' AS TEXT)), ('1', 3, 1.5, 'é😀');
        UPDATE mixed SET a = a || '!' WHERE a = -9223372036854775808;
        UPDATE mixed SET b = 5 WHERE a = '1'; DELETE FROM mixed WHERE a = 1e300;
        INSERT INTO mixed VALUES ('last', 1, 1, 1);
        UPDATE keyed SET v = 'new', y = 3 WHERE y = 1;
        DELETE FROM keyed WHERE y = 2;
        INSERT OR REPLACE INTO keyed VALUES ('k', 3, 'newer');
        INSERT INTO counted (v) VALUES ('a'), ('b');
        DELETE FROM counted WHERE v = 'a';";
    let plain = Place::new(schema).await;
    plain.foreign().execute_batch(work).unwrap();
    let staged = Place::new(schema).await;
    let part = staged.prepare("t", work).await.unwrap();
    // Others are given later row ids meanwhile.
    let foreign = staged.foreign();
    foreign
        .execute("INSERT INTO counted (v) VALUES ('c')", [])
        .unwrap();
    foreign
        .execute("DELETE FROM counted WHERE v = 'c'", [])
        .unwrap();
    staged.store.commit_prepared(&part).await.unwrap();
    let mixed = "(SELECT 0 AS rowid, * FROM mixed ORDER BY rowid)";
    assert_eq!(staged.dump(mixed), plain.dump(mixed));
    assert_eq!(staged.dump("counted"), plain.dump("counted"));
    let keyed = "(SELECT 0 AS rowid, * FROM keyed)";
    assert_eq!(staged.dump(keyed), plain.dump(keyed));
}

#[tokio::test]
async fn what_cannot_be_staged_is_refused_with_its_reason() {
    let place = Place::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER PRIMARY KEY, parent REFERENCES parent);
         CREATE TABLE computed (a, b AS (a + 1));
         CREATE VIRTUAL TABLE words USING fts5 (word);
         CREATE TABLE chained (a); CREATE TABLE other (a);
         CREATE TRIGGER one AFTER INSERT ON chained BEGIN UPDATE chained SET a = a + 1; END;",
    )
    .await;
    for (sql, reason) in [
        ("INSERT INTO child VALUES (1, NULL)", "foreign key"),
        ("INSERT INTO parent VALUES (1)", "foreign key"),
        ("INSERT INTO computed VALUES (1)", "generated"),
        ("INSERT INTO words VALUES ('a')", "virtual"),
        ("INSERT INTO chained VALUES (1)", "chain of triggers"),
        ("CREATE TABLE more (a)", "schema"),
        ("CREATE TEMP TABLE more (a)", "schema"),
        ("ALTER TABLE other ADD COLUMN b", "schema"),
        (
            "UPDATE exactly_once_outcome SET state = 'committed'",
            "belongs to the store",
        ),
        ("COMMIT", "belong to the store"),
    ] {
        let refused = place.prepare("t", sql).await.expect_err(sql);
        assert_eq!(refused.kind(), ErrorKind::Refused, "{sql}: {refused}");
        assert!(refused.to_string().contains(reason), "{sql}: {refused}");
    }
    // Also when the work swallows the refusal.
    let part = place.part("t").await;
    let mut tx = place.begin(&part).await;
    let swallowed = tx
        .run(|db| db.execute_batch("INSERT INTO child VALUES (1, NULL)"))
        .await;
    assert!(swallowed.is_err());
    let refused = place.store.prepare(tx, &part).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert_eq!(
        place.store.prepared_status(&part).await.unwrap(),
        PreparedStatus::None
    );
}

#[tokio::test]
async fn deadlines_are_kept_by_the_clock_after_the_marker() {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };
    let folder = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicI64::new(1_000));
    let clock = time.clone();
    let store = SqliteStore::builder(folder.path().join("t.db"))
        .with_clock(move || Timestamp::from_micros(clock.load(Ordering::Relaxed)))
        .open()
        .await
        .unwrap();
    let part = |name: &str| {
        let id = TransactionId::new(name).unwrap();
        let at = Timestamp::from_micros;
        Participation::new(&id, Fingerprint::of_bytes("t", b""), at(2_000), at(3_000)).unwrap()
    };
    let (late, kept) = (part("late"), part("kept"));
    for prepared in [&kept] {
        let BegunPrepared::Fresh(tx) = store.begin_prepared(prepared).await.unwrap() else {
            panic!("not fresh");
        };
        store.prepare(tx, prepared).await.unwrap();
    }
    let BegunPrepared::Fresh(tx) = store.begin_prepared(&late).await.unwrap() else {
        panic!("not fresh");
    };
    time.store(2_001, Ordering::Relaxed);
    let refused = store.prepare(tx, &late).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::RolledBack);
    time.store(3_001, Ordering::Relaxed);
    assert_eq!(
        store.prepared_status(&late).await.unwrap(),
        PreparedStatus::Forgotten
    );
    assert_eq!(
        store.forget_prepared(10).await.unwrap(),
        0,
        "what is in doubt is kept"
    );
    assert_eq!(store.in_doubt(None, 10).await.unwrap().entries.len(), 1);
    store.commit_prepared(&kept).await.unwrap();
    assert_eq!(store.forget_prepared(10).await.unwrap(), 1);
    let gone = store.commit_prepared(&kept).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Forgotten);
}

#[tokio::test]
async fn replaced_and_upserted_rows_are_seen() {
    let place = Place::new(STOCK).await;
    let sql = "INSERT OR REPLACE INTO stock VALUES (7, 'PEN', 70);
               INSERT INTO stock VALUES (2, 'x', 5) ON CONFLICT (id) DO UPDATE SET n = n + 5;
               SAVEPOINT mine; DELETE FROM stock; ROLLBACK TO mine; RELEASE mine";
    let part = place.prepare("t", sql).await.unwrap();
    let db = place.foreign();
    // The row that was replaced is reserved as well, though no statement named it.
    let met = db
        .execute("UPDATE stock SET n = 1 WHERE id = 1", [])
        .unwrap_err();
    assert!(met.to_string().contains("reserved by"), "{met}");
    db.execute("UPDATE stock SET n = 1 WHERE id = 3", [])
        .unwrap();
    place.store.commit_prepared(&part).await.unwrap();
    let rows: String = db
        .query_row(
            "SELECT group_concat(id || ifnull(name, '-') || n, ' ') FROM (SELECT * FROM stock \
             ORDER BY id)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(rows, "2ink25 3-1 4-0 7PEN70");
}
