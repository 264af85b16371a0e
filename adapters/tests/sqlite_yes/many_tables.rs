//! Staged work in a schema of many tables.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use exactly_once::{
    ErrorKind, OneShotParticipant, PreparedOneShot, PreparedTransactions, Statement,
};

use crate::Place;

struct Many {
    place: Place,
    statements: Arc<AtomicUsize>,
}

impl Many {
    async fn new(tables: usize) -> Self {
        let tables: String = (0..tables)
            .map(|at| format!("CREATE TABLE t{at} (id INTEGER PRIMARY KEY, a TEXT UNIQUE, b, c);"))
            .collect();
        let schema = format!(
            "{tables} CREATE TRIGGER more AFTER INSERT ON t1 BEGIN INSERT INTO t2 (id) VALUES \
             (NEW.id); END; CREATE VIEW v AS SELECT * FROM t0;"
        );
        let statements = Arc::new(AtomicUsize::new(0));
        let counter = statements.clone();
        let hook = move |_: &str| {
            counter.fetch_add(1, Ordering::SeqCst);
        };
        let place = Place::with(&schema, |builder| builder.with_statement_hook(hook)).await;
        Self { place, statements }
    }

    /// How many statements have run since the last call.
    fn ran(&self) -> usize {
        self.statements.swap(0, Ordering::SeqCst)
    }

    async fn prepare_known(&self, name: &str, sql: &[&str]) -> exactly_once::Result<()> {
        let part = self.place.part(name).await;
        let sql: Vec<Statement> = sql.iter().map(|sql| Statement::new(*sql)).collect();
        let done = self.place.store.prepare_one_shot(&part, &sql).await?;
        assert_eq!(done, PreparedOneShot::Done);
        self.place.store.commit_prepared(&part).await
    }
}

/// Prints what the first staged work costs; asserted are statements, not times.
#[tokio::test]
async fn work_that_is_known_up_front_costs_the_tables_that_it_writes() {
    let mut counts = Vec::new();
    for tables in [3, 300, 1_000] {
        let many = Many::new(tables).await;
        many.ran();
        let start = Instant::now();
        let insert = ["INSERT INTO t0 VALUES (1, 'x', 1, 1)"];
        many.prepare_known("a", &insert).await.unwrap();
        let known = start.elapsed();
        let first = many.ran();
        // A table that only a trigger writes; and the guards of the first one have changed the schema.
        many.prepare_known("b", &["INSERT INTO t1 VALUES (1, 'x', 1, 1)"])
            .await
            .unwrap();
        let second = many.ran();
        assert_eq!(many.place.dump("t2").len(), 1);
        counts.push((first, second));
        let part = many.place.part("c").await;
        let start = Instant::now();
        drop(many.place.begin(&part).await);
        let any = start.elapsed();
        let start = Instant::now();
        drop(many.place.begin(&part).await);
        println!(
            "{tables} tables: {known:?} for the first statements, {any:?} for the first closure's \
             begin, {:?} for the second",
            start.elapsed()
        );
    }
    assert_eq!(counts[0], counts[1], "statements by number of tables");
    assert_eq!(counts[0], counts[2], "statements by number of tables");
}

#[tokio::test]
async fn closures_and_known_statements_take_turns_while_the_schema_changes() {
    let many = Many::new(20).await;
    let place = &many.place;
    let db = place.foreign();
    for round in 0..4 {
        let insert = format!("INSERT INTO t3 (id, a) VALUES ({round}, 'known {round}')");
        let name = format!("known {round}");
        many.prepare_known(&name, &[&insert]).await.unwrap();
        if round >= 2 {
            let sql = format!("INSERT INTO t4 VALUES ({round}, 'closure {round}', 1, 1)");
            let part = place.prepare(&format!("closure {round}"), &sql).await;
            place.commit(&part.unwrap()).await;
        }
        // A column more, and another table of the same name.
        place.store.remove_guards().await.unwrap();
        db.execute_batch(&format!("ALTER TABLE t3 ADD COLUMN more{round}"))
            .unwrap();
        let update = format!("UPDATE t3 SET more{round} = 5");
        let name = format!("update {round}");
        many.prepare_known(&name, &[&update]).await.unwrap();
        let rows = place.dump("t3");
        assert_eq!(rows.len(), round + 1);
        assert!(
            rows.iter().all(|row| row.ends_with("Integer(5)")),
            "{rows:?}"
        );
        db.execute_batch("DROP TABLE t5; CREATE TABLE t5 (k TEXT PRIMARY KEY, n) WITHOUT ROWID")
            .unwrap();
        let sql = ["INSERT INTO t5 VALUES ('a', 1)", "UPDATE t5 SET n = 2"];
        let name = format!("other {round}");
        many.prepare_known(&name, &sql).await.unwrap();
        assert_eq!(place.dump("t5").len(), 1);
    }
    for (sql, says) in [
        ("INSERT INTO v (a) VALUES ('x')", "no ordinary table"),
        ("INSERT INTO missing VALUES (1)", "no such table"),
        (
            "INSERT INTO exactly_once_key DEFAULT VALUES",
            "belongs to the store",
        ),
    ] {
        let refused = many.prepare_known("refused", &[sql]).await.unwrap_err();
        assert!(refused.to_string().contains(says), "{sql}: {refused}");
        assert_ne!(refused.kind(), ErrorKind::Busy);
    }
}

#[tokio::test]
async fn a_prepare_that_adds_guards_costs_no_look_at_every_table() {
    const TABLES: usize = 300;
    let many = Many::new(TABLES).await;
    let place = &many.place;
    many.ran();
    let part = place.part("first").await;
    drop(place.begin(&part).await);
    let first = many.ran();
    assert!(
        first > TABLES,
        "the first begin looks at each table: {first}"
    );
    for at in 3..13 {
        let sql = format!("INSERT INTO t{at} VALUES (1, 'x', 1, 1)");
        let part = place.prepare(&format!("p{at}"), &sql).await.unwrap();
        place.store.commit_prepared(&part).await.unwrap();
        let each = many.ran();
        assert!(
            each < TABLES,
            "prepare {at} with new guards: {each} statements"
        );
    }
}
