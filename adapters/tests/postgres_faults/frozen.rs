//! What stood when a plain insert became one statement, and may be otherwise by the time it is executed.

use std::time::Duration;

use exactly_once::{OneShotStore, Statement};

use crate::{
    Under, at_once, builder, number,
    one_statement::{by_one, ready, round},
    payment, shop, shot,
    world::world,
};

on_both!(
    a_moment_in_the_text_is_that_of_each_call,
    a_rule_that_takes_the_insert_away_takes_no_key,
    a_table_that_comes_before_it_is_noticed,
    null_stays_null,
    rows_that_a_policy_looks_at_are_inserted_one_by_one,
);

// The server converts a quoted constant when it prepares a statement, and `'now'` is one.
async fn a_moment_in_the_text_is_that_of_each_call<D: Under>() {
    let (world, store) = shop::<D>(1).await;
    world
        .sql("CREATE TABLE moments (id text PRIMARY KEY, at timestamptz)")
        .await;
    let moment = |name: &str| {
        let statement = Statement::new("INSERT INTO moments (id, at) VALUES ($1, 'now')");
        shot(name, vec![statement.bind(name)])
    };
    for call in 0..6 {
        let effect = moment(&format!("before/{call}"));
        store.execute_one_shot(&effect).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for name in ["after/1", "after/2"] {
        store.execute_one_shot(&moment(name)).await.unwrap();
    }
    let apart = "SELECT count(*) FROM moments WHERE id LIKE 'after/%' AND at > \
                 (SELECT max(at) + interval '1 s' FROM moments WHERE id LIKE 'before/%')";
    assert_eq!(number(&world, apart).await, 2);
}

// What is rewritten to nothing succeeds, and the claims were part of it.
async fn a_rule_that_takes_the_insert_away_takes_no_key<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    ready(&world, &store, "payments", payment).await;
    world
        .sql("CREATE RULE frozen AS ON INSERT TO payments DO INSTEAD NOTHING")
        .await;
    let mut effects = round("ruled", 10);
    effects.push(payment("ruled/alone"));
    for done in at_once(&store, &effects[..10]).await {
        done.unwrap();
    }
    store.execute_one_shot(&effects[10]).await.unwrap();
    let keys =
        "SELECT count(*) FROM exactly_once.keys WHERE convert_from(key, 'UTF8') LIKE 'ruled/%'";
    assert_eq!(number(&world, keys).await, 11);
    world.sql("DROP RULE frozen ON payments").await;
    for effect in &effects {
        assert!(store.execute_one_shot(effect).await.unwrap().replayed);
    }
    let rows = "SELECT count(*) FROM payments WHERE id LIKE 'ruled/%'";
    assert_eq!(number(&world, rows).await, 0);
}

async fn a_table_that_comes_before_it_is_noticed<D: Under>() {
    let world = world().await;
    world
        .sql("CREATE SCHEMA app; CREATE TABLE payments (id text PRIMARY KEY, amount int8)")
        .await;
    let url = format!("{}?options=-c%20search_path%3Dapp,public", world.url());
    let store = builder::<D>(&url).connect().await.unwrap();
    ready(&world, &store, "payments", payment).await;
    world
        .sql("CREATE TABLE app.payments (LIKE public.payments INCLUDING ALL)")
        .await;
    store.execute_one_shot(&payment("r/alone")).await.unwrap();
    for done in at_once(&store, &round("r", 20)).await {
        assert!(!done.unwrap().replayed);
    }
    let there = "SELECT count(*) FROM app.payments WHERE id LIKE 'r/%'";
    assert_eq!(number(&world, there).await, 21);
}

// Where the server reads NULL in an array as a text.
async fn null_stays_null<D: Under>() {
    let world = world().await;
    world
        .sql("CREATE TABLE notes (id text PRIMARY KEY, note text)")
        .await;
    let url = format!("{}?options=-c%20array_nulls%3Doff", world.url());
    let store = builder::<D>(&url).connect().await.unwrap();
    let note = |name: &str| {
        let statement = Statement::new("INSERT INTO notes (id, note) VALUES ($1, $2)");
        shot(name, vec![statement.bind(name).bind(None::<&str>)])
    };
    for call in 0..6 {
        let effects: Vec<_> = (0..10).map(|at| note(&format!("{call}/{at}"))).collect();
        for done in at_once(&store, &effects).await {
            assert!(!done.unwrap().replayed);
        }
    }
    let nulls = "SELECT count(*) FROM notes WHERE note IS NULL";
    assert_eq!(number(&world, nulls).await, 60);
}

// A policy may count the rows that are there.
async fn rows_that_a_policy_looks_at_are_inserted_one_by_one<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    ready(&world, &store, "payments", payment).await;
    world
        .sql("ALTER TABLE payments ENABLE ROW LEVEL SECURITY")
        .await;
    for done in at_once(&store, &round("policy", 20)).await {
        assert!(!done.unwrap().replayed);
    }
    // Fewer than all, as the first of a round goes alone.
    assert!(by_one(&world, "payments", "policy").await < 20);
    let rows = "SELECT count(*) FROM payments WHERE id LIKE 'policy/%'";
    assert_eq!(number(&world, rows).await, 20);
    let statements =
        "SELECT count(DISTINCT cmin::text || xmin::text) FROM payments WHERE id LIKE 'policy/%'";
    assert_eq!(number(&world, statements).await, 20);
}
