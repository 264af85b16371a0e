//! Goal: whatever happens to the server in the middle of the load, no effect is doubled and none
//! that was acknowledged is lost.
//! Method: clients that retry by the error's own advice; a server that forgets its scripts, stands
//! still, is full, or is killed; afterwards every acknowledged effect is counted.

#![cfg(feature = "redis")]

use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use exactly_once::redis::RedisStore;
use exactly_once::{
    AccountId, Adjust, Advice, Amount, BalanceStore, Claim, Claimed, ErrorKind, Fingerprint,
    IdempotencyKey, IdempotencyStore, OneShot, OneShotStore, OpenAccount, Receipt, Settled,
    Statement, Store,
};
use exactly_once_servers::Redis;
use tokio::time::sleep;

const CLIENTS: u64 = 6;
const COUNT_PAID: &str = "local keys = redis.call('KEYS', 'paid:*') \
    for _, key in ipairs(keys) do \
        local paid = redis.call('GET', key) \
        if paid ~= '1' then return key .. ' was paid ' .. paid .. ' times' end \
    end \
    return #keys";

fn claim(key: &str) -> Result<Claim> {
    Ok(Claim::new(
        IdempotencyKey::new(key)?,
        Fingerprint::of("test", key)?,
    ))
}

fn adjust(key: &str, delta: i64) -> Result<Adjust> {
    Ok(Adjust::new(
        IdempotencyKey::new(key)?,
        AccountId::new("till")?,
        Amount::new(delta),
    ))
}

async fn open(store: &RedisStore) -> Result<()> {
    let open = OpenAccount::new(IdempotencyKey::new("open")?, AccountId::new("till")?);
    store.open_account(&open).await?;
    Ok(())
}

/// Calls again as the error advises, for as long as it advises that.
async fn insist<T, F>(mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = exactly_once::Result<T>>,
{
    for _ in 0..2_000 {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) => match error.kind().advice() {
                Advice::RetrySameKey | Advice::Retry { .. } => {
                    sleep(Duration::from_millis(10)).await;
                }
                _ => bail!("{error}"),
            },
        }
    }
    bail!("no end of retries")
}

/// One payment: a counter of the user's, in a transaction with the key.
async fn pay(store: &RedisStore, key: &str) -> exactly_once::Result<()> {
    let claim =
        claim(key).map_err(|_| exactly_once::Error::new(ErrorKind::Invalid, "test", "test"))?;
    match store.claim(&claim).await? {
        Claimed::Fresh(mut tx) => {
            tx.incr_by(format!("paid:{key}"), 1)?;
            let receipt = Receipt::from_bytes(key.to_owned());
            let _: Settled = store.complete(tx, &claim, &receipt).await?;
            Ok(())
        }
        Claimed::Completed(_) => Ok(()),
        // Each key has one client, so none can be in its way.
        _ => Err(exactly_once::Error::new(ErrorKind::Refused, "test", "test")),
    }
}

/// Pays and adjusts until stopped; gives how many of each were acknowledged.
async fn client(store: RedisStore, number: u64, stop: Arc<AtomicBool>) -> Result<u64> {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("{number}/{done}");
        insist(|| pay(&store, &key)).await?;
        let adjust = adjust(&key, 1)?;
        insist(|| store.adjust(&adjust)).await?;
        done += 1;
    }
    Ok(done)
}

/// Runs the clients while `harm` is done, and counts everything afterwards.
async fn under_load(
    server: &Redis,
    store: &RedisStore,
    harm: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    open(store).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(store.clone(), number, stop.clone())))
        .collect();
    sleep(Duration::from_millis(200)).await;
    harm().await?;
    sleep(Duration::from_millis(200)).await;
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for (number, client) in clients.into_iter().enumerate() {
        let done = client.await??;
        ensure!(done > 0, "client {number} came to nothing");
        total += done;
    }
    // Every payment once: as many counters as payments, and each of them 1.
    let counted = server.cli(["EVAL", COUNT_PAID, "0"]).await?;
    ensure!(
        counted == total.to_string(),
        "{counted}, after {total} payments"
    );
    let till = AccountId::new("till")?;
    let state = insist(|| store.balance(&till)).await?.context("the till")?;
    ensure!(
        u64::try_from(state.amount.get())? == total,
        "{state:?} after {total}"
    );
    ensure!(
        u64::try_from(state.version.get())? == total + 1,
        "{state:?} after {total}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_scripts_are_sent_again() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    under_load(&server, &store, async || {
        for _ in 0..20 {
            server.cli(["SCRIPT", "FLUSH"]).await?;
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_and_doubles_nothing() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    under_load(&server, &store, async || {
        for _ in 0..3 {
            server.kill();
            server.restart().await?;
            sleep(Duration::from_millis(150)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_doubles_nothing() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url())
        .response_timeout(Duration::from_millis(300))
        .connect()
        .await?;
    under_load(&server, &store, async || {
        server.cli(["CLIENT", "PAUSE", "900", "ALL"]).await?;
        sleep(Duration::from_millis(1_000)).await;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_reply_that_comes_too_late_is_ambiguous_and_its_retry_a_replay() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url())
        .response_timeout(Duration::from_millis(200))
        .connect()
        .await?;
    open(&store).await?;
    // The command is with the server and waits there: it will be executed after we gave up.
    server.cli(["CLIENT", "PAUSE", "600", "WRITE"]).await?;
    let error = store.adjust(&adjust("k", 5)?).await.expect_err("no reply");
    ensure!(error.kind() == ErrorKind::Ambiguous, "{error}");
    sleep(Duration::from_millis(700)).await;
    let operation = adjust("k", 5)?;
    let applied = insist(|| store.adjust(&operation)).await?;
    ensure!(applied.change.after.get() == 5, "{applied:?}");
    Ok(())
}

#[tokio::test]
async fn a_full_server_refuses_whole_effects_and_takes_them_later() -> Result<()> {
    let server = Redis::options()
        .setting("enable-debug-command", "yes")
        .start()
        .await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    open(&store).await?;
    server.cli(["CONFIG", "SET", "maxmemory", "1"]).await?;
    let before = server.cli(["DEBUG", "DIGEST"]).await?;
    let effect = OneShot {
        claim: claim("one")?,
        // DEL is allowed when the memory is full, SET is not: only the script as a whole is safe.
        statements: vec![Statement::new("DEL nothing"), Statement::new("SET user 1")],
        receipt: Receipt::default(),
    };
    for _ in 0..3 {
        let error = store.execute_one_shot(&effect).await.expect_err("full");
        ensure!(error.kind() == ErrorKind::Unavailable, "{error}");
        let error = store.adjust(&adjust("k", 5)?).await.expect_err("full");
        ensure!(error.kind() == ErrorKind::Unavailable, "{error}");
        ensure!(
            store.lookup(claim("one")?.key()).await?.is_none(),
            "reads go on"
        );
    }
    ensure!(
        server.cli(["DEBUG", "DIGEST"]).await? == before,
        "half an effect"
    );
    server.cli(["CONFIG", "SET", "maxmemory", "0"]).await?;
    ensure!(!store.execute_one_shot(&effect).await?.replayed);
    ensure!(store.adjust(&adjust("k", 5)?).await?.change.after.get() == 5);
    Ok(())
}

#[tokio::test]
async fn a_closed_store_refuses_and_an_absent_server_is_unavailable() -> Result<()> {
    let server = Redis::start().await?;
    let store = RedisStore::builder(server.url()).connect().await?;
    let twin = store.clone();
    server.kill();
    let error = store.adjust(&adjust("k", 5)?).await.expect_err("no server");
    ensure!(error.is_retryable(), "{error}");
    let error = store.adjust(&adjust("k", 5)?).await.expect_err("no server");
    ensure!(error.kind() == ErrorKind::Unavailable, "{error}");
    server.restart().await?;
    open(&store).await?;
    store.close().await?;
    store.close().await?;
    let error = twin.adjust(&adjust("k", 5)?).await.expect_err("closed");
    ensure!(error.kind() == ErrorKind::Unavailable, "{error}");
    Ok(())
}
