//! Trap 14: behind a transaction pooler, what is set for a session leaks.

use exactly_once::{IdempotencyStore, OneShot, OneShotStore, PreparedTransactions, Statement};
use exactly_once_servers::Pgbouncer;

use crate::{
    begun, connect, fresh, receipt,
    world::{claim, world},
};

// 14. Behind a transaction pooler, nothing of a session leaks.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaks_through_a_transaction_pooler() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let pooler = Pgbouncer::start(&world.server).await.unwrap();
    let store = connect(&pooler.database_url(&world.database)).await;
    for round in 0..20 {
        let name = format!("k{round}");
        let tx = fresh(&store, &name).await;
        let _ = store.complete(tx, &claim(&name), &receipt()).await.unwrap();
        let effect = OneShot {
            claim: claim(&format!("one shot {round}")),
            statements: vec![Statement::new("INSERT INTO t VALUES ($1)").bind(round)],
            receipt: receipt(),
        };
        store.execute_one_shot(&effect).await.unwrap();
        let refusal = OneShot {
            claim: claim(&format!("refused {round}")),
            statements: vec![Statement::new("INSERT INTO t VALUES ($1 / 0)").bind(round)],
            receipt: receipt(),
        };
        assert!(store.execute_one_shot(&refusal).await.is_err());
        let (tx, participation) = begun(&store, &name).await;
        store.prepare(tx, &participation).await.unwrap();
        store.commit_prepared(&participation).await.unwrap();
    }
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "20");
    let (client, connection) =
        tokio_postgres::connect(&pooler.database_url(&world.database), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    for _ in 0..20 {
        let messages = client
            .simple_query(
                "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), \
                 (SELECT count(*) FROM pg_prepared_statements \
                 WHERE name !~ '^exactly_once_[0-9a-f]{32}$')",
            )
            .await
            .unwrap();
        for message in messages {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                assert_eq!([row.get(0), row.get(1), row.get(2)], [Some("0"); 3]);
            }
        }
    }
}
