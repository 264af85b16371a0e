//! Balances, deltas, versions, and the records of operations.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Anomaly, Case, Kind, Times, Told,
    effects::says,
    evidence::{Change, Evidence, Held},
};
use crate::model::{Line, Operation, Receipt, What, name_in};

pub(super) fn check(told: &Told, evidence: &Evidence, found: &mut Vec<Anomaly>) {
    for (place, held) in &evidence.stores {
        for what in broken(held) {
            found.push(Anomaly::new(
                Kind::BrokenHistory,
                format!("{place:?}: {what}"),
            ));
        }
        let mut named: HashMap<&str, Vec<&Change>> = HashMap::new();
        for change in &held.history {
            let name = name_in(&change.key).unwrap_or_default();
            named.entry(name).or_default().push(change);
        }
        for case in told
            .cases
            .iter()
            .filter(|case| case.operation.place == *place)
        {
            let Some(asked) = asked(&case.operation) else {
                continue;
            };
            let changes = named.get(case.operation.name.as_str());
            let changes = changes.map_or(&[][..], Vec::as_slice);
            if let Some((kind, why)) = operation(case, &asked, changes) {
                let deeds = told.deeds.get(&case.operation.name);
                let what = format!(
                    "{}: {why}; asked {:?}, answered {:?}, acted upon by {deeds:?}; there {changes:?}",
                    case.operation.name, case.operation, case.answer,
                );
                found.push(Anomaly::new(kind, what));
            }
        }
    }
}

/// Versions count from one without a gap, each line begins where the last one ended, and the last
/// one ends at the balance, at its version. The records are those of the history.
fn broken(held: &Held) -> Vec<String> {
    let mut accounts: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for change in &held.history {
        accounts
            .entry(&change.line.account)
            .or_default()
            .push(&change.line);
    }
    let mut found = Vec::new();
    for (account, lines) in &accounts {
        let mut amount = 0;
        for (version, line) in (1..).zip(lines) {
            if line.version != version {
                found.push(format!(
                    "{account}: version {} follows {}",
                    line.version,
                    version - 1
                ));
                break;
            }
            if line.before != amount || line.after != line.before + line.delta {
                found.push(format!(
                    "{account}: version {version} does not add up: {line:?}"
                ));
            }
            amount = line.after;
        }
        let balance = held.accounts.get(*account);
        let last = (amount, lines.len() as i64);
        if balance != Some(&last) {
            found.push(format!(
                "{account}: {last:?} by its history, {balance:?} by itself"
            ));
        }
        if amount < 0 {
            found.push(format!("{account}: {amount} is below its floor"));
        }
    }
    for account in held
        .accounts
        .keys()
        .filter(|name| !accounts.contains_key(name.as_str()))
    {
        found.push(format!("{account}: no history"));
    }
    if let Some(operations) = &held.operations {
        let recorded: BTreeSet<&str> = operations.iter().map(String::as_str).collect();
        let changed: BTreeSet<&str> = held
            .history
            .iter()
            .map(|change| change.key.as_str())
            .collect();
        for key in recorded.symmetric_difference(&changed) {
            found.push(format!(
                "{key}: a record without a change, or a change without a record"
            ));
        }
    }
    found
}

/// Which deltas an operation asks for, by account.
fn asked(operation: &Operation) -> Option<Vec<(&str, i64)>> {
    match &operation.what {
        What::Adjust { account, delta }
        | What::CompareAndSet { account, delta }
        | What::Object { account, delta } => Some(vec![(account, *delta)]),
        What::Transfer { from, to, amount } => Some(vec![(from, -amount), (to, *amount)]),
        What::Row { .. } | What::OneShot { .. } | What::Outside { .. } | What::Order(_) => None,
    }
}

fn operation(
    case: &Case,
    asked: &[(&str, i64)],
    changes: &[&Change],
) -> Option<(Kind, &'static str)> {
    let keys: BTreeSet<&str> = changes.iter().map(|change| change.key.as_str()).collect();
    if keys.len() > 1 || changes.len() > asked.len() {
        return Some((Kind::Doubled, "applied more than once"));
    }
    match (Told::times(&case.answer), changes) {
        (Times::Once, []) => return Some((Kind::Lost, "not applied")),
        (_, []) => return None,
        (Times::Never, _) => return Some((Kind::LostAnswer, "applied")),
        _ => {}
    }
    let mut lines = Vec::new();
    for (account, delta) in asked {
        let of = |change: &&&Change| change.line.account == *account && change.line.delta == *delta;
        match changes.iter().find(of) {
            Some(change) => lines.push(change.line.clone()),
            None => return Some((Kind::WrongReceipt, "not as it was asked for")),
        }
    }
    let once = Told::times(&case.answer) == Times::Once;
    if once && !says(&case.answer, &Receipt::Changes(lines)) {
        return Some((Kind::WrongReceipt, "not what was told"));
    }
    None
}
