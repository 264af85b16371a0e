//! Trap 5: COMMIT and PREPARE in an aborted block succeed with the tag ROLLBACK, which drivers hide.

use exactly_once::{
    ErrorKind, IdempotencyStore, PreparedStatus, PreparedTransactions, Transactional,
    postgres::TokioPostgresTx,
};

use crate::{
    begun, fresh, receipt, store,
    world::{claim, refused, world},
};

// 5. COMMIT and PREPARE in an aborted block succeed with the tag ROLLBACK, which drivers hide.
#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_error_is_never_a_silent_loss() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let store = store(&world).await;
    // The trap is there: the driver's own commit says ok.
    let tx = store.begin().await.unwrap();
    tx.client()
        .unwrap()
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    assert!(
        tx.client()
            .unwrap()
            .execute("INSERT INTO nowhere VALUES (1)", &[])
            .await
            .is_err()
    );
    tx.client().unwrap().batch_execute("COMMIT").await.unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "0");
    drop(tx);

    let spoil = async |tx: &TokioPostgresTx| {
        tx.client()
            .unwrap()
            .execute("INSERT INTO t VALUES (1)", &[])
            .await
            .unwrap();
        assert!(
            tx.client()
                .unwrap()
                .execute("INSERT INTO nowhere VALUES (1)", &[])
                .await
                .is_err()
        );
    };
    let tx = store.begin().await.unwrap();
    spoil(&tx).await;
    refused(
        store.commit(tx).await,
        ErrorKind::WorkFailed,
        &["swallowed"],
    );
    let tx = fresh(&store, "k").await;
    spoil(&tx).await;
    let answer = store.complete(tx, &claim("k"), &receipt()).await;
    refused(answer, ErrorKind::WorkFailed, &["swallowed"]);
    let (tx, participation) = begun(&store, "t").await;
    spoil(&tx).await;
    refused(
        store.prepare(tx, &participation).await,
        ErrorKind::WorkFailed,
        &["swallowed"],
    );
    assert_eq!(
        store.prepared_status(&participation).await.unwrap(),
        PreparedStatus::None
    );
    assert_eq!(store.lookup(claim("k").key()).await.unwrap(), None);
    world.nothing_open().await;
}

// 5. PREPARE and COMMIT outside of the transaction that was begun can't be reached.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_ends_the_transaction_itself_is_told_so() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let store = store(&world).await;
    for end in [
        "ROLLBACK",
        "COMMIT",
        "ROLLBACK; BEGIN",
        "COMMIT; BEGIN; INSERT INTO t VALUES (1)",
    ] {
        let before = world.sql("SELECT count(*) FROM t").await;
        let (tx, participation) = begun(&store, &format!("prepared {end}")).await;
        tx.client().unwrap().batch_execute(end).await.unwrap();
        let answer = store.prepare(tx, &participation).await;
        refused(
            answer,
            ErrorKind::Invalid,
            &["ended the transaction itself"],
        );
        assert!(store.in_doubt(None, 9).await.unwrap().entries.is_empty());
        let key = format!("completed {end}");
        let tx = fresh(&store, &key).await;
        tx.client().unwrap().batch_execute(end).await.unwrap();
        let answer = store.complete(tx, &claim(&key), &receipt()).await;
        refused(
            answer,
            ErrorKind::Invalid,
            &["ended the transaction itself"],
        );
        let tx = store.begin().await.unwrap();
        tx.client().unwrap().batch_execute(end).await.unwrap();
        assert!(store.commit(tx).await.is_err());
        assert_eq!(world.sql("SELECT count(*) FROM t").await, before, "{end}");
    }
    world.nothing_open().await;
}
