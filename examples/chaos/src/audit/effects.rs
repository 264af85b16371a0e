//! Rows and their keys, and what went outside.

use std::collections::{BTreeMap, HashMap};

use super::{
    Anomaly, Answer, Case, Kind, Times, Told,
    evidence::{Evidence, Held, KeyState},
};
use crate::{
    model::{Place, Receipt, Row, Sent, What, name_in},
    outside::Log,
};

/// What one store has of rows and keys, by operation.
struct Named<'a> {
    rows: HashMap<&'a str, Vec<&'a Row>>,
    keys: HashMap<&'a str, Vec<&'a KeyState>>,
}

impl<'a> Named<'a> {
    fn new(held: &'a Held) -> Self {
        let (mut rows, mut keys) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for row in &held.rows {
            rows.entry(row.name.as_str()).or_default().push(row);
        }
        for row in &held.keys {
            keys.entry(name_in(&row.key).unwrap_or_default())
                .or_default()
                .push(&row.state);
        }
        Self { rows, keys }
    }

    fn rows(&self, name: &str) -> &[&'a Row] {
        self.rows.get(name).map_or(&[], Vec::as_slice)
    }

    /// The receipts of those that were applied.
    fn receipts(&self, name: &str) -> Vec<&'a str> {
        let states = self.keys.get(name).into_iter().flatten();
        states
            .filter_map(|state| match state {
                KeyState::Applied(receipt) => Some(receipt.as_str()),
                KeyState::Rejected(_) | KeyState::Leased { .. } => None,
            })
            .collect()
    }

    /// A key that is held still, or held by a caller whose operation has been answered.
    fn held(&self, name: &str, answered: bool) -> bool {
        let states = self.keys.get(name).into_iter().flatten();
        let mut leases = states.filter_map(|state| match state {
            KeyState::Leased { over } => Some(*over),
            _ => None,
        });
        leases.any(|over| answered || !over)
    }
}

pub(super) fn check(told: &Told, evidence: &Evidence, found: &mut Vec<Anomaly>) {
    let named: BTreeMap<Place, Named<'_>> = evidence
        .stores
        .iter()
        .map(|(place, held)| (*place, Named::new(held)))
        .collect();
    for case in &told.cases {
        let Some(named) = named.get(&case.operation.place) else {
            continue;
        };
        let wrong = match &case.operation.what {
            What::Row { amount } | What::OneShot { amount } => row(case, *amount, named),
            What::Outside { .. } => sent(case, named, &evidence.outside),
            _ => continue,
        };
        if let Some((kind, why)) = wrong {
            found.push(Anomaly::new(kind, seen(case, told, named, &why)));
        }
    }
}

/// All that was seen of an operation.
fn seen(case: &Case, told: &Told, named: &Named<'_>, why: &str) -> String {
    let name = case.operation.name.as_str();
    format!(
        "{name}: {why}; asked {:?}, answered {:?}, acted upon by {:?}; rows {:?}, keys {:?}",
        case.operation,
        case.answer,
        told.deeds.get(name).map_or(&[][..], Vec::as_slice),
        named.rows(name),
        named.keys.get(name),
    )
}

type Wrong = Option<(Kind, String)>;

fn wrong(kind: Kind, why: impl Into<String>) -> Wrong {
    Some((kind, why.into()))
}

/// A row, its key, and the answer: all three, or none.
fn row(case: &Case, amount: i64, named: &Named<'_>) -> Wrong {
    let name = case.operation.name.as_str();
    let (rows, receipts) = (named.rows(name), named.receipts(name));
    if rows.len() > 1 || receipts.len() > 1 {
        return wrong(Kind::Doubled, format!("there {} times", rows.len()));
    }
    let kept = receipts
        .first()
        .map(|text| serde_json::from_str::<Row>(text));
    let row = match (rows.first(), kept) {
        (None, None) => None,
        (Some(row), Some(Ok(kept))) if **row == kept => Some(*row),
        _ => return wrong(Kind::KeyApart, "the row is not what its key says"),
    };
    if row.is_some_and(|row| row.amount != amount) {
        return wrong(Kind::WrongReceipt, "another amount than asked");
    }
    match (Told::times(&case.answer), row) {
        (Times::Once, None) => wrong(Kind::Lost, "not there"),
        (Times::Never, Some(_)) => wrong(Kind::LostAnswer, "there"),
        (Times::Once, Some(row)) if !says(&case.answer, &Receipt::Row(row.clone())) => {
            wrong(Kind::WrongReceipt, "not what was told")
        }
        _ => None,
    }
}

/// What went outside: the outcome is recorded once, by the holder of the greatest token.
fn sent(case: &Case, named: &Named<'_>, outside: &Log) -> Wrong {
    let name = case.operation.name.as_str();
    let (log, receipts) = (outside.get(name), named.receipts(name));
    let log = log.map_or(&[][..], Vec::as_slice);
    if receipts.len() > 1 {
        return wrong(Kind::Doubled, "recorded twice");
    }
    if log.windows(2).any(|pair| pair[0].token >= pair[1].token) {
        return wrong(Kind::Fencing, format!("two holders of a token: {log:?}"));
    }
    let times = Told::times(&case.answer);
    if named.held(name, times != Times::AtMostOnce) {
        return wrong(Kind::LeftBehind, "a lease is held");
    }
    let kept = receipts
        .first()
        .map(|text| serde_json::from_str::<Sent>(text));
    match (times, kept) {
        (Times::Never, None) if !log.is_empty() => {
            wrong(Kind::LostAnswer, format!("it went out: {log:?}"))
        }
        (Times::Never, Some(_)) => wrong(Kind::LostAnswer, "recorded as done"),
        (Times::Once, None) => wrong(Kind::Lost, "not recorded"),
        (_, Some(Err(_))) => wrong(Kind::WrongReceipt, "no receipt of ours"),
        (_, Some(Ok(kept))) if log.last() != Some(&kept) => wrong(
            Kind::Fencing,
            format!("the last outside is not it: {log:?}"),
        ),
        (Times::Once, Some(Ok(kept))) if !says(&case.answer, &Receipt::Outside(kept.clone())) => {
            wrong(Kind::WrongReceipt, "not what was told")
        }
        _ => None,
    }
}

/// Whether the client got exactly this.
pub(super) fn says(answer: &Answer, receipt: &Receipt) -> bool {
    let Answer::Done(text) = answer else {
        return false;
    };
    serde_json::from_str::<Receipt>(text).is_ok_and(|told| told == *receipt)
}
