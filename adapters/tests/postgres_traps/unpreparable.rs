//! Trap 9: work that can't be prepared.

use exactly_once::{ErrorKind, PreparedStatus, PreparedTransactions};

use crate::{
    begun, store,
    world::{refused, world},
};

// 9, 10. Work that can't be prepared is refused for good, and nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_prepared_leaves_nothing() {
    let world = world().await;
    world
        .sql(
            "CREATE TABLE parents (id int8 PRIMARY KEY); \
             CREATE TABLE children (parent int8 REFERENCES parents DEFERRABLE INITIALLY DEFERRED, \
             UNIQUE (parent) DEFERRABLE INITIALLY DEFERRED); INSERT INTO parents VALUES (1)",
        )
        .await;
    let store = store(&world).await;
    for (at, work) in [
        "CREATE TEMPORARY TABLE x (n int8)",
        "NOTIFY channel",
        "LISTEN channel",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT pg_export_snapshot()",
        "SELECT pg_advisory_lock(7), pg_advisory_xact_lock(7)",
        "INSERT INTO children VALUES (7)",
        "INSERT INTO children VALUES (1), (1)",
    ]
    .iter()
    .enumerate()
    {
        let (tx, participation) = begun(&store, &format!("t{at}")).await;
        tx.client().unwrap().batch_execute(work).await.unwrap();
        refused(
            store.prepare(tx, &participation).await,
            ErrorKind::Refused,
            &[],
        );
        assert_eq!(
            store.prepared_status(&participation).await.unwrap(),
            PreparedStatus::None
        );
        store.rollback_prepared(&participation).await.unwrap();
    }
    assert!(store.in_doubt(None, 9).await.unwrap().entries.is_empty());
    world.nothing_open().await;
}
