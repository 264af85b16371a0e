//! What must hold in the databases, judged from what the clients got and what is there.
//!
//! Pure functions over [`Evidence`], so that the audit itself can be tested: one that can't fail proves
//! nothing.

use std::{collections::HashSet, fmt};

use crate::{
    evidence::Evidence,
    load::ITEMS,
    model::{Answer, How, Receipt, Request},
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Done more than once.
    DoubledEffect,
    /// The client got a yes, and it is not there.
    LostEffect,
    /// One of two databases has it.
    HalfDone,
    /// The client got something else than what is in the database.
    WrongReceipt,
    /// The invocation never ended, or failed.
    Stuck,
    /// The database has what no client asked for.
    Unasked,
    /// The pieces that are left and those that were taken do not add up.
    StockChanged,
    /// A transaction is left prepared and undecided.
    InDoubt,
}

impl Kind {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::DoubledEffect => "doubled effect",
            Self::LostEffect => "lost effect (acknowledged, not applied)",
            Self::HalfDone => "half done",
            Self::WrongReceipt => "wrong receipt",
            Self::Stuck => "stuck or failed invocation",
            Self::Unasked => "effect without a request",
            Self::StockChanged => "stock does not add up",
            Self::InDoubt => "transaction in doubt",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What is wrong.
    pub kind: Kind,
    /// Where, in detail.
    pub what: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.words(), self.what)
    }
}

/// Everything that is wrong; empty is what the demo must show.
#[must_use]
pub fn anomalies(answers: &[(Request, Answer)], evidence: &Evidence, pieces: i64) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut push = |kind, what: String| found.push(Anomaly { kind, what });
    for (request, answer) in answers {
        one(request, answer, evidence, &mut push);
    }
    let asked: HashSet<_> = answers
        .iter()
        .map(|(request, _)| request.order.order.as_str())
        .collect();
    let there = (evidence.payments.keys())
        .chain(evidence.refunds.keys())
        .chain(evidence.taken.keys());
    for order in there.filter(|order| !asked.contains(order.as_str())) {
        push(Kind::Unasked, order.clone());
    }
    for item in ITEMS {
        let all = evidence.taken.values().flatten();
        let taken = all.filter(|taken| *taken == item).count();
        let left = evidence.pieces.get(item).copied().unwrap_or_default();
        if left < 0 || left + i64::try_from(taken).unwrap_or(i64::MAX) != pieces {
            let what = format!("{item}: {pieces} before, {taken} taken, {left} left");
            push(Kind::StockChanged, what);
        }
    }
    if evidence.in_doubt > 0 {
        push(Kind::InDoubt, format!("{} of them", evidence.in_doubt));
    }
    found.sort_by(|one, other| (one.kind, &one.what).cmp(&(other.kind, &other.what)));
    found
}

fn one(
    request: &Request,
    answer: &Answer,
    evidence: &Evidence,
    push: &mut impl FnMut(Kind, String),
) {
    let order = request.order.order.as_str();
    let payments = evidence.payments.get(order).map_or(&[][..], Vec::as_slice);
    let refunds = evidence.refunds.get(order).map_or(&[][..], Vec::as_slice);
    let taken = evidence.taken.get(order).map_or(&[][..], Vec::as_slice);
    for (what, rows) in [
        ("payment", payments.len()),
        ("refund", refunds.len()),
        ("piece", taken.len()),
    ] {
        if rows > 1 {
            push(
                Kind::DoubledEffect,
                format!("{order}: {what}, {rows} times"),
            );
        }
    }
    let Answer::Done(receipt) = answer else {
        push(Kind::Stuck, format!("{order}: {answer:?}"));
        return;
    };
    let there = (
        payments.len().min(1),
        refunds.len().min(1),
        taken.len().min(1),
    );
    let wanted = match (request.how, receipt.taken) {
        (_, true) => (1, 0, 1),
        (How::Steps, false) => (1, 1, 0),
        (How::AtOnce, false) => (0, 0, 0),
    };
    if there != wanted {
        let kind = match there {
            (0, _, 0) => Kind::LostEffect,
            _ => Kind::HalfDone,
        };
        push(
            kind,
            format!("{order}: {receipt:?}, and there are {there:?} of {wanted:?}"),
        );
    }
    for payment in payments {
        let as_asked =
            payment.cents == request.order.cents && payment.language == request.language.word();
        if !as_asked {
            push(Kind::WrongReceipt, format!("{order}: {payment:?}"));
        }
    }
    if let Receipt {
        payment: Some(id), ..
    } = receipt
        && !payments.iter().any(|payment| payment.id == *id)
    {
        let what = format!("{order}: answered payment {id}, there is {payments:?}");
        push(Kind::WrongReceipt, what);
    }
    if taken.iter().any(|item| *item != request.order.item) {
        push(Kind::WrongReceipt, format!("{order}: took {taken:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evidence::Payment,
        model::{Language, Order},
    };

    fn request(how: How) -> Request {
        Request {
            language: Language::Ts,
            how,
            order: Order {
                order: "a".to_owned(),
                item: "apple".to_owned(),
                cents: 5,
            },
        }
    }

    fn done(payment: Option<i64>, taken: bool) -> Answer {
        Answer::Done(Receipt { payment, taken })
    }

    /// One order that was paid and taken, as it must be.
    fn evidence() -> Evidence {
        let payment = Payment {
            id: 1,
            cents: 5,
            language: "ts".to_owned(),
        };
        Evidence {
            payments: [("a".to_owned(), vec![payment])].into(),
            taken: [("a".to_owned(), vec!["apple".to_owned()])].into(),
            pieces: ITEMS
                .map(|item| (item.to_owned(), if item == "apple" { 9 } else { 10 }))
                .into(),
            ..Evidence::default()
        }
    }

    fn kinds(how: How, answer: Answer, change: impl FnOnce(&mut Evidence)) -> Vec<Kind> {
        let mut evidence = evidence();
        change(&mut evidence);
        let found = anomalies(&[(request(how), answer)], &evidence, 10);
        found.into_iter().map(|anomaly| anomaly.kind).collect()
    }

    #[test]
    fn what_is_as_answered_is_no_anomaly() {
        assert_eq!(kinds(How::Steps, done(Some(1), true), |_| {}), []);
        assert_eq!(kinds(How::AtOnce, done(None, true), |_| {}), []);
    }

    #[test]
    fn each_kind_is_found() {
        let steps = |change: fn(&mut Evidence)| kinds(How::Steps, done(Some(1), true), change);
        let doubled = steps(|found| {
            let row = found.payments["a"][0].clone();
            found.payments.entry("a".to_owned()).or_default().push(row);
        });
        assert_eq!(doubled, [Kind::DoubledEffect]);
        let lost = steps(|found| {
            found.payments.clear();
            found.taken.clear();
            found.pieces.insert("apple".to_owned(), 10);
        });
        assert_eq!(lost, [Kind::LostEffect, Kind::WrongReceipt]);
        assert_eq!(steps(|found| found.in_doubt = 1), [Kind::InDoubt]);
        let stock = steps(|found| {
            found.pieces.insert("apple".to_owned(), 8);
        });
        assert_eq!(stock, [Kind::StockChanged]);
        let unasked = steps(|found| {
            found.refunds.insert("b".to_owned(), vec![1]);
        });
        assert_eq!(unasked, [Kind::Unasked]);
        let wrong = kinds(How::Steps, done(Some(2), true), |_| {});
        assert_eq!(wrong, [Kind::WrongReceipt]);
        let half = kinds(How::AtOnce, done(None, false), |_| {});
        assert_eq!(half, [Kind::HalfDone]);
        assert_eq!(kinds(How::Steps, Answer::Silence, |_| {}), [Kind::Stuck]);
    }
}
