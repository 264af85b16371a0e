//! Goal: bad settings, bad input and foreign hands give typed errors, and change nothing.
//! Method: a real server, whose data is looked at and spoilt by redis-cli, past the store.

#![cfg(feature = "redis")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use exactly_once::redis::{RedisStore, Require};
use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, BalanceTransaction, BegunPrepared, Claim, Claimed,
    ErrorKind, Fingerprint, IdempotencyKey, IdempotencyStore, LeaseStore, OneShot, OneShotStore,
    OpenAccount, Participation, PreparedStatus, PreparedTransactions, Receipt, Settled, Statement,
    Store, Timestamp, TransactionId, Transactional,
};
use exactly_once_servers::Redis;

fn claim(key: &str) -> Result<Claim> {
    Ok(Claim::new(
        IdempotencyKey::new(key)?,
        Fingerprint::of("test", key)?,
    ))
}

fn adjust(key: &str, account: &str, delta: i64) -> Result<Adjust> {
    Ok(Adjust::new(
        IdempotencyKey::new(key)?,
        AccountId::new(account)?,
        Amount::new(delta),
    ))
}

async fn open(store: &RedisStore, account: &str, amount: i64) -> Result<()> {
    let key = IdempotencyKey::new(format!("open {account}"))?;
    let open = OpenAccount::new(key, AccountId::new(account)?).with_amount(Amount::new(amount));
    store.open_account(&open).await?;
    Ok(())
}

async fn amount(store: &RedisStore, account: &str) -> Result<i64> {
    let state = store
        .balance(&AccountId::new(account)?)
        .await?
        .context("the account")?;
    Ok(state.amount.get())
}

/// A server that reports the digest of its data.
async fn watched() -> Result<Redis> {
    Redis::options()
        .setting("enable-debug-command", "yes")
        .start()
        .await
}

/// All of the server's data, so that a change anywhere shows.
async fn digest(server: &Redis) -> Result<String> {
    server.cli(["DEBUG", "DIGEST"]).await
}

fn participation(name: &str, now: Timestamp) -> Result<Participation> {
    let at = |seconds| {
        now.checked_add(Duration::from_secs(seconds))
            .context("a time")
    };
    let fingerprint = Fingerprint::of("test", name)?;
    Ok(Participation::new(
        &TransactionId::new(name)?,
        fingerprint,
        at(60)?,
        at(3600)?,
    )?)
}

async fn fresh(store: &RedisStore, work: &Participation) -> Result<exactly_once::redis::RedisTx> {
    match store.begin_prepared(work).await? {
        BegunPrepared::Fresh(tx) => Ok(tx),
        other => anyhow::bail!("{other:?}"),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: exactly_once::Result<T>, kind: ErrorKind) {
    let told = answer.as_ref().err().map(exactly_once::Error::kind);
    assert_eq!(told, Some(kind), "{answer:?}");
}

#[tokio::test]
async fn a_server_that_would_lose_effects_is_refused_with_the_cure() -> Result<()> {
    let connect = async |server: &Redis, require| {
        RedisStore::builder(server.url())
            .require(require)
            .connect()
            .await
    };
    let evicting = Redis::options()
        .eviction("allkeys-lru", "64mb")
        .start()
        .await?;
    let error = connect(&evicting, Require::Nothing)
        .await
        .expect_err("evicts");
    ensure!(error.kind() == ErrorKind::Configuration && error.to_string().contains("noeviction"));

    let lazy = Redis::options().append_fsync("everysec").start().await?;
    let error = connect(&lazy, Require::PowerSafe)
        .await
        .expect_err("loses a second");
    ensure!(error.kind() == ErrorKind::Configuration);
    ensure!(
        error.to_string().contains("CONFIG SET appendfsync always"),
        "{error}"
    );
    connect(&lazy, Require::ProcessSafe).await?;

    let volatile = Redis::options().setting("appendonly", "no").start().await?;
    let error = connect(&volatile, Require::ProcessSafe)
        .await
        .expect_err("keeps nothing");
    ensure!(error.to_string().contains("appendonly yes"), "{error}");
    connect(&volatile, Require::Nothing).await?;
    Ok(())
}

#[tokio::test]
async fn a_password_is_in_no_error() -> Result<()> {
    let server = Redis::start().await?;
    let url = format!("redis://someone:hunter2@127.0.0.1:{}", server.port());
    let builder = RedisStore::builder(&url);
    ensure!(!format!("{builder:?}").contains("hunter2"));
    let error = builder.connect().await.expect_err("there is no such user");
    ensure!(error.kind() == ErrorKind::Configuration, "{error}");
    ensure!(!format!("{error} {error:?}").contains("hunter2"));

    let gone = RedisStore::builder("redis://someone:hunter2@127.0.0.1:1")
        .connect()
        .await;
    let error = gone.expect_err("nobody listens");
    ensure!(error.kind() == ErrorKind::Unavailable, "{error}");
    ensure!(!format!("{error} {error:?}").contains("hunter2"));
    Ok(())
}

#[tokio::test]
async fn a_key_of_ours_with_a_wrong_type_or_value_is_reported_and_left_alone() -> Result<()> {
    let server = watched().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    open(&store, "alice", 100).await?;
    let keys = server.cli(["KEYS", "*"]).await?;
    let of = |kind: &str| {
        keys.lines()
            .find(|key| key.contains(kind))
            .map(str::to_owned)
            .context("a key of ours")
    };
    let (account, history) = (of(":account:")?, of(":history:")?);

    for spoilt in [
        ["HSET", &account, "a", "9e18"],
        ["HSET", &account, "a", "007"],
    ] {
        server.cli(spoilt).await?;
        let before = digest(&server).await?;
        refused(
            store.adjust(&adjust("k1", "alice", 1)?).await,
            ErrorKind::Configuration,
        );
        ensure!(
            digest(&server).await? == before,
            "something was written after {spoilt:?}"
        );
    }
    server.cli(["HSET", &account, "a", "100"]).await?;

    // The last key that the script would write has the wrong type: it must find out first.
    server.cli(["RENAME", &history, "elsewhere"]).await?;
    server.cli(["SET", &history, "text"]).await?;
    let before = digest(&server).await?;
    refused(
        store.adjust(&adjust("k2", "alice", 1)?).await,
        ErrorKind::Configuration,
    );
    ensure!(
        digest(&server).await? == before,
        "the script stopped half way"
    );
    server.cli(["RENAME", "elsewhere", &history]).await?;

    let index = account.replace("account:alice", "key-expiry:");
    let record = account.replace("account:alice", "key:k");
    for (key, kind) in [(index, "index"), (record, "record")] {
        server.cli(["SET", &key, "text"]).await?;
        let before = digest(&server).await?;
        let lease = store.lease(&claim("k")?, Duration::from_secs(9)).await;
        refused(lease, ErrorKind::Configuration);
        let effect = OneShot {
            claim: claim("k")?,
            statements: vec![Statement::new("SET user 1")],
            receipt: Receipt::default(),
        };
        refused(
            store.execute_one_shot(&effect).await,
            ErrorKind::Configuration,
        );
        ensure!(
            digest(&server).await? == before,
            "a wrong {kind} was overwritten"
        );
        server.cli(["DEL", &key]).await?;
    }
    ensure!(
        store
            .adjust(&adjust("k2", "alice", 1)?)
            .await?
            .change
            .after
            .get()
            == 101
    );
    Ok(())
}

#[tokio::test]
async fn a_users_command_that_cannot_be_applied_stops_all_of_them() -> Result<()> {
    let server = watched().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    server.cli(["RPUSH", "list", "item"]).await?;
    server.cli(["SET", "edge", "9223372036854775807"]).await?;
    for (bad, kind) in [
        ("HSET list f v", ErrorKind::Refused),
        ("INCRBY list 1", ErrorKind::Refused),
        ("INCR edge", ErrorKind::Overflow),
        ("FLUSHALL", ErrorKind::Refused),
        ("SET exactly-once:{0}:x 1", ErrorKind::Invalid),
    ] {
        let effect = OneShot {
            claim: claim(bad)?,
            statements: vec![Statement::new("SET first 1"), Statement::new(bad)],
            receipt: Receipt::default(),
        };
        refused(store.execute_one_shot(&effect).await, kind);
        ensure!(
            server.cli(["EXISTS", "first"]).await? == "0",
            "{bad} left something"
        );
        ensure!(
            server.cli(["LLEN", "list"]).await? == "1",
            "{bad} changed the list"
        );
        // But for the refusal, under its key.
        let before = digest(&server).await?;
        refused(store.execute_one_shot(&effect).await, kind);
        ensure!(digest(&server).await? == before, "{bad}: a replay wrote");
    }
    // Numbers of rows are known before anything is written.
    let sale = |key: &str| -> Result<OneShot> {
        let place = Statement::new("SET seat")
            .bind(key)
            .bind("NX")
            .expecting_rows(1);
        Ok(OneShot {
            claim: claim(key)?,
            statements: vec![Statement::new("INCR sold"), place],
            receipt: Receipt::from_bytes(key.to_owned()),
        })
    };
    ensure!(!store.execute_one_shot(&sale("ann")?).await?.replayed);
    refused(
        store.execute_one_shot(&sale("bob")?).await,
        ErrorKind::Refused,
    );
    ensure!(store.execute_one_shot(&sale("ann")?).await?.replayed);
    ensure!(server.cli(["GET", "sold"]).await? == "1");
    ensure!(server.cli(["GET", "seat"]).await? == "ann");
    Ok(())
}

#[tokio::test]
async fn a_transaction_sees_its_own_writes_and_nobody_elses() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    server
        .cli(["HSET", "h", "kept", "1", "gone", "2", "n", "40"])
        .await?;
    server.cli(["SADD", "s", "a", "b"]).await?;
    server.cli(["SET", "n", "-5"]).await?;
    let mut tx = store.begin().await?;
    tx.hset("h", "new", [0, 255])?;
    tx.hdel("h", "gone")?;
    tx.hincr_by("h", "n", 2)?;
    let fields = tx.hget_all("h").await?;
    ensure!(fields.len() == 3 && fields[&b"n"[..]] == b"42" && fields[&b"new"[..]] == [0, 255]);
    ensure!(tx.hget("h", "gone").await?.is_none() && tx.hget("h", "kept").await?.is_some());
    tx.srem("s", "a")?;
    tx.sadd("s", "c")?;
    ensure!(
        tx.smembers("s")
            .await?
            .into_iter()
            .eq([b"b".to_vec(), b"c".to_vec()])
    );
    tx.incr_by("n", 7)?;
    ensure!(tx.get("n").await? == Some(b"2".to_vec()));
    tx.del("n")?;
    ensure!(tx.get("n").await?.is_none() && !tx.exists("n").await?);
    tx.incr_by("n", 3)?;
    tx.rpush("l", "x")?;
    tx.zadd("z", "m", 1.5)?;
    ensure!(tx.list("l").await? == [b"x".to_vec()] && tx.exists("z").await?);
    ensure!(
        server.cli(["EXISTS", "l", "z"]).await? == "0",
        "seen before the commit"
    );
    store.commit(tx).await?;
    ensure!(server.cli(["GET", "n"]).await? == "3");
    ensure!(server.cli(["HGET", "h", "n"]).await? == "42");
    ensure!(server.cli(["ZSCORE", "z", "m"]).await? == "1.5");

    // What was read and then changed by another makes the commit busy; what was not does not.
    let mut tx = store.begin().await?;
    tx.get("n").await?;
    tx.set("m", "1")?;
    server.cli(["INCR", "n"]).await?;
    refused(store.commit(tx).await, ErrorKind::Busy);
    ensure!(server.cli(["EXISTS", "m"]).await? == "0");
    let mut tx = store.begin().await?;
    tx.incr_by("n", 1)?;
    server.cli(["INCR", "n"]).await?;
    store.commit(tx).await?;
    ensure!(server.cli(["GET", "n"]).await? == "6");
    Ok(())
}

#[tokio::test]
async fn a_swallowed_error_is_no_commit() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    server.cli(["RPUSH", "list", "item"]).await?;
    let Claimed::Fresh(mut tx) = store.claim(&claim("k")?).await? else {
        anyhow::bail!("not fresh");
    };
    tx.set("user", "1")?;
    refused(tx.get("list").await, ErrorKind::Refused);
    refused(
        store.complete(tx, &claim("k")?, &Receipt::default()).await,
        ErrorKind::Refused,
    );
    ensure!(server.cli(["EXISTS", "user"]).await? == "0");
    ensure!(store.lookup(claim("k")?.key()).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_balance_changes_with_the_users_writes_or_not_at_all() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    open(&store, "alice", 10).await?;
    let Claimed::Fresh(mut tx) = store.claim(&claim("k")?).await? else {
        anyhow::bail!("not fresh");
    };
    refused(
        store
            .adjust_in(&mut tx, &adjust("too much", "alice", -11)?)
            .await,
        ErrorKind::InsufficientFunds,
    );
    let first = store.adjust_in(&mut tx, &adjust("a", "alice", -4)?).await?;
    ensure!(
        store
            .adjust_in(&mut tx, &adjust("a", "alice", -4)?)
            .await?
            .replayed
    );
    let second = store.adjust_in(&mut tx, &adjust("b", "alice", -6)?).await?;
    ensure!(first.change.version.get() + 1 == second.change.version.get());
    tx.set("user", "1")?;
    ensure!(
        amount(&store, "alice").await? == 10,
        "seen before the commit"
    );
    let done = store
        .complete(tx, &claim("k")?, &Receipt::default())
        .await?;
    ensure!(done == Settled::Recorded && amount(&store, "alice").await? == 0);
    ensure!(
        store.adjust(&adjust("a", "alice", -4)?).await?.replayed,
        "the record is the same"
    );

    let mut tx = store.begin().await?;
    store.adjust_in(&mut tx, &adjust("c", "alice", 1)?).await?;
    store.adjust(&adjust("d", "alice", 5)?).await?;
    refused(store.commit(tx).await, ErrorKind::Busy);
    ensure!(amount(&store, "alice").await? == 5);
    Ok(())
}

#[tokio::test]
async fn a_reserved_key_stops_this_crates_writers_and_shows_the_others() -> Result<()> {
    let server = watched().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    let other = store.with_namespace("other".parse()?);
    open(&store, "alice", 10).await?;
    let work = participation("t", store.now().await?)?;
    let mut tx = fresh(&store, &work).await?;
    store
        .adjust_in(&mut tx, &adjust("a", "alice", -10)?)
        .await?;
    tx.hset("stock", "shoes", "7")?;
    store.prepare(tx, &work).await?;

    refused(
        store.adjust(&adjust("b", "alice", 1)?).await,
        ErrorKind::Reserved,
    );
    refused(
        store.adjust(&adjust("a", "alice", -10)?).await,
        ErrorKind::Reserved,
    );
    let mut tx = other.begin().await?;
    tx.hset("stock", "hats", "1")?;
    refused(other.commit(tx).await, ErrorKind::Reserved);

    server.cli(["HSET", "stock", "shoes", "100"]).await?;
    let before = digest(&server).await?;
    for _ in 0..2 {
        let error = store
            .commit_prepared(&work)
            .await
            .expect_err("a foreign change");
        ensure!(error.kind() == ErrorKind::Heuristic && error.to_string().contains("stock"));
    }
    ensure!(
        digest(&server).await? == before,
        "a heuristic commit wrote something"
    );
    ensure!(store.prepared_status(&work).await? == PreparedStatus::Prepared);

    server.cli(["DEL", "stock"]).await?;
    store.commit_prepared(&work).await?;
    ensure!(amount(&store, "alice").await? == 0);
    ensure!(server.cli(["HGET", "stock", "shoes"]).await? == "7");
    ensure!(server.cli(["KEYS", "*reserved*"]).await?.is_empty());
    store.adjust(&adjust("b", "alice", 1)?).await?;
    Ok(())
}

#[tokio::test]
async fn a_restart_changes_no_footprint() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    // Enough fields that their order is the hash table's, which differs after a restart.
    let fields: Vec<String> = (0..600).map(|field| format!("field-{field}")).collect();
    let pairs = fields.iter().flat_map(|field| [field.as_str(), "x"]);
    server
        .cli(["HSET", "wide"].into_iter().chain(pairs))
        .await?;
    let work = participation("t", store.now().await?)?;
    let mut tx = fresh(&store, &work).await?;
    ensure!(tx.hget_all("wide").await?.len() == 600);
    tx.hset("wide", "sum", "600")?;
    store.prepare(tx, &work).await?;
    server.kill();
    server.restart().await?;
    let again = RedisStore::builder(server.url()).connect().await?;
    ensure!(again.in_doubt(None, 10).await?.entries.len() == 1);
    again.commit_prepared(&work).await?;
    ensure!(server.cli(["HGET", "wide", "sum"]).await? == "600");
    Ok(())
}

#[tokio::test]
async fn hostile_names_and_values_are_data() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    let evil = "'] redis.call('FLUSHALL') --\r\n$3\r\n{}}{|;: 1 2 3";
    let store = store.with_namespace(evil.parse()?);
    open(&store, evil, 5).await?;
    let applied = store.adjust(&adjust(evil, evil, -5)?).await?;
    ensure!(store.adjust(&adjust(evil, evil, -5)?).await?.change == applied.change);
    let page = store.history(&AccountId::new(evil)?, None, 10).await?;
    ensure!(page.changes.last() == Some(&applied.change));
    let all: Vec<u8> = (0..=255).collect();
    let Claimed::Fresh(mut tx) = store.claim(&claim(evil)?).await? else {
        anyhow::bail!("not fresh");
    };
    tx.hset(&all, &all, &all)?;
    let _ = store
        .complete(tx, &claim(evil)?, &Receipt::from_bytes(all.clone()))
        .await?;
    let Claimed::Completed(outcome) = store.claim(&claim(evil)?).await? else {
        anyhow::bail!("not completed");
    };
    ensure!(outcome == exactly_once::Outcome::Applied(Receipt::from_bytes(all.clone())));
    let mut tx = store.begin().await?;
    ensure!(tx.hget(&all, &all).await? == Some(all));
    Ok(())
}
