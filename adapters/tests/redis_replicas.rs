//! Replicas that must have a write on disk: `WAITAOF`, where the server has it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "redis")]

use std::time::Duration;

use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore as _, ErrorKind, IdempotencyKey, OpenAccount,
    redis::{RedisStore, Replicas},
};
use exactly_once_servers::Redis;

const WITHIN: Duration = Duration::from_millis(500);

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_command_is_refused_at_connect() {
    let server = Redis::start().await.unwrap();
    let version = server.cli(["INFO", "server"]).await.unwrap();
    let careful = RedisStore::builder(server.url()).replicas(Replicas::on_disk(1, WITHIN));
    let answer = careful.connect().await;
    if version.contains("redis_version:7.0.") {
        let refusal = answer.err().unwrap();
        assert_eq!(refusal.kind(), ErrorKind::Configuration, "{refusal}");
        assert!(refusal.to_string().contains("WAITAOF"), "{refusal}");
    } else {
        answer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_without_it_on_disk_is_ambiguous() {
    let master = Redis::options().valkey().start().await.unwrap();
    let replica = Redis::options().valkey().replica_of(&master);
    let replica = replica.start().await.unwrap();
    let store = RedisStore::builder(master.url()).replicas(Replicas::on_disk(1, WITHIN));
    let store = store.connect().await.unwrap();
    let account = AccountId::new("a").unwrap();
    let opened = OpenAccount::new(key("open"), account.clone());
    // The first synchronisation may take longer than anybody waits for a write.
    while let Err(error) = store.open_account(&opened).await {
        assert_eq!(error.kind(), ErrorKind::Ambiguous, "{error}");
    }

    replica.server().freeze().unwrap();
    let credit = Adjust::new(key("credit"), account, Amount::new(7));
    for _ in 0..2 {
        // Its retry is a replay, and as ambiguous.
        let error = store.adjust(&credit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous, "{error}");
        assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
    }
    replica.server().thaw().unwrap();
    let applied = loop {
        match store.adjust(&credit).await {
            Ok(applied) => break applied,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Ambiguous, "{error}"),
        }
    };
    assert!(applied.replayed);
    assert_eq!(applied.change.after, Amount::new(7));
}
