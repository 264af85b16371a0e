//! Goal: permissions, roles, settings, locale and memory split no script and lose no yes.
//! Method: real servers of Redis and Valkey, whose operator does harm by redis-cli while a store is
//! open; each test fails on a store that trusts its server.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod permissions;
mod servers;

use std::time::{Duration, Instant};

use exactly_once::redis::{RedisStore, RedisTx};
use exactly_once::{
    AccountId, Adjust, Amount, AnyStore, BalanceStore, BalanceTransaction, BegunPrepared, Claim,
    ConnectByUrl as _, Decision, DecisionRegister, Error, ErrorKind, Fingerprint, IdempotencyKey,
    IdempotencyStore, LeaseStore, Leased, OneShot, OneShotStore, OpenAccount, Outcome,
    Participation, PreparedStatus, PreparedTransactions, Receipt, Statement, Store, TransactionId,
    Transactional,
};
use exactly_once_servers::{Redis, RedisOptions};
use tokio::time::sleep;

fn both() -> [RedisOptions; 2] {
    let options = || Redis::options().setting("enable-debug-command", "yes");
    [options(), options().valkey()]
}

fn key(name: impl AsRef<str>) -> IdempotencyKey {
    IdempotencyKey::new(name.as_ref()).unwrap()
}

fn claim(name: &str) -> Claim {
    Claim::new(key(name), Fingerprint::of("test", name).unwrap())
}

fn account() -> AccountId {
    AccountId::new("till").unwrap()
}

fn adjust(name: &str, delta: i64) -> Adjust {
    Adjust::new(key(name), account(), Amount::new(delta))
}

fn effect(name: &str, statement: Statement) -> OneShot {
    OneShot {
        claim: claim(name),
        statements: vec![statement],
        receipt: Receipt::default(),
    }
}

async fn open(store: &RedisStore) {
    let open = OpenAccount::new(key("open"), account());
    store.open_account(&open).await.unwrap();
}

async fn connect(server: &Redis) -> exactly_once::Result<RedisStore> {
    RedisStore::builder(server.url()).connect().await
}

async fn participation(store: &RedisStore, name: &str) -> Participation {
    let now = store.now().await.unwrap();
    let at = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
    let fingerprint = Fingerprint::of("test", name).unwrap();
    let name = TransactionId::new(name).unwrap();
    Participation::new(&name, fingerprint, at(600), at(3600)).unwrap()
}

async fn begun(store: &RedisStore, work: &Participation) -> RedisTx {
    match store.begin_prepared(work).await.unwrap() {
        BegunPrepared::Fresh(tx) => tx,
        other => panic!("{other:?}"),
    }
}

async fn cli(server: &Redis, line: &str) -> String {
    server.cli(line.split(' ')).await.unwrap()
}

#[track_caller]
fn is<T: std::fmt::Debug>(answer: &exactly_once::Result<T>, kind: ErrorKind) {
    assert_eq!(
        answer.as_ref().err().map(Error::kind),
        Some(kind),
        "{answer:?}"
    );
}

/// One of everything that a store does.
async fn all_of_it(store: &RedisStore, name: &str) {
    store.adjust(&adjust(name, 1)).await.unwrap();
    store.adjust(&adjust(name, 1)).await.unwrap();
    for statement in [
        "SET user:s 1",
        "HSET user:h f v",
        "SADD user:m a",
        "RPUSH user:l a",
    ] {
        let effect = effect(&format!("{name} {statement}"), Statement::new(statement));
        store.execute_one_shot(&effect).await.unwrap();
        assert!(store.execute_one_shot(&effect).await.unwrap().replayed);
    }
    let work = participation(store, name).await;
    let mut tx = begun(store, &work).await;
    tx.hget_all("user:h").await.unwrap();
    tx.zadd("user:z", "m", 1.0).unwrap();
    tx.hdel("user:h", "f").unwrap();
    tx.srem("user:m", "a").unwrap();
    tx.del("user:l").unwrap();
    tx.incr_by("user:s", 1).unwrap();
    store.prepare(tx, &work).await.unwrap();
    assert_eq!(
        store.decide(&work, Decision::Commit).await.unwrap(),
        Decision::Commit
    );
    store.commit_prepared(&work).await.unwrap();
    store.finish(&work, Decision::Commit).await.unwrap();
    let other = participation(store, &format!("{name}, rolled back")).await;
    store.rollback_prepared(&other).await.unwrap();
    let ttl = Duration::from_secs(9);
    let leased = claim(&format!("{name}, leased"));
    let Leased::Granted(lease) = store.lease(&leased, ttl).await.unwrap() else {
        panic!("not granted");
    };
    store.renew(&leased, lease.token, ttl).await.unwrap();
    let outcome = Outcome::Applied(Receipt::default());
    store
        .finalize(&leased, lease.token, &outcome)
        .await
        .unwrap();
    assert!(store.forget(leased.key()).await.unwrap());
    store.expire(10).await.unwrap();
    store.in_doubt(None, 10).await.unwrap();
    store.unfinished(None, 10).await.unwrap();
    store.forget_prepared(10).await.unwrap();
    store.history(&account(), None, 10).await.unwrap();
}
