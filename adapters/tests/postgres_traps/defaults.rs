//! Traps 4, 13 and 16: nothing is taken from the server's defaults, and no name is too long for it.

use exactly_once::{
    Claimed, IdempotencyStore, Namespace, OneShot, OneShotStore, Outcome, PreparedTransactions,
    Receipt, Statement, Store,
};

use crate::{
    begun, fresh, receipt, store,
    world::{claim, world},
};

// 4, 13, 14. Nothing is taken from the server's defaults.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_defaults_change_nothing() {
    let world = world().await;
    world
        .sql("CREATE TABLE t (n int8); CREATE SCHEMA odd")
        .await;
    for (name, value) in [
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_read_only", "on"),
        ("standard_conforming_strings", "off"),
        ("backslash_quote", "on"),
        ("synchronous_commit", "off"),
        ("search_path", "odd"),
        ("bytea_output", "escape"),
        ("datestyle", "German"),
        ("timezone", "'Pacific/Chatham'"),
        ("lock_timeout", "0"),
        ("statement_timeout", "0"),
    ] {
        let set = format!("ALTER DATABASE {} SET {name} = {value}", world.database);
        world.server.sql("postgres", &set).await.unwrap();
    }
    let nasty = "\\'; DROP TABLE t; -- \u{202e}\n";
    let store = store(&world)
        .await
        .with_namespace(Namespace::new(nasty).unwrap());
    let tx = fresh(&store, nasty).await;
    for (name, value) in [
        ("transaction_isolation", "read committed"),
        ("transaction_read_only", "off"),
        ("synchronous_commit", "on"),
        ("lock_timeout", "300ms"),
        ("statement_timeout", "10s"),
        // The user's own.
        ("search_path", "odd"),
    ] {
        let row = tx
            .client()
            .unwrap()
            .query_one(&format!("SHOW {name}"), &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, String>(0), value, "{name}");
    }
    tx.client()
        .unwrap()
        .execute("INSERT INTO public.t VALUES (1)", &[])
        .await
        .unwrap();
    let _ = store
        .complete(tx, &claim(nasty), &Receipt::from_bytes(nasty))
        .await
        .unwrap();
    match store.claim(&claim(nasty)).await.unwrap() {
        Claimed::Completed(Outcome::Applied(receipt)) => {
            assert_eq!(receipt.as_bytes(), nasty.as_bytes());
        }
        other => panic!("{other:?}"),
    }
    let effect = OneShot {
        claim: claim("one shot"),
        statements: vec![Statement::new("INSERT INTO public.t SELECT length($1)").bind(nasty)],
        receipt: receipt(),
    };
    store.execute_one_shot(&effect).await.unwrap();
    let length = nasty.chars().count().to_string();
    assert_eq!(
        world
            .sql("SET search_path = public; SELECT max(n) FROM t")
            .await,
        length
    );
    let (tx, participation) = begun(&store, nasty).await;
    store.prepare(tx, &participation).await.unwrap();
    assert_eq!(store.in_doubt(None, 9).await.unwrap().entries.len(), 1);
    store.commit_prepared(&participation).await.unwrap();
}

// 16. Under REPEATABLE READ, ON CONFLICT answers 40001 where it should answer what is there: the
// store begins its own level, whatever the default is.
#[tokio::test(flavor = "multi_thread")]
async fn racers_under_repeatable_read_get_one_answer() {
    let world = world().await;
    for level in ["repeatable read", "serializable"] {
        let set = format!(
            "ALTER DATABASE {} SET default_transaction_isolation = '{level}'",
            world.database
        );
        world.server.sql("postgres", &set).await.unwrap();
        let store = store(&world).await;
        for round in 0..10 {
            let name = format!("{level}/{round}");
            let racers = (0..8).map(|_| {
                let (store, claim) = (store.clone(), claim(&name));
                tokio::spawn(async move {
                    match store.claim(&claim).await? {
                        Claimed::Fresh(tx) => {
                            let _ = store.complete(tx, &claim, &receipt()).await?;
                            Ok(true)
                        }
                        _ => Ok::<_, exactly_once::Error>(false),
                    }
                })
            });
            let mut executed = 0;
            for racer in racers.collect::<Vec<_>>() {
                executed += usize::from(racer.await.unwrap().unwrap());
            }
            assert_eq!(executed, 1, "{name}");
        }
    }
}
