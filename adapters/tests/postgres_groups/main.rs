//! Callers who share a commit: how many trips and transactions they take (counted, never timed), and
//! that each caller's failure stays its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(feature = "tokio-postgres")]

mod balances;
mod register;
mod returning;
mod rows;
#[path = "../support/postgres_world.rs"]
mod world;

use std::{sync::Arc, time::Duration};

use exactly_once::{
    AccountId, Adjust, Amount, Applied, BalanceStore, Claimed, ErrorKind, Fingerprint, Floor,
    IdempotencyKey, IdempotencyStore, OneShot, OneShotDone, OneShotStore, OpenAccount, Outcome,
    Receipt, Result, Statement, Version,
    postgres::{TokioPostgresBuilder, TokioPostgresStore},
};
use exactly_once_conformance::faults::proxy::{Proxy, Rule, Trigger};
use exactly_once_servers::Pgbouncer;
use futures_util::future::join_all;
use world::{World, claim, refused, timeouts, world};

const INSERT: &str = "INSERT INTO payments (id, amount) VALUES ($1, $2)";
const SET: &str = "INSERT INTO payments SELECT * FROM unnest($1::text[], $2::int8[])";

/// Where each row lies and which transaction wrote it: changes with every write. Not `xmax`: the first
/// replay after fresh keys may meet the statement that writes, which fails as a whole and leaves its
/// number there.
const WRITTEN: &str = "SELECT md5(string_agg(row, ',' ORDER BY row)) FROM \
     (SELECT ctid::text || xmin::text FROM exactly_once.keys \
     UNION ALL SELECT ctid::text || xmin::text FROM exactly_once.changes \
     UNION ALL SELECT ctid::text || xmin::text FROM exactly_once.accounts) r (row)";

fn builder(url: &str) -> TokioPostgresBuilder {
    TokioPostgresStore::builder(url).timeouts(timeouts())
}

async fn shop() -> (World, TokioPostgresStore) {
    let world = world().await;
    world
        .sql("CREATE TABLE payments (id text PRIMARY KEY, amount int8 NOT NULL CHECK (amount > 0))")
        .await;
    let store = builder(&world.url()).connect().await.unwrap();
    (world, store)
}

fn shot(name: &str, statements: Vec<Statement>) -> OneShot {
    OneShot {
        claim: claim(name),
        statements,
        receipt: Receipt::from_bytes(name.to_owned()),
    }
}

fn payment(text: &str, name: &str, amount: i64) -> OneShot {
    let statement = if text == SET {
        Statement::set(text)
    } else {
        Statement::new(text)
    };
    shot(name, vec![statement.bind(name).bind(amount)])
}

async fn at_once(store: &TokioPostgresStore, effects: &[OneShot]) -> Vec<Result<OneShotDone>> {
    let calls = effects.iter().map(|effect| store.execute_one_shot(effect));
    join_all(calls).await
}

fn payments(text: &str, round: &str, count: usize) -> Vec<OneShot> {
    (0..count)
        .map(|number| payment(text, &format!("{round}/{number}"), 5))
        .collect()
}

async fn number(world: &World, sql: &str) -> u64 {
    world.sql(sql).await.parse().unwrap()
}

/// How many transactions have written the keys of this round.
async fn commits(world: &World, round: &str) -> u64 {
    let sql = format!(
        "SELECT count(DISTINCT xmin::text) FROM exactly_once.keys \
         WHERE convert_from(key, 'UTF8') LIKE '{round}/%'"
    );
    number(world, &sql).await
}

async fn proxy(world: &World) -> (Proxy, TokioPostgresStore) {
    let url = world.url();
    let address = url.split('@').nth(1).unwrap().split('/').next().unwrap();
    let proxy = Proxy::start(address.parse().unwrap()).await.unwrap();
    let url = url.replace(address, &proxy.addr().to_string());
    let store = builder(&url).pool_size(1).connect().await.unwrap();
    (proxy, store)
}

// A single caller takes one trip; so does a replay, once replays are expected; a group takes one
// for all of its callers.
#[tokio::test(flavor = "multi_thread")]
async fn trips_are_counted() {
    let (world, _) = shop().await;
    let (proxy, store) = proxy(&world).await;
    let one = |name| payment(INSERT, name, 5);
    // Teaches the connection its statements.
    store.execute_one_shot(&one("warm")).await.unwrap();
    assert!(store.execute_one_shot(&one("warm")).await.unwrap().replayed);
    let trips = async |effects: &[OneShot]| {
        let before = proxy.stats().requests;
        for done in at_once(&store, effects).await {
            done.unwrap();
        }
        proxy.stats().requests - before
    };
    // Until replays are not expected any more.
    for round in 0..10 {
        trips(&payments(INSERT, &format!("calm {round}"), 10)).await;
    }
    assert_eq!(trips(&[one("single")]).await, 1, "a single effect");
    let counted = shot(
        "counted",
        vec![
            Statement::new(INSERT)
                .bind("counted")
                .bind(5)
                .expecting_rows(1),
        ],
    );
    trips(std::slice::from_ref(&counted)).await;
    let again = OneShot {
        claim: claim("counted again"),
        statements: vec![Statement::new(INSERT).bind("c2").bind(5).expecting_rows(1)],
        ..counted
    };
    assert_eq!(trips(&[again]).await, 1, "an effect whose rows are counted");
    trips(&[one("single")]).await;
    assert_eq!(trips(&[one("single")]).await, 1, "a replay");
    let known = vec![one("single"); 64];
    assert!(trips(&known).await <= 8, "64 replays");
    for round in 0..10 {
        trips(&payments(INSERT, &format!("calm again {round}"), 10)).await;
    }
    for text in [INSERT, SET] {
        trips(&payments(text, &format!("taught {text}"), 2)).await;
        let trips = trips(&payments(text, &format!("group {text}"), 60)).await;
        assert!(trips <= 6, "60 effects took {trips} trips");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_share_commits() {
    let (world, store) = shop().await;
    for (round, text) in [("plain", INSERT), ("set", SET)] {
        for done in at_once(&store, &payments(text, round, 200)).await {
            assert!(!done.unwrap().replayed);
        }
        let commits = commits(&world, round).await;
        assert!(commits <= 8, "{commits} commits of 200 callers");
    }
    assert_eq!(number(&world, "SELECT count(*) FROM payments").await, 400);
    let alone = builder(&world.url()).share_commits(false);
    let alone = alone.connect().await.unwrap();
    for done in at_once(&alone, &payments(INSERT, "alone", 20)).await {
        done.unwrap();
    }
    assert_eq!(commits(&world, "alone").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_never_write() {
    let (world, store) = shop().await;
    let effects = payments(INSERT, "r", 100);
    at_once(&store, &effects).await;
    let before = world.sql(WRITTEN).await;
    for _ in 0..3 {
        for (done, effect) in at_once(&store, &effects).await.into_iter().zip(&effects) {
            let done = done.unwrap();
            assert!(done.replayed);
            assert_eq!(done.outcome, Outcome::Applied(effect.receipt.clone()));
        }
    }
    assert_eq!(before, world.sql(WRITTEN).await, "replays have written");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_stays_its_own() {
    let (world, store) = shop().await;
    for text in [INSERT, SET] {
        let mut effects = payments(text, text, 50);
        // Refused by the table, by its primary key, by its text, by its count.
        effects[7] = payment(text, "negative", -5);
        effects[20] = payment(text, &format!("{text}/3"), 5);
        effects[20].claim = claim(&format!("another key for {text}/3"));
        effects[30].statements = vec![Statement::new("INSERT INTO nowhere VALUES (1)")];
        let none = "UPDATE payments SET amount = 1 WHERE id = 'nobody'";
        effects[40]
            .statements
            .push(Statement::new(none).expecting_rows(1));
        for (number, done) in at_once(&store, &effects).await.into_iter().enumerate() {
            match number {
                7 | 40 => refused(done, ErrorKind::Refused, &[]),
                30 => refused(done, ErrorKind::Configuration, &[]),
                3 | 20 => assert!(matches!(
                    done.map_err(|error| error.kind()),
                    Ok(_) | Err(ErrorKind::Refused)
                )),
                _ => assert!(!done.unwrap().replayed, "{number}"),
            }
            let recorded = store.lookup(effects[number].claim.key()).await.unwrap();
            // A refusal is recorded; what waits for the configuration is not.
            assert_eq!(recorded.is_none(), number == 30, "{number}");
        }
        let sql = format!("SELECT count(*) FROM payments WHERE id LIKE '{text}/%'");
        // Without the four that were exchanged.
        assert_eq!(number(&world, &sql).await, 46, "{text}");
        world.sql("DELETE FROM payments").await;
    }
    world.nothing_open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_in_a_group_is_one_effect() {
    let (world, store) = shop().await;
    let mut effects = vec![payment(INSERT, "same", 5); 40];
    effects[11].claim = exactly_once::Claim::new(
        IdempotencyKey::new("same").unwrap(),
        Fingerprint::of("another", "request").unwrap(),
    );
    let mut fresh = 0;
    for (number, done) in at_once(&store, &effects).await.into_iter().enumerate() {
        if number == 11 {
            refused(done, ErrorKind::Mismatch, &[]);
        } else {
            fresh += u32::from(!done.unwrap().replayed);
        }
    }
    assert_eq!(fresh, 1);
    assert_eq!(number(&world, "SELECT count(*) FROM payments").await, 1);
}

// A key that is held for long keeps only the callers waiting that want that very key.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_behind_the_key_of_another() {
    let (world, store) = shop().await;
    for round in 0..4 {
        at_once(&store, &payments(INSERT, &format!("warm {round}"), 3)).await;
    }
    let Claimed::Fresh(tx) = store.claim(&claim("held")).await.unwrap() else {
        panic!("it is not fresh");
    };
    let mut effects = payments(INSERT, "free", 20);
    effects[5] = payment(INSERT, "held", 5);
    for (number, done) in at_once(&store, &effects).await.into_iter().enumerate() {
        match done {
            Err(error) if number == 5 => {
                assert!(
                    matches!(error.kind(), ErrorKind::InProgress { .. }),
                    "{error}"
                );
            }
            done => assert!(!done.unwrap().replayed && number != 5),
        }
    }
    drop(tx);
    world.nothing_open().await;
    assert!(!store.execute_one_shot(&effects[5]).await.unwrap().replayed);
}

// A caller that goes takes no other with it: not while waiting, and not in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_dropped_harms_nobody() {
    let (world, store) = shop().await;
    let mut total = 0;
    for polls in 0..12_u32 {
        let effects = payments(INSERT, &format!("d{polls}"), 12);
        let calls = effects.iter().enumerate().map(|(number, effect)| {
            let (store, effect) = (store.clone(), effect.clone());
            async move {
                let mut call = Box::pin(store.execute_one_shot(&effect));
                if number % 4 != 0 {
                    return Some(call.await.unwrap());
                }
                for _ in 0..polls {
                    tokio::select! {
                        biased;
                        done = &mut call => return Some(done.unwrap()),
                        () = tokio::time::sleep(Duration::from_micros(200)) => {}
                    }
                }
                None
            }
        });
        join_all(calls).await;
        for done in at_once(&store, &effects).await {
            done.unwrap();
        }
        total += 12;
        assert_eq!(number(&world, "SELECT count(*) FROM payments").await, total);
        world.nothing_open().await;
    }
}

// The connection is cut before the group is executed, or after: its callers can't know, and the
// same calls again give the one right answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_ambiguous_for_the_whole_group() {
    let (world, _) = shop().await;
    let (proxy, store) = proxy(&world).await;
    for round in 0..6 {
        at_once(&store, &payments(INSERT, &format!("warm {round}"), 3)).await;
    }
    let cuts: [fn(Trigger) -> Rule; 2] = [Rule::cut_before, Rule::cut_after];
    for (round, cut) in cuts.into_iter().enumerate() {
        let effects = payments(INSERT, &format!("cut {round}"), 20);
        // The first goes alone; the one whose name ends with /15 is in the group, in an array.
        proxy.set(cut(Trigger::contains("/15\"")));
        let done = at_once(&store, &effects).await;
        let ambiguous = done.iter().filter(|done| done.is_err()).count();
        assert!(ambiguous > 1, "{ambiguous} lost their answer");
        for done in done {
            if done.is_err() {
                refused(done, ErrorKind::Ambiguous, &[]);
            }
        }
        proxy.set(Rule::Pass);
        world.nothing_open().await;
        let replayed = at_once(&store, &effects)
            .await
            .into_iter()
            .filter(|done| done.as_ref().unwrap().replayed)
            .count();
        assert_eq!(replayed == 20, round == 1, "{replayed} were had after all");
    }
    assert_eq!(number(&world, "SELECT count(*) FROM payments").await, 58);
}

// A name means the same statement on whatever connection, so a pooler may mix them.
#[tokio::test(flavor = "multi_thread")]
async fn groups_work_through_a_transaction_pooler() {
    let (world, _) = shop().await;
    let pooler = Pgbouncer::start(&world.server).await.unwrap();
    let url = pooler.database_url(&world.database);
    let stores = [
        builder(&url).connect().await.unwrap(),
        builder(&url).connect().await.unwrap(),
    ];
    for round in 0..6 {
        let calls = stores.iter().enumerate().map(|(at, store)| async move {
            let text = if (round + at) % 2 == 0 { INSERT } else { SET };
            let effects = payments(text, &format!("p{round}-{at}"), 40);
            at_once(store, &effects).await
        });
        for done in join_all(calls).await.into_iter().flatten() {
            assert!(!done.unwrap().replayed);
        }
    }
    assert_eq!(number(&world, "SELECT count(*) FROM payments").await, 480);
}

// What another left open on a connection of the pool is not committed by a group.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_does_not_commit_what_others_left_open() {
    let (world, _) = shop().await;
    let url = world.url().parse().unwrap();
    let manager = deadpool_postgres::Manager::new(url, tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager)
        .max_size(1)
        .build()
        .unwrap();
    let store = TokioPostgresStore::from_pool(pool.clone()).timeouts(timeouts());
    let store = store.connect().await.unwrap();
    for round in 0..4 {
        at_once(&store, &payments(INSERT, &format!("warm {round}"), 3)).await;
    }
    for (round, left) in [
        "BEGIN",
        "BEGIN; INSERT INTO payments VALUES ('left', 1)",
        "BEGIN; SELECT 1/0",
    ]
    .into_iter()
    .enumerate()
    {
        let client = pool.get().await.unwrap();
        let _ = client.batch_execute(left).await;
        drop(client);
        for done in at_once(&store, &payments(INSERT, &format!("after {round}"), 5)).await {
            assert!(!done.unwrap().replayed);
        }
        let left = "SELECT count(*) FROM payments WHERE id = 'left'";
        assert_eq!(number(&world, left).await, 0);
    }
    assert_eq!(number(&world, "SELECT count(*) FROM payments").await, 27);
    let setting = "SELECT current_setting('plan_cache_mode') || current_setting('lock_timeout')";
    let row = pool
        .get()
        .await
        .unwrap()
        .query_one(setting, &[])
        .await
        .unwrap();
    assert_eq!(
        row.get::<_, String>(0),
        "auto0",
        "settings leaked into the pool"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_an_insert() {
    let (_world, store) = shop().await;
    let statement = Statement::set("UPDATE payments SET amount = $1").bind(1);
    let answer = store.execute_one_shot(&shot("set", vec![statement])).await;
    refused(answer, ErrorKind::Invalid, &["INSERT"]);
    let store = Arc::new(store);
    let mixed = shot(
        "mixed",
        vec![
            Statement::set(SET).bind("\"{},'\\ é").bind(7),
            Statement::new("UPDATE payments SET amount = amount + $1").bind(1),
        ],
    );
    assert!(!store.execute_one_shot(&mixed).await.unwrap().replayed);
    assert!(store.execute_one_shot(&mixed).await.unwrap().replayed);
}
