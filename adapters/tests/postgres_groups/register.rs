//! Decisions that are written at the same time share commits, and so do the marks that they are
//! carried out; each caller gets its own.

use exactly_once::{Decision, DecisionRegister, Participation, Store, Timestamp};

use super::*;
use crate::world::between;

/// By the store's clock, in seconds from now.
async fn moment(store: &TokioPostgresStore, seconds: i64) -> Timestamp {
    let now = store.now().await.unwrap().as_micros();
    Timestamp::from_micros(now + seconds * 1_000_000)
}

async fn transactions(store: &TokioPostgresStore, of: &str, count: usize) -> Vec<Participation> {
    let (not_after, forget_after) = (moment(store, 60).await, moment(store, 120).await);
    let names = (0..count).map(|number| format!("{of}{number}"));
    names
        .map(|name| between(&name, not_after, forget_after))
        .collect()
}

async fn decide(
    store: &TokioPostgresStore,
    asked: &[(Participation, Decision)],
) -> Vec<Result<Decision>> {
    join_all(
        asked
            .iter()
            .map(|(work, proposal)| store.decide(work, *proposal)),
    )
    .await
}

const COMMITS: &str = "SELECT count(DISTINCT xmin::text) FROM exactly_once.decisions";

#[tokio::test(flavor = "multi_thread")]
async fn decisions_share_commits_and_each_is_told_its_own() {
    let (world, store) = shop().await;
    let works = transactions(&store, "t", 60).await;
    let asked: Vec<(Participation, Decision)> = (works.iter().enumerate())
        .map(|(number, work)| match number % 3 {
            0 => (work.clone(), Decision::Rollback),
            _ => (work.clone(), Decision::Commit),
        })
        .collect();
    for (told, (_, proposal)) in decide(&store, &asked).await.into_iter().zip(&asked) {
        assert_eq!(told.unwrap(), *proposal);
    }
    assert!(
        number(&world, COMMITS).await <= 6,
        "commits of 60 decisions"
    );
    // A later caller gets what stands.
    let contrary: Vec<(Participation, Decision)> = works
        .iter()
        .map(|work| (work.clone(), Decision::Rollback))
        .collect();
    for (told, (_, stands)) in decide(&store, &contrary).await.into_iter().zip(&asked) {
        assert_eq!(told.unwrap(), *stands);
    }
    for marked in join_all(
        asked
            .iter()
            .map(|(work, decision)| store.finish(work, *decision)),
    )
    .await
    {
        marked.unwrap();
    }
    assert!(number(&world, COMMITS).await <= 6, "commits of 60 marks");
    let open = "SELECT count(*) FROM exactly_once.decisions WHERE NOT finished";
    assert_eq!(number(&world, open).await, 0);
    // Nothing is written by who comes again.
    let rows = "SELECT md5(string_agg(ctid::text || xmin::text || xmax::text, ',' ORDER BY ctid)) \
                FROM exactly_once.decisions";
    let before = world.sql(rows).await;
    for marked in join_all(
        asked
            .iter()
            .map(|(work, decision)| store.finish(work, *decision)),
    )
    .await
    {
        marked.unwrap();
    }
    assert_eq!(world.sql(rows).await, before, "a mark was made twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_group_a_transaction_has_one_decision_and_faults_are_their_own() {
    let (_world, store) = shop().await;
    let mut asked = Vec::new();
    for work in transactions(&store, "t", 20).await {
        asked.push((work.clone(), Decision::Commit));
        asked.push((work, Decision::Rollback));
    }
    let (past, later) = (moment(&store, -60).await, moment(&store, 120).await);
    let late = between("late", past, later);
    let over = between("over", moment(&store, -90).await, past);
    // The same name with other deadlines is another transaction, whichever comes first.
    store.decide(&asked[2].0, Decision::Commit).await.unwrap();
    let other = between("t1", later, moment(&store, 240).await);
    let told = decide(&store, &asked);
    let odd = [
        (late, Decision::Commit),
        (over, Decision::Commit),
        (other, Decision::Commit),
    ];
    let (told, odd) = futures_util::future::join(told, decide(&store, &odd)).await;
    for pair in told.chunks(2) {
        assert_eq!(pair[0].as_ref().unwrap(), pair[1].as_ref().unwrap());
    }
    let mut odd = odd.into_iter();
    assert_eq!(odd.next().unwrap().unwrap(), Decision::Rollback);
    refused(odd.next().unwrap(), ErrorKind::Forgotten, &[]);
    refused(odd.next().unwrap(), ErrorKind::Mismatch, &[]);
    let unknown = between("unknown", past, later);
    refused(
        store.finish(&unknown, Decision::Commit).await,
        ErrorKind::NotPrepared,
        &[],
    );
}

// Another holds one of the transactions, for longer than any caller waits.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_another_holds_up_nobody_else() {
    let (world, store) = shop().await;
    let works = transactions(&store, "t", 30).await;
    store.decide(&works[7], Decision::Commit).await.unwrap();
    world
        .sql(
            "CREATE TABLE copy AS SELECT * FROM exactly_once.decisions; \
             DELETE FROM exactly_once.decisions",
        )
        .await;
    world
        .sql(
            "BEGIN; INSERT INTO exactly_once.decisions SELECT * FROM copy; \
             PREPARE TRANSACTION 'held'",
        )
        .await;
    let asked: Vec<(Participation, Decision)> = works
        .iter()
        .map(|work| (work.clone(), Decision::Commit))
        .collect();
    for (number, told) in decide(&store, &asked).await.into_iter().enumerate() {
        match number {
            7 => refused(told, ErrorKind::Busy, &[]),
            _ => assert_eq!(told.unwrap(), Decision::Commit),
        }
    }
    world.sql("COMMIT PREPARED 'held'").await;
    let told = store.decide(&works[7], Decision::Rollback).await;
    assert_eq!(told.unwrap(), Decision::Commit);
}

// Dropped at any moment, and asked again: what was written is what is reported.
#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_and_comes_again_is_told_what_stands() {
    let (world, store) = shop().await;
    for (round, work) in transactions(&store, "t", 40).await.into_iter().enumerate() {
        let beside = transactions(&store, &format!("{round}/"), 12).await;
        let beside: Vec<(Participation, Decision)> = (beside.iter())
            .map(|work| (work.clone(), Decision::Commit))
            .collect();
        let patience = Duration::from_micros(100 * round as u64);
        let (first, others) = futures_util::future::join(
            tokio::time::timeout(patience, store.decide(&work, Decision::Commit)),
            decide(&store, &beside),
        )
        .await;
        assert!(others.into_iter().all(|told| told.is_ok()), "round {round}");
        let stands = store.decide(&work, Decision::Rollback).await.unwrap();
        if let Ok(first) = first {
            assert_eq!(first.unwrap(), stands);
        }
        let again = store.decide(&work, Decision::Commit).await.unwrap();
        assert_eq!(again, stands);
    }
    world.nothing_open().await;
}
