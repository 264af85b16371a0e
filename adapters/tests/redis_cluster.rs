//! Goal: on a real cluster of three masters and three replicas, operations stay in their slots, a
//! failover doubles nothing, and what an asynchronous failover can lose is said beforehand.
//! Method: the store spread over the cluster; masters are killed and frozen under load.

#![cfg(feature = "redis")]

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use exactly_once::redis::{RedisStore, RedisStoreBuilder, Replicas};
use exactly_once::{
    AccountId, Adjust, Advice, Amount, BalanceStore, BalanceTransaction, BegunPrepared, Claim,
    Claimed, CompareAndSet, ErrorKind, Expected, Fingerprint, IdempotencyKey, IdempotencyStore,
    LeaseStore, Leased, OneShot, OneShotStore, OpenAccount, Participation, PreparedStatus,
    PreparedTransactions, Receipt, Retention, Statement, Store, TransactionId, Transactional,
    Transfer,
};
use exactly_once_servers::RedisCluster;
use tokio::time::{Instant, sleep};

fn builder(cluster: &RedisCluster) -> RedisStoreBuilder {
    let urls = cluster.urls();
    RedisStore::builder(&urls[0])
        .cluster(urls)
        .response_timeout(Duration::from_secs(2))
}

fn key(name: &str) -> Result<IdempotencyKey> {
    Ok(IdempotencyKey::new(name)?)
}

fn claim(name: &str) -> Result<Claim> {
    Ok(Claim::new(key(name)?, Fingerprint::of("test", name)?))
}

fn adjust(name: &str, account: &str, delta: i64) -> Result<Adjust> {
    Ok(Adjust::new(
        key(name)?,
        AccountId::new(account)?,
        Amount::new(delta),
    ))
}

async fn open(store: &RedisStore, account: &str, amount: i64) -> Result<()> {
    let open = OpenAccount::new(key(&format!("open {account}"))?, AccountId::new(account)?)
        .with_amount(Amount::new(amount));
    insist(|| store.open_account(&open)).await?;
    Ok(())
}

async fn amount(store: &RedisStore, account: &str) -> Result<i64> {
    let account = AccountId::new(account)?;
    let state = insist(|| store.balance(&account)).await?;
    Ok(state.context("the account")?.amount.get())
}

/// Calls again as the error advises, for as long as it advises that.
async fn insist<T, F>(mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = exactly_once::Result<T>>,
{
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match call().await {
            Ok(value) => return Ok(value),
            Err(error) => match error.kind().advice() {
                Advice::RetrySameKey | Advice::Retry { .. } if Instant::now() < deadline => {
                    sleep(Duration::from_millis(20)).await;
                }
                _ => bail!("{error}"),
            },
        }
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: exactly_once::Result<T>, kind: ErrorKind) {
    let told = answer.as_ref().err().map(exactly_once::Error::kind);
    assert_eq!(told, Some(kind), "{answer:?}");
}

/// Which ports hold keys of ours of this kind.
async fn holders(cluster: &RedisCluster, kind: &str) -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for master in cluster.masters().await {
        if !master
            .cli(["KEYS", &format!("*:{kind}:*")])
            .await?
            .is_empty()
        {
            ports.insert(master.port());
        }
    }
    Ok(ports)
}

/// One cluster for all that does no harm to it.
#[tokio::test(flavor = "multi_thread")]
async fn operations_stay_in_their_slots_and_accounts_spread() -> Result<()> {
    let cluster = RedisCluster::start().await?;
    let store = builder(&cluster).connect().await?;
    accounts_spread_and_transfers_do_not_cross(&cluster, &store).await?;
    a_key_is_bound_to_one_request_wherever_it_is_used(&store).await?;
    work_across_slots_is_refused(&store).await?;
    a_one_shot_effect_lies_beside_its_key(&store).await?;
    upkeep_finds_every_shard(&store).await?;
    a_shard_that_the_list_has_lost_is_found_again(&cluster, &store).await?;
    every_node_is_checked_again_when_a_connection_broke(&cluster, &store).await?;
    two_participants_move_an_amount_across_slots(&store).await
}

async fn accounts_spread_and_transfers_do_not_cross(
    cluster: &RedisCluster,
    store: &RedisStore,
) -> Result<()> {
    for number in 0..30 {
        open(store, &format!("account-{number}"), 100).await?;
    }
    ensure!(
        holders(cluster, "account").await?.len() == 3,
        "accounts on every master"
    );
    ensure!(!store.capabilities().transfers_across_shards);
    let between = |name: &str, from: &str, to: &str| -> Result<Transfer> {
        let (from, to) = (AccountId::new(from)?, AccountId::new(to)?);
        Ok(Transfer::between(key(name)?, from, to, Amount::new(10))?)
    };
    let across = between("across", "account-1", "account-2")?;
    refused(store.transfer(&across).await, ErrorKind::Unsupported);
    ensure!(amount(store, "account-1").await? == 100);
    open(store, "{bank}a", 100).await?;
    open(store, "{bank}b", 0).await?;
    let within = between("within", "{bank}a", "{bank}b")?;
    store.transfer(&within).await?;
    ensure!(store.transfer(&within).await?.replayed && amount(store, "{bank}b").await? == 10);
    Ok(())
}

async fn a_key_is_bound_to_one_request_wherever_it_is_used(store: &RedisStore) -> Result<()> {
    store.adjust(&adjust("bound", "account-3", 1)?).await?;
    for other in 4..20 {
        let elsewhere = adjust("bound", &format!("account-{other}"), 1)?;
        refused(store.adjust(&elsewhere).await, ErrorKind::Mismatch);
    }
    ensure!(
        store
            .adjust(&adjust("bound", "account-3", 1)?)
            .await?
            .replayed
    );
    // So is the key of a refusal.
    let overdraft = adjust("refused", "account-3", -1_000)?;
    for _ in 0..2 {
        refused(store.adjust(&overdraft).await, ErrorKind::InsufficientFunds);
    }
    refused(
        store.adjust(&adjust("refused", "account-5", 1)?).await,
        ErrorKind::Mismatch,
    );
    let set = CompareAndSet::new(
        key("refused")?,
        AccountId::new("account-3")?,
        Expected::Any,
        Amount::ZERO,
    );
    refused(store.compare_and_set(&set).await, ErrorKind::Mismatch);
    Ok(())
}

async fn work_across_slots_is_refused(store: &RedisStore) -> Result<()> {
    let order = claim("charge:{order-17}")?;
    let Claimed::Fresh(mut tx) = store.claim(&order).await? else {
        bail!("not fresh")
    };
    tx.set("{order-17}:paid", "1")?;
    refused(tx.set("elsewhere", "1"), ErrorKind::Refused);
    refused(
        store.complete(tx, &order, &Receipt::default()).await,
        ErrorKind::Refused,
    );
    let mut tx = store.begin().await?;
    ensure!(
        tx.get("{order-17}:paid").await?.is_none(),
        "half of the work is there"
    );

    let Claimed::Fresh(mut tx) = store.claim(&order).await? else {
        bail!("not fresh")
    };
    tx.set("{order-17}:paid", "1")?;
    let beside = tx.key("beside");
    tx.set(&beside, "1")?;
    let _ = store.complete(tx, &order, &Receipt::default()).await?;
    let mut tx = store.begin().await?;
    ensure!(tx.get("{order-17}:paid").await?.is_some());
    let mut tx = store.begin().await?;
    ensure!(tx.get(&beside).await?.is_some());
    Ok(())
}

async fn a_one_shot_effect_lies_beside_its_key(store: &RedisStore) -> Result<()> {
    let effect = |name: &str, user: Vec<u8>| -> Result<OneShot> {
        Ok(OneShot {
            claim: claim(name)?,
            statements: vec![Statement::new("INCR").bind(user)],
            receipt: Receipt::from_bytes(name.to_owned()),
        })
    };
    for number in 0..10 {
        let name = format!("shot-{number}");
        let user = store.key_beside(&key(&name)?, "count");
        let beside = effect(&name, user.clone())?;
        ensure!(!store.execute_one_shot(&beside).await?.replayed);
        ensure!(store.execute_one_shot(&beside).await?.replayed);
        let mut tx = store.begin().await?;
        let count = tx.get(&user).await?.context("the count")?;
        let told = String::from_utf8(count)?.parse::<u32>()?;
        ensure!((1..=10).contains(&told), "{told} in {user:?}");
    }
    let away = effect("shot-away", b"{elsewhere}count".to_vec())?;
    refused(store.execute_one_shot(&away).await, ErrorKind::Refused);
    // A refusal, for good.
    ensure!(store.lookup(&key("shot-away")?).await?.is_some());
    Ok(())
}

async fn upkeep_finds_every_shard(store: &RedisStore) -> Result<()> {
    let brief = Retention::new(Duration::from_millis(1))?;
    for number in 0..40 {
        let name = if number % 2 == 0 {
            format!("plain-{number}")
        } else {
            format!("{{t{number}}}")
        };
        let claim = claim(&name)?.with_retention(brief);
        let Claimed::Fresh(tx) = store.claim(&claim).await? else {
            bail!("not fresh")
        };
        let _ = store.complete(tx, &claim, &Receipt::default()).await?;
    }
    sleep(Duration::from_millis(20)).await;
    ensure!(store.expire(7).await? == 7);
    ensure!(store.expire(1_000).await? == 33);
    ensure!(store.expire(1_000).await? == 0);
    let (one, two) = (claim("lease-{a}")?, claim("lease-b")?);
    for claim in [&one, &two] {
        let ttl = Duration::from_secs(9);
        let Leased::Granted(first) = store.lease(claim, ttl).await? else {
            bail!("not granted")
        };
        store.release(claim, first.token).await?;
        let Leased::Granted(next) = store.lease(claim, ttl).await? else {
            bail!("not granted")
        };
        ensure!(next.token > first.token);
    }
    Ok(())
}

async fn a_shard_that_the_list_has_lost_is_found_again(
    cluster: &RedisCluster,
    store: &RedisStore,
) -> Result<()> {
    let brief = Retention::new(Duration::from_millis(1))?;
    let claim = claim("{lost}")?.with_retention(brief);
    let Claimed::Fresh(tx) = store.claim(&claim).await? else {
        bail!("not fresh")
    };
    let _ = store.complete(tx, &claim, &Receipt::default()).await?;
    sleep(Duration::from_millis(20)).await;
    // As a failover may lose it, by any node of the cluster.
    for master in cluster.masters().await {
        for list in master.cli(["KEYS", "*:shards:*"]).await?.lines() {
            master.cli(["DEL", list]).await?;
        }
    }
    ensure!(store.expire(1_000).await? == 1);
    Ok(())
}

async fn every_node_is_checked_again_when_a_connection_broke(
    cluster: &RedisCluster,
    store: &RedisStore,
) -> Result<()> {
    let masters = cluster.masters().await;
    let changed = masters.first().context("a master")?;
    changed
        .cli(["CONFIG", "SET", "appendfsync", "everysec"])
        .await?;
    for master in &masters {
        master.cli(["CLIENT", "KILL", "TYPE", "normal"]).await?;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = store.lookup(claim("any")?.key()).await;
        if answer.is_err_and(|error| error.kind() == ErrorKind::Configuration) {
            break;
        }
        ensure!(Instant::now() < deadline, "it claims to be power safe");
        sleep(Duration::from_millis(20)).await;
    }
    changed
        .cli(["CONFIG", "SET", "appendfsync", "always"])
        .await?;
    while store.lookup(claim("any")?.key()).await.is_err() {
        ensure!(Instant::now() < deadline, "it stays refused");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What a coordinator does for a transfer across slots, step by step.
async fn two_participants_move_an_amount_across_slots(store: &RedisStore) -> Result<()> {
    let now = store.now().await?;
    let at = |seconds| {
        now.checked_add(Duration::from_secs(seconds))
            .context("a time")
    };
    let work = Participation::new(
        &TransactionId::new("move")?,
        Fingerprint::of("move", &7)?,
        at(60)?,
        at(3600)?,
    )?;
    let (debit, credit) = (store.at("account-7"), store.at("account-8"));
    for (participant, account, delta) in [(&debit, "account-7", -40), (&credit, "account-8", 40)] {
        let BegunPrepared::Fresh(mut tx) = participant.begin_prepared(&work).await? else {
            bail!("not fresh")
        };
        participant
            .adjust_in(
                &mut tx,
                &adjust(&format!("move {account}"), account, delta)?,
            )
            .await?;
        participant.prepare(tx, &work).await?;
        ensure!(participant.in_doubt(None, 10).await?.entries.len() == 1);
    }
    ensure!(amount(store, "account-7").await? == 100);
    refused(
        store.adjust(&adjust("late", "account-7", 1)?).await,
        ErrorKind::Reserved,
    );
    for participant in [&debit, &credit] {
        participant.commit_prepared(&work).await?;
        ensure!(participant.prepared_status(&work).await? == PreparedStatus::Committed);
        ensure!(participant.in_doubt(None, 10).await?.entries.is_empty());
    }
    ensure!(amount(store, "account-7").await? == 60 && amount(store, "account-8").await? == 140);
    Ok(())
}

/// A failover in the middle of the load: a master is killed, its replica takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_under_load_doubles_nothing() -> Result<()> {
    let cluster = RedisCluster::start().await?;
    let replicas = Replicas::received(1, Duration::from_millis(500));
    let store = builder(&cluster).replicas(replicas).connect().await?;
    let accounts: Vec<String> = (0..6).map(|number| format!("account-{number}")).collect();
    for account in &accounts {
        open(&store, account, 0).await?;
    }
    let stop = Instant::now() + Duration::from_secs(6);
    let clients: Vec<_> = accounts
        .iter()
        .cloned()
        .map(|account| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0_i64;
                while Instant::now() < stop {
                    let operation = adjust(&format!("{account}/{done}"), &account, 1)?;
                    insist(|| store.adjust(&operation)).await?;
                    done += 1;
                }
                Ok::<_, anyhow::Error>(done)
            })
        })
        .collect();
    sleep(Duration::from_millis(700)).await;
    let fallen = cluster
        .masters()
        .await
        .into_iter()
        .next()
        .context("a master")?;
    fallen.kill();
    // Its replica takes over and has none itself, until the fallen one comes back as such.
    sleep(Duration::from_secs(3)).await;
    fallen.restart().await?;
    for (client, account) in clients.into_iter().zip(&accounts) {
        let done = client.await??;
        ensure!(done > 0, "{account} came to nothing");
        // With the replica's word for each, what was acknowledged is there, once.
        ensure!(
            amount(&store, account).await? == done,
            "{account} after {done}"
        );
    }
    Ok(())
}

/// What the documentation says: without replicas' word, a failover loses what it acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn an_asynchronous_failover_loses_and_a_required_replica_says_so() -> Result<()> {
    let cluster = RedisCluster::start().await?;
    let careless = builder(&cluster).connect().await?;
    let within = Duration::from_millis(300);
    let careful = builder(&cluster)
        .replicas(Replicas::received(1, within))
        .connect()
        .await?;
    open(&careful, "{x}", 0).await?;
    let master = cluster.master_of("{x}").await?;
    let mut frozen = Vec::new();
    for node in cluster.nodes() {
        if node.port() != master.port()
            && node
                .cli(["ROLE"])
                .await?
                .contains(&master.port().to_string())
        {
            frozen.push(node);
        }
    }
    ensure!(frozen.len() == 1, "the master has one replica");
    // Frozen, and its connection cut, so that nothing waits for it in a buffer either.
    frozen[0].server().freeze()?;
    master.cli(["CLIENT", "KILL", "TYPE", "replica"]).await?;

    careless.adjust(&adjust("lost", "{x}", 1)?).await?;
    refused(
        careful.adjust(&adjust("told", "{x}", 1)?).await,
        ErrorKind::Ambiguous,
    );
    // Its retry is a replay, and is as ambiguous: the replicas still have not confirmed it.
    refused(
        careful.adjust(&adjust("told", "{x}", 1)?).await,
        ErrorKind::Ambiguous,
    );

    master.kill();
    frozen[0].server().thaw()?;
    // The same key after the failover: applied again, because the new master never saw it.
    let lost = adjust("lost", "{x}", 1)?;
    let again = insist(|| careless.adjust(&lost)).await?;
    ensure!(
        !again.replayed,
        "the acknowledged change survived; nothing was provoked"
    );
    ensure!(again.change.version.get() == 2, "{again:?}");
    Ok(())
}
