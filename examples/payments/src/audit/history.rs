//! Balances, deltas and versions agree, and each receipt is a line of the history.

use std::collections::{BTreeMap, HashMap};

use super::{
    Anomaly, Answer, Kind, Request,
    evidence::{Change, Evidence},
};
use crate::model::MERCHANT;

pub(super) fn check(
    changes: &[Change],
    answers: &[(Request, Answer)],
    evidence: &Evidence,
    found: &mut Vec<Anomaly>,
) {
    let mut accounts: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        accounts.entry(&change.account).or_default().push(change);
    }
    for (account, lines) in &accounts {
        let balance = evidence.balances.get(*account).copied();
        if let Some(what) = broken(lines, balance) {
            let what = format!("{account}: {what}");
            found.push(Anomaly {
                kind: Kind::BrokenHistory,
                what,
            });
        }
    }
    receipts(changes, answers, found);
    merchant(evidence, found);
}

/// Versions count from one without a gap, each line begins where the last one ended, and the last
/// one ends at the balance.
fn broken(lines: &[&Change], balance: Option<i64>) -> Option<String> {
    let mut amount = 0;
    for (version, line) in (1..).zip(lines) {
        if line.version != version {
            return Some(format!("version {} follows {}", line.version, version - 1));
        }
        if line.before != amount || line.after != line.before + line.delta {
            return Some(format!("version {version} does not add up: {line:?}"));
        }
        amount = line.after;
    }
    (balance != Some(amount)).then(|| format!("the deltas add up to {amount}, not {balance:?}"))
}

/// The change that a client got is there, under the request's own key.
fn receipts(changes: &[Change], answers: &[(Request, Answer)], found: &mut Vec<Anomaly>) {
    let lines: HashMap<(&str, i64), &Change> = changes
        .iter()
        .map(|change| ((change.account.as_str(), change.version), change))
        .collect();
    for (request, answer) in answers {
        let Answer::Done(receipt) = answer else {
            continue;
        };
        let key = match request {
            Request::Charge(charge) => format!("debit/{}", charge.payment),
            Request::Refund(refund) => format!("refund/{}", refund.request),
            Request::Transfer(order) => format!("transfer/{}", order.order),
        };
        let told = lines
            .get(&(receipt.account.as_str(), receipt.version))
            .is_some_and(|line| {
                line.key == key && line.delta == receipt.delta && line.after == receipt.left
            });
        if !told {
            let what = format!("{receipt:?} is no line of the history");
            found.push(Anomaly {
                kind: Kind::WrongReceipt,
                what,
            });
        }
    }
}

/// The second step of each charge was done as well, once: the merchant has what was paid and not
/// given back.
fn merchant(evidence: &Evidence, found: &mut Vec<Anomaly>) {
    let paid: i64 = evidence.payments.iter().map(|payment| -payment.delta).sum();
    let back: i64 = evidence.refunds.iter().map(|refund| refund.delta).sum();
    let has = evidence.balances.get(MERCHANT).copied().unwrap_or(0);
    if has != paid - back {
        let what = format!("the merchant has {has}, not {paid} paid less {back} given back");
        found.push(Anomaly {
            kind: Kind::DoubledEffect,
            what,
        });
    }
}
