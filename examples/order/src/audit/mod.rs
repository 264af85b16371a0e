//! What must hold in the three databases after the load, judged from them alone and from what the
//! clients got.
//!
//! Pure functions over [`evidence`], so that the audit itself can be tested: one that can't fail
//! proves nothing.

pub mod evidence;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use self::evidence::{Evidence, Row};
use crate::{
    control::Database,
    model::{Order, Placed},
};

/// The final answer that a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was placed.
    Placed(Placed),
    /// It was refused for good.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The message.
        message: String,
    },
    /// Nothing, for as long as the client had patience.
    Silence,
    /// No client waited for one: its invocation was killed.
    Abandoned,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// In one database, and not in another.
    Partial,
    /// There more than once.
    Doubled,
    /// The client got a yes, and it is nowhere.
    LostOrder,
    /// The client got a no, and it is there.
    LostAnswer,
    /// Another number of units than was ordered, or another customer or item.
    Wrong,
    /// The databases have what no client ordered.
    Unasked,
    /// The invocation never ended.
    Stuck,
    /// What is left and what was taken do not add up.
    NotConserved,
    /// Less than nothing is left.
    Negative,
    /// In doubt, staged, reserved or locked, after the sweep.
    LeftBehind,
    /// The sweeper met what it could not end.
    Sweep,
}

impl Kind {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Partial => "order in some databases only",
            Self::Doubled => "order placed twice",
            Self::LostOrder => "lost order (acknowledged, nowhere)",
            Self::LostAnswer => "lost answer (refused, though placed)",
            Self::Wrong => "order not as it was asked for",
            Self::Unasked => "order that nobody asked for",
            Self::Stuck => "stuck invocation",
            Self::NotConserved => "stock or quota not conserved",
            Self::Negative => "stock or quota below zero",
            Self::LeftBehind => "left in doubt or locked",
            Self::Sweep => "sweep without an end",
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

/// What there was before the load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    /// Units of each item.
    pub stock: BTreeMap<String, i64>,
    /// Units of each customer.
    pub quota: BTreeMap<String, i64>,
}

/// Everything that is wrong; empty is what the demo must show.
#[must_use]
pub fn anomalies(answers: &[(Order, Answer)], evidence: &Evidence, seeds: &Seeds) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let databases = [
        (Database::Orders, by_name(&evidence.orders)),
        (Database::Stock, by_name(&evidence.shipments)),
        (Database::Quota, by_name(&evidence.uses)),
    ];
    for (order, answer) in answers {
        let rows = databases
            .each_ref()
            .map(|(database, rows)| (*database, rows.get(order.name.as_str())));
        one_order(order, answer, &rows, &mut found);
    }
    let asked: BTreeSet<&str> = answers
        .iter()
        .map(|(order, _)| order.name.as_str())
        .collect();
    for (database, rows) in &databases {
        for name in rows.keys().filter(|name| !asked.contains(**name)) {
            let what = format!("{name} in {}", database.name());
            found.push(Anomaly::new(Kind::Unasked, what));
        }
    }
    let of_item = |row: &Row| row.item.clone();
    let of_customer = |row: &Row| row.customer.clone();
    conserved(
        &seeds.stock,
        &evidence.stock,
        &evidence.shipments,
        of_item,
        &mut found,
    );
    conserved(
        &seeds.quota,
        &evidence.quota,
        &evidence.uses,
        of_customer,
        &mut found,
    );
    for left in &evidence.left_behind {
        found.push(Anomaly::new(Kind::LeftBehind, left));
    }
    found.sort_by(|one, other| (one.kind, &one.what).cmp(&(other.kind, &other.what)));
    found
}

fn by_name(rows: &[Row]) -> BTreeMap<&str, Vec<&Row>> {
    let mut named: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        named.entry(&row.name).or_default().push(row);
    }
    named
}

/// An order is in all three, once, as it was asked for, or in none; and the client learned which.
fn one_order(
    order: &Order,
    answer: &Answer,
    rows: &[(Database, Option<&Vec<&Row>>); 3],
    found: &mut Vec<Anomaly>,
) {
    let name = &order.name;
    let mut push = |kind, what| found.push(Anomaly { kind, what });
    let there: Vec<_> = rows
        .iter()
        .filter(|(_, rows)| rows.is_some())
        .map(|(database, _)| database.name())
        .collect();
    for (database, rows) in rows.iter().filter_map(|(at, rows)| Some((at, (*rows)?))) {
        let database = database.name();
        if rows.len() > 1 {
            let what = format!("{name} is in {database} {} times", rows.len());
            push(Kind::Doubled, what);
        }
        if let Some(row) = rows.iter().find(|row| !row.is_of(order)) {
            push(Kind::Wrong, format!("{order:?} is {row:?} in {database}"));
        }
    }
    if !there.is_empty() && there.len() < rows.len() {
        push(
            Kind::Partial,
            format!("{name} is in {}", there.join(" and ")),
        );
    }
    match answer {
        Answer::Placed(placed) => {
            if there.is_empty() {
                push(Kind::LostOrder, name.clone());
            }
            if (&placed.name, placed.units) != (name, order.units) {
                push(
                    Kind::Wrong,
                    format!("{placed:?} is the answer to {order:?}"),
                );
            }
        }
        Answer::Refused { status, message } if !there.is_empty() => {
            push(Kind::LostAnswer, format!("{name}: {status} {message}"));
        }
        Answer::Refused { .. } | Answer::Abandoned => {}
        Answer::Silence => push(Kind::Stuck, format!("{name}, in {there:?}")),
    }
}

/// What is left is what there was, less what was taken, and never below zero.
fn conserved(
    before: &BTreeMap<String, i64>,
    left: &BTreeMap<String, i64>,
    taken: &[Row],
    owner: impl Fn(&Row) -> Option<String>,
    found: &mut Vec<Anomaly>,
) {
    let mut expected = before.clone();
    for row in taken {
        *expected.entry(owner(row).unwrap_or_default()).or_default() -= row.units;
    }
    for (name, units) in &expected {
        let left = left.get(name);
        if left != Some(units) {
            let what = format!("{name}: {left:?} left, and it should be {units}");
            found.push(Anomaly::new(Kind::NotConserved, what));
        }
    }
    for (name, units) in left {
        if *units < 0 {
            found.push(Anomaly::new(Kind::Negative, format!("{name}: {units}")));
        }
        if !expected.contains_key(name) {
            found.push(Anomaly::new(Kind::NotConserved, format!("{name} is new")));
        }
    }
}

#[cfg(test)]
mod tests;
