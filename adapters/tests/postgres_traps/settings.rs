//! Traps 1 to 3: prepared transactions are off by default, their slots run out, they are turned off
//! later. And a server whose disk can't be trusted.

use exactly_once::{
    ErrorKind, PreparedStatus, PreparedTransactions, Store, postgres::TokioPostgresStore,
};
use exactly_once_servers::Postgres;

use crate::{
    begun, connect, prepared,
    world::{major, participation, refused},
};

// 1. Off by default, and a reload does not turn it on.
#[tokio::test(flavor = "multi_thread")]
async fn two_phase_off_is_found_at_connect() {
    let server = Postgres::options(major())
        .setting("max_prepared_transactions", "0")
        .start()
        .await
        .unwrap();
    let builder = || TokioPostgresStore::builder(server.url());
    let words = ["max_prepared_transactions", "ALTER SYSTEM", "RESTART"];
    let answer = builder().require_two_phase(true).connect().await;
    refused(answer, ErrorKind::Configuration, &words);
    let store = builder().connect().await.unwrap();
    assert_eq!(store.capabilities().two_phase, exactly_once::TwoPhase::None);
    let (tx, transaction) = begun(&store, "t").await;
    let answer = store.prepare(tx, &transaction).await;
    refused(answer, ErrorKind::Configuration, &words);
    server.set("max_prepared_transactions", "8").await.unwrap();
    let answer = builder().require_two_phase(true).connect().await;
    refused(answer, ErrorKind::Configuration, &words);
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    let store = builder().require_two_phase(true).connect().await.unwrap();
    prepared(&store, "t").await;
}

// 1. Only what will prepare needs the setting: a lone participant and the last one commit in one
// phase. The refusal of the others comes before any work, and ends with the server's restart.
#[cfg(feature = "memory")]
#[tokio::test(flavor = "multi_thread")]
async fn two_phase_off_is_asked_of_those_alone_that_prepare() {
    use exactly_once::{
        Statement,
        memory::MemoryStore,
        two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
    };

    let server = Postgres::options(major())
        .setting("max_prepared_transactions", "0")
        .start()
        .await
        .unwrap();
    let (store, memory) = (connect(&server.url()).await, MemoryStore::new());
    let alone = TwoPhaseCommit::new(&store, participation(&store, "alone").await).participant(
        "pg",
        &store,
        async |_tx| Ok(()),
    );
    assert!(matches!(
        alone.run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    let alone = TwoPhaseCommit::new(&memory, participation(&store, "statements").await)
        .one_shot_participant("pg", &store, [Statement::new("SELECT 1")]);
    assert!(matches!(
        alone.run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    let last = TwoPhaseCommit::new(&store, participation(&store, "last").await)
        .participant("memory", &memory, async |tx| {
            tx.put("last", "1");
            Ok(())
        })
        .last_participant("pg", &store, async |_tx| Ok(()));
    assert!(matches!(
        last.run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    assert!(memory.get("last").is_some());

    let both = participation(&store, "both").await;
    let run = async || {
        TwoPhaseCommit::new(&memory, both.clone())
            .participant("memory", &memory, async |tx| {
                tx.put("both", "1");
                Ok(())
            })
            .participant("pg", &store, async |_tx| Ok(()))
            .run()
            .await
    };
    let words = [
        "\"pg\"",
        "max_prepared_transactions",
        "ALTER SYSTEM",
        "RESTART",
    ];
    refused(run().await, ErrorKind::Configuration, &words);
    assert_eq!(memory.in_doubt(None, 9).await.unwrap().entries, []);
    server.set("max_prepared_transactions", "8").await.unwrap();
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    assert!(matches!(run().await.unwrap(), TwoPhaseOutcome::Committed));
    assert!(memory.get("both").is_some());
}

// 3. 55000 at PREPARE is the other meaning of the code: it was turned off since we connected.
#[tokio::test(flavor = "multi_thread")]
async fn two_phase_turned_off_since_is_found_at_prepare() {
    let server = Postgres::start(major()).await.unwrap();
    let store = connect(&server.url()).await;
    server.set("max_prepared_transactions", "0").await.unwrap();
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    let (tx, transaction) = begun(&store, "t").await;
    let words = [
        "max_prepared_transactions",
        "ALTER SYSTEM",
        "standbys first",
    ];
    let answer = store.prepare(tx, &transaction).await;
    refused(answer, ErrorKind::Configuration, &words);
    let status = store.prepared_status(&transaction).await.unwrap();
    assert_eq!(status, PreparedStatus::None);
}

// 2. With something prepared the server does not even start below its number: nothing is lost by
// the try.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_outlives_too_low_a_setting() {
    let server = Postgres::start(major()).await.unwrap();
    let store = connect(&server.url()).await;
    let transaction = prepared(&store, "t").await;
    server.set("max_prepared_transactions", "0").await.unwrap();
    server.stop().await.unwrap();
    let refusal = format!("{:#}", server.restart().await.unwrap_err());
    assert!(refusal.contains("max_prepared_transactions"), "{refusal}");
    let written = server.data_folder().join("postgresql.auto.conf");
    std::fs::write(written, "").unwrap();
    server.restart().await.unwrap();
    let again = connect(&server.url()).await;
    again.commit_prepared(&transaction).await.unwrap();
}

// 1. Slots full is 53200: try later, nothing left.
#[tokio::test(flavor = "multi_thread")]
async fn no_free_slot_leaves_nothing() {
    let server = Postgres::options(major())
        .setting("max_prepared_transactions", "1")
        .start()
        .await
        .unwrap();
    let store = connect(&server.url()).await;
    let (one, first) = begun(&store, "one").await;
    store.prepare(one, &first).await.unwrap();
    let (two, second) = begun(&store, "two").await;
    refused(
        store.prepare(two, &second).await,
        ErrorKind::Busy,
        &["max_prepared_transactions"],
    );
    assert_eq!(
        store.prepared_status(&second).await.unwrap(),
        PreparedStatus::None
    );
    store.commit_prepared(&first).await.unwrap();
    let (two, second) = begun(&store, "two").await;
    store.prepare(two, &second).await.unwrap();
    store.rollback_prepared(&second).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_disk_settings_are_refused() {
    let server = Postgres::options(major())
        .fsync(false)
        .start()
        .await
        .unwrap();
    let builder = || TokioPostgresStore::builder(server.url());
    let words = ["fsync", "ALTER SYSTEM SET fsync = on"];
    refused(builder().connect().await, ErrorKind::Configuration, &words);
    let store = builder()
        .accept_unsafe_durability(true)
        .connect()
        .await
        .unwrap();
    assert_eq!(
        store.capabilities().durability,
        exactly_once::Durability::Process
    );
}
