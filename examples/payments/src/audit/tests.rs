//! Goal: the audit can fail. Method: one run that is in order, and then each way to spoil it.

use super::{
    evidence::{Change, Effect, Evidence},
    *,
};
use crate::model::MERCHANT;

fn effect(name: &str, account: &str, delta: i64) -> Effect {
    Effect {
        name: name.into(),
        account: account.into(),
        delta,
    }
}

fn change(account: &str, version: i64, key: &str, before: i64, delta: i64) -> Change {
    let (account, key) = (account.to_owned(), key.to_owned());
    Change {
        account,
        version,
        key,
        delta,
        before,
        after: before + delta,
    }
}

/// Alice pays 30 and pays Bob 20; a second payment is refused.
fn in_order() -> (Vec<(Request, Answer)>, Evidence) {
    let charge = |payment: &str| {
        Request::Charge(Charge {
            payment: payment.into(),
            account: "alice".into(),
            amount: 30,
        })
    };
    let order = TransferOrder {
        order: "t".into(),
        from: "alice".into(),
        to: "bob".into(),
        amount: 20,
    };
    let done = |name: &str, delta, left, version| {
        Answer::Done(Receipt {
            name: name.into(),
            account: "alice".into(),
            delta,
            left,
            version,
        })
    };
    let no = Answer::Refused {
        status: 402,
        message: "no".into(),
    };
    let answers = vec![
        (charge("p"), done("p", -30, 70, 2)),
        (charge("q"), no),
        (Request::Transfer(order), done("t", -20, 50, 3)),
    ];
    let balances = [("alice", 50), ("bob", 20), (MERCHANT, 30)];
    let evidence = Evidence {
        payments: vec![effect("p", "alice", -30)],
        refunds: Vec::new(),
        transfers: vec![effect("t", "alice", -20)],
        balances: balances
            .map(|(name, amount)| (name.to_owned(), amount))
            .into(),
        history: Some(vec![
            change("alice", 1, "open", 0, 100),
            change("alice", 2, "debit/p", 100, -30),
            change("alice", 3, "transfer/t", 70, -20),
            change("bob", 1, "transfer/t", 0, 20),
            change(MERCHANT, 1, "credit", 0, 30),
        ]),
        in_doubt: 0,
    };
    (answers, evidence)
}

/// The kinds that are found after the run was spoiled.
fn found(spoil: impl FnOnce(&mut Vec<(Request, Answer)>, &mut Evidence)) -> Vec<Kind> {
    let (mut answers, mut evidence) = in_order();
    spoil(&mut answers, &mut evidence);
    let mut kinds: Vec<_> = anomalies(&answers, &evidence, 100)
        .into_iter()
        .map(|anomaly| anomaly.kind)
        .collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_run_in_order_has_none() {
    assert_eq!(found(|_, _| {}), []);
}

#[test]
fn each_way_to_spoil_it_is_found() {
    let no = || Answer::Refused {
        status: 409,
        message: "conflict".into(),
    };
    assert_eq!(found(|answers, _| answers[0].1 = no()), [Kind::LostAnswer]);
    assert_eq!(
        found(|answers, _| answers[2].1 = Answer::Silence),
        [Kind::Stuck]
    );
    assert_eq!(found(|_, evidence| evidence.in_doubt = 1), [Kind::InDoubt]);
    assert_eq!(found(|answers, _| drop(answers.remove(2))), [Kind::Unasked]);
    let doubled = found(|_, evidence| evidence.payments.push(effect("p", "alice", -30)));
    assert!(doubled.contains(&Kind::DoubledEffect), "{doubled:?}");
    let lost = found(|_, evidence| drop(evidence.transfers.pop()));
    assert_eq!(lost, [Kind::LostEffect]);
    let sum = found(|_, evidence| *evidence.balances.get_mut("bob").unwrap() += 1);
    assert_eq!(sum, [Kind::SumChanged, Kind::BrokenHistory]);
    let gap = found(|_, evidence| drop(evidence.history.as_mut().unwrap().remove(0)));
    assert_eq!(gap, [Kind::BrokenHistory]);
    let credit_twice = found(|_, evidence| {
        let history = evidence.history.as_mut().unwrap();
        history.push(change(MERCHANT, 2, "credit again", 30, 30));
        *evidence.balances.get_mut(MERCHANT).unwrap() += 30;
    });
    assert_eq!(credit_twice, [Kind::DoubledEffect, Kind::SumChanged]);
    let receipt = found(|answers, _| {
        let Answer::Done(receipt) = &mut answers[0].1 else {
            panic!("it is done")
        };
        receipt.left = 71;
    });
    assert_eq!(receipt, [Kind::WrongReceipt]);
}
