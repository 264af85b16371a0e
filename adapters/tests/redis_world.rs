//! Goal: permissions, roles, settings, locale and memory split no script and lose no yes.
//! Method: real servers of Redis and Valkey, whose operator does harm by redis-cli while a store is
//! open; each test fails on a store that trusts its server.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use exactly_once::redis::{RedisStore, RedisTx};
use exactly_once::{
    AccountId, Adjust, Amount, AnyStore, BalanceStore, BegunPrepared, Claim, ConnectByUrl as _,
    Decision, DecisionRegister, Error, ErrorKind, Fingerprint, IdempotencyKey, IdempotencyStore,
    LeaseStore, Leased, OneShot, OneShotStore, OpenAccount, Outcome, Participation, PreparedStatus,
    PreparedTransactions, Receipt, Statement, Store, TransactionId, Transactional,
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
    store.finish(&work).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_a_command_is_refused_with_the_line_that_allows_it() {
    for options in both() {
        let server = options.start().await.unwrap();
        let url = server.url().replace("redis://", "redis://app:pw@");
        for lacking in [
            "set", "hset", "zadd", "hdel", "zrem", "hsetnx", "evalsha", "info",
        ] {
            cli(
                &server,
                &format!("ACL SETUSER app reset on >pw ~* &* +@all -{lacking}"),
            )
            .await;
            let refused = RedisStore::builder(&url).connect().await;
            is(&refused, ErrorKind::Configuration);
            let text = refused.unwrap_err().to_string();
            assert!(
                text.contains(&lacking.to_ascii_uppercase()),
                "{lacking}: {text}"
            );
            assert!(
                text.contains("ACL SETUSER app +") && !text.contains("pw"),
                "{text}"
            );
        }
        // A user with this line, and the keys of the statements, can do everything.
        cli(&server, "ACL SETUSER app reset on >pw ~* +@all -set").await;
        let refused = RedisStore::builder(&url).connect().await.unwrap_err();
        let text = refused.to_string();
        let line = text.split('`').nth(1).unwrap().to_owned();
        cli(&server, "ACL SETUSER app reset on >pw ~user:*").await;
        cli(&server, &line).await;
        let store = RedisStore::builder(&url).connect().await.unwrap();
        open(&store).await;
        all_of_it(&store, "allowed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_command_is_refused_by_its_name() {
    for options in both() {
        let server = options
            .setting("rename-command", "HSET \"\"")
            .start()
            .await
            .unwrap();
        let refused = connect(&server).await;
        is(&refused, ErrorKind::Configuration);
        assert!(refused.unwrap_err().to_string().contains("HSET"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_lost_in_between_is_ambiguous_and_then_named() {
    for options in both() {
        let server = options.start().await.unwrap();
        let url = server.url().replace("redis://", "redis://app:pw@");
        cli(&server, "ACL SETUSER app reset on >pw ~* &* +@all").await;
        for group_from in [0, 1000] {
            cli(&server, "ACL SETUSER app +set").await;
            let builder = RedisStore::builder(&url).group_from(group_from);
            let store = builder.connect().await.unwrap();
            let _ = store
                .open_account(&OpenAccount::new(key("open"), account()))
                .await;
            cli(&server, "ACL SETUSER app -set").await;
            // The change stands, its record does not: no answer may say that nothing was done.
            let name = format!("k{group_from}");
            is(&store.adjust(&adjust(&name, 1)).await, ErrorKind::Ambiguous);
            let next = store.adjust(&adjust(&name, 1)).await;
            is(&next, ErrorKind::Configuration);
            assert!(next.unwrap_err().to_string().contains("ACL SETUSER app +"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_refused_and_a_demoted_master_left() {
    for (options, other) in both().into_iter().zip(both()) {
        let (server, next) = (options.start().await.unwrap(), other.start().await.unwrap());
        let store = connect(&server).await.unwrap();
        open(&store).await;
        let work = participation(&store, "t").await;
        cli(&server, &format!("REPLICAOF 127.0.0.1 {}", next.port())).await;
        // Its data is stale from here on: nothing may be answered from it.
        is(&store.lookup(&key("none")).await, ErrorKind::Unavailable);
        is(&store.prepared_status(&work).await, ErrorKind::Unavailable);
        is(&store.decision(&work).await, ErrorKind::Unavailable);
        is(
            &store.claim(&claim("k")).await.map(|_| ()),
            ErrorKind::Unavailable,
        );
        is(&store.balance(&account()).await, ErrorKind::Unavailable);
        is(
            &store.adjust(&adjust("open", 1)).await,
            ErrorKind::Unavailable,
        );
        let refused = connect(&server).await;
        is(&refused, ErrorKind::Configuration);
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("replica of 127.0.0.1")
        );
        cli(&server, "REPLICAOF NO ONE").await;
        // The rewrite that follows a synchronisation has to end first.
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = store.balance(&account()).await {
            assert!(error.is_retryable() && Instant::now() < deadline, "{error}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loads_is_waited_for() {
    for options in both() {
        let server = options.start().await.unwrap();
        cli(&server, "DEBUG POPULATE 4000 user 10").await;
        cli(&server, "BGREWRITEAOF").await;
        while cli(&server, "INFO persistence")
            .await
            .contains("aof_rewrite_in_progress:1")
        {
            sleep(Duration::from_millis(20)).await;
        }
        cli(&server, "CONFIG SET key-load-delay 1000").await;
        cli(
            &server,
            "CONFIG SET loading-process-events-interval-bytes 1024",
        )
        .await;
        let loading = async { server.cli(["DEBUG", "LOADAOF"]).await.unwrap() };
        let asking = async {
            let mut waited = 0;
            let deadline = Instant::now() + Duration::from_secs(3);
            while Instant::now() < deadline {
                sleep(Duration::from_millis(50)).await;
                match RedisStore::builder(server.url()).connect().await {
                    Ok(_) => {}
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                        waited += 1;
                    }
                }
            }
            waited
        };
        let (_, waited) = tokio::join!(loading, asking);
        assert!(waited > 0, "never met while it loads");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_checked_again_on_each_new_connection() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        open(&store).await;
        cli(&server, "CONFIG SET appendfsync everysec").await;
        cli(&server, "CLIENT KILL TYPE normal").await;
        sleep(Duration::from_millis(600)).await;
        let answer = store.adjust(&adjust("k", 1)).await;
        is(&answer, ErrorKind::Configuration);
        assert!(answer.unwrap_err().to_string().contains("appendfsync"));
        cli(&server, "CONFIG SET appendfsync always").await;
        store.adjust(&adjust("k", 1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_before_the_append_only_file_is_whole() {
    for (options, again) in both().into_iter().zip(both()) {
        let server = options.setting("appendonly", "no").start().await.unwrap();
        cli(&server, "DEBUG POPULATE 2000 user 10").await;
        cli(&server, "CONFIG SET rdb-key-save-delay 1000").await;
        cli(&server, "CONFIG SET appendonly yes").await;
        let early = connect(&server).await;
        is(&early, ErrorKind::Unavailable);
        assert!(early.unwrap_err().to_string().contains("rewritten"));
        let store = loop {
            match connect(&server).await {
                Ok(store) => break store,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
            sleep(Duration::from_millis(100)).await;
        };
        open(&store).await;
        server.kill();
        let folder = server.server().folder().to_str().unwrap().to_owned();
        let next = again.setting("dir", folder).start().await.unwrap();
        let again = connect(&next).await.unwrap();
        assert!(
            again.balance(&account()).await.unwrap().is_some(),
            "acknowledged, and gone"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_keeps_its_promises() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let leased = claim("leased");
        let lease = store.lease(&leased, Duration::from_secs(60)).await.unwrap();
        let Leased::Granted(lease) = lease else {
            panic!("not granted");
        };
        let (committed, dropped) = ("committed", "rolled back");
        let committed = participation(&store, committed).await;
        let dropped = participation(&store, dropped).await;
        for work in [&committed, &dropped] {
            let mut tx = begun(&store, work).await;
            tx.set(format!("user:{}", work.transaction()), "1").unwrap();
            store.prepare(tx, work).await.unwrap();
        }
        let refused = participation(&store, "too late").await;
        let mut tx = begun(&store, &refused).await;
        tx.set("user:refused", "1").unwrap();
        cli(&server, "CONFIG SET maxmemory 1").await;
        is(&store.prepare(tx, &refused).await, ErrorKind::Unavailable);
        let decided = store.decide(&committed, Decision::Commit).await;
        assert_eq!(decided.unwrap(), Decision::Commit);
        store.commit_prepared(&committed).await.unwrap();
        store.rollback_prepared(&dropped).await.unwrap();
        store.finish(&committed).await.unwrap();
        let outcome = Outcome::Applied(Receipt::default());
        store
            .finalize(&leased, lease.token, &outcome)
            .await
            .unwrap();
        // And a new handle can do it too.
        let again = connect(&server).await.unwrap();
        let status = again.prepared_status(&committed).await.unwrap();
        assert_eq!(status, PreparedStatus::Committed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_another_locale_changes_no_footprint() {
    for (options, other) in both().into_iter().zip(both()) {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let names: Vec<String> = ["a", "B", "_", "é", "É", "z", "10", "9", "-1"]
            .iter()
            .flat_map(|first| (0..40).map(move |n| format!("{first}{n}")))
            .collect();
        let members = ["SADD", "user:ids"].into_iter();
        server
            .cli(members.chain(names.iter().map(String::as_str)))
            .await
            .unwrap();
        let work = participation(&store, "t").await;
        let mut tx = begun(&store, &work).await;
        assert_eq!(tx.smembers("user:ids").await.unwrap().len(), names.len());
        tx.sadd("user:ids", "new").unwrap();
        store.prepare(tx, &work).await.unwrap();
        server.stop().await.unwrap();
        let folder = server.server().folder().to_str().unwrap().to_owned();
        let utf8 = other.setting("dir", folder).utf8_locale().unwrap();
        let moved = utf8.start().await.unwrap();
        let store = connect(&moved).await.unwrap();
        store.commit_prepared(&work).await.unwrap();
        assert_eq!(cli(&moved, "SISMEMBER user:ids new").await, "1");
        // And what is read under it stays what it is.
        for round in 0..5 {
            let mut tx = store.begin().await.unwrap();
            tx.smembers("user:ids").await.unwrap();
            tx.incr_by("user:rounds", 1).unwrap();
            store
                .commit(tx)
                .await
                .unwrap_or_else(|error| panic!("{round}: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_before_it_cuts_off_others() {
    for options in both() {
        let server = options
            .setting("proto-max-bulk-len", "1mb")
            .setting("client-query-buffer-limit", "4mb")
            .start()
            .await
            .unwrap();
        let store = RedisStore::builder(server.url())
            .group_from(0)
            .connect()
            .await
            .unwrap();
        let large = vec![b'x'; 1_100_000];
        let statement = || Statement::new("SET user:large").bind(large.clone());
        is(
            &store.execute_one_shot(&effect("large", statement())).await,
            ErrorKind::TooLarge,
        );
        let mut tx = store.begin().await.unwrap();
        tx.set("user:large", &large).unwrap();
        is(&store.commit(tx).await, ErrorKind::TooLarge);
        // Each is well under the limit, and many together are not.
        let calls = (0..64).map(|number| {
            let store = store.clone();
            async move {
                let statement = Statement::new("SET").bind(format!("user:{number}"));
                let statement = statement.bind(vec![b'x'; 400_000]);
                store
                    .execute_one_shot(&effect(&number.to_string(), statement))
                    .await
            }
        });
        for done in futures_util::future::join_all(calls).await {
            assert!(!done.unwrap().replayed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_closed_while_idle_makes_nothing_ambiguous() {
    for options in both() {
        let server = options.start().await.unwrap();
        let mut stores = Vec::new();
        for _ in 0..20 {
            stores.push(connect(&server).await.unwrap());
        }
        open(&stores[0]).await;
        sleep(Duration::from_millis(600)).await;
        cli(&server, "CLIENT KILL TYPE normal").await;
        for (number, store) in stores.iter().enumerate() {
            store
                .adjust(&adjust(&format!("k{number}"), 1))
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_script_has_done_nothing_and_is_run_again() {
    for options in both() {
        let server = options
            .setting("lua-time-limit", "1")
            .start()
            .await
            .unwrap();
        let builder = RedisStore::builder(server.url());
        let patient = builder.response_timeout(Duration::from_secs(60));
        let store = patient.connect().await.unwrap();
        let fill = "for i = 1, 150000 do redis.call('HSET', KEYS[1], i, 'x') end";
        server.cli(["EVAL", fill, "1", "user:wide"]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.hget_all("user:wide").await.unwrap();
        tx.incr_by("user:n", 1).unwrap();
        // Its guard is looked at before anything is written, and takes a while.
        let killing = async {
            for _ in 0..2_000 {
                match server.cli(["SCRIPT", "KILL"]).await {
                    Ok(_) => return true,
                    Err(_) => sleep(Duration::from_millis(2)).await,
                }
            }
            false
        };
        let (answer, killed) = tokio::join!(store.commit(tx), killing);
        assert!(killed, "never met: {answer:?}");
        is(&answer, ErrorKind::Unavailable);
        assert_eq!(cli(&server, "EXISTS user:n").await, "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_wide_key_reads_none_of_it() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let fill = "for i = 1, 100000 do redis.call('HSET', KEYS[1], i, 'x') end";
        server.cli(["EVAL", fill, "1", "user:wide"]).await.unwrap();
        // To connect tries every command.
        cli(&server, "CONFIG RESETSTAT").await;
        let work = participation(&store, "t").await;
        let mut tx = begun(&store, &work).await;
        tx.del("user:wide").unwrap();
        store.prepare(tx, &work).await.unwrap();
        // A foreign change is still seen.
        cli(&server, "HSET user:wide one more").await;
        is(&store.commit_prepared(&work).await, ErrorKind::Heuristic);
        cli(&server, "HDEL user:wide one").await;
        store.commit_prepared(&work).await.unwrap();
        assert_eq!(cli(&server, "EXISTS user:wide").await, "0");
        let stats = cli(&server, "INFO commandstats").await;
        assert!(!stats.contains("cmdstat_hgetall"), "{stats}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_may_have_a_time_to_live() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let within = |text: String| (1..=100).contains(&text.parse::<i64>().unwrap());
        let statement = Statement::new("SET user:a 1 EX 100 NX");
        store
            .execute_one_shot(&effect("a", statement))
            .await
            .unwrap();
        assert!(within(cli(&server, "TTL user:a").await));
        let statement = Statement::new("SET user:a 2 KEEPTTL");
        store
            .execute_one_shot(&effect("b", statement))
            .await
            .unwrap();
        assert!(within(cli(&server, "TTL user:a").await));
        assert_eq!(cli(&server, "GET user:a").await, "2");
        let statement = Statement::new("SET user:a 3 NX PX 5");
        store
            .execute_one_shot(&effect("c", statement))
            .await
            .unwrap();
        assert!(
            within(cli(&server, "TTL user:a").await),
            "a condition that does not hold"
        );

        let work = participation(&store, "t").await;
        let mut tx = begun(&store, &work).await;
        tx.set_for("user:b", "1", Duration::from_secs(100)).unwrap();
        assert_eq!(tx.get("user:b").await.unwrap().as_deref(), Some(&b"1"[..]));
        store.prepare(tx, &work).await.unwrap();
        store.commit_prepared(&work).await.unwrap();
        assert!(within(cli(&server, "TTL user:b").await));
        let mut tx = store.begin().await.unwrap();
        is(
            &tx.set_for("user:c", "1", Duration::ZERO),
            ErrorKind::Refused,
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_lapsed_is_removed_after_its_retention_and_no_earlier() {
    for options in both() {
        let server = options.start().await.unwrap();
        let store = connect(&server).await.unwrap();
        let short = Duration::from_millis(100);
        let lapsed = claim("lapsed").with_retention(exactly_once::Retention::new(short).unwrap());
        let renewed = claim("renewed").with_retention(exactly_once::Retention::new(short).unwrap());
        let kept = claim("kept");
        for claim in [&lapsed, &renewed, &kept] {
            let leased = store.lease(claim, short).await.unwrap();
            let Leased::Granted(lease) = leased else {
                panic!("not granted");
            };
            if claim.key() == renewed.key() {
                let long = Duration::from_secs(60);
                store.renew(claim, lease.token, long).await.unwrap();
            }
        }
        sleep(Duration::from_millis(300)).await;
        assert_eq!(store.expire(10).await.unwrap(), 1);
        assert!(store.lookup(lapsed.key()).await.unwrap().is_none());
        assert!(store.lookup(renewed.key()).await.unwrap().is_some());
        assert!(store.lookup(kept.key()).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_a_url_like_any_other() {
    for options in both() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s").to_str().unwrap().to_owned();
        let _server = options
            .setting("unixsocket", &socket)
            .start()
            .await
            .unwrap();
        let store = AnyStore::connect(&format!("unix://{socket}"))
            .await
            .unwrap();
        assert_eq!(store.backend(), "redis");
        assert!(store.lookup(&key("none")).await.unwrap().is_none());
    }
}
