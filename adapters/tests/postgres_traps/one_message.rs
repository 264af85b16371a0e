//! A participant's whole work in one message: what the message must look at itself.

use std::time::Duration;

use exactly_once::{
    Decision, DecisionRegister, ErrorKind, LastOneShotParticipant, OneShotParticipant,
    Participation, PreparedOneShot, PreparedStatus, PreparedTransactions, Statement, Store,
    Transactional, postgres::TokioPostgresStore,
};
use exactly_once_conformance::faults::polls::drop_at_poll;

use crate::{
    store,
    world::{between, timeouts, world},
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

async fn work(store: &TokioPostgresStore, name: &str, left: Duration) -> Participation {
    let now = store.now().await.unwrap();
    between(
        name,
        now.checked_add(left).unwrap(),
        now.checked_add(seconds(3_600)).unwrap(),
    )
}

// A statement that outlasts the deadline: the clock is looked at after it, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_is_looked_at_after_the_statements() {
    let world = world().await;
    let store = store(&world).await;
    world.sql("CREATE TABLE slow (id int8)").await;
    let slow = [Statement::new(
        "INSERT INTO slow SELECT 1 FROM pg_sleep(0.9)",
    )];
    let late = |name| work(&store, name, Duration::from_millis(600));
    let one = late("prepare").await;
    let answer = store.prepare_one_shot(&one, &slow).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::RolledBack);
    let two = late("alone").await;
    let answer = store.commit_alone_one_shot(&two, &slow).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::RolledBack);
    let three = late("deciding").await;
    let answer = store.commit_deciding_one_shot(&three, &slow).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(store.decision(&three).await.unwrap(), None);
    for work in [&one, &two, &three] {
        let status = store.prepared_status(work).await.unwrap();
        assert_eq!(status, PreparedStatus::None);
    }
    assert_eq!(world.sql("SELECT count(*) FROM slow").await, "0");
    world.nothing_open().await;
}

// The decision is the first one's, also where it is written in the same message as the work.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_stands_keeps_the_work_out() {
    let world = world().await;
    let store = store(&world).await;
    world.sql("CREATE TABLE paid (id int8)").await;
    let pay = [Statement::new("INSERT INTO paid VALUES ($1)").bind(1)];
    let one = work(&store, "decided", seconds(60)).await;
    let stands = store.decide(&one, Decision::Rollback).await.unwrap();
    assert_eq!(stands, Decision::Rollback);
    let answer = store.commit_deciding_one_shot(&one, &pay).await.unwrap();
    assert_eq!(answer, Some(Decision::Rollback));
    assert_eq!(world.sql("SELECT count(*) FROM paid").await, "0");
    let two = work(&store, "open", seconds(60)).await;
    let answer = store.commit_deciding_one_shot(&two, &pay).await.unwrap();
    assert_eq!(answer, Some(Decision::Commit));
    let again = store.commit_deciding_one_shot(&two, &pay).await.unwrap();
    assert_eq!(again, None);
    assert_eq!(world.sql("SELECT count(*) FROM paid").await, "1");
}

/// As an engine calls it: again while it may be retried.
async fn decided(
    store: &TokioPostgresStore,
    work: &Participation,
    pay: &[Statement],
) -> Option<Decision> {
    loop {
        match store.commit_deciding_one_shot(work, pay).await {
            Err(error) if error.is_retryable() => tokio::time::sleep(seconds(1) / 50).await,
            answer => return answer.unwrap(),
        }
    }
}

// Called again after a crash at any point, and while the first call is still in flight.
#[tokio::test(flavor = "multi_thread")]
async fn work_and_decision_are_had_once_by_dropped_calls_and_by_racers() {
    let world = world().await;
    let store = store(&world).await;
    world.sql("CREATE TABLE paid (id int8)").await;
    let pay = |id: i64| [Statement::new("INSERT INTO paid VALUES ($1)").bind(id)];
    let (mut dropped, mut rows) = (0, 0);
    loop {
        let work = work(&store, &format!("dropped {dropped}"), seconds(60)).await;
        let one = pay(dropped);
        let call = store.commit_deciding_one_shot(&work, &one);
        let k = usize::try_from(dropped).unwrap() + 1;
        let whole = drop_at_poll(k, call).await.is_some();
        decided(&store, &work, &one).await;
        let entry = store.decision(&work).await.unwrap().unwrap();
        assert_eq!(entry.decision, Decision::Commit);
        (dropped, rows) = (dropped + 1, rows + 1);
        if whole {
            break;
        }
    }
    let work = work(&store, "racers", seconds(60)).await;
    let racers = (0..8).map(|_| {
        let (store, work, pay) = (store.clone(), work.clone(), pay(-1));
        tokio::spawn(async move { decided(&store, &work, &pay).await })
    });
    let answers = futures_util::future::join_all(racers.collect::<Vec<_>>()).await;
    let won = |answer: &Result<_, _>| *answer.as_ref().unwrap() == Some(Decision::Commit);
    assert_eq!(answers.iter().filter(|answer| won(answer)).count(), 1);
    let count = world
        .sql("SELECT count(*), count(DISTINCT id) FROM paid")
        .await;
    assert_eq!(count, format!("{0}|{0}", rows + 1));
    world.nothing_open().await;
}

// Texts that can't go in one message go by the steps, and a text that ends the transaction is reported.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_reach_beyond_its_statement_goes_by_the_steps() {
    let world = world().await;
    let store = store(&world).await;
    world.sql("CREATE TABLE paid (id int8)").await;
    let steps = [
        Statement::new("SELECT set_config('my.tenant', $1, true)").bind("seven"),
        Statement::new(
            "WITH two AS (SELECT unnest(ARRAY[1, 2])) INSERT INTO paid SELECT * FROM two",
        ),
    ];
    let one = work(&store, "steps", seconds(60)).await;
    let answer = store.prepare_one_shot(&one, &steps).await.unwrap();
    assert_eq!(answer, PreparedOneShot::Done);
    store.commit_prepared(&one).await.unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM paid").await, "2");

    for (at, text) in ["INSERT INTO paid VALUES (3); COMMIT", "COMMIT"]
        .into_iter()
        .enumerate()
    {
        let ends = [
            Statement::new("INSERT INTO paid VALUES (3)"),
            Statement::new(text),
        ];
        let two = work(&store, &format!("ends {at}"), seconds(60)).await;
        let answer = store.prepare_one_shot(&two, &ends).await;
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(world.sql("SELECT count(*) FROM paid").await, "2");
    }
    let page = store.in_doubt(None, 10).await.unwrap();
    assert_eq!(page.entries, []);

    let nul = [Statement::new("INSERT INTO paid VALUES ($1)").bind("\0")];
    let three = work(&store, "nul", seconds(60)).await;
    for answer in [
        store.prepare_one_shot(&three, &nul).await,
        store.commit_alone_one_shot(&three, &nul).await,
    ] {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("NUL"), "{error}");
    }
    world.nothing_open().await;
}

// What a refused statement leaves on its connection must not meet the next one there.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_statement_leaves_no_name_behind() {
    let world = world().await;
    let builder = TokioPostgresStore::builder(world.url()).timeouts(timeouts());
    let store = builder.pool_size(1).connect().await.unwrap();
    world.sql("CREATE TABLE paid (id int8 PRIMARY KEY)").await;
    let pay = |id: i64| [Statement::new("INSERT INTO paid VALUES ($1)").bind(id)];
    for round in 0..3 {
        let mut tx = store.begin().await.unwrap();
        let cents = [Statement::new("INSERT INTO paid VALUES ($1)").bind("no number")];
        store.apply(&mut tx, &cents).await.unwrap_err();
        match round {
            0 => store.rollback(tx).await.unwrap(),
            1 => drop(store.commit(tx).await.unwrap_err()),
            _ => drop(tx),
        }
        let mut tx = store.begin().await.unwrap();
        store.apply(&mut tx, &pay(round)).await.unwrap();
        store.commit(tx).await.unwrap();
    }
    assert_eq!(world.sql("SELECT count(*) FROM paid").await, "3");
}
