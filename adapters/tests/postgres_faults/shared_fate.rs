//! No caller pays for another: every batch, with a member that is stalled, slow or failing.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Claimed, Decision, DecisionRegister, ErrorKind,
    IdempotencyKey, IdempotencyStore, OneShotStore, OpenAccount, Statement, postgres::Timeouts,
};
use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use crate::{
    COUNT, Under, at_once, builder, fresh, number, payment, shop, shot, slow,
    world::{claim, participation, timeouts, world},
};

/// Long enough for a busy machine; what hangs does so for ever.
const PATIENCE: Duration = Duration::from_secs(20);

on_both!(
    a_caller_that_is_not_polled_delays_no_other,
    calls_between_calls_end,
    a_slow_member_delays_no_other,
    a_timeout_is_nobody_elses,
    a_member_that_fails_late_delays_no_other,
    equal_notifications_are_all_delivered,
    a_domain_error_of_an_effect_costs_no_connection,
    connections_ended_while_idle_fail_no_call,
    copies_of_one_slow_key_hold_one_connection,
);

/// Polls once, as a branch of `select!` that another one wins; then left alone, alive.
fn polled_once<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    // Where this thread is preempted meanwhile, its batch may be done: then nothing is parked.
    let _ = future.as_mut().poll(&mut context);
    future
}

fn adjust(name: &str) -> Adjust {
    let key = IdempotencyKey::new(name).unwrap();
    Adjust::new(key, AccountId::new("a").unwrap(), Amount::new(1))
}

// Every call that may share a batch.
async fn a_caller_that_is_not_polled_delays_no_other<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    let first = payment("first");
    let parked = polled_once(store.execute_one_shot(&first));
    let second = payment("second");
    let done = timeout(PATIENCE, store.execute_one_shot(&second)).await;
    assert!(!done.expect("an effect waits").unwrap().replayed);
    drop(parked);

    let key = IdempotencyKey::new("open").unwrap();
    let open = OpenAccount::new(key, AccountId::new("a").unwrap());
    store.open_account(&open).await.unwrap();
    let (one, other) = (adjust("one"), adjust("other"));
    let parked = polled_once(store.adjust(&one));
    let changed = timeout(PATIENCE, store.adjust(&other)).await;
    changed.expect("a change waits").unwrap();
    drop(parked);

    let (one, other) = (
        participation(&store, "one").await,
        participation(&store, "other").await,
    );
    let parked = polled_once(store.decide(&one, Decision::Commit));
    let decided = timeout(PATIENCE, store.decide(&other, Decision::Commit)).await;
    decided.expect("a decision waits").unwrap();
    drop(parked);
    let parked = polled_once(store.finish(&other, Decision::Commit));
    let finished = timeout(PATIENCE, store.finish(&other, Decision::Commit)).await;
    finished.expect("a mark waits").unwrap();
    drop(parked);

    // Replays are looked up together.
    for _ in 0..4 {
        assert!(store.execute_one_shot(&second).await.unwrap().replayed);
    }
    let parked = polled_once(store.execute_one_shot(&second));
    let replay = timeout(PATIENCE, store.execute_one_shot(&second)).await;
    assert!(replay.expect("a replay waits").unwrap().replayed);
    drop(parked);
    world.nothing_open().await;
    let count = number(&world, COUNT).await;
    assert!((1..=2).contains(&count), "{count}");
}

async fn calls_between_calls_end<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    let effects: Vec<_> = (0..40)
        .map(|number| payment(&format!("e{number}")))
        .collect();
    let all = async {
        let calls = effects.iter().map(|effect| store.execute_one_shot(effect));
        let mut calls = stream::iter(calls).buffer_unordered(4);
        let mut between = 0;
        while let Some(done) = calls.next().await {
            done.unwrap();
            // The other calls in flight are not polled meanwhile.
            let one = payment(&format!("between {between}"));
            store.execute_one_shot(&one).await.unwrap();
            between += 1;
        }
    };
    timeout(PATIENCE, all).await.expect("the calls hang");
    assert_eq!(number(&world, COUNT).await, 80);
}

async fn a_slow_member_delays_no_other<D: Under>() {
    let (world, store) = shop::<D>(8).await;
    at_once(&store, &[payment("warm"), payment("warmer")]).await;
    let (mut calls, ended) = (Vec::new(), Arc::new(AtomicBool::new(false)));
    for number in 0..32 {
        let name = format!("c{number}");
        let effect = if number == 3 {
            slow(&name, "9")
        } else {
            payment(&name)
        };
        let (store, ended) = (store.clone(), ended.clone());
        calls.push(tokio::spawn(async move {
            store.execute_one_shot(&effect).await.unwrap();
            if number == 3 {
                ended.store(true, Ordering::SeqCst);
            }
            ended.load(Ordering::SeqCst)
        }));
    }
    for (number, call) in calls.into_iter().enumerate() {
        let late = call.await.unwrap();
        assert!(number == 3 || !late, "{number} has waited for the slow one");
    }
    assert_eq!(number(&world, COUNT).await, 34);
}

async fn a_timeout_is_nobody_elses<D: Under>() {
    let world = world().await;
    world
        .sql("CREATE TABLE payments (id text PRIMARY KEY, amount int8 NOT NULL)")
        .await;
    let short = Timeouts {
        lock: Duration::from_millis(200),
        statement: Duration::from_millis(1500),
        ..timeouts()
    };
    let store = builder::<D>(&world.url()).timeouts(short).connect().await;
    let store = store.unwrap();
    let mut effects: Vec<_> = (0..30)
        .map(|number| payment(&format!("n{number}")))
        .collect();
    effects[11] = slow("n11", "4");
    for (number, done) in at_once(&store, &effects).await.into_iter().enumerate() {
        match done {
            Err(error) if number == 11 => assert_eq!(error.kind(), ErrorKind::Busy, "{error}"),
            done => assert!(!done.unwrap().replayed && number != 11),
        }
    }
    assert_eq!(number(&world, COUNT).await, 29);
    // Forty that are a little slow each: none of them reports that it may have been applied.
    let slow: Vec<_> = (0..40)
        .map(|number| slow(&format!("s{number}"), "0.25"))
        .collect();
    for done in at_once(&store, &slow).await {
        if let Err(error) = done {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        }
    }
    for done in at_once(&store, &slow).await {
        done.unwrap();
    }
    assert_eq!(number(&world, COUNT).await, 69);
}

async fn a_member_that_fails_late_delays_no_other<D: Under>() {
    let (world, store) = shop::<D>(8).await;
    at_once(&store, &[payment("warm"), payment("warmer")]).await;
    let mut effects: Vec<_> = (0..32)
        .map(|number| payment(&format!("l{number}")))
        .collect();
    // A sequence counts what was rolled back, too.
    world.sql("CREATE SEQUENCE runs").await;
    let late = "INSERT INTO payments SELECT $1, -5 FROM pg_sleep(0.3), nextval('runs')";
    effects[9].statements = vec![Statement::new(late).bind("l9")];
    for (number, done) in at_once(&store, &effects).await.into_iter().enumerate() {
        if number == 9 {
            assert_eq!(done.unwrap_err().kind(), ErrorKind::Refused);
        } else {
            done.unwrap();
        }
    }
    // With a batch that is halved again and again, each half runs it once more.
    let runs = number(&world, "SELECT last_value FROM runs").await;
    assert!(runs <= 3, "the late one ran {runs} times");
    assert_eq!(number(&world, COUNT).await, 33);
}

async fn equal_notifications_are_all_delivered<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    let (client, mut connection) = tokio_postgres::connect(&world.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    let (send, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let tokio_postgres::AsyncMessage::Notification(_) = message {
                let _ = send.send(());
            }
        }
    });
    client.batch_execute("LISTEN paid").await.unwrap();
    let text = "INSERT INTO payments SELECT $1, 5 FROM pg_notify('paid', 'now')";
    let effects: Vec<_> = (0..32)
        .map(|number| format!("n{number}"))
        .map(|name| shot(&name, vec![Statement::new(text).bind(&*name)]))
        .collect();
    for done in at_once(&store, &effects).await {
        done.unwrap();
    }
    for number in 0..32 {
        let one = timeout(PATIENCE, heard.recv()).await;
        one.unwrap_or_else(|_| panic!("{number} notifications of 32"));
    }
}

/// How many server processes this store has had.
async fn backend<D: Under>(store: &exactly_once::postgres::PostgresStore<D>, name: &str) -> String {
    let mut tx = fresh(store, name).await;
    let pid = D::one(&mut tx, "SELECT pg_backend_pid()::text").await;
    exactly_once::Transactional::rollback(store, tx)
        .await
        .unwrap();
    pid.map_err(|_| "no pid").unwrap()
}

async fn a_domain_error_of_an_effect_costs_no_connection<D: Under>() {
    let (_world, store) = shop::<D>(1).await;
    let before = backend(&store, "before").await;
    for (name, text) in [
        ("root", "INSERT INTO payments SELECT $1, sqrt(-1)"),
        ("zero", "INSERT INTO payments SELECT $1, 1 / 0"),
        ("log", "INSERT INTO payments SELECT $1, ln(0)"),
    ] {
        let effect = shot(name, vec![Statement::new(text).bind(name)]);
        let refused = store.execute_one_shot(&effect).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    }
    assert_eq!(
        backend(&store, "after").await,
        before,
        "the connection was replaced"
    );
}

async fn connections_ended_while_idle_fail_no_call<D: Under>() {
    let (world, store) = shop::<D>(8).await;
    for round in 0..4 {
        let names: Vec<_> = (0..8).map(|number| format!("{round} {number}")).collect();
        let held = names.iter().map(|name| fresh(&store, name));
        let held = futures_util::future::join_all(held).await;
        for tx in held {
            exactly_once::Transactional::rollback(&store, tx)
                .await
                .unwrap();
        }
        // Until the pool has taken them back.
        tokio::time::sleep(Duration::from_millis(100)).await;
        world
            .sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        for call in 0..4 {
            let name = format!("p{round} {call}");
            store.execute_one_shot(&payment(&name)).await.unwrap();
            store.lookup(claim(&name).key()).await.unwrap().unwrap();
            let tx = fresh(&store, &format!("closure {name}")).await;
            exactly_once::Transactional::rollback(&store, tx)
                .await
                .unwrap();
        }
    }
    assert_eq!(number(&world, COUNT).await, 16);
}

async fn copies_of_one_slow_key_hold_one_connection<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    let held = fresh(&store, "slow").await;
    let copies: Vec<_> = (0..60)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                if number % 2 == 0 {
                    let answer = store.claim(&claim("slow")).await.unwrap();
                    assert!(matches!(answer, Claimed::InProgress { .. }), "{answer:?}");
                } else {
                    let error = store.execute_one_shot(&payment("slow")).await.unwrap_err();
                    let kind = error.kind();
                    assert!(matches!(kind, ErrorKind::InProgress { .. }), "{error}");
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock'";
    assert!(
        number(&world, waiting).await <= 1,
        "they wait with connections"
    );
    let others = async {
        for call in 0..5 {
            let one = payment(&format!("other {call}"));
            store.execute_one_shot(&one).await.unwrap();
            store.lookup(claim("other").key()).await.unwrap();
        }
    };
    timeout(PATIENCE, others)
        .await
        .expect("others wait for them");
    for copy in copies {
        copy.await.unwrap();
    }
    exactly_once::Transactional::rollback(&store, held)
        .await
        .unwrap();
    // Racers of one free key: one does it, and all get its receipt.
    let racers = vec![payment("slow"); 40];
    let done = at_once(&store, &racers).await;
    let first = done.iter().filter(|done| !done.as_ref().unwrap().replayed);
    assert_eq!(first.count(), 1);
    world.nothing_open().await;
}
