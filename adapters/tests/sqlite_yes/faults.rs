//! What made a commit fail after a yes, or leave something else than a plain transaction.

use exactly_once::{ErrorKind, PreparedTransactions, sqlite::SqliteStore};
use rusqlite::Connection;

use crate::{Place, dump};

/// The staged work leaves what the plain one does.
async fn same(schema: &str, sql: &str, tables: &[&str]) {
    let (plain, staged) = (Place::new(schema).await, Place::new(schema).await);
    plain.plain(sql).await.unwrap();
    let part = staged.prepare("t", sql).await.unwrap();
    staged.commit(&part).await;
    for table in tables {
        assert_eq!(staged.dump(table), plain.dump(table), "{table} after {sql}");
    }
}

/// The staged work is refused before a yes, for this reason.
async fn refused(schema: &str, sql: &str, says: &str) {
    let place = Place::new(schema).await;
    let failure = place.prepare("t", sql).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Refused, "{failure}");
    assert!(failure.to_string().contains(says), "{failure}");
}

#[tokio::test]
async fn a_vacuum_between_prepare_and_commit_changes_no_row_and_no_reservation() {
    let place = Place::new(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('gone', 0), ('a', 1), ('b', \
         2); DELETE FROM t WHERE k = 'gone'",
    )
    .await;
    let part = place
        .prepare("t", "UPDATE t SET v = 5 WHERE k = 'a'")
        .await
        .unwrap();
    let db = place.foreign();
    db.execute_batch("VACUUM").unwrap();
    let met = db
        .execute("UPDATE t SET v = 9 WHERE k = 'a'", [])
        .unwrap_err();
    assert!(met.to_string().contains("reserved by"), "{met}");
    db.execute("UPDATE t SET v = 9 WHERE k = 'b'", []).unwrap();
    place.commit(&part).await;
    let rows: String = db
        .query_row(
            "SELECT group_concat(k || v) FROM (SELECT * FROM t ORDER BY k)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(rows, "a5,b9");
}

#[tokio::test]
async fn a_row_without_a_key_is_refused_and_a_new_one_is_not() {
    let schema = "CREATE TABLE t (a, b UNIQUE); INSERT INTO t VALUES (1, NULL), (2, 2)";
    refused(schema, "UPDATE t SET a = 5 WHERE a = 1", "unique key").await;
    refused(schema, "DELETE FROM t WHERE a = 1", "unique key").await;
    same(
        schema,
        "UPDATE t SET a = 5 WHERE a = 2; INSERT INTO t VALUES (3, NULL); UPDATE t SET a = 4 \
        WHERE a = 3; INSERT INTO t VALUES (6, NULL); DELETE FROM t WHERE a = 6",
        &["t"],
    )
    .await;
}

#[tokio::test]
async fn a_hidden_row_id_of_the_works_own_is_refused() {
    let schema = "CREATE TABLE t (a PRIMARY KEY); INSERT INTO t VALUES (1)";
    refused(
        schema,
        "INSERT INTO t (rowid, a) VALUES (77, 2)",
        "hidden row id",
    )
    .await;
    refused(schema, "UPDATE t SET rowid = 77", "hidden row id").await;
    same(schema, "INSERT INTO t VALUES (2)", &["t"]).await;
}

#[tokio::test]
async fn a_real_in_a_unique_key_is_refused() {
    for key in ["REAL", "NUMERIC", "", "INTEGER"] {
        let schema =
            format!("CREATE TABLE t (a {key} UNIQUE, b); INSERT INTO t VALUES (3.5, 1), (7, 7)");
        refused(&schema, "INSERT INTO t VALUES (0.1, 1)", "REAL").await;
        refused(&schema, "UPDATE t SET b = 2 WHERE a = 3.5", "REAL").await;
        same(
            &schema,
            "INSERT INTO t VALUES (4.0, 1); UPDATE t SET b = 2 WHERE a = 7",
            &["t"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_check_that_an_untouched_column_breaks_is_none_of_the_commits_business() {
    let place = Place::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a CHECK (a > 0), b); PRAGMA \
         ignore_check_constraints = ON; INSERT INTO t VALUES (1, -1, 0)",
    )
    .await;
    let part = place.prepare("t", "UPDATE t SET b = 2").await.unwrap();
    place.commit(&part).await;
    assert_eq!(place.dump("t"), ["Integer(1) | Integer(-1) | Integer(2)"]);
}

#[tokio::test]
async fn every_value_comes_back_bit_by_bit() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, r REAL, x TEXT COLLATE NOCASE);
        INSERT INTO t VALUES (1, 0.0, 0.0, 'a'), (2, 1e300, 1e-300, 'b'), (3, 1, 2, 'c')";
    for value in [
        "1e300",
        "-1e-300",
        "1.7976931348623157e308",
        "5e-324",
        "0.1",
        "-0.0",
        "9e999",
        "1.0",
        "'é'",
        "CAST(x'610062' AS TEXT)",
        "CAST(x'ff61' AS TEXT)",
        "x''",
        "x'00ff'",
        "NULL",
        "9223372036854775807",
    ] {
        let sql = format!(
            "INSERT INTO t VALUES (9, {value}, {value}, {value}); UPDATE t SET a = {value} WHERE id = \
             1; UPDATE t SET r = {value}, x = {value} WHERE id = 2; UPDATE t SET x = 'C' WHERE id = 3"
        );
        same(schema, &sql, &["t"]).await;
        same(
            schema,
            "UPDATE t SET x = 'A' WHERE id = 1; UPDATE t SET a = -0.0 WHERE id = 1",
            &["t"],
        )
        .await;
        let old = format!("{schema}; UPDATE t SET a = {value}, r = {value}, x = {value}");
        same(
            &old,
            "UPDATE t SET id = id + 10; DELETE FROM t WHERE id = 13",
            &["t"],
        )
        .await;
    }
}

/// Registers a collation of the program's own, as it must to use a table that has it.
fn collate(db: &Connection) -> rusqlite::Result<()> {
    db.create_collation("mine", |a, b| b.cmp(a))
}

#[tokio::test]
async fn a_collation_of_the_programs_own_fails_no_commit() {
    // In a column, an index, a check and a trigger; what does the commit not need, and what would it.
    let column = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT COLLATE mine)";
    for (more, yes) in [
        ("", true),
        ("CREATE INDEX i ON t (a)", false),
        ("CREATE UNIQUE INDEX i ON t (a)", false),
        ("CREATE INDEX i ON t (id) WHERE a > 'b'", false),
        ("ALTER TABLE t ADD COLUMN c CHECK (a > 'z')", false),
        ("ALTER TABLE t ADD COLUMN c DEFAULT 5", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let db = Connection::open(&path).unwrap();
        collate(&db).unwrap();
        db.execute_batch(&format!(
            "{column}; {more}; INSERT INTO t (id, a) VALUES (1, 'a')"
        ))
        .unwrap();
        let store = SqliteStore::open(&path).await.unwrap();
        let place = Place { folder, store };
        let part = place.part("t").await;
        let mut tx = place.begin(&part).await;
        let work = |db: &Connection| {
            collate(db)?;
            db.execute_batch(
                "UPDATE t SET a = 'b' WHERE a = 'a'; INSERT INTO t (id, a) VALUES (2, 'c')",
            )
        };
        let prepared = match tx.run(work).await {
            Ok(()) => place.store.prepare(tx, &part).await,
            Err(refused) => Err(refused),
        };
        if let Err(refused) = &prepared {
            assert!(!refused.is_retryable(), "{more}: {refused}");
            assert!(
                refused.to_string().contains("collation"),
                "{more}: {refused}"
            );
        }
        assert_eq!(prepared.is_ok(), yes, "{more}: {prepared:?}");
        // Another process commits, which has never heard of it.
        if yes {
            let path = place.folder.path().join("t.db");
            let other = SqliteStore::open(&path).await.unwrap();
            other.commit_prepared(&part).await.unwrap();
            let rows = dump(&place.foreign(), "t");
            assert_eq!(rows.len(), 2, "{more}: {rows:?}");
        }
    }
}

#[tokio::test]
async fn names_are_folded_as_sqlite_folds_them() {
    let schema = "CREATE TABLE \"Ärzte\" (id INTEGER PRIMARY KEY);
        CREATE TABLE \"Öde\" (arzt REFERENCES \"Ärzte\", id INTEGER PRIMARY KEY);
        CREATE TABLE \"Übung\" (id INTEGER PRIMARY KEY, n);
        INSERT INTO \"Ärzte\" VALUES (1); INSERT INTO \"Öde\" VALUES (1, 1);
        INSERT INTO \"Übung\" VALUES (1, 1)";
    refused(
        schema,
        "PRAGMA foreign_key_check; DELETE FROM \"Ärzte\"",
        "foreign key",
    )
    .await;
    refused(schema, "INSERT INTO \"Öde\" VALUES (9, 9)", "foreign key").await;
    same(schema, "UPDATE \"Übung\" SET n = 2", &["Übung"]).await;
}

#[tokio::test]
async fn a_replace_fires_no_trigger_that_a_plain_one_does_not() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, k UNIQUE, n);
        CREATE TABLE w (k PRIMARY KEY, n UNIQUE) WITHOUT ROWID;
        CREATE TABLE h (k PRIMARY KEY, n UNIQUE);
        CREATE TABLE seen (id INTEGER PRIMARY KEY, what);
        CREATE TRIGGER a AFTER DELETE ON t BEGIN INSERT INTO seen (what) VALUES ('deleted ' || OLD.k); END;
        CREATE TRIGGER b AFTER INSERT ON t BEGIN INSERT INTO seen (what) VALUES ('new ' || NEW.k); END;
        INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
        INSERT INTO w VALUES ('a', 1), ('b', 2), ('c', 3);
        INSERT INTO h VALUES ('a', 1), ('b', 2), ('c', 3)";
    for sql in [
        "INSERT OR REPLACE INTO t VALUES (1, 'b', 9)",
        "REPLACE INTO t (k, n) VALUES ('a', 9), ('z', 10)",
        "UPDATE OR REPLACE t SET k = 'a' WHERE id = 3",
        "UPDATE OR REPLACE t SET id = id + 1",
        "INSERT OR IGNORE INTO t VALUES (1, 'a', 9); DELETE FROM t WHERE id = 1",
        "INSERT INTO t VALUES (1, 'x', 5) ON CONFLICT (id) DO UPDATE SET n = n + 5; DELETE FROM t",
        "REPLACE INTO w VALUES ('a', 2); UPDATE OR REPLACE w SET n = 3 WHERE k = 'a'",
        "REPLACE INTO h VALUES ('a', 2); UPDATE OR REPLACE h SET n = 3 WHERE k = 'a'; REPLACE INTO h \
         VALUES ('a', 7)",
    ] {
        same(schema, sql, &["t", "w", "h", "seen"]).await;
    }
}

#[tokio::test]
async fn too_many_changes_are_refused_where_they_are_made() {
    let place = Place::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a)").await;
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100001) \
                INSERT INTO t SELECT i, i FROM n";
    let part = place.part("t").await;
    let mut tx = place.begin(&part).await;
    let failure = tx.run(move |db| db.execute(many, [])).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Refused, "{failure}");
    assert!(
        failure.to_string().contains("100000 row changes"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_row_id_of_minus_one_is_refused() {
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (-1, 1), (1, 1)";
    for sql in [
        "UPDATE t SET a = 2 WHERE id = -1",
        "DELETE FROM t WHERE id = -1",
        "UPDATE t SET id = -1 WHERE id = 1; DELETE FROM t",
        "DELETE FROM t WHERE id = -1; INSERT INTO t VALUES (-1, 5)",
    ] {
        let place = Place::new(schema).await;
        place.prepare("t", sql).await.unwrap_err();
        place
            .foreign()
            .execute("INSERT INTO t (a) VALUES (1)", [])
            .unwrap();
    }
}

#[tokio::test]
async fn what_fails_when_it_is_applied_is_no_yes() {
    // The conflict clause of the schema, and a condition that the work's own order met.
    let schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a UNIQUE ON CONFLICT ROLLBACK, b UNIQUE ON \
                  CONFLICT REPLACE); CREATE UNIQUE INDEX p ON t (b) WHERE b > 5; INSERT INTO t VALUES \
                  (1, 1, 1), (2, 2, 2)";
    same(schema, "INSERT INTO t VALUES (3, 3, 2)", &["t"]).await;
    same(schema, "UPDATE t SET b = 1 WHERE id = 2", &["t"]).await;
}
