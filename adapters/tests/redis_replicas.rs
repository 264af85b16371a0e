//! Replicas that must have a write on disk: `WAITAOF`, where the server has it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "redis")]

use std::time::Duration;

use exactly_once::{
    AccountId, Adjust, Amount, AnyStore, BalanceStore as _, BegunPrepared, Claim,
    ConnectByUrl as _, Decision, DecisionRegister as _, ErrorKind, Fingerprint, IdempotencyKey,
    IdempotencyStore as _, OneShot, OneShotParticipant as _, OneShotStore as _, OpenAccount,
    Participation, PreparedStatus, PreparedTransactions as _, Receipt, Settlement, Statement,
    Store as _, TransactionId,
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
    let store = async || {
        let builder = RedisStore::builder(master.url());
        builder
            .replicas(Replicas::on_disk(1, WITHIN))
            .connect()
            .await
    };
    // The first synchronisation may take longer than a write waits, and connecting is one: the store's
    // identity is written, and must be with the replica as well.
    let store = loop {
        match store().await {
            Ok(store) => break store,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Ambiguous, "{error}"),
        }
    };
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

/// A master and a replica of it that has caught up, and a store that waits for it.
async fn pair(valkey: bool) -> (Redis, Redis, RedisStore) {
    let options = || {
        let options = Redis::options().setting("enable-debug-command", "yes");
        if valkey { options.valkey() } else { options }
    };
    let master = options().start().await.unwrap();
    let replica = options().replica_of(&master).start().await.unwrap();
    master.wait_for_replicas(1).await.unwrap();
    let store = loop {
        let builder = RedisStore::builder(master.url()).replicas(Replicas::received(1, WITHIN));
        match builder.connect().await {
            Ok(store) => break store,
            // A busy machine's replica may be late.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Ambiguous, "{error}"),
        }
    };
    let opened = OpenAccount::new(key("open"), AccountId::new("a").unwrap());
    while store.open_account(&opened).await.is_err() {}
    (master, replica, store)
}

#[track_caller]
fn is_ambiguous<T: std::fmt::Debug>(answer: &exactly_once::Result<T>) {
    let kind = answer.as_ref().err().map(exactly_once::Error::kind);
    assert_eq!(kind, Some(ErrorKind::Ambiguous), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vouches_for_a_write_waits_like_the_write() {
    for valkey in [false, true] {
        let (_master, replica, store) = pair(valkey).await;
        let now = store.now().await.unwrap();
        let at = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
        let name = TransactionId::new("t").unwrap();
        let fingerprint = Fingerprint::of("test", "t").unwrap();
        let work = Participation::new(&name, fingerprint, at(600), at(3600)).unwrap();
        let [undone, shot] = ["undone", "shot"].map(|name| {
            let name = TransactionId::new(name).unwrap();
            Participation::new(&name, fingerprint, at(600), at(3600)).unwrap()
        });
        let settlement = Settlement {
            outcome: Decision::Commit,
            by: "alice".to_owned(),
            reason: "compared".to_owned(),
            at: now,
        };
        let effect = OneShot {
            claim: Claim::new(key("one-shot"), fingerprint),
            statements: vec![Statement::new("INCR user:n")],
            receipt: Receipt::default(),
        };
        let BegunPrepared::Fresh(mut tx) = store.begin_prepared(&work).await.unwrap() else {
            panic!("not fresh");
        };
        tx.set("user:k", "1").unwrap();

        replica.server().freeze().unwrap();
        // No write of these is with the replica, and so nothing may be built on them.
        is_ambiguous(&store.prepare(tx, &work).await);
        is_ambiguous(&store.begin_prepared(&work).await.map(|_| ()));
        is_ambiguous(&store.prepared_status(&work).await);
        is_ambiguous(&store.in_doubt(None, 10).await);
        is_ambiguous(&store.decide(&work, Decision::Commit).await);
        is_ambiguous(&store.decide(&work, Decision::Commit).await);
        is_ambiguous(&store.decision(&work).await);
        is_ambiguous(&store.unfinished(None, 10).await);
        is_ambiguous(&store.execute_one_shot(&effect).await);
        is_ambiguous(&store.lookup(effect.claim.key()).await);
        is_ambiguous(&store.claim(&effect.claim).await.map(|_| ()));
        is_ambiguous(&store.commit_prepared(&work).await);
        is_ambiguous(&store.commit_prepared(&work).await);
        is_ambiguous(&store.rollback_prepared(&undone).await);
        is_ambiguous(&store.rollback_prepared(&undone).await);
        is_ambiguous(&store.prepared_status(&undone).await);
        let insert = [Statement::new("INCR user:m")];
        is_ambiguous(&store.prepare_one_shot(&shot, &insert).await);
        is_ambiguous(&store.prepare_one_shot(&shot, &insert).await);
        is_ambiguous(&store.settle(&work, &settlement).await);
        is_ambiguous(&store.settle(&work, &settlement).await);
        // What says that there is nothing vouches for nothing.
        assert!(store.lookup(&key("none")).await.unwrap().is_none());

        replica.server().thaw().unwrap();
        while store.commit_prepared(&work).await.is_err() {}
        let status = store.prepared_status(&work).await.unwrap();
        assert_eq!(status, PreparedStatus::Committed);
        assert!(store.execute_one_shot(&effect).await.unwrap().replayed);
    }
}

/// How often the server was asked to wait for its replicas.
async fn waits(server: &Redis) -> u64 {
    let statistics = server.cli(["INFO", "commandstats"]).await.unwrap();
    let calls = statistics.split("cmdstat_wait:calls=").nth(1);
    let digits = calls.and_then(|calls| calls.split(',').next());
    digits.map_or(0, |digits| digits.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_replica_holds_up_no_call_that_does_not_wait_for_it() {
    const PATIENCE: Duration = Duration::from_secs(4);
    for valkey in [false, true] {
        let (master, replica, _) = pair(valkey).await;
        let builder = RedisStore::builder(master.url()).replicas(Replicas::received(1, PATIENCE));
        let store = builder.connect().await.unwrap();
        let account = AccountId::new("a").unwrap();
        let before = waits(&master).await;
        replica.server().freeze().unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..64 {
            let (store, account) = (store.clone(), account.clone());
            calls.spawn(async move {
                let credit = Adjust::new(key(&format!("k{number}")), account, Amount::new(1));
                store.adjust(&credit).await
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..5 {
            store.balance(&account).await.unwrap();
        }
        assert!(
            calls.try_join_next().is_none(),
            "a read waited for the replica"
        );
        while let Some(ended) = calls.join_next().await {
            is_ambiguous(&ended.unwrap());
        }
        // Each waits for the round that is under way, and for its own: not one after the other.
        let rounds = waits(&master).await - before;
        assert!((1..=8).contains(&rounds), "{rounds} rounds for 64 calls");
        replica.server().thaw().unwrap();
        let last = Adjust::new(key("last"), account.clone(), Amount::new(1));
        while store.adjust(&last).await.is_err() {}
        let state = store.balance(&account).await.unwrap().unwrap();
        assert_eq!(state.amount, Amount::new(65), "every one is applied, once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_writes_nothing() {
    for valkey in [false, true] {
        let (master, _replica, store) = pair(valkey).await;
        let credit = Adjust::new(key("k"), AccountId::new("a").unwrap(), Amount::new(1));
        while store.adjust(&credit).await.is_err() {}
        let before = master.cli(["DEBUG", "DIGEST"]).await.unwrap();
        for _ in 0..3 {
            assert!(store.adjust(&credit).await.unwrap().replayed);
        }
        assert_eq!(master.cli(["DEBUG", "DIGEST"]).await.unwrap(), before);
        // Nor does it need memory.
        master
            .cli(["CONFIG", "SET", "maxmemory", "1"])
            .await
            .unwrap();
        assert!(store.adjust(&credit).await.unwrap().replayed);
    }
}

/// The write is on a server that is demoted before the wait, behind the same address or not: what
/// another server confirms is nothing about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_a_master_that_was_replaced_is_not_confirmed_by_the_next() {
    for valkey in [false, true] {
        let (master, replica, store) = pair(valkey).await;
        let account = AccountId::new("a").unwrap();
        let host = ["REPLICAOF", "127.0.0.1"];
        let port = replica.port().to_string();
        replica.cli(["REPLICAOF", "NO", "ONE"]).await.unwrap();
        let stray = Adjust::new(key("stray"), account.clone(), Amount::new(1));
        is_ambiguous(&store.adjust(&stray).await);
        master
            .cli(host.into_iter().chain([port.as_str()]))
            .await
            .unwrap();
        // Its write is lost; no answer may be built on it.
        let answer = store.adjust(&stray).await;
        assert!(
            answer
                .as_ref()
                .is_err_and(exactly_once::Error::is_retryable),
            "{answer:?}"
        );
        let next = RedisStore::builder(replica.url()).connect().await.unwrap();
        let state = next.balance(&account).await.unwrap().unwrap();
        assert_eq!(state.amount, Amount::ZERO);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_says_how_many_replicas_confirm_each_write() {
    let server = Redis::start().await.unwrap();
    let connect = async |options: &str| {
        let url = format!("{}?{options}", server.url());
        AnyStore::connect(&url).await
    };
    // There is none, so the first write, the store's identity, is not confirmed.
    let error = connect("replicas=1&replicas_within=200ms")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous, "{error}");
    assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
    for wrong in ["replicas_within=1s", "replicas=x", "replicas_on_disk=true"] {
        let error = connect(wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().contains("\"replicas\""), "{error}");
    }
    connect("").await.unwrap();
}
