//! Plain inserts of several callers: one statement for all their rows, which means what a statement for
//! each would mean.

use super::*;

const ROUNDS: usize = 20;

/// After batches that have prepared the statements of the connections.
async fn warm(store: &TokioPostgresStore) {
    for round in 0..3 {
        for done in at_once(store, &payments(INSERT, &format!("warm {round}"), ROUNDS)).await {
            done.unwrap();
        }
    }
}

/// How many commands have inserted the rows of this round: each has a number of its own within its
/// transaction.
async fn commands(world: &World, round: &str) -> u64 {
    let sql = format!(
        "SELECT count(DISTINCT (xmin::text, cmin::text)) FROM payments WHERE id LIKE '{round}/%'"
    );
    number(world, &sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_batch_are_one_statement() {
    let (world, store) = shop().await;
    warm(&store).await;
    for done in at_once(&store, &payments(INSERT, "r", ROUNDS)).await {
        assert!(!done.unwrap().replayed);
    }
    let commits = commits(&world, "r").await;
    assert_eq!(commands(&world, "r").await, commits);
    assert!(commits < ROUNDS as u64 / 2, "{commits} batches");
}

// A trigger for each statement, or for each row, is called as if each caller were alone; also where it
// comes while the store is open.
#[tokio::test(flavor = "multi_thread")]
async fn triggers_see_a_statement_for_each_caller() {
    let (world, store) = shop().await;
    warm(&store).await;
    world
        .sql(
            "CREATE TABLE seen (rows int8);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO seen SELECT count(*) FROM added; RETURN NULL; END $$;
             CREATE TRIGGER look AFTER INSERT ON payments REFERENCING NEW TABLE AS added
             FOR EACH STATEMENT EXECUTE FUNCTION look()",
        )
        .await;
    for round in ["a", "b"] {
        for done in at_once(&store, &payments(INSERT, round, ROUNDS)).await {
            assert!(!done.unwrap().replayed);
        }
    }
    let seen = "SELECT count(*) || ' of ' || max(rows) FROM seen";
    assert_eq!(world.sql(seen).await, format!("{} of 1", 2 * ROUNDS));
    let rows = "SELECT count(*) FROM payments WHERE id ~ '^[ab]/'";
    assert_eq!(number(&world, rows).await, 2 * ROUNDS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_see_a_statement_for_each_caller() {
    let (world, store) = shop().await;
    world
        .sql(
            "CREATE TABLE last (id text); INSERT INTO last VALUES ('');
             CREATE RULE remember AS ON INSERT TO payments
             DO ALSO UPDATE last SET id = id || '|' || NEW.id",
        )
        .await;
    for done in at_once(&store, &payments(INSERT, "r", ROUNDS)).await {
        assert!(!done.unwrap().replayed);
    }
    // An UPDATE joined to many rows would change its row once.
    let counted = "SELECT length(id) - length(replace(id, '|', '')) FROM last";
    assert_eq!(number(&world, counted).await, ROUNDS as u64);
}

// A row that refers to one of its own table may not lean on a row of another caller that comes later.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_refers_to_no_later_one() {
    let (world, store) = shop().await;
    world
        .sql("CREATE TABLE parts (id text PRIMARY KEY, whole text REFERENCES parts)")
        .await;
    let part = |id: &str, whole: &str| {
        let text = "INSERT INTO parts (id, whole) VALUES ($1, $2)";
        shot(id, vec![Statement::new(text).bind(id).bind(whole)])
    };
    // The first goes before there is a batch.
    let mut effects = vec![payment(INSERT, "first", 5)];
    effects.extend((0..8).map(|at| part(&format!("p{at}"), &format!("p{}", (at + 1) % 8))));
    let mut done = at_once(&store, &effects).await.into_iter();
    done.next().unwrap().unwrap();
    for done in done {
        refused(done, ErrorKind::Refused, &["parts"]);
    }
    assert_eq!(number(&world, "SELECT count(*) FROM parts").await, 0);
}

// Each of the two that can't be inserted is refused for itself, with the text that it gets alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_fails_is_its_callers_alone() {
    let (world, store) = shop().await;
    warm(&store).await;
    let mut effects = payments(INSERT, "r", ROUNDS);
    effects[7] = payment(INSERT, "r/7", -1);
    let twice = Statement::new(INSERT).bind("r/3").bind(5);
    effects[12] = shot("r/12", vec![twice]);
    let done = at_once(&store, &effects).await;
    let alone = store.execute_one_shot(&payment(INSERT, "alone", -1)).await;
    let text = |done: &Result<OneShotDone>| format!("{:?}", done.as_ref().err().map(|e| e.kind()));
    for (at, done) in done.iter().enumerate() {
        match at {
            7 => assert_eq!(text(done), text(&alone)),
            // Whichever of the two was first with the row.
            3 | 12 => {}
            _ => assert!(!done.as_ref().unwrap().replayed, "{at}"),
        }
    }
    let rivals = [done[3].is_ok(), done[12].is_ok()];
    assert_eq!(rivals.iter().filter(|ok| **ok).count(), 1, "{rivals:?}");
    let rows = "SELECT count(*) FROM payments WHERE id LIKE 'r/%'";
    assert_eq!(number(&world, rows).await, 18);
}

// Constants, NULL, quotes in every place: what is stored is what each would have stored alone.
#[tokio::test(flavor = "multi_thread")]
async fn values_are_those_of_a_statement_for_each() {
    let (world, store) = shop().await;
    world
        .sql(
            "CREATE TABLE kinds (id int4 PRIMARY KEY, n numeric(8,2), s varchar(40), b bytea, \
             d timestamptz, j jsonb, f float8, k text, x int2)",
        )
        .await;
    let text = "INSERT INTO kinds VALUES ($1, $2, $3, $4, $5, $6, $7, 'it''s', -3)";
    let strings = [
        "it's",
        r"\x41",
        r"E'\n",
        "é\u{1F600}",
        "",
        "NULL",
        "a\nb\t{}\"",
        "$1",
    ];
    let effects: Vec<OneShot> = strings
        .into_iter()
        .enumerate()
        .map(|(at, string)| {
            let statement = Statement::new(text)
                .bind(i64::try_from(at).unwrap())
                .bind("12.345")
                .bind(string)
                .bind(vec![0_u8, 255, b'\'', b'\\'])
                .bind("2020-02-29 10:00:00+05")
                .bind(Some("{\"a\": [1, null]}").filter(|_| at % 2 == 0))
                .bind(-0.1_f64);
            shot(&format!("kind {at}"), vec![statement])
        })
        .collect();
    for done in at_once(&store, &effects).await {
        assert!(!done.unwrap().replayed);
    }
    let same = "SELECT count(*) FROM kinds WHERE n = 12.35 AND b = '\\x00ff275c' \
                AND d = '2020-02-29 05:00:00Z' AND f = -0.1 AND k = 'it''s' AND x = -3 \
                AND (j->'a'->>0) IS NOT DISTINCT FROM CASE WHEN id % 2 = 0 THEN '1' END";
    assert_eq!(number(&world, same).await, 8);
    for (at, string) in strings.into_iter().enumerate() {
        let hex: String = string.bytes().map(|byte| format!("{byte:02x}")).collect();
        let stored =
            format!("SELECT encode(convert_to(s, 'UTF8'), 'hex') FROM kinds WHERE id = {at}");
        assert_eq!(world.sql(&stored).await, hex);
    }
}

// A batch does not say which request each of its keys is for: a claim that meets one is *in progress*,
// never a mismatch, as the request may be the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_batch_holds_is_in_progress() {
    let (world, store) = shop().await;
    warm(&store).await;
    world
        .sql(
            "CREATE FUNCTION nap() RETURNS int8 LANGUAGE sql VOLATILE AS \
             $$ SELECT 1 FROM pg_sleep(0.1) $$;
             CREATE TABLE slow (id text, n int8 DEFAULT nap())",
        )
        .await;
    let other = builder(&world.url()).connect().await.unwrap();
    // On a busy machine a batch may be cut off, or the claims come too late: then once more.
    for round in 0..20 {
        if meets_a_batch(&store, &other, round).await {
            return;
        }
    }
    panic!("no claim has met a batch");
}

/// Whether a claim of the same request has met the batch that holds its key.
async fn meets_a_batch(
    store: &TokioPostgresStore,
    other: &TokioPostgresStore,
    round: usize,
) -> bool {
    let effects: Vec<OneShot> = (0..4)
        .map(|at| {
            let statement = Statement::new("INSERT INTO slow (id) VALUES ($1)");
            let name = format!("slow {round} {at}");
            shot(&name, vec![statement.bind(&*name)])
        })
        .collect();
    let rival = async {
        let mut met = false;
        loop {
            let claim = claim(&format!("slow {round} 2")).without_waiting();
            match other.claim(&claim).await.unwrap() {
                Claimed::InProgress { .. } => met = true,
                Claimed::Completed(_) => return met,
                Claimed::Fresh(tx) => drop(tx),
                Claimed::Mismatch => panic!("taken for another request"),
            }
        }
    };
    let (done, met) = futures_util::join!(at_once(store, &effects), rival);
    for done in done {
        done.unwrap();
    }
    met
}
