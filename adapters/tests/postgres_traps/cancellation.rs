//! Trap 6: what was dropped half way must not be used by the next.

use exactly_once::{
    BalanceStore, IdempotencyStore, OpenAccount, PreparedTransactions, postgres::TokioPostgresStore,
};

use crate::{
    begun, fresh, receipt,
    world::{claim, timeouts, world},
};

// 6. A pool's connection with another's transaction open on it is not written in.
#[tokio::test(flavor = "multi_thread")]
async fn a_dirty_connection_of_the_users_pool_is_not_used() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let config = world.url().parse().unwrap();
    let manager = deadpool_postgres::Manager::new(config, tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager)
        .max_size(1)
        .build()
        .unwrap();
    let builder = TokioPostgresStore::from_pool(pool.clone()).timeouts(timeouts());
    let store = builder.connect().await.unwrap();
    let leaks = [
        "BEGIN; INSERT INTO t VALUES (1)",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (1)",
        "BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a",
    ];
    for (at, leak) in leaks.iter().enumerate() {
        let dirty = async || pool.get().await.unwrap().batch_execute(leak).await.unwrap();
        let key = format!("k{at}");
        dirty().await;
        let tx = fresh(&store, &key).await;
        let _ = store.complete(tx, &claim(&key), &receipt()).await.unwrap();
        dirty().await;
        assert!(store.lookup(claim(&key).key()).await.unwrap().is_some());
        dirty().await;
        let open = OpenAccount::new(
            claim(&key).key().clone(),
            exactly_once::AccountId::new(&*key).unwrap(),
        );
        store.open_account(&open).await.unwrap();
        let (tx, participation) = begun(&store, &key).await;
        store.prepare(tx, &participation).await.unwrap();
        dirty().await;
        store.commit_prepared(&participation).await.unwrap();
    }
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "0");
    world.nothing_open().await;
}

// 6. What is dropped closes its connection, and a pool of one goes on with a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transaction_rolls_back() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let builder = TokioPostgresStore::builder(world.url())
        .timeouts(timeouts())
        .pool_size(1);
    let store = builder.connect().await.unwrap();
    for round in 0..3 {
        let tx = fresh(&store, "k").await;
        tx.client()
            .unwrap()
            .execute("INSERT INTO t VALUES (1)", &[])
            .await
            .unwrap();
        drop(tx);
        let (tx, _) = begun(&store, &format!("t{round}")).await;
        drop(tx);
    }
    world.nothing_open().await;
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "0");
    assert_eq!(store.lookup(claim("k").key()).await.unwrap(), None);
}
