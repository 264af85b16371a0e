//! The members of a batch, one of which fails.

use std::time::Duration;

use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Decision, DecisionRegister, Error, ErrorKind,
    IdempotencyStore, LeaseStore, Leased, MAX_RECEIPT_BYTES, OneShotStore, OpenAccount,
    Participation, Store, Transactional, WorkError, sqlite::SqliteStore,
};
use tokio::task::JoinSet;

use crate::{World, claim, effect, key, one_shot};

const DEFERRED: &str = "CREATE TABLE payment (who INTEGER REFERENCES person (id)
        DEFERRABLE INITIALLY DEFERRED) STRICT";

/// What kinds of members a group may have.
#[derive(Clone, Debug)]
enum Member {
    OneShot(&'static str, Vec<String>),
    Closure(&'static str, String),
    /// Does this, and panics.
    Panics(&'static str, String),
    /// Does this, and returns more than a receipt holds.
    Oversize(&'static str, String),
    Lease(&'static str),
    Decide,
    Adjust(&'static str),
}

impl Member {
    async fn call(self, store: SqliteStore, part: Participation) -> Result<(), Error> {
        match self {
            Self::OneShot(name, sql) => {
                let sql: Vec<&str> = sql.iter().map(String::as_str).collect();
                store
                    .execute_one_shot(&one_shot(name, &sql))
                    .await
                    .map(drop)
            }
            Self::Closure(name, sql) => store
                .execute_once_blocking(&claim(name), move |db| {
                    db.execute_batch(&sql).map_err(WorkError::from)
                })
                .await
                .map(drop),
            Self::Panics(name, sql) => store
                .execute_once_blocking(&claim(name), move |db| -> Result<(), WorkError> {
                    db.execute_batch(&sql)?;
                    panic!("a bug in the work")
                })
                .await
                .map(drop),
            Self::Oversize(name, sql) => store
                .execute_once_blocking(&claim(name), move |db| {
                    db.execute_batch(&sql)?;
                    Ok::<_, WorkError>("x".repeat(MAX_RECEIPT_BYTES + 1))
                })
                .await
                .map(drop),
            Self::Lease(name) => {
                let leased = store.lease(&claim(name), Duration::from_secs(60)).await?;
                assert!(matches!(leased, Leased::Granted(_)));
                Ok(())
            }
            Self::Decide => store.decide(&part, Decision::Commit).await.map(drop),
            Self::Adjust(name) => {
                let account = AccountId::new("a").unwrap();
                let change = Adjust::new(key(name), account, Amount::new(5));
                store.adjust(&change).await.map(drop)
            }
        }
    }
}

/// Runs all as one group, and gives the answers in order.
async fn group(world: &World, members: Vec<Member>) -> Vec<Result<(), Error>> {
    let part = world.part("t").await;
    let held = world.store.begin().await.unwrap();
    let mut calls = JoinSet::new();
    for (at, member) in members.into_iter().enumerate() {
        let (store, part) = (world.store.clone(), part.clone());
        calls.spawn(async move { (at, member.call(store, part).await) });
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    world.store.rollback(held).await.unwrap();
    let mut answers = calls.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn innocents() -> Vec<Member> {
    vec![
        Member::Lease("lease"),
        Member::OneShot("shot", vec![effect("shot")]),
        Member::Closure("first", effect("first")),
        Member::Decide,
        Member::Adjust("adjust"),
        Member::Closure("second", effect("second")),
    ]
}

/// Puts the poisoned member at each place of a batch, and checks that no other one notices.
async fn poison(schema: &str, member: Member, kind: ErrorKind, says: &str, records: bool) {
    for at in 0..=innocents().len() {
        let world = World::new(schema).await;
        let open = OpenAccount::new(key("open"), AccountId::new("a").unwrap());
        world.store.open_account(&open).await.unwrap();
        let mut members = innocents();
        members.insert(at, member.clone());
        let answers = group(&world, members).await;
        for (place, answer) in answers.iter().enumerate() {
            if place == at {
                let failure = answer.as_ref().unwrap_err();
                assert_eq!(failure.kind(), kind, "{member:?}: {failure}");
                assert!(failure.to_string().contains(says), "{failure}");
            } else {
                assert!(answer.is_ok(), "{member:?} at {at}: {place}: {answer:?}");
            }
        }
        for name in ["shot", "first", "second"] {
            assert_eq!(world.effects(name), 1, "{name}");
        }
        assert_eq!(world.effects("bad"), 0);
        let recorded = world.store.lookup(&key("bad")).await.unwrap();
        assert_eq!(recorded.is_some(), records, "{recorded:?}");
        world.store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_violation_is_the_answer_of_its_own_member() {
    let orphan = format!("{}; INSERT INTO payment VALUES (7)", effect("bad"));
    let shot = vec![effect("bad"), "INSERT INTO payment VALUES (7)".to_owned()];
    let refused = ErrorKind::Refused;
    let says = "FOREIGN KEY";
    poison(
        DEFERRED,
        Member::Closure("bad", orphan),
        refused,
        says,
        true,
    )
    .await;
    poison(DEFERRED, Member::OneShot("bad", shot), refused, says, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_defers_the_checks_of_a_batch() {
    let defer = "PRAGMA defer_foreign_keys = ON; INSERT INTO friend VALUES (7)";
    let defer = Member::Closure("bad", format!("{}; {defer}", effect("bad")));
    poison("", defer, ErrorKind::Refused, "defer_foreign_keys", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_by_sqlite_is_the_refusal_of_its_own_member() {
    let refused = ErrorKind::Refused;
    let taken = "INSERT OR ROLLBACK INTO one VALUES (1)";
    let raise = "CREATE TRIGGER no BEFORE INSERT ON person BEGIN SELECT RAISE(ROLLBACK, 'no way'); \
                 END";
    let shot = vec![effect("bad"), taken.to_owned()];
    poison("", Member::OneShot("bad", shot), refused, "one.id", true).await;
    let shot = vec![effect("bad"), "INSERT INTO person VALUES (1)".to_owned()];
    poison(raise, Member::OneShot("bad", shot), refused, "no way", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closures_beside_one_that_sqlite_rolled_back_are_busy_or_done() {
    let world = World::new("").await;
    let bad = format!("{}; INSERT OR ROLLBACK INTO one VALUES (1)", effect("bad"));
    let members = vec![
        Member::Closure("first", effect("first")),
        Member::OneShot("shot", vec![effect("shot")]),
        Member::Closure("bad", bad),
        Member::Closure("second", effect("second")),
    ];
    let answers = group(&world, members).await;
    let kinds: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().map_err(Error::kind).copied())
        .collect();
    assert_eq!(
        kinds,
        [
            Err(ErrorKind::Busy),
            Ok(()),
            Err(ErrorKind::Refused),
            Ok(())
        ]
    );
    assert!(world.store.lookup(&key("bad")).await.unwrap().is_some());
    assert!(world.store.lookup(&key("first")).await.unwrap().is_none());
    for (name, count) in [("first", 0), ("shot", 1), ("bad", 0), ("second", 1)] {
        assert_eq!(world.effects(name), count, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_are_refused_in_one_shots() {
    // Also where a closure has compiled the same text before.
    for sql in [
        "SAVEPOINT x",
        "RELEASE x",
        "ROLLBACK TO x",
        "PRAGMA defer_foreign_keys = ON",
    ] {
        let shot = vec![effect("bad"), sql.to_owned()];
        poison(
            "",
            Member::OneShot("bad", shot),
            ErrorKind::Refused,
            "",
            true,
        )
        .await;
    }
    let world = World::new("").await;
    let asked = claim("cached");
    let cached = world.store.execute_once_blocking(&asked, |db| {
        db.prepare_cached("SAVEPOINT x")?.execute([])?;
        db.prepare_cached("ROLLBACK TO x")?.execute([])?;
        Ok::<_, WorkError>(())
    });
    cached.await.unwrap();
    let members = vec![
        Member::OneShot("a", vec!["SAVEPOINT x".to_owned()]),
        Member::OneShot("b", vec![effect("b")]),
        Member::OneShot("c", vec!["ROLLBACK TO x".to_owned()]),
    ];
    let answers = group(&world, members).await;
    assert!(answers[0].is_err() && answers[1].is_ok() && answers[2].is_err());
    assert_eq!(world.effects("b"), 1);
    assert!(world.store.lookup(&key("b")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_id_of_one_caller_is_hidden_from_the_next() {
    let world = World::new("").await;
    let last = "INSERT INTO effect VALUES ('last', last_insert_rowid())";
    let first = effect("first");
    let insert = "INSERT INTO one VALUES (77)".to_owned();
    let members = vec![
        Member::OneShot("first", vec![first, insert]),
        Member::OneShot("last", vec![last.to_owned()]),
        Member::Closure("closure", last.to_owned()),
    ];
    for answer in group(&world, members).await {
        answer.unwrap();
    }
    let mut tx = world.store.begin().await.unwrap();
    let seen = tx.run(|db| Ok(db.last_insert_rowid())).await.unwrap();
    assert_eq!(seen, 0);
    world.store.rollback(tx).await.unwrap();
    assert_eq!(
        world.ask("SELECT max(id) FROM effect WHERE name = 'last'"),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_other_way_to_fail_is_the_answer_of_its_own_member() {
    let refused = ErrorKind::Refused;
    let bad = effect("bad");
    for (sql, kind, says) in [
        ("INSERT INTO one VALUES (1)", refused, "one.id"),
        (
            "INSERT INTO effect VALUES ('bad', 'no number')",
            refused,
            "TEXT",
        ),
        (
            "INSERT INTO effect VALUES ('bad', zeroblob(2000000000))",
            ErrorKind::TooLarge,
            "too big",
        ),
        ("COMMIT", refused, "belong to the store"),
        ("CREATE TEMP TABLE mine (a)", refused, "temporary"),
    ] {
        let shot = vec![bad.clone(), sql.to_owned()];
        poison("", Member::OneShot("bad", shot), kind, says, true).await;
        let closure = Member::Closure("bad", format!("{bad}; {sql}"));
        poison("", closure, kind, says, true).await;
    }
    let panics = Member::Panics("bad", bad.clone());
    poison(
        "",
        panics,
        ErrorKind::WorkFailed,
        "a bug in the work",
        false,
    )
    .await;
    let oversize = Member::Oversize("bad", bad);
    poison("", oversize, ErrorKind::TooLarge, "", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_caller_is_gone_is_left_out_or_whole() {
    for at in 0..=innocents().len() {
        let world = World::new("").await;
        let open = OpenAccount::new(key("open"), AccountId::new("a").unwrap());
        world.store.open_account(&open).await.unwrap();
        let part = world.part("t").await;
        let held = world.store.begin().await.unwrap();
        let (mut calls, mut gone) = (JoinSet::new(), None);
        for (place, member) in innocents().into_iter().enumerate() {
            if place == at {
                let bad = Member::Closure("bad", effect("bad"));
                gone = Some(tokio::spawn(bad.call(world.store.clone(), part.clone())));
            }
            calls.spawn(member.call(world.store.clone(), part.clone()));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Before the batch for one half, about when it runs for the other.
        if at % 2 == 0 {
            gone.take().inspect(tokio::task::JoinHandle::abort);
        }
        world.store.rollback(held).await.unwrap();
        gone.inspect(tokio::task::JoinHandle::abort);
        for answer in calls.join_all().await {
            answer.unwrap();
        }
        for name in ["shot", "first", "second"] {
            assert_eq!(world.effects(name), 1, "{name}");
        }
        world.store.close().await.unwrap();
        let recorded = world.ask("SELECT count(*) FROM exactly_once_key WHERE key = 'bad'");
        assert_eq!(world.effects("bad"), recorded, "an effect and its key");
    }
}
