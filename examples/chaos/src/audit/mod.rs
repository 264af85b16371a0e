//! What must hold after all has come to rest, judged from the databases and from what the clients
//! got.
//!
//! Pure functions over [`evidence`], so that the audit itself can be tested: one that can't fail
//! proves nothing.

mod balances;
mod effects;
pub mod evidence;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use exactly_once::{ErrorKind, engine::Refusal};
use exactly_once_order::audit as orders;

use self::evidence::Evidence;
use crate::{
    driver::operator::{Deed, Deeds},
    model::{Operation, Receipt, What, name_in},
};

/// The final answer that a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done; this is the receipt, as it came.
    Done(String),
    /// It was refused for good.
    Refused(Refusal),
    /// Its invocation was ended from outside.
    CutShort {
        /// The HTTP status.
        status: u16,
        /// The message.
        text: String,
    },
    /// Nothing, for as long as the client had patience.
    Silence {
        /// What Restate said of the invocation then.
        status: String,
    },
}

/// An operation and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What was asked.
    pub operation: Operation,
    /// What was answered.
    pub answer: Answer,
}

/// What a restarted invocation was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarted {
    /// The operation.
    pub name: String,
    /// Status and body; nothing if there was none.
    pub told: Option<(u16, String)>,
}

/// All that clients got, and what was done to their invocations.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Every operation.
    pub cases: Vec<Case>,
    /// Deeds, by operation.
    pub deeds: Deeds,
    /// Those that were restarted.
    pub restarted: Vec<Restarted>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Done more than once.
    Doubled,
    /// The client got a yes, and nothing was done.
    Lost,
    /// The client got a no, and it was done.
    LostAnswer,
    /// The client got something else than what is there.
    WrongReceipt,
    /// A restarted invocation got something else than the first.
    WrongRestart,
    /// There is what no client asked for, or in another store than asked.
    Unasked,
    /// A key without its effect, or an effect without its key.
    KeyApart,
    /// Balance, deltas and versions do not agree.
    BrokenHistory,
    /// The three stores do not agree on an order.
    Order,
    /// An invocation that was ended without an order to.
    Unexplained,
    /// An invocation that never ended.
    Stuck,
    /// The store itself raised an alarm.
    Alarm,
    /// A zombie was let through, or the last token is not the holder's.
    Fencing,
    /// In doubt, locked, or open.
    LeftBehind,
    /// The sweeper met what it could not end.
    Sweep,
    /// A database is damaged.
    Damage,
}

impl Kind {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Doubled => "doubled effect",
            Self::Lost => "lost effect (acknowledged, not applied)",
            Self::LostAnswer => "lost answer (refused, though applied)",
            Self::WrongReceipt => "wrong receipt",
            Self::WrongRestart => "another answer after a restart",
            Self::Unasked => "effect that nobody asked for",
            Self::KeyApart => "key and effect apart",
            Self::BrokenHistory => "broken history",
            Self::Order => "order not the same in all stores",
            Self::Unexplained => "invocation ended by nobody",
            Self::Stuck => "stuck invocation",
            Self::Alarm => "alarm of a store",
            Self::Fencing => "fencing broken",
            Self::LeftBehind => "left in doubt, locked or open",
            Self::Sweep => "sweep without an end",
            Self::Damage => "damaged database",
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

impl Anomaly {
    /// Of this kind, with details.
    #[must_use]
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.words(), self.what)
    }
}

/// How often an operation must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Once,
    Never,
    AtMostOnce,
}

impl Told {
    fn ended_from_outside(&self, name: &str) -> bool {
        let deeds = self.deeds.get(name);
        deeds.is_some_and(|deeds| {
            deeds
                .iter()
                .any(|deed| matches!(deed, Deed::Cancel | Deed::Kill))
        })
    }

    fn times(answer: &Answer) -> Times {
        match answer {
            Answer::Done(_) => Times::Once,
            Answer::Refused(_) => Times::Never,
            Answer::CutShort { .. } | Answer::Silence { .. } => Times::AtMostOnce,
        }
    }
}

/// Everything that is wrong; empty is what chaos must show.
#[must_use]
pub fn anomalies(told: &Told, evidence: &Evidence, seeds: &orders::Seeds) -> Vec<Anomaly> {
    let mut found = Vec::new();
    answers(told, &mut found);
    restarts(told, &mut found);
    effects::check(told, evidence, &mut found);
    balances::check(told, evidence, &mut found);
    unasked(told, evidence, &mut found);
    all_orders(told, evidence, seeds, &mut found);
    for held in evidence.stores.values() {
        let damage = held.damage.iter();
        found.extend(damage.map(|what| Anomaly::new(Kind::Damage, what)));
    }
    found.sort_by(|one, other| (one.kind, &one.what).cmp(&(other.kind, &other.what)));
    found
}

/// Answers that must not be, whatever is in the databases.
fn answers(told: &Told, found: &mut Vec<Anomaly>) {
    for Case { operation, answer } in &told.cases {
        let name = &operation.name;
        let kind = match answer {
            Answer::Refused(refusal)
                if matches!(refusal.kind(), ErrorKind::Heuristic | ErrorKind::Lost) =>
            {
                Kind::Alarm
            }
            // A key belongs to one request, and nothing here is malformed.
            Answer::Refused(refusal)
                if matches!(
                    refusal.kind(),
                    ErrorKind::Mismatch | ErrorKind::Invalid | ErrorKind::Fenced
                ) =>
            {
                Kind::Unexplained
            }
            Answer::CutShort { .. } if !told.ended_from_outside(name) => Kind::Unexplained,
            Answer::Silence { .. } => Kind::Stuck,
            _ => continue,
        };
        found.push(Anomaly::new(kind, format!("{operation:?}: {answer:?}")));
    }
}

/// Restarted from its last effect, an invocation gives the same answer, byte for byte.
fn restarts(told: &Told, found: &mut Vec<Anomaly>) {
    let first: BTreeMap<&str, &Answer> = told
        .cases
        .iter()
        .map(|case| (case.operation.name.as_str(), &case.answer))
        .collect();
    for restarted in &told.restarted {
        let first = first.get(restarted.name.as_str());
        let same = match (first, &restarted.told) {
            (Some(Answer::Done(one)), Some((200, other))) => one == other,
            _ => false,
        };
        if !same {
            let what = format!("{}: {first:?}, then {:?}", restarted.name, restarted.told);
            found.push(Anomaly::new(Kind::WrongRestart, what));
        }
    }
}

/// Nothing is there but what was asked, where it was asked.
fn unasked(told: &Told, evidence: &Evidence, found: &mut Vec<Anomaly>) {
    let asked: BTreeSet<_> = told
        .cases
        .iter()
        .map(|case| (case.operation.place, case.operation.name.as_str()))
        .collect();
    for (place, held) in &evidence.stores {
        let keys = held.keys.iter().map(|row| &row.key);
        let changes = held.history.iter().map(|change| &change.key);
        let operations = held.operations.iter().flatten();
        let rows = held.rows.iter().map(|row| Some(row.name.as_str()));
        let names = keys.chain(changes).chain(operations);
        let names = names.filter(|key| !key.starts_with("open/"));
        for name in names.map(|key| name_in(key)).chain(rows) {
            if !name.is_some_and(|name| asked.contains(&(*place, name))) {
                let what = format!("{name:?} in {place:?}");
                found.push(Anomaly::new(Kind::Unasked, what));
            }
        }
    }
}

/// The orders, by the audit of the order service.
fn all_orders(told: &Told, evidence: &Evidence, seeds: &orders::Seeds, found: &mut Vec<Anomaly>) {
    let mut asked = Vec::new();
    for Case { operation, answer } in &told.cases {
        let What::Order(order) = &operation.what else {
            continue;
        };
        let answer = match answer {
            Answer::Done(text) => match serde_json::from_str(text) {
                Ok(Receipt::Placed(placed)) => orders::Answer::Placed(placed),
                _ => {
                    let what = format!("{operation:?}: {text}");
                    found.push(Anomaly::new(Kind::WrongReceipt, what));
                    continue;
                }
            },
            Answer::Refused(refusal) => orders::Answer::Refused {
                status: refusal.http_status(),
                message: refusal.message().to_owned(),
            },
            Answer::CutShort { .. } | Answer::Silence { .. } => orders::Answer::Abandoned,
        };
        asked.push((order.clone(), answer));
    }
    for anomaly in orders::anomalies(&asked, &evidence.orders, seeds) {
        let kind = match anomaly.kind {
            orders::Kind::LeftBehind => Kind::LeftBehind,
            _ => Kind::Order,
        };
        found.push(Anomaly::new(kind, anomaly.to_string()));
    }
}

#[cfg(test)]
mod tests;
