//! Many callers in one script: each still succeeds or fails alone.
#![cfg(feature = "redis")]
// Helpers of tests may panic, as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use exactly_once::redis::RedisStore;
use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Claim, ErrorKind, Fingerprint, Floor, IdempotencyKey,
    IdempotencyStore, KeyState, OneShot, OneShotStore, OpenAccount, Outcome, Receipt, Statement,
};
use exactly_once_servers::Redis;
use tokio::task::JoinSet;

const CALLERS: i64 = 160;

/// Long enough for any machine; what is wrong hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(name: impl AsRef<str>) -> IdempotencyKey {
    IdempotencyKey::new(name.as_ref()).unwrap()
}

fn effect(name: &str, statement: Statement) -> OneShot {
    OneShot {
        claim: Claim::new(key(name), Fingerprint::of("charge", name).unwrap()),
        statements: vec![statement],
        receipt: Receipt::json(name).unwrap(),
    }
}

async fn grouped(server: &Redis) -> RedisStore {
    let builder = RedisStore::builder(server.url()).response_timeout(Duration::from_secs(60));
    builder.group_from(0).connect().await.unwrap()
}

async fn scripts_run(server: &Redis) -> u64 {
    let info = server.cli(["INFO", "commandstats"]).await.unwrap();
    let calls = |name: &str| -> u64 {
        let line = info.lines().find(|line| line.starts_with(name));
        let count = line.and_then(|line| line.split_once("calls="));
        count.map_or(0, |(_, rest)| {
            rest.split(',').next().unwrap().parse().unwrap()
        })
    };
    calls("cmdstat_evalsha:") + calls("cmdstat_eval:")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_effect_of_a_group_fails_alone() {
    let server = Redis::start().await.unwrap();
    let store = grouped(&server).await;
    server.cli(["SET", "text", "no number"]).await.unwrap();
    let before = scripts_run(&server).await;
    let mut calls = JoinSet::new();
    for number in 0..CALLERS {
        let store = store.clone();
        calls.spawn(async move {
            let statement = match number % 4 {
                0 => Statement::new("INCR text"),
                1 => Statement::new("HSET text field value"),
                _ => Statement::new("INCRBY sum").bind(number),
            };
            let name = format!("effect-{number}");
            (
                number,
                store.execute_one_shot(&effect(&name, statement)).await,
            )
        });
    }
    let (mut sum, mut refused) = (0, 0);
    while let Some(ended) = calls.join_next().await {
        let (number, done) = ended.unwrap();
        if number % 4 < 2 {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::Refused);
            refused += 1;
        } else {
            assert!(!done.unwrap().replayed);
            sum += number;
        }
        let stored = store.lookup(&key(format!("effect-{number}"))).await;
        assert!(stored.unwrap().is_some(), "an answer that is not recorded");
    }
    let stored = server.cli(["GET", "sum"]).await.unwrap();
    assert_eq!(stored, sum.to_string());
    // The look-ups are scripts too, and so is what records a refusal.
    let asked_alone = CALLERS.unsigned_abs() + refused;
    let scripts = scripts_run(&server).await - before - asked_alone;
    assert!(
        scripts < CALLERS.unsigned_abs() / 2,
        "{scripts} scripts for {CALLERS} effects: they were not grouped"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_spoils_one_caller_only() {
    let server = Redis::start().await.unwrap();
    let store = grouped(&server).await;
    store
        .execute_one_shot(&effect("bad", Statement::new("INCR sum")))
        .await
        .unwrap();
    // By hand: the record of one key becomes a list.
    let record = server.cli(["KEYS", "*bad*"]).await.unwrap();
    server.cli(["DEL", &record]).await.unwrap();
    server.cli(["RPUSH", &record, "x"]).await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..CALLERS {
        let store = store.clone();
        calls.spawn(async move {
            let name = match number {
                77 => "bad".to_owned(),
                _ => format!("good-{number}"),
            };
            let effect = effect(&name, Statement::new("INCR sum"));
            (number, store.execute_one_shot(&effect).await)
        });
    }
    while let Some(ended) = calls.join_next().await {
        match ended.unwrap() {
            (77, done) => assert_eq!(done.unwrap_err().kind(), ErrorKind::Configuration),
            (_, done) => assert!(!done.unwrap().replayed),
        }
    }
    let sum = server.cli(["GET", "sum"]).await.unwrap();
    assert_eq!(sum, CALLERS.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_in_one_group_is_applied_once() {
    let server = Redis::start().await.unwrap();
    let store = grouped(&server).await;
    let mut calls = JoinSet::new();
    for _ in 0..CALLERS {
        let store = store.clone();
        calls.spawn(async move {
            let effect = effect("twice", Statement::new("INCR sum"));
            store.execute_one_shot(&effect).await.unwrap()
        });
    }
    let mut fresh = 0;
    while let Some(ended) = calls.join_next().await {
        let done = ended.unwrap();
        fresh += usize::from(!done.replayed);
        assert_eq!(
            done.outcome,
            Outcome::Applied(Receipt::json("twice").unwrap())
        );
    }
    assert_eq!(fresh, 1);
    assert_eq!(server.cli(["GET", "sum"]).await.unwrap(), "1");
}

/// The caller is gone right after its effect was sent, and comes back with the same key.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_cut_off_in_a_group_gets_its_own_answer_later() {
    let server = Redis::start().await.unwrap();
    let store = grouped(&server).await;
    let call = |number: i64| {
        let store = store.clone();
        async move {
            let effect = effect(&format!("cut-{number}"), Statement::new("INCR sum"));
            store.execute_one_shot(&effect).await
        }
    };
    for round in 0..5 {
        let mut calls = JoinSet::new();
        for number in 0..CALLERS {
            calls.spawn(call(number));
        }
        tokio::time::sleep(Duration::from_micros(200 * round)).await;
        calls.shutdown().await;
    }
    let mut calls = JoinSet::new();
    for number in 0..CALLERS {
        calls.spawn(call(number));
    }
    while let Some(ended) = calls.join_next().await {
        ended.unwrap().unwrap();
    }
    let sum = server.cli(["GET", "sum"]).await.unwrap();
    assert_eq!(sum, CALLERS.to_string());
    let last = store.lookup(&key("cut-0")).await.unwrap().unwrap();
    assert!(matches!(last.state, KeyState::Completed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hot_account_is_exact_and_gapless_in_groups() {
    let server = Redis::start().await.unwrap();
    let store = grouped(&server).await;
    let account = AccountId::new("hot").unwrap();
    let open = OpenAccount::new(key("open"), account.clone()).with_floor(Floor::At(Amount::ZERO));
    store
        .open_account(&open.with_amount(Amount::new(100)))
        .await
        .unwrap();
    let mut calls = JoinSet::new();
    for number in 0..CALLERS {
        let (store, account) = (store.clone(), account.clone());
        calls.spawn(async move {
            let debit = Adjust::new(key(format!("debit-{number}")), account, Amount::new(-1));
            store.adjust(&debit).await
        });
    }
    let mut versions = Vec::new();
    while let Some(ended) = calls.join_next().await {
        match ended.unwrap() {
            Ok(applied) => versions.push(applied.change.version.get()),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::InsufficientFunds),
                "{error}"
            ),
        }
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..=101).collect::<Vec<_>>());
    let state = store.balance(&account).await.unwrap().unwrap();
    assert_eq!((state.amount, state.version.get()), (Amount::ZERO, 101));
}

/// Polled once and then left alone, alive: as in `select!` or `buffer_unordered`.
fn left_alone<T>(
    call: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    let mut call: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(call);
    let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending), "it ended at once");
    call
}

fn call(
    store: &RedisStore,
    name: String,
) -> impl Future<Output = exactly_once::Result<exactly_once::OneShotDone>> + Send + 'static {
    let store = store.clone();
    async move {
        let effect = effect(&name, Statement::new("INCR sum"));
        store.execute_one_shot(&effect).await
    }
}

/// The first caller of a group, of a connection, and of many on their own: one that is left alone
/// delays no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_left_alone_delays_no_other() {
    for group_from in [0, 1000] {
        let server = Redis::start().await.unwrap();
        let builder = RedisStore::builder(server.url()).response_timeout(PATIENCE * 60);
        let store = builder.group_from(group_from).connect().await.unwrap();
        let mut left = Vec::new();
        for round in 0..3 {
            // The next call opens a connection.
            server
                .cli(["CLIENT", "KILL", "TYPE", "normal"])
                .await
                .unwrap();
            let _ = store.lookup(&key("none")).await;
            server
                .cli(["CLIENT", "KILL", "TYPE", "normal"])
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(600)).await;
            for number in 0..40 {
                left.push(left_alone(call(&store, format!("left {round} {number}"))));
            }
            for number in 0..5 {
                let name = format!("{round} {number}");
                let done = tokio::time::timeout(PATIENCE, call(&store, name)).await;
                done.expect("a call waits for one that is left alone")
                    .unwrap();
            }
        }
        // Each of them is answered when it goes on, or comes back.
        for (number, call) in left.into_iter().enumerate() {
            let ended = call.await;
            assert!(
                ended.as_ref().is_ok_and(|done| !done.replayed)
                    || ended.as_ref().is_err_and(exactly_once::Error::is_retryable),
                "{number}: {ended:?}"
            );
        }
    }
}

/// One deadline, from the start of the call, for the connection, the queue, and the reply.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_its_deadline_whatever_it_waits_for() {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let server = Redis::start().await.unwrap();
    let builder = RedisStore::builder(server.url()).response_timeout(TIMEOUT);
    let store = builder.group_from(0).connect().await.unwrap();
    server.server().freeze().unwrap();
    let mut calls = JoinSet::new();
    for number in 0..200 {
        let call = call(&store, format!("k{number}"));
        calls.spawn(async move {
            // Not all at once: some wait in the queue behind a group that hangs.
            tokio::time::sleep(Duration::from_millis(number * 10)).await;
            let started = Instant::now();
            let ended = call.await;
            (ended, started.elapsed())
        });
    }
    while let Some(ended) = calls.join_next().await {
        let (answer, took) = ended.unwrap();
        assert!(answer.is_err_and(|error| error.is_retryable()));
        assert!(took < TIMEOUT * 2, "{took:?}");
    }
    server.server().thaw().unwrap();
    for number in 0..200 {
        while call(&store, format!("k{number}")).await.is_err() {}
    }
    assert_eq!(server.cli(["GET", "sum"]).await.unwrap(), "200");
}
