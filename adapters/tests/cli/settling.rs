//! The way out of a heuristic outcome.

use std::time::Duration;

use exactly_once::{
    Decision, DecisionRegister, PreparedStatus, PreparedTransactions, Store, identity_of,
    sqlite::SqliteTx,
    two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
};

use crate::bench::{Times, Two, expect, json, open, prepare, transaction, url_of};

// Fault 8.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_settles_a_heuristic_outcome_and_ends_its_alarm() {
    let two = Two::new().await;
    let third = two.folder.path().join("shipping.db");
    let shipping = open(&third).await;
    let times = Times::late_in(&two.orders, 600).await;
    let all = [&two.orders, &two.stock, &shipping];
    let made = transaction("wrong", times, &two.orders, &all).await;
    for store in all {
        prepare(store, &made).await;
    }
    two.orders.decide(&made, Decision::Commit).await.unwrap();
    // By hand, against what was decided; and the shipping is in doubt still.
    two.orders.commit_prepared(&made).await.unwrap();
    two.stock.rollback_prepared(&made).await.unwrap();
    times.wait(&two.orders).await;
    let digest = made.transaction().to_string();
    let with_shipping = format!("shipping={}", url_of(&third));
    let given = ["--store", &two.with_stock, "--store", &with_shipping];
    let two_of_three = ["--store", &two.with_stock];
    let with = |arguments: &[&'static str], given: &[&str]| {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let given = given.iter().map(|argument| (*argument).to_owned());
        Vec::from_iter(arguments.chain([digest.clone()]).chain(given))
    };
    let run = |arguments: &[&'static str], given: &[&str], code: i32, says: &str| {
        let arguments = with(arguments, given);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        expect(&two.orders_url, &arguments, code, says)
    };
    let swept = ["in-doubt", "sweep", "--yes", "--store", &two.with_stock];
    expect(&two.orders_url, &swept, 1, "ALARM: heuristic");
    let shown = run(&["in-doubt", "show"], &given, 1, "in-doubt settle");
    assert!(
        shown.contains("rolled back") && shown.contains("in doubt"),
        "{shown}"
    );
    // A participant that is not given is named.
    let part = run(&["in-doubt", "show"], &two_of_three, 1, "not given");
    assert!(part.contains("identity "), "{part}");

    const SETTLE: &[&str] = &[
        "in-doubt",
        "settle",
        "--as",
        "committed",
        "--reason",
        "stock repaired, see ticket 7",
        "--by",
        "alice",
    ];
    run(SETTLE, &given, 2, "--yes");
    assert!(
        two.orders
            .decision(&made)
            .await
            .unwrap()
            .unwrap()
            .settled
            .is_none()
    );
    let yes = [&given[..], &["--yes"]].concat();
    let settled = run(SETTLE, &yes, 0, "settled by: alice");
    assert!(
        settled.contains("reason: stock repaired, see ticket 7"),
        "{settled}"
    );
    let entry = two.orders.decision(&made).await.unwrap().unwrap();
    let stands = entry.settled.unwrap();
    assert_eq!(stands.outcome, Decision::Commit);
    assert_eq!(
        (stands.by.as_str(), stands.reason.as_str()),
        ("alice", "stock repaired, see ticket 7")
    );
    assert!(stands.at > times.until);
    // What was in doubt ended so, and what had ended stays.
    let status = shipping.prepared_status(&made).await.unwrap();
    assert_eq!(status, PreparedStatus::Committed);
    let status = two.stock.prepared_status(&made).await.unwrap();
    assert_eq!(status, PreparedStatus::RolledBack);
    let everywhere = [&["in-doubt", "sweep", "--yes"], &given[..]].concat();
    let (code, swept) = json(&two.orders_url, &everywhere);
    assert_eq!(code, 0, "the alarm has ended: {swept}");
    expect(
        &two.orders_url,
        &[&["in-doubt", "list"], &given[..]].concat(),
        0,
        "nothing",
    );
}

// Its records are removed in their time, and the alarm is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_is_shown_until_it_is_settled_and_a_settlement_is_found_by_its_digest() {
    let two = Two::new().await;
    let mut times = Times::late_in(&two.orders, 600).await;
    times.forget = times.until.checked_add(Duration::from_millis(600)).unwrap();
    let made = two.prepared("disputed", times).await;
    two.stock.commit_prepared(&made).await.unwrap();
    two.orders.decide(&made, Decision::Rollback).await.unwrap();
    times.wait(&two.orders).await;
    let with = ["--store", two.with_stock.as_str()];
    let sweep = [&["in-doubt", "sweep", "--yes"][..], &with].concat();
    expect(&two.orders_url, &sweep, 1, "ALARM: heuristic");
    while two.orders.now().await.unwrap() <= times.forget {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let forget = [&["in-doubt", "forget", "--yes"][..], &with].concat();
    expect(&two.orders_url, &forget, 0, "removed");
    expect(&two.orders_url, &sweep, 1, "ALARM: heuristic");
    let list = [&["in-doubt", "list"][..], &with].concat();
    expect(
        &two.orders_url,
        &list,
        1,
        "decided rollback, disputed by a participant",
    );
    let digest = made.transaction().to_string();
    let show = [&["in-doubt", "show", digest.as_str()][..], &with].concat();
    let shown = expect(&two.orders_url, &show, 1, "disputed by: stock (noted at ");
    assert!(shown.contains("in-doubt settle"), "{shown}");
    let mut settle = vec![
        "in-doubt",
        "settle",
        &digest,
        "--as",
        "rolled-back",
        "--yes",
    ];
    settle.extend(["--reason", "sold by hand", "--by", "alice"]);
    settle.extend(with);
    expect(&two.orders_url, &settle, 0, "settled as: rollback");
    // Again, as after a crash that took the answer along; and otherwise, which changes nothing.
    expect(&two.orders_url, &settle, 0, "settled as: rollback");
    settle[4] = "committed";
    expect(&two.orders_url, &settle, 1, "it was settled otherwise");
    expect(&two.orders_url, &sweep, 0, "");
    expect(&two.orders_url, &list, 0, "nothing");
    let shown = expect(&two.orders_url, &show, 0, "settled by: alice");
    assert!(shown.contains("disputed by: stock"), "{shown}");
    assert!(shown.contains("what to do: nothing"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_end_as_was_decided_is_not_settled() {
    let two = Two::new().await;
    let times = Times::late_in(&two.orders, 300).await;
    let undecided = two.prepared("undecided", times).await;
    let decided = two.prepared("decided", times).await;
    two.orders.decide(&decided, Decision::Commit).await.unwrap();
    times.wait(&two.orders).await;
    for (made, says) in [
        (&undecided, "nothing was decided"),
        (&decided, "can still end as was decided"),
    ] {
        let digest = made.transaction().to_string();
        let settle = [
            "in-doubt",
            "settle",
            &digest,
            "--as",
            "rolled-back",
            "--reason",
            "x",
            "--by",
            "alice",
            "--yes",
            "--store",
            &two.with_stock,
        ];
        expect(&two.orders_url, &settle, 2, says);
        for store in [&two.orders, &two.stock] {
            let status = store.prepared_status(made).await.unwrap();
            assert_eq!(status, PreparedStatus::Prepared);
        }
    }
    // A reason is needed, and an outcome.
    let digest = decided.transaction().to_string();
    expect(
        &two.orders_url,
        &["in-doubt", "settle", &digest, "--yes"],
        2,
        "--reason",
    );
}

// What its participants have confirmed they may forget, and it was right all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_as_was_decided_is_not_settled() {
    let two = Two::new().await;
    let mut times = Times::late_in(&two.orders, 300).await;
    times.forget = times.until.checked_add(Duration::from_millis(300)).unwrap();
    let made = two.prepared("ended", times).await;
    two.orders.decide(&made, Decision::Commit).await.unwrap();
    for store in [&two.orders, &two.stock] {
        store.commit_prepared(&made).await.unwrap();
    }
    two.orders.finish(&made, Decision::Commit).await.unwrap();
    while two.orders.now().await.unwrap() <= times.forget {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let digest = made.transaction().to_string();
    let mut settle = vec![
        "in-doubt",
        "settle",
        &digest,
        "--as",
        "rolled-back",
        "--yes",
    ];
    settle.extend(["--reason", "x", "--by", "alice", "--store", &two.with_stock]);
    expect(&two.orders_url, &settle, 2, "nothing to settle");
    two.stock.forget_prepared(10).await.unwrap();
    let status = two.stock.prepared_status(&made).await.unwrap();
    assert_eq!(status, PreparedStatus::Forgotten);
    expect(&two.orders_url, &settle, 2, "nothing to settle");
    let entry = two.orders.decision(&made).await.unwrap().unwrap();
    assert_eq!(entry.settled, None);
}

// A store that is only left out of the arguments is not gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_is_not_given_is_named_before_anything_is_settled() {
    let two = Two::new().await;
    let times = Times::late_in(&two.orders, 400).await;
    let made = two.prepared("left out", times).await;
    two.orders.decide(&made, Decision::Commit).await.unwrap();
    times.wait(&two.orders).await;
    let digest = made.transaction().to_string();
    let gone = identity_of(&two.stock).await.unwrap().to_string();
    let mut settle = vec![
        "in-doubt",
        "settle",
        digest.as_str(),
        "--as",
        "rolled-back",
        "--yes",
    ];
    settle.extend(["--reason", "x", "--by", "alice"]);
    let said = expect(&two.orders_url, &settle, 2, "--gone");
    assert!(said.contains(&gone), "{said}");
    for store in [&two.orders, &two.stock] {
        let status = store.prepared_status(&made).await.unwrap();
        assert_eq!(status, PreparedStatus::Prepared);
    }
    settle.extend(["--gone", &gone]);
    expect(&two.orders_url, &settle, 0, "settled as: rollback");

    // It was not gone. A late attempt ends it as it was settled.
    let outcome = TwoPhaseCommit::new(&two.orders, made.clone())
        .participant("orders", &two.orders, async |_tx: &mut SqliteTx| Ok(()))
        .participant("stock", &two.stock, async |_tx: &mut SqliteTx| Ok(()))
        .run()
        .await
        .unwrap();
    assert!(
        matches!(outcome, TwoPhaseOutcome::RolledBack { .. }),
        "{outcome:?}"
    );
    let status = two.stock.prepared_status(&made).await.unwrap();
    assert_eq!(status, PreparedStatus::RolledBack);
}
