//! What must hold in the database after the load, judged from the database alone and from what the
//! clients got.
//!
//! Pure functions over [`evidence`], so that the audit itself can be tested: one that can't fail
//! proves nothing.

pub mod evidence;
mod history;

use std::{collections::HashMap, fmt};

use self::evidence::{Effect, Evidence};
use crate::model::{Charge, Receipt, Refund, TransferOrder};

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A payment.
    Charge(Charge),
    /// A payment back.
    Refund(Refund),
    /// A transfer.
    Transfer(TransferOrder),
}

impl Request {
    /// What its effect is called in the database.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Charge(charge) => &charge.payment,
            Self::Refund(refund) => &refund.request,
            Self::Transfer(order) => &order.order,
        }
    }
}

/// The final answer that a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done(Receipt),
    /// It was refused for good.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The message.
        message: String,
    },
    /// Nothing, for as long as the client had patience.
    Silence,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The client got a no, and it was done.
    LostAnswer,
    /// The invocation never ended.
    Stuck,
    /// Done more than once.
    DoubledEffect,
    /// The client got a yes, and nothing was done.
    LostEffect,
    /// The client got something else than what is in the database.
    WrongReceipt,
    /// The database has what no client asked for.
    Unasked,
    /// The sum of all balances has changed.
    SumChanged,
    /// Balance, deltas and versions of an account do not agree.
    BrokenHistory,
    /// A transaction is left prepared and undecided.
    InDoubt,
}

impl Kind {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::LostAnswer => "lost answer (refused, though applied)",
            Self::Stuck => "stuck invocation",
            Self::DoubledEffect => "doubled effect",
            Self::LostEffect => "lost effect (acknowledged, not applied)",
            Self::WrongReceipt => "wrong receipt",
            Self::Unasked => "effect that nobody asked for",
            Self::SumChanged => "sum of the balances changed",
            Self::BrokenHistory => "broken history",
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
pub fn anomalies(
    answers: &[(Request, Answer)],
    evidence: &Evidence,
    sum_before: i128,
) -> Vec<Anomaly> {
    let mut found = Vec::new();
    each_answer(answers, evidence, &mut found);
    if evidence.sum() != sum_before {
        let what = format!("{sum_before} before, {} after", evidence.sum());
        found.push(Anomaly {
            kind: Kind::SumChanged,
            what,
        });
    }
    if evidence.in_doubt > 0 {
        let what = format!("{} prepared transactions", evidence.in_doubt);
        found.push(Anomaly {
            kind: Kind::InDoubt,
            what,
        });
    }
    if let Some(changes) = &evidence.history {
        history::check(changes, answers, evidence, &mut found);
    }
    found.sort_by(|one, other| (one.kind, &one.what).cmp(&(other.kind, &other.what)));
    found
}

/// The effects of one kind of request, by name.
fn by_name(effects: &[Effect]) -> HashMap<&str, Vec<&Effect>> {
    let mut named: HashMap<&str, Vec<&Effect>> = HashMap::new();
    for effect in effects {
        named.entry(&effect.name).or_default().push(effect);
    }
    named
}

/// Each request has the effect that its answer says, and nothing else is there.
fn each_answer(answers: &[(Request, Answer)], evidence: &Evidence, found: &mut Vec<Anomaly>) {
    let mut payments = by_name(&evidence.payments);
    let mut refunds = by_name(&evidence.refunds);
    let mut transfers = by_name(&evidence.transfers);
    for (request, answer) in answers {
        let table = match request {
            Request::Charge(_) => &mut payments,
            Request::Refund(_) => &mut refunds,
            Request::Transfer(_) => &mut transfers,
        };
        let effects = table.remove(request.name()).unwrap_or_default();
        one_answer(request, answer, &effects, found);
    }
    for name in payments
        .keys()
        .chain(refunds.keys())
        .chain(transfers.keys())
    {
        found.push(Anomaly {
            kind: Kind::Unasked,
            what: (*name).to_owned(),
        });
    }
}

fn one_answer(request: &Request, answer: &Answer, effects: &[&Effect], found: &mut Vec<Anomaly>) {
    let name = request.name();
    let mut push = |kind, what| found.push(Anomaly { kind, what });
    if effects.len() > 1 {
        push(
            Kind::DoubledEffect,
            format!("{name} is there {} times", effects.len()),
        );
    }
    match (answer, effects.first()) {
        (Answer::Done(_), None) => push(Kind::LostEffect, name.to_owned()),
        (Answer::Done(receipt), Some(effect)) => {
            let told = (&receipt.name, &receipt.account, receipt.delta);
            if told != (&effect.name, &effect.account, effect.delta) {
                push(Kind::WrongReceipt, format!("{receipt:?} for {effect:?}"));
            }
        }
        (Answer::Refused { status, message }, Some(_)) => {
            push(Kind::LostAnswer, format!("{name}: {status} {message}"));
        }
        (Answer::Refused { .. }, None) => {}
        (Answer::Silence, effect) => {
            let state = if effect.is_some() {
                "applied"
            } else {
                "not applied"
            };
            push(Kind::Stuck, format!("{name}, {state}"));
        }
    }
}

#[cfg(test)]
mod tests;
