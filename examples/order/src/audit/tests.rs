//! Goal: the audit sees what it is there for. Method: a sound state, and one wrong thing each.

use super::*;

fn order(name: &str, units: i64) -> Order {
    Order {
        name: name.to_owned(),
        customer: "ann".to_owned(),
        item: "tea".to_owned(),
        units,
    }
}

fn row(name: &str, units: i64) -> Row {
    Row {
        name: name.to_owned(),
        customer: Some("ann".to_owned()),
        item: Some("tea".to_owned()),
        units,
    }
}

fn placed(name: &str, units: i64) -> Answer {
    Answer::Placed(Placed {
        name: name.to_owned(),
        units,
    })
}

fn refused() -> Answer {
    Answer::Refused {
        status: 422,
        message: "out of stock".to_owned(),
    }
}

/// One order placed, one refused.
fn sound() -> (Vec<(Order, Answer)>, Evidence, Seeds) {
    let answers = vec![(order("a", 3), placed("a", 3)), (order("b", 90), refused())];
    let evidence = Evidence {
        orders: vec![row("a", 3)],
        shipments: vec![row("a", 3)],
        uses: vec![row("a", 3)],
        stock: [("tea".to_owned(), 7)].into(),
        quota: [("ann".to_owned(), 17)].into(),
        left_behind: Vec::new(),
    };
    let seeds = Seeds {
        stock: [("tea".to_owned(), 10)].into(),
        quota: [("ann".to_owned(), 20)].into(),
    };
    (answers, evidence, seeds)
}

fn kinds(change: impl FnOnce(&mut Vec<(Order, Answer)>, &mut Evidence)) -> BTreeSet<Kind> {
    let (mut answers, mut evidence, seeds) = sound();
    change(&mut answers, &mut evidence);
    let found = anomalies(&answers, &evidence, &seeds);
    found.into_iter().map(|anomaly| anomaly.kind).collect()
}

#[test]
fn what_is_sound_passes() {
    assert_eq!(kinds(|_, _| ()), BTreeSet::new());
}

#[test]
fn an_order_in_two_of_three_is_seen() {
    let found = kinds(|_, evidence| evidence.orders.clear());
    assert_eq!(found, [Kind::Partial].into());
    let found = kinds(|_, evidence| evidence.shipments.clear());
    assert_eq!(found, [Kind::Partial, Kind::NotConserved].into());
    let found = kinds(|_, evidence| evidence.uses.clear());
    assert_eq!(found, [Kind::Partial, Kind::NotConserved].into());
}

#[test]
fn an_order_that_is_there_twice_is_seen() {
    let found = kinds(|_, evidence| evidence.orders.push(row("a", 3)));
    assert_eq!(found, [Kind::Doubled].into());
}

#[test]
fn answers_that_are_not_true_are_seen() {
    let found = kinds(|answers, _| answers[0].1 = refused());
    assert_eq!(found, [Kind::LostAnswer].into());
    let found = kinds(|answers, _| answers[1].1 = placed("b", 90));
    assert_eq!(found, [Kind::LostOrder].into());
    let found = kinds(|answers, _| answers[0].1 = placed("a", 4));
    assert_eq!(found, [Kind::Wrong].into());
    let found = kinds(|answers, _| answers[1].1 = Answer::Silence);
    assert_eq!(found, [Kind::Stuck].into());
    let found = kinds(|answers, _| drop(answers.remove(0)));
    assert_eq!(found, [Kind::Unasked].into());
}

#[test]
fn units_that_do_not_add_up_are_seen() {
    let found = kinds(|_, evidence| evidence.orders[0].units = 4);
    assert_eq!(found, [Kind::Wrong].into());
    let found = kinds(|_, evidence| {
        evidence.stock.insert("tea".to_owned(), -1);
    });
    assert_eq!(found, [Kind::NotConserved, Kind::Negative].into());
    let found = kinds(|_, evidence| {
        evidence.quota.insert("bob".to_owned(), 1);
    });
    assert_eq!(found, [Kind::NotConserved].into());
}

#[test]
fn what_is_left_behind_is_seen() {
    let found = kinds(|_, evidence| evidence.left_behind.push("1 reservation".to_owned()));
    assert_eq!(found, [Kind::LeftBehind].into());
}
