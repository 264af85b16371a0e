//! Traps 8 and 10: a prepared transaction keeps its locks until it is ended.

use std::time::Duration;

use exactly_once::{
    BegunPrepared, Claimed, IdempotencyStore, Participants, PreparedTransactions, Store,
    Transactional, identity_of,
    postgres::{Timeouts, TokioPostgresStore},
    two_phase::Sweeper,
};

use crate::{
    fresh, prepared, run, store,
    world::{between, claim, timeouts, world},
};

const PATIENCE: Duration = Duration::from_secs(120);

// 8. A key that is held is reported in time, and the request behind it is compared all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_is_in_progress_or_a_mismatch() {
    let world = world().await;
    let store = store(&world).await;
    let tx = fresh(&store, "k").await;
    // The holder ends only after both: what waits for it hangs, on any machine.
    let asked = tokio::time::timeout(PATIENCE, store.claim(&claim("k"))).await;
    assert!(matches!(
        asked.expect("an answer while the key is held").unwrap(),
        Claimed::InProgress { .. }
    ));
    let other = exactly_once::Claim::new(
        claim("k").key().clone(),
        exactly_once::Fingerprint::of("test", "another").unwrap(),
    );
    let asked = tokio::time::timeout(PATIENCE, store.claim(&other)).await;
    assert!(matches!(
        asked.expect("an answer while the key is held").unwrap(),
        Claimed::Mismatch
    ));
    store.rollback(tx).await.unwrap();
    assert!(matches!(
        store.claim(&other).await.unwrap(),
        Claimed::Fresh(_)
    ));
    world.nothing_open().await;
}

// 8. An attempt that is prepared, by the user's own hand, holds the key longer than any connection
// lives: waiting for it would be for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_a_prepared_transaction_is_in_progress() {
    let world = world().await;
    let store = store(&world).await;
    let tx = fresh(&store, "k").await;
    run(&tx, "PREPARE TRANSACTION 'by hand'").await;
    drop(tx);
    for _ in 0..2 {
        let again = store.claim(&claim("k")).await.unwrap();
        assert!(matches!(again, Claimed::InProgress { .. }), "{again:?}");
    }
    world.sql("ROLLBACK PREPARED 'by hand'").await;
    let _ = fresh(&store, "k").await;
}

// 8. Who begins again what is prepared learns it without waiting for its locks, however long a wait
// is allowed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_is_told_without_waiting() {
    let world = world().await;
    let patient = Timeouts {
        lock: Duration::from_secs(40),
        statement: Duration::from_secs(50),
        ..timeouts()
    };
    let builder = TokioPostgresStore::builder(world.url()).timeouts(patient);
    let store = builder.connect().await.unwrap();
    let participation = prepared(&store, "t").await;
    let again = store.begin_prepared(&participation);
    let again = tokio::time::timeout(Duration::from_secs(20), again).await;
    let again = again.expect("it waits for the lock").unwrap();
    assert!(matches!(again, BegunPrepared::AlreadyPrepared), "{again:?}");
    store.rollback_prepared(&participation).await.unwrap();
}

// 10. An orphan keeps its rows locked and its database undroppable, until it is swept.
#[tokio::test(flavor = "multi_thread")]
async fn a_swept_orphan_keeps_nothing() {
    let world = world().await;
    world
        .sql("CREATE TABLE t (n int8); INSERT INTO t VALUES (1)")
        .await;
    let store = store(&world).await;
    let now = store.now().await.unwrap();
    let after = |millis| now.checked_add(Duration::from_millis(millis)).unwrap();
    let own = identity_of(&store).await.unwrap();
    let transaction = between("orphan", after(1_500), after(60_000));
    let transaction = transaction.entitled(own, Participants::of([own]));
    let BegunPrepared::Fresh(tx) = store.begin_prepared(&transaction).await.unwrap() else {
        panic!("it is not fresh");
    };
    run(&tx, "UPDATE t SET n = 2").await;
    store.prepare(tx, &transaction).await.unwrap();
    let locked = "SET lock_timeout = '100ms'; UPDATE t SET n = 3";
    let refusal = world.server.sql(&world.database, locked).await;
    assert!(refusal.is_err(), "the row is not locked");
    let sweeper = Sweeper::new(store.clone());
    let sweeper = sweeper.participant("t", store.clone()).unwrap();
    while !store.in_doubt(None, 1).await.unwrap().entries.is_empty() {
        let report = sweeper.sweep().await.unwrap();
        assert!(report.alarms.is_empty(), "{report:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(store.now().await.unwrap() > transaction.not_after());
    assert_eq!(world.sql("UPDATE t SET n = 3 RETURNING n").await, "3");
    store.close().await.unwrap();
    let drop = format!("DROP DATABASE {} WITH (FORCE)", world.database);
    world.server.sql("postgres", &drop).await.unwrap();
}
