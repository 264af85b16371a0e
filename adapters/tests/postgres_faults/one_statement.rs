//! Plain inserts whose batch is one statement, and whose lone caller's claim is part of it: what it
//! answers, and when it must not be one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use exactly_once::{
    Claim, Claimed, ErrorKind, Fingerprint, IdempotencyKey, IdempotencyStore, OneShot,
    OneShotStore, Receipt, Settled, Statement,
    postgres::{PostgresStore, Timeouts},
};

use crate::{
    Under, at_once, builder, number, payment, shop, shot,
    world::{World, claim, timeouts, world},
};

on_both!(
    keys_and_rows_are_one_statement,
    known_keys_of_a_batch_get_their_answers,
    a_row_that_fails_is_its_callers_alone,
    a_key_that_is_held_keeps_no_other_waiting,
    a_slow_row_delays_no_other,
    a_locked_table_delays_no_other,
    what_a_table_becomes_is_noticed,
    the_isolation_level_is_ours,
    nothing_is_left_in_the_session,
);

/// How many of this round's rows were inserted by the statement that claimed their keys.
pub(crate) async fn by_one(world: &World, table: &str, round: &str) -> u64 {
    let sql = format!(
        "SELECT count(*) FROM {table} p JOIN exactly_once.keys k ON convert_from(k.key, 'UTF8') = p.id \
         AND k.xmin = p.xmin AND k.cmin = p.cmin WHERE p.id LIKE '{round}/%'"
    );
    number(world, &sql).await
}

/// Calls until a lone caller's claim and row are one statement: a text has to come again first, and a
/// busy machine may keep the server from being asked about it in time.
pub(crate) async fn ready<D: Under>(
    world: &World,
    store: &PostgresStore<D>,
    table: &str,
    effect: impl Fn(&str) -> OneShot,
) {
    let begun = Instant::now();
    for round in 0.. {
        let (name, like) = (
            format!("ready {table} {round}/0"),
            format!("ready {table} {round}"),
        );
        store.execute_one_shot(&effect(&name)).await.unwrap();
        if by_one(world, table, &like).await == 1 {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "never one statement"
        );
        tokio::time::sleep(Duration::from_millis(round)).await;
    }
}

pub(crate) fn round(name: &str, count: usize) -> Vec<OneShot> {
    (0..count)
        .map(|number| payment(&format!("{name}/{number}")))
        .collect()
}

async fn keys_and_rows_are_one_statement<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    ready(&world, &store, "payments", payment).await;
    for done in at_once(&store, &round("r", 40)).await {
        assert!(!done.unwrap().replayed);
    }
    assert_eq!(by_one(&world, "payments", "r").await, 40);
    // Constants, and NULL, and what an array has to quote.
    world
        .sql("CREATE TABLE kinds (id text PRIMARY KEY, n numeric(8,2), b bytea, x int2, k bool)")
        .await;
    let text = "INSERT INTO kinds (k, id, b, x, n) VALUES (true, $1, $3, -3, $2)";
    let kind = |name: &str| {
        let number = Some("12.345").filter(|_| !name.ends_with('7'));
        let bytes = name
            .bytes()
            .chain([0, b'"', b'\\', 255])
            .collect::<Vec<_>>();
        let statement = Statement::new(text).bind(name).bind(number).bind(bytes);
        shot(name, vec![statement])
    };
    ready(&world, &store, "kinds", kind).await;
    let effects: Vec<_> = (0..20)
        .map(|at| kind(&format!("k/\"{{}},'\\ é NULL{at}")))
        .collect();
    for done in at_once(&store, &effects).await {
        assert!(!done.unwrap().replayed);
    }
    assert_eq!(by_one(&world, "kinds", "k").await, 20);
    let same = "SELECT count(*) FROM kinds WHERE id LIKE 'k/%' AND k AND x = -3 \
                AND b = convert_to(id, 'UTF8') || '\\x00225cff'::bytea AND n IS NOT DISTINCT FROM \
                CASE WHEN id LIKE '%7' THEN NULL ELSE 12.35 END";
    assert_eq!(number(&world, same).await, 20);
}

// Keys that another store has completed meanwhile: each gets its receipt, or the mismatch,
// and the others are applied.
async fn known_keys_of_a_batch_get_their_answers<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    ready(&world, &store, "payments", payment).await;
    let other = builder::<D>(&world.url()).connect().await.unwrap();
    let mut effects = round("r", 30);
    for at in [3, 11, 12] {
        other.execute_one_shot(&effects[at]).await.unwrap();
    }
    let key = IdempotencyKey::new("r/20").unwrap();
    effects[20].claim = Claim::new(key, Fingerprint::of("another", "request").unwrap());
    other.execute_one_shot(&payment("r/20")).await.unwrap();
    for (at, done) in at_once(&store, &effects).await.into_iter().enumerate() {
        match at {
            20 => assert_eq!(done.unwrap_err().kind(), ErrorKind::Mismatch),
            _ => assert_eq!(done.unwrap().replayed, [3, 11, 12].contains(&at), "{at}"),
        }
    }
    let rows = "SELECT count(*) FROM payments WHERE id LIKE 'r/%'";
    assert_eq!(number(&world, rows).await, 30);
    // Alone as well.
    other.execute_one_shot(&payment("alone")).await.unwrap();
    let again = store.execute_one_shot(&payment("alone")).await.unwrap();
    assert!(again.replayed);
}

async fn a_row_that_fails_is_its_callers_alone<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    ready(&world, &store, "payments", payment).await;
    let mut effects = round("r", 30);
    let text = "INSERT INTO payments (id, amount) VALUES ($1, $2)";
    let row = |id: &str, amount: i64| vec![Statement::new(text).bind(id).bind(amount)];
    effects[7].statements = row("r/7", -1);
    // A row that stands already, under a key that is new.
    store.execute_one_shot(&payment("taken")).await.unwrap();
    effects[12].statements = row("taken", 5);
    // Not a number.
    effects[19].statements = vec![Statement::new(text).bind("r/19").bind("five")];
    for (at, done) in at_once(&store, &effects).await.into_iter().enumerate() {
        match at {
            7 | 12 => assert_eq!(done.unwrap_err().kind(), ErrorKind::Refused, "{at}"),
            19 => assert_eq!(done.unwrap_err().kind(), ErrorKind::Invalid),
            _ => assert!(!done.unwrap().replayed, "{at}"),
        }
    }
    let rows = "SELECT count(*) FROM payments WHERE id LIKE 'r/%'";
    assert_eq!(number(&world, rows).await, 27);
    let lone = shot("lone", row("lone", -1));
    let refused = store.execute_one_shot(&lone).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    let again = store.execute_one_shot(&lone).await.unwrap_err();
    assert_eq!(again.to_string(), refused.to_string());
    world.nothing_open().await;
}

async fn a_key_that_is_held_keeps_no_other_waiting<D: Under>() {
    let (world, store) = shop::<D>(8).await;
    ready(&world, &store, "payments", payment).await;
    let other = builder::<D>(&world.url()).connect().await.unwrap();
    let Claimed::Fresh(tx) = other.claim(&claim("r/5")).await.unwrap() else {
        panic!("it is not fresh");
    };
    for (at, done) in at_once(&store, &round("r", 20))
        .await
        .into_iter()
        .enumerate()
    {
        match done {
            Err(error) => {
                assert_eq!(at, 5, "{error}");
                assert!(
                    matches!(error.kind(), ErrorKind::InProgress { .. }),
                    "{error}"
                );
            }
            Ok(done) => assert!(!done.replayed && at != 5),
        }
    }
    drop(tx);
    world.nothing_open().await;
    let done = store.execute_one_shot(&payment("r/5")).await.unwrap();
    assert!(!done.replayed);
}

// What a column computes may take long: the limit holds for the one statement as well, and what it
// cuts off was not executed.
async fn a_slow_row_delays_no_other<D: Under>() {
    let world = world().await;
    world
        .sql(
            "CREATE FUNCTION nap(id text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN \
             IF id LIKE '%slow' THEN PERFORM pg_sleep(9); END IF; RETURN true; END $$;
             CREATE TABLE payments (id text PRIMARY KEY, amount int8, CHECK (nap(id)))",
        )
        .await;
    let patient = Timeouts {
        statement: Duration::from_secs(20),
        ..timeouts()
    };
    let store = builder::<D>(&world.url()).timeouts(patient).pool_size(8);
    let store = store.connect().await.unwrap();
    ready(&world, &store, "payments", payment).await;
    let mut effects = round("r", 24);
    effects[9] = payment("r/slow");
    let ended = Arc::new(AtomicBool::new(false));
    let mut calls = Vec::new();
    for (at, effect) in effects.into_iter().enumerate() {
        let (store, ended) = (store.clone(), ended.clone());
        calls.push(tokio::spawn(async move {
            store.execute_one_shot(&effect).await.unwrap();
            if at == 9 {
                ended.store(true, Ordering::SeqCst);
            }
            ended.load(Ordering::SeqCst)
        }));
    }
    for (at, call) in calls.into_iter().enumerate() {
        let late = call.await.unwrap();
        assert!(at == 9 || !late, "{at} has waited for the slow one");
    }
    let rows = "SELECT count(*) FROM payments WHERE id LIKE 'r/%'";
    assert_eq!(number(&world, rows).await, 24);
}

// A migration that holds a table: the calls for another one neither wait for it nor fail, whether the
// statement is prepared already or is prepared now.
async fn a_locked_table_delays_no_other<D: Under>() {
    let (world, store) = shop::<D>(16).await;
    ready(&world, &store, "payments", payment).await;
    for known in [true, false] {
        let table = format!("locked_{known}");
        world
            .sql(&format!("CREATE TABLE {table} (id text PRIMARY KEY)"))
            .await;
        let locked = |name: &str| {
            let text = format!("INSERT INTO {table} (id) VALUES ($1)");
            shot(name, vec![Statement::new(text).bind(name)])
        };
        if known {
            ready(&world, &store, &table, locked).await;
        }
        let other = builder::<D>(&world.url()).connect().await.unwrap();
        let mut tx = crate::fresh(&other, &table).await;
        let lock = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        assert!(D::run(&mut tx, &lock).await.is_ok());
        let waiting: Vec<_> = (0..12)
            .map(|at| {
                let (store, effect) = (store.clone(), locked(&format!("{table} {at}")));
                tokio::spawn(async move { store.execute_one_shot(&effect).await })
            })
            .collect();
        // While it is locked: nothing here waits for its end.
        for call in 0..4 {
            for done in at_once(&store, &round(&format!("{table} {call}"), 10)).await {
                assert!(!done.unwrap().replayed);
            }
        }
        for call in waiting {
            let error = call.await.unwrap().unwrap_err();
            assert!(error.is_retryable(), "{error}");
        }
        drop(tx);
        world.nothing_open().await;
        let after = locked(&format!("{table} after"));
        assert!(!store.execute_one_shot(&after).await.unwrap().replayed);
    }
}

// Each change makes the statement another one, or makes rows of one statement differ from a statement
// for each; nothing that was prepared before it may be executed after it.
async fn what_a_table_becomes_is_noticed<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    ready(&world, &store, "payments", payment).await;
    world
        .sql(
            "CREATE TABLE seen (rows int8);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN INSERT INTO seen SELECT count(*) FROM added; RETURN NULL; END $$;
             CREATE TRIGGER look AFTER INSERT ON payments REFERENCING NEW TABLE AS added
             FOR EACH STATEMENT EXECUTE FUNCTION look()",
        )
        .await;
    for done in at_once(&store, &round("triggered", 20)).await {
        assert!(!done.unwrap().replayed);
    }
    store
        .execute_one_shot(&payment("triggered/alone"))
        .await
        .unwrap();
    let seen = "SELECT count(*) || ' of ' || max(rows) FROM seen";
    assert_eq!(world.sql(seen).await, "21 of 1");
    // Another table by the same name, which takes other texts for numbers.
    world
        .sql(
            "DROP TABLE payments; CREATE TABLE payments (id text PRIMARY KEY, amount text);
             CREATE TABLE moved (id text PRIMARY KEY, value int4)",
        )
        .await;
    let moved = |name: &str| {
        let statement = Statement::new("INSERT INTO moved (id, value) VALUES ($1, $2)");
        shot(name, vec![statement.bind(name).bind("007")])
    };
    ready(&world, &store, "moved", moved).await;
    world
        .sql("ALTER TABLE moved ALTER COLUMN value TYPE text USING value::text")
        .await;
    let effects: Vec<_> = (0..20).map(|at| moved(&format!("m/{at}"))).collect();
    for done in at_once(&store, &effects).await {
        assert!(!done.unwrap().replayed);
    }
    store.execute_one_shot(&moved("m/alone")).await.unwrap();
    let kept = "SELECT count(*) FROM moved WHERE id LIKE 'm/%' AND value = '007'";
    assert_eq!(number(&world, kept).await, 21);
    world.nothing_open().await;
}

// Whatever a session's defaults are.
async fn the_isolation_level_is_ours<D: Under>() {
    let world = world().await;
    world
        .sql(
            "CREATE TABLE payments (id text PRIMARY KEY, amount int8, \
             level text DEFAULT current_setting('transaction_isolation'))",
        )
        .await;
    for default in [
        "default_transaction_isolation%3Dserializable",
        "default_transaction_read_only%3Don",
    ] {
        let url = format!("{}?options=-c%20{default}", world.url());
        let store = builder::<D>(&url).connect().await.unwrap();
        for call in 0..4 {
            let name = format!("{default} {call}");
            store.execute_one_shot(&payment(&name)).await.unwrap();
            for done in at_once(&store, &round(&name, 10)).await {
                assert!(!done.unwrap().replayed);
            }
        }
    }
    let levels = "SELECT count(*) || string_agg(DISTINCT level, ',') FROM payments";
    assert_eq!(world.sql(levels).await, "88read committed");
}

async fn nothing_is_left_in_the_session<D: Under>() {
    let (world, store) = shop::<D>(1).await;
    ready(&world, &store, "payments", payment).await;
    for done in at_once(&store, &round("r", 10)).await {
        done.unwrap();
    }
    let mut tx = crate::fresh(&store, "settings").await;
    D::run(
        &mut tx,
        "CREATE TABLE left_there AS SELECT name FROM pg_settings WHERE source = 'session' AND \
         name IN ('plan_cache_mode', 'default_transaction_isolation')",
    )
    .await
    .unwrap();
    let receipt = Receipt::from_bytes("");
    let settled = store.complete(tx, &claim("settings"), &receipt).await;
    assert!(matches!(settled, Ok(Settled::Recorded)));
    assert_eq!(number(&world, "SELECT count(*) FROM left_there").await, 0);
    assert_eq!(by_one(&world, "payments", "r").await, 10);
}
