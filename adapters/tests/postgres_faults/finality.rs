//! What is never recorded: errors that say nothing about the user's statement.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use exactly_once::{ErrorKind, ExecuteOnce, IdempotencyStore, OneShotStore};
use exactly_once_servers::{Postgres, Replication, Standby};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::{
    Under, at_once, builder, payment, shop,
    world::{claim, major},
};

on_both!(
    a_standby_refuses_no_effect,
    a_plan_that_changed_is_retried,
    no_row_yet_is_retried,
    a_value_of_another_type_is_retried,
);

/// An address that leads to one server, and then to another.
async fn address(to: Arc<Mutex<SocketAddr>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let to = *to.lock().unwrap();
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(to).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    address
}

fn of(server: &Postgres) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port()))
}

async fn a_standby_refuses_no_effect<D: Under>() {
    let primary = Postgres::start(major()).await.unwrap();
    let table = "CREATE TABLE payments (id text PRIMARY KEY, amount int8 NOT NULL)";
    primary.sql("postgres", table).await.unwrap();
    builder::<D>(&primary.url()).connect().await.unwrap();
    let standby = Standby::of(&primary, Replication::Synchronous)
        .await
        .unwrap();
    let to = Arc::new(Mutex::new(of(&primary)));
    let there = address(Arc::clone(&to)).await.to_string();
    let url = primary.url().replace(&of(&primary).to_string(), &there);
    assert!(url.contains(&there), "{url}");
    let store = builder::<D>(&url).connect().await.unwrap();
    for done in at_once(&store, &[payment("before"), payment("before too")]).await {
        done.unwrap();
    }
    *to.lock().unwrap() = of(standby.postgres());
    primary.stop_immediate().await.unwrap();
    let mut told = 0;
    for round in 0..6 {
        let effects: Vec<_> = (0..20)
            .map(|number| payment(&format!("{round} {number}")))
            .collect();
        for done in at_once(&store, &effects).await {
            let error = done.unwrap_err();
            // The first may lose their connection half way.
            let kinds = [ErrorKind::Unavailable, ErrorKind::Ambiguous];
            assert!(kinds.contains(&error.kind()), "{error}");
            told += usize::from(error.kind() == ErrorKind::Unavailable);
        }
        let key = format!("closure {round}");
        let claimed = store.claim(&claim(&key)).await;
        assert!(claimed.unwrap_err().is_retryable());
        let looked = store.lookup(claim(&key).key()).await;
        assert!(looked.unwrap_err().is_retryable());
        let forgot = store.forget(claim(&key).key()).await;
        assert!(forgot.unwrap_err().is_retryable());
    }
    assert!(told > 60, "{told}");
    standby.promote().await.unwrap();
    for round in 0..6 {
        for number in 0..20 {
            let effect = payment(&format!("{round} {number}"));
            let mut tries = 0;
            while let Err(error) = store.execute_one_shot(&effect).await {
                assert!(error.is_retryable() && tries < 100, "{error}");
                tries += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    let count = "SELECT count(*) FROM payments";
    let count = standby.postgres().sql("postgres", count).await.unwrap();
    assert_eq!(count, "122");
}

async fn a_plan_that_changed_is_retried<D: Under>() {
    // One connection: what was prepared on it is met again.
    let (world, store) = shop::<D>(1).await;
    let select = async |tx: &mut exactly_once::postgres::PostgresTx<D::Connection>| {
        D::query(tx, "SELECT * FROM payments").await
    };
    store.execute_once(&claim("one"), select).await.unwrap();
    world.sql("ALTER TABLE payments ADD COLUMN note text").await;
    let failed = store.execute_once(&claim("two"), select).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::WorkFailed, "{failed}");
    assert!(store.lookup(claim("two").key()).await.unwrap().is_none());
    let done = store.execute_once(&claim("two"), select).await.unwrap();
    assert_eq!((done.value, done.replayed), (0, false));
}

async fn no_row_yet_is_retried<D: Under>() {
    let (world, store) = shop::<D>(2).await;
    let select = async |tx: &mut exactly_once::postgres::PostgresTx<D::Connection>| {
        D::one(tx, "SELECT id FROM payments").await
    };
    let failed = store.execute_once(&claim("k"), select).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::WorkFailed, "{failed}");
    assert!(store.lookup(claim("k").key()).await.unwrap().is_none());
    world.sql("INSERT INTO payments VALUES ('now', 1)").await;
    let done = store.execute_once(&claim("k"), select).await.unwrap();
    assert_eq!((&*done.value, done.replayed), ("now", false));
}

// A corrected program, with the same key.
async fn a_value_of_another_type_is_retried<D: Under>() {
    let (world, store) = shop::<D>(2).await;
    world.sql("INSERT INTO payments VALUES ('now', 1)").await;
    let wrong = async |tx: &mut exactly_once::postgres::PostgresTx<D::Connection>| {
        D::one(tx, "SELECT amount FROM payments").await
    };
    let failed = store.execute_once(&claim("k"), wrong).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::WorkFailed, "{failed}");
    let right = async |tx: &mut exactly_once::postgres::PostgresTx<D::Connection>| {
        D::one(tx, "SELECT amount::text FROM payments").await
    };
    let done = store.execute_once(&claim("k"), right).await.unwrap();
    assert_eq!((&*done.value, done.replayed), ("1", false));
}
