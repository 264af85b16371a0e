//! Goal: the audit sees what it is there for. Method: a sound state, and one wrong thing each.

use super::{
    evidence::{Change, Held, KeyRow, KeyState},
    *,
};
use crate::model::{Line, Place, Row, Sent};

fn case(name: &str, what: What, answer: Answer) -> Case {
    let operation = Operation {
        name: name.to_owned(),
        place: Place::Redis,
        own_key: true,
        what,
    };
    Case { operation, answer }
}

fn row() -> Row {
    Row {
        name: "row".to_owned(),
        amount: 5,
        stamp: 99,
    }
}

fn sent(token: i64) -> Sent {
    Sent { token, entry: 1 }
}

fn line(version: i64, delta: i64, before: i64) -> Line {
    Line {
        account: "ann".to_owned(),
        version,
        delta,
        before,
        after: before + delta,
    }
}

fn change(name: &str, line: Line) -> Change {
    let key = format!("own/{name}");
    Change { key, line }
}

fn json(receipt: &Receipt) -> String {
    serde_json::to_string(receipt).unwrap()
}

fn refused(kind: &str) -> Answer {
    let message = format!("exactly-once/{kind}: no");
    Answer::Refused(Refusal::parse(402, &message).unwrap())
}

fn cut_short() -> Answer {
    Answer::CutShort {
        status: 409,
        text: "cancelled".to_owned(),
    }
}

/// A row, a change, an effect outside, a change that was refused, and one that was cancelled.
fn sound() -> (Told, Evidence) {
    let adjust = |delta| What::Adjust {
        account: "ann".to_owned(),
        delta,
    };
    let done = |receipt: Receipt| Answer::Done(json(&receipt));
    let told = Told {
        cases: vec![
            case("row", What::Row { amount: 5 }, done(Receipt::Row(row()))),
            case(
                "debit",
                adjust(-3),
                done(Receipt::Changes(vec![line(2, -3, 10)])),
            ),
            case(
                "mail",
                What::Outside { amount: 1 },
                done(Receipt::Outside(sent(7))),
            ),
            case("poor", adjust(-100), refused("insufficient_funds")),
            case("cut", adjust(1), cut_short()),
        ],
        deeds: [("cut".to_owned(), vec![Deed::Cancel])].into(),
        restarted: vec![Restarted {
            name: "row".to_owned(),
            told: Some((200, json(&Receipt::Row(row())))),
        }],
    };
    let applied = |name: &str, receipt: String| KeyRow {
        key: format!("own/{name}"),
        state: KeyState::Applied(receipt),
    };
    let held = Held {
        rows: vec![row()],
        keys: vec![
            applied("row", json(&Receipt::Row(row()))),
            applied("mail", json(&Receipt::Outside(sent(7)))),
        ],
        accounts: [("ann".to_owned(), (7, 2))].into(),
        history: vec![
            Change {
                key: "open/ann".to_owned(),
                line: line(1, 10, 0),
            },
            change("debit", line(2, -3, 10)),
        ],
        operations: Some(vec!["open/ann".to_owned(), "own/debit".to_owned()]),
        damage: Vec::new(),
    };
    let evidence = Evidence {
        stores: [(Place::Redis, held)].into(),
        outside: [("mail".to_owned(), vec![sent(5), sent(7)])].into(),
        ..Evidence::default()
    };
    (told, evidence)
}

fn kinds(change: impl FnOnce(&mut Told, &mut Held, &mut Evidence)) -> BTreeSet<Kind> {
    let (mut told, mut evidence) = sound();
    let mut held = evidence.stores.remove(&Place::Redis).unwrap();
    change(&mut told, &mut held, &mut evidence);
    evidence.stores.insert(Place::Redis, held);
    let found = anomalies(&told, &evidence, &orders::Seeds::default());
    found.into_iter().map(|anomaly| anomaly.kind).collect()
}

#[test]
fn a_sound_state_has_no_anomaly() {
    assert_eq!(kinds(|_, _, _| ()), [].into());
    // What was cancelled may have been applied all the same.
    let applied = kinds(|_, held, _| {
        held.history.push(change("cut", line(3, 1, 7)));
        held.operations.as_mut().unwrap().push("own/cut".to_owned());
        held.accounts.insert("ann".to_owned(), (8, 3));
    });
    assert_eq!(applied, [].into());
}

#[test]
fn rows_and_keys_are_seen() {
    assert_eq!(
        kinds(|_, held, _| held.rows.push(row())),
        [Kind::Doubled].into()
    );
    assert_eq!(
        kinds(|_, held, _| held.rows.clear()),
        [Kind::KeyApart].into()
    );
    assert_eq!(
        kinds(|_, held, _| drop(held.keys.remove(0))),
        [Kind::KeyApart].into()
    );
    let lost = kinds(|_, held, _| {
        held.rows.clear();
        held.keys.remove(0);
    });
    assert_eq!(lost, [Kind::Lost].into());
    let refused = kinds(|told, _, _| {
        told.cases[0].answer = refused("refused");
        told.restarted.clear();
    });
    assert_eq!(refused, [Kind::LostAnswer].into());
    let other = kinds(|told, _, _| {
        told.cases[0].answer = Answer::Done(json(&Receipt::Row(Row { stamp: 1, ..row() })));
        told.restarted.clear();
    });
    assert_eq!(other, [Kind::WrongReceipt].into());
    let unasked = kinds(|_, held, _| {
        held.rows.push(Row {
            name: "b".to_owned(),
            ..row()
        });
    });
    assert_eq!(unasked, [Kind::Unasked].into());
}

#[test]
fn balances_are_seen() {
    let gap = kinds(|_, held, _| held.history[1].line.version = 3);
    assert!(gap.contains(&Kind::BrokenHistory));
    let sum = kinds(|_, held, _| {
        held.accounts.insert("ann".to_owned(), (8, 2));
    });
    assert_eq!(sum, [Kind::BrokenHistory].into());
    let record = kinds(|_, held, _| drop(held.operations.as_mut().unwrap().pop()));
    assert_eq!(record, [Kind::BrokenHistory].into());
    let twice = kinds(|_, held, _| {
        let again = Change {
            key: "other/debit".to_owned(),
            line: line(3, -3, 7),
        };
        held.history.push(again);
        held.operations
            .as_mut()
            .unwrap()
            .push("other/debit".to_owned());
        held.accounts.insert("ann".to_owned(), (4, 3));
    });
    assert_eq!(twice, [Kind::Doubled].into());
    let refused = kinds(|told, _, _| told.cases[1].answer = refused("insufficient_funds"));
    assert_eq!(refused, [Kind::LostAnswer].into());
}

#[test]
fn the_world_outside_is_seen() {
    let zombie = kinds(|_, _, all| all.outside.get_mut("mail").unwrap().push(sent(8)));
    assert_eq!(zombie, [Kind::Fencing].into());
    let same = kinds(|_, _, all| all.outside.get_mut("mail").unwrap().insert(0, sent(5)));
    assert_eq!(same, [Kind::Fencing].into());
    let held = kinds(|_, held, _| {
        let state = KeyState::Leased { over: true };
        held.keys.push(KeyRow {
            key: "own/mail".to_owned(),
            state,
        });
    });
    assert_eq!(held, [Kind::LeftBehind].into());
}

#[test]
fn answers_are_seen() {
    let nobody = kinds(|told, _, _| told.deeds.clear());
    assert_eq!(nobody, [Kind::Unexplained].into());
    let silence = kinds(|told, _, _| {
        told.cases[4].answer = Answer::Silence {
            status: String::new(),
        }
    });
    assert_eq!(silence, [Kind::Stuck].into());
    let alarm = kinds(|told, _, _| told.cases[3].answer = refused("heuristic"));
    assert_eq!(alarm, [Kind::Alarm].into());
    let mismatch = kinds(|told, _, _| told.cases[3].answer = refused("mismatch"));
    assert_eq!(mismatch, [Kind::Unexplained].into());
    for told in [
        None,
        Some((200, "{}".to_owned())),
        Some((409, "cancelled".to_owned())),
    ] {
        let restart = kinds(|all, _, _| all.restarted[0].told = told);
        assert_eq!(restart, [Kind::WrongRestart].into());
    }
}

#[test]
fn what_is_left_behind_or_damaged_is_seen() {
    let left = kinds(|_, _, all| all.orders.left_behind.push("1 reservation".to_owned()));
    assert_eq!(left, [Kind::LeftBehind].into());
    let damage = kinds(|_, held, _| held.damage.push("no page 3".to_owned()));
    assert_eq!(damage, [Kind::Damage].into());
}
