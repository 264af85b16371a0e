//! Rows that statements return: in the one message of the batch, each caller's own.

use exactly_once::{
    Date, ErrorKind, Numeric, Returning, StatementTransaction, Transactional, Value,
};

use super::*;

const PLACED: &str = "INSERT INTO placed (item) VALUES ($1) RETURNING number, item";

async fn placing() -> (World, TokioPostgresStore) {
    let (world, store) = shop().await;
    world
        .sql("CREATE TABLE placed (number int8 GENERATED ALWAYS AS IDENTITY, item text NOT NULL)")
        .await;
    (world, store)
}

fn placed(text: &str, name: &str) -> OneShot {
    let statement = Statement::new(text).bind(name);
    OneShot {
        receipt: Receipt::default(),
        ..shot(name, vec![statement.returning(Returning::rows(1))])
    }
}

fn row(done: &OneShotDone) -> (i64, String) {
    done.returned().unwrap().into_last().one().unwrap()
}

// A caller whose statement returns a row takes as many trips as one whose statement returns none.
#[tokio::test(flavor = "multi_thread")]
async fn rows_take_no_trip_more() {
    let (world, _) = placing().await;
    let (proxy, store) = proxy(&world).await;
    store
        .execute_one_shot(&payment(INSERT, "warm", 5))
        .await
        .unwrap();
    let trips = async |effects: &[OneShot]| {
        let before = proxy.stats().requests;
        for done in at_once(&store, effects).await {
            done.unwrap();
        }
        proxy.stats().requests - before
    };
    assert_eq!(
        trips(&[placed(PLACED, "single")]).await,
        1,
        "a single effect"
    );
    // The first goes at once, and the others together: one message each, if their rows are in it. A busy
    // machine may split the others once more: again, until it does not.
    let mut many = Vec::new();
    let mut fewest = u64::MAX;
    let mut round = 0;
    while fewest > 2 && round < 200 {
        round += 1;
        let one = |at| placed(PLACED, &format!("many/{round}/{at}"));
        many = (0..32).map(one).collect();
        fewest = fewest.min(trips(&many).await);
    }
    assert!(fewest <= 2, "{fewest} messages for a caller and a batch");

    for (at, done) in at_once(&store, &many).await.into_iter().enumerate() {
        let done = done.unwrap();
        assert!(done.replayed);
        assert_eq!(row(&done).1, format!("many/{round}/{at}"));
    }
}

// What can't go in a batch's message returns the same rows: a query, common table expressions, a text
// that ends with a semicolon and a comment.
#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_text_returns_its_rows() {
    let (world, store) = placing().await;
    for (at, text) in [
        PLACED,
        "INSERT INTO placed (item) VALUES ($1) RETURNING number, item; -- done",
        "WITH it (item) AS (SELECT $1::text), put AS (INSERT INTO placed (item) SELECT item FROM it \
         RETURNING number, item) SELECT * FROM put",
        "WITH it (item) AS (SELECT $1::text) INSERT INTO placed (item) SELECT item FROM it \
         RETURNING number, item",
        "SELECT 7::int8 AS number, $1::text AS item",
    ]
    .into_iter()
    .enumerate()
    {
        let effect = placed(text, &format!("form/{at}"));
        let first = store.execute_one_shot(&effect).await.unwrap();
        assert!(!first.replayed, "{text}");
        assert_eq!(row(&first).1, format!("form/{at}"), "{text}");
        let again = store.execute_one_shot(&effect).await.unwrap();
        assert_eq!(again.outcome, first.outcome, "{text}");
    }
    let silent = placed("INSERT INTO placed (item) VALUES ($1)", "silent");
    for _ in 0..2 {
        let error = store.execute_one_shot(&silent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains("RETURNING"), "{error}");
    }
    assert_eq!(number(&world, "SELECT count(*) FROM placed").await, 4);
}

// A batch in which some exceed their limits: they are refused for good, the others get their rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_its_callers_own() {
    let (world, store) = placing().await;
    let effects: Vec<_> = (0..24)
        .map(|at| {
            let mut effect = placed(PLACED, &format!("limit/{at}"));
            if at % 6 == 1 {
                let statement = effect.statements.remove(0);
                let limits = Returning::rows(1).within_bytes(8);
                effect.statements.push(statement.returning(limits));
            }
            effect
        })
        .collect();
    for _ in 0..2 {
        for (at, answer) in at_once(&store, &effects).await.into_iter().enumerate() {
            match answer {
                Ok(done) => assert_eq!(row(&done).1, format!("limit/{at}")),
                Err(error) => {
                    assert_eq!((error.kind(), at % 6), (ErrorKind::TooLarge, 1), "{error}");
                }
            }
        }
    }
    assert_eq!(number(&world, "SELECT count(*) FROM placed").await, 20);
}

// Types that the server infers, in a transaction of the work's.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_in_a_transaction_needs_no_cast() {
    let (world, store) = shop().await;
    world
        .sql(
            "CREATE TYPE mood AS ENUM ('sad', 'happy'); \
             CREATE TABLE person (mood mood, born date, worth numeric, tags text[], seen timestamptz)",
        )
        .await;
    let born: Date = "2001-02-03".parse().unwrap();
    let worth: Numeric = "12345678901234567890.50".parse().unwrap();
    let insert = Statement::named(
        "INSERT INTO person VALUES (:mood, :born, :worth, :tags, :seen) \
         RETURNING mood, born, worth, tags, seen::text",
    )
    .bind_named("mood", "happy")
    .bind_named("born", born)
    .bind_named("worth", worth)
    .bind_named("tags", vec![Some("a,b"), None])
    .bind_named("seen", Value::Null)
    .returning(Returning::rows(1));
    let mut tx = store.begin().await.unwrap();
    let ran = store.run_in(&mut tx, &insert).await.unwrap();
    store.commit(tx).await.unwrap();
    type Read = (String, String, String, Vec<Option<String>>, Option<String>);
    let read: Read = ran.rows.one().unwrap();
    let tags = vec![Some("a,b".to_owned()), None];
    let digits = "12345678901234567890.50".to_owned();
    assert_eq!(
        read,
        ("happy".into(), "2001-02-03".into(), digits, tags, None)
    );
}
