//! What must hold in the files at rest, read with plain SQL and not through any store.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
};

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags, types::FromSql};

use crate::{
    model::{Answer, MERCHANT, Order, Recipe},
    till::{BANK, WAREHOUSE},
};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The workflow did not end, or failed.
    Stuck,
    /// Done more than once.
    DoubledEffect,
    /// Reported as done, and not there.
    LostEffect,
    /// Refused, and there all the same.
    LostAnswer,
    /// The answer is not what the row says.
    WrongReceipt,
    /// One of two databases has it, the other one has not.
    HalfAnOrder,
    /// Balances and payments do not add up.
    WrongBalance,
    /// Versions of an account have a gap, or its deltas another sum than its balance.
    BrokenHistory,
    /// A transaction is prepared and undecided.
    InDoubt,
}

impl Kind {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Stuck => "stuck workflow",
            Self::DoubledEffect => "doubled effect",
            Self::LostEffect => "lost effect (acknowledged, not applied)",
            Self::LostAnswer => "lost answer (refused, though applied)",
            Self::WrongReceipt => "wrong receipt",
            Self::HalfAnOrder => "order in one of two databases",
            Self::WrongBalance => "balances that do not add up",
            Self::BrokenHistory => "broken history",
            Self::InDoubt => "transaction in doubt",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What kind of thing.
    pub kind: Kind,
    /// Where.
    pub what: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.words(), self.what)
    }
}

/// An order, and how its workflow ended; the text is why it did not.
pub type Asked = (Order, Result<Answer, String>);

/// Account, version, balance before, delta, balance after.
type Line = (String, i64, i64, i64, i64);

/// What the files hold.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Payments by order: the row's number and the cents.
    pub payments: HashMap<String, Vec<(i64, i64)>>,
    /// Invoices, in the bank's file, and parcels, in the warehouse's, by order.
    pub shipped: [HashMap<String, u64>; 2],
    /// Every account's balance.
    pub balances: BTreeMap<String, i64>,
    /// The history of the accounts, in order; of the recipe that keeps one.
    history: Vec<Line>,
    /// Transactions that are prepared and undecided, in both files.
    pub in_doubt: i64,
}

impl Evidence {
    /// How many effects there are.
    #[must_use]
    pub fn effects(&self) -> u64 {
        let payments: usize = self.payments.values().map(Vec::len).sum();
        let shipped: u64 = self.shipped.iter().flat_map(HashMap::values).sum();
        payments as u64 + shipped
    }

    /// The sum of all balances.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.balances.values().sum()
    }
}

/// Reads both files.
///
/// # Errors
/// As SQLite has them.
pub fn read(folder: &Path, recipe: Recipe) -> Result<Evidence> {
    let open = |file: &str| {
        Connection::open_with_flags(folder.join(file), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .with_context(|| format!("the audit can't open {file}"))
    };
    let (bank, warehouse) = (open(BANK)?, open(WAREHOUSE)?);
    let mut evidence = Evidence::default();
    let sql = "SELECT order_name, number, cents FROM payment";
    for (order, number, cents) in rows::<String, i64, i64>(&bank, sql)? {
        evidence
            .payments
            .entry(order)
            .or_default()
            .push((number, cents));
    }
    let tables = [(&bank, "invoice"), (&warehouse, "parcel")];
    for ((file, table), shipped) in tables.into_iter().zip(&mut evidence.shipped) {
        let sql = format!("SELECT order_name, count(*), 0 FROM {table} GROUP BY order_name");
        for (order, count, _) in rows::<String, i64, i64>(file, &sql)? {
            shipped.insert(order, count.unsigned_abs());
        }
    }
    let sql = match recipe {
        Recipe::Ours => "SELECT account, amount, 0 FROM exactly_once_account",
        Recipe::Naive => "SELECT name, cents, 0 FROM account",
    };
    for (account, amount, _) in rows::<String, i64, i64>(&bank, sql)? {
        evidence.balances.insert(account, amount);
    }
    if recipe == Recipe::Ours {
        evidence.history = history(&bank)?;
    }
    for file in [&bank, &warehouse] {
        let prepared = "SELECT count(*) FROM exactly_once_outcome WHERE state = 'prepared'";
        evidence.in_doubt += file.query_row(prepared, [], |row| row.get::<_, i64>(0))?;
    }
    Ok(evidence)
}

fn history(bank: &Connection) -> Result<Vec<Line>> {
    let mut history = bank.prepare(
        "SELECT account, version, before, delta, after FROM exactly_once_change \
         ORDER BY account, version",
    )?;
    let lines = history.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
        ))
    })?;
    Ok(lines.collect::<rusqlite::Result<_>>()?)
}

fn rows<A: FromSql, B: FromSql, C: FromSql>(
    file: &Connection,
    sql: &str,
) -> Result<Vec<(A, B, C)>> {
    let mut statement = file.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Compares what the workflows answered with what the files hold.
#[must_use]
pub fn anomalies(
    asked: &[Asked],
    opening: &BTreeMap<String, i64>,
    seen: &Evidence,
) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut find = |kind, what: String| found.push(Anomaly { kind, what });
    let mut balances = opening.clone();
    for (order, answer) in asked {
        let paid = seen
            .payments
            .get(&order.name)
            .map_or(&[][..], Vec::as_slice);
        let shipped = seen
            .shipped
            .each_ref()
            .map(|rows| rows.get(&order.name).copied().unwrap_or_default());
        let name = &order.name;
        if paid.len() > 1 || shipped.iter().any(|rows| *rows > 1) {
            let rows = paid.len();
            find(
                Kind::DoubledEffect,
                format!("{name}: {rows} payments, {shipped:?} shipped"),
            );
        }
        if shipped[0] != shipped[1] {
            find(Kind::HalfAnOrder, format!("{name}: {shipped:?}"));
        }
        match answer {
            Err(why) => find(Kind::Stuck, format!("{name}: {why}")),
            Ok(Answer::Refused { kind, .. }) if !paid.is_empty() || shipped != [0, 0] => {
                find(Kind::LostAnswer, format!("{name}: {kind}"));
            }
            Ok(Answer::Refused { .. }) => {}
            Ok(Answer::Done(receipt)) => {
                if paid.is_empty() || (order.ships && shipped.contains(&0)) {
                    find(Kind::LostEffect, format!("{name}: {paid:?}, {shipped:?}"));
                }
                if !order.ships && shipped != [0, 0] {
                    find(Kind::DoubledEffect, format!("{name} was not to be shipped"));
                }
                if !paid.is_empty() && !paid.contains(&(receipt.row, order.cents)) {
                    find(
                        Kind::WrongReceipt,
                        format!("{name}: {receipt:?}, but {paid:?}"),
                    );
                }
                *balances.entry(order.customer.clone()).or_default() -= order.cents;
                *balances.entry(MERCHANT.to_owned()).or_default() += order.cents;
            }
        }
    }
    for (account, expected) in &balances {
        let is = seen.balances.get(account);
        if is != Some(expected) {
            find(
                Kind::WrongBalance,
                format!("{account}: {is:?}, not {expected}"),
            );
        }
    }
    if seen.in_doubt > 0 {
        find(Kind::InDoubt, format!("{} of them", seen.in_doubt));
    }
    found.extend(broken(seen));
    found
}

/// Versions count from one without a gap, each line begins where the last one ended, and the last one
/// ends at the balance.
fn broken(seen: &Evidence) -> Vec<Anomaly> {
    let mut at: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let mut found = Vec::new();
    let mut find = |what| {
        found.push(Anomaly {
            kind: Kind::BrokenHistory,
            what,
        });
    };
    for (account, version, before, delta, after) in &seen.history {
        let (last, amount) = at.entry(account).or_default();
        if *version != *last + 1 || before != amount || *after != before + delta {
            find(format!(
                "{account}: version {version} after {last}: {before} {delta:+} = {after}"
            ));
        }
        (*last, *amount) = (*version, *after);
    }
    for (account, (_, amount)) in at {
        if seen.balances.get(account) != Some(&amount) {
            find(format!("{account}: its deltas add up to {amount}"));
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Receipt;

    fn order(ships: bool) -> Order {
        Order {
            name: "o".to_owned(),
            customer: "alice".to_owned(),
            cents: 5,
            ships,
            recipe: Recipe::Ours,
        }
    }

    /// A run in which all is well.
    fn good() -> (Vec<Asked>, BTreeMap<String, i64>, Evidence) {
        let done = Answer::Done(Receipt { row: 1, left: 95 });
        let balance = |alice, merchant| {
            BTreeMap::from([("alice".to_owned(), alice), (MERCHANT.to_owned(), merchant)])
        };
        let line = |account: &str, version, before, delta| {
            (account.to_owned(), version, before, delta, before + delta)
        };
        let evidence = Evidence {
            payments: HashMap::from([("o".to_owned(), vec![(1, 5)])]),
            shipped: [1, 1].map(|rows| HashMap::from([("o".to_owned(), rows)])),
            balances: balance(95, 5),
            history: vec![line("alice", 1, 0, 100), line("alice", 2, 100, -5)],
            in_doubt: 0,
        };
        (vec![(order(true), Ok(done))], balance(100, 0), evidence)
    }

    fn kinds(asked: &[Asked], opening: &BTreeMap<String, i64>, seen: &Evidence) -> Vec<Kind> {
        anomalies(asked, opening, seen)
            .iter()
            .map(|found| found.kind)
            .collect()
    }

    #[test]
    fn each_kind_of_anomaly_is_found_and_nothing_else() {
        type Damage = fn(&mut Vec<Asked>, &mut Evidence);
        let damages: [(Kind, Damage); 8] = [
            (Kind::DoubledEffect, |_, seen| {
                seen.payments.get_mut("o").unwrap().push((2, 5));
            }),
            (Kind::HalfAnOrder, |_, seen| seen.shipped[1].clear()),
            (Kind::LostEffect, |_, seen| seen.payments.clear()),
            (Kind::LostAnswer, |asked, _| {
                let (kind, status) = ("rejected".to_owned(), 422);
                asked[0].1 = Ok(Answer::Refused { kind, status });
            }),
            (Kind::WrongReceipt, |_, seen| {
                seen.payments.get_mut("o").unwrap()[0].0 = 7
            }),
            (Kind::WrongBalance, |_, seen| {
                seen.balances.insert(MERCHANT.to_owned(), 6);
            }),
            (Kind::BrokenHistory, |_, seen| seen.history[1].1 = 3),
            (Kind::InDoubt, |_, seen| seen.in_doubt = 1),
        ];
        let (asked, opening, seen) = good();
        assert_eq!(kinds(&asked, &opening, &seen), []);
        for (kind, damage) in damages {
            let (mut asked, opening, mut seen) = good();
            damage(&mut asked, &mut seen);
            assert!(kinds(&asked, &opening, &seen).contains(&kind), "{kind:?}");
        }
    }
}
