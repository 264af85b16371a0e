//! A decision is marked as carried out without waiting for the disk: a crash may take the mark back,
//! and the decision is carried out once more.

use std::time::Duration;

use exactly_once::{
    DecisionRegister, Fingerprint, Namespace, Participants, Participation, Statement, Store,
    TransactionId, identity_of,
    postgres::TokioPostgresStore,
    two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
};
use exactly_once_servers::Postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_a_crash_took_back_is_made_again() {
    // So that nothing is flushed by the way.
    let server = Postgres::options(18).setting("wal_writer_delay", "10s");
    let server = server.start().await.unwrap();
    let table = "CREATE TABLE seat (taken int8); INSERT INTO seat VALUES (0)";
    server.sql("postgres", table).await.unwrap();
    let store = TokioPostgresStore::builder(server.url())
        .connect()
        .await
        .unwrap();
    let hour = Duration::from_secs(3_600);
    let not_after = store.now().await.unwrap().checked_add(hour).unwrap();
    let work = Participation::new(
        &TransactionId::new("order").unwrap(),
        Fingerprint::of("order", "order").unwrap(),
        not_after,
        not_after.checked_add(hour).unwrap(),
    )
    .unwrap();
    let other = store.with_namespace(Namespace::new("other").unwrap());
    let [one, two] = [
        identity_of(&store).await.unwrap(),
        identity_of(&other).await.unwrap(),
    ];
    let work = work.entitled(one, Participants::of([one, two]));
    let take = || vec![Statement::new("UPDATE seat SET taken = taken + 1").expecting_rows(1)];
    let insert = || vec![Statement::new("INSERT INTO seat VALUES (7)")];
    let transaction = || {
        TwoPhaseCommit::new(&store, work.clone())
            .one_shot_participant("one", &store, take())
            .one_shot_participant("other", &other, insert())
    };
    let outcome = transaction().run().await.unwrap();
    assert!(matches!(outcome, TwoPhaseOutcome::Committed), "{outcome:?}");
    let finished = async || {
        let entry = store.decision(&work).await;
        entry.map(|entry| entry.unwrap().finished)
    };
    assert!(finished().await.unwrap());

    server.kill();
    server.restart().await.unwrap();
    // The first call meets the connections of the server that was killed.
    let found = loop {
        match finished().await {
            Ok(finished) => break finished,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };
    assert!(!found, "the mark was waited for");
    let outcome = transaction().run().await.unwrap();
    assert!(matches!(outcome, TwoPhaseOutcome::Committed), "{outcome:?}");
    assert!(finished().await.unwrap());
    let seats = server.sql("postgres", "SELECT taken FROM seat ORDER BY 1");
    assert_eq!(seats.await.unwrap(), "1\n7");
}
