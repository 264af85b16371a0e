//! Goal: behind Redis Sentinel, a store follows the master, and a failover loses and doubles nothing
//! that was acknowledged.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore as _, ErrorKind, IdempotencyKey, OpenAccount,
    redis::{RedisStore, Replicas},
};
use exactly_once_servers::{Redis, RedisSentinel};
use tokio::time::sleep;

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

fn account() -> AccountId {
    AccountId::new("till").unwrap()
}

async fn insist(store: &RedisStore, change: &Adjust) {
    for _ in 0..2_000 {
        match store.adjust(change).await {
            Ok(_) => return,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("no end of retries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_and_doubles_nothing() {
    for valkey in [false, true] {
        let options = || {
            let options = Redis::options();
            if valkey { options.valkey() } else { options }
        };
        let unfenced = RedisSentinel::start(options(), valkey).await.unwrap();
        let refused = RedisStore::builder(unfenced.url()).connect().await;
        let refused = refused.expect_err("an old master would go on");
        assert_eq!(refused.kind(), ErrorKind::Configuration, "{refused}");
        assert!(
            refused
                .to_string()
                .contains("CONFIG SET min-replicas-to-write 1"),
            "{refused}"
        );
        for node in unfenced.nodes() {
            for setting in [
                ["min-replicas-to-write", "1"],
                ["min-replicas-max-lag", "2"],
            ] {
                node.cli(["CONFIG", "SET"].into_iter().chain(setting))
                    .await
                    .unwrap();
            }
        }
        let servers = unfenced;
        let store = RedisStore::builder(servers.url())
            .response_timeout(Duration::from_secs(2))
            .replicas(Replicas::received(1, Duration::from_secs(1)))
            .connect()
            .await
            .unwrap();
        let opened = OpenAccount::new(key("open"), account());
        while store.open_account(&opened).await.is_err() {}

        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..6)
            .map(|number| {
                let (store, stop) = (store.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut done = 0_i64;
                    while !stop.load(Ordering::Relaxed) {
                        let name = format!("{number}/{done}");
                        insist(&store, &Adjust::new(key(&name), account(), Amount::new(1))).await;
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        sleep(Duration::from_millis(500)).await;
        let old = &servers.nodes()[0];
        // It stands still, is replaced, and comes back as a master that knows of nothing.
        old.server().freeze().unwrap();
        while servers
            .master()
            .await
            .is_ok_and(|master| master.port() == old.port())
        {
            sleep(Duration::from_millis(100)).await;
        }
        sleep(Duration::from_millis(500)).await;
        old.server().thaw().unwrap();
        // Long enough for it to be demoted.
        sleep(Duration::from_secs(12)).await;
        stop.store(true, Ordering::Relaxed);
        let mut total = 0;
        for client in clients {
            let done = client.await.unwrap();
            assert!(done > 0);
            total += done;
        }
        let fresh = RedisStore::builder(servers.url()).connect().await.unwrap();
        let state = fresh.balance(&account()).await.unwrap().unwrap();
        assert_eq!(
            (state.amount.get(), state.version.get()),
            (total, total + 1)
        );
    }
}
