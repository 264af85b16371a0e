//! What one transaction leaves to the next, and to another store.

use exactly_once::{
    Claimed, ErrorKind, ExecuteOnce, IdempotencyStore, PreparedTransactions, Receipt,
    Transactional, WorkError, sqlite::SqliteStore,
};
use rusqlite::Connection;

use crate::{World, claim, key};

#[tokio::test]
async fn work_that_sqlite_rolled_back_is_refused_and_recorded_with_its_reason() {
    let world = World::new("").await;
    let work = async |tx: &mut exactly_once::sqlite::SqliteTx| -> Result<(), WorkError> {
        let bad = "INSERT OR ROLLBACK INTO one VALUES (1)";
        tx.run(move |db| db.execute(bad, [])).await?;
        Ok(())
    };
    let mut texts = Vec::new();
    for _ in 0..2 {
        let refused = world
            .store
            .execute_once(&claim("k"), work)
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
        texts.push(refused.to_string());
    }
    assert!(texts[0].contains("one.id"), "{texts:?}");
    assert!(world.store.lookup(&key("k")).await.unwrap().is_some());
    // A swallowed one is no success, and no reason to retry for ever.
    let mut tx = world.store.begin().await.unwrap();
    let bad = "INSERT OR ROLLBACK INTO one VALUES (1)";
    tx.run(move |db| db.execute(bad, [])).await.unwrap_err();
    let refused = world.store.commit(tx).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.to_string().contains("one.id"), "{refused}");
}

#[tokio::test]
async fn a_transaction_of_another_file_is_refused() {
    let (here, there) = (World::new("").await, World::new("").await);
    let asked = claim("k");
    let Claimed::Fresh(tx) = here.store.claim(&asked).await.unwrap() else {
        panic!("not fresh")
    };
    let receipt = Receipt::json(&1).unwrap();
    let foreign = there
        .store
        .complete(tx, &asked, &receipt)
        .await
        .unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::Invalid);
    let part = here.part("t").await;
    let begun = here.store.begin_prepared(&part).await.unwrap();
    let exactly_once::BegunPrepared::Fresh(tx) = begun else {
        panic!("not fresh")
    };
    let foreign = there.store.prepare(tx, &part).await.unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::Invalid);
    let tx = here.store.begin().await.unwrap();
    assert_eq!(
        there.store.commit(tx).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
    // Another handle on the same file is the same store.
    let again = SqliteStore::open(here.folder.path().join("store.db"))
        .await
        .unwrap();
    let Claimed::Fresh(tx) = here.store.claim(&asked).await.unwrap() else {
        panic!("not fresh")
    };
    let settled = again.complete(tx, &asked, &receipt).await.unwrap();
    assert_eq!(settled, exactly_once::Settled::Recorded);
}

#[tokio::test]
async fn a_step_that_fails_half_way_leaves_nothing() {
    let world = World::new("").await;
    let asked = claim("k");
    let Claimed::Fresh(mut tx) = world.store.claim(&asked).await.unwrap() else {
        panic!("not fresh")
    };
    let half = |db: &Connection| {
        db.execute_batch("INSERT INTO effect VALUES ('half', 1); INSERT INTO one VALUES (1)")
    };
    tx.run(half).await.unwrap_err();
    let panicking = |db: &Connection| -> rusqlite::Result<()> {
        db.execute_batch("INSERT INTO effect VALUES ('half', 1)")?;
        panic!("half way")
    };
    assert_eq!(
        tx.run(panicking).await.unwrap_err().kind(),
        ErrorKind::WorkFailed
    );
    tx.run(|db| db.execute_batch("INSERT INTO effect VALUES ('whole', 1)"))
        .await
        .unwrap();
    let receipt = Receipt::json(&1).unwrap();
    let settled = world.store.complete(tx, &asked, &receipt).await.unwrap();
    assert_eq!(settled, exactly_once::Settled::Recorded);
    assert_eq!((world.effects("half"), world.effects("whole")), (0, 1));
}
