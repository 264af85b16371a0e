//! Which operations are sent, in which order: decided by the seed alone.

use exactly_once_conformance::seed::{CaseRng, Seed};
use exactly_once_order::{audit::Seeds, driver::load::Load as OrderLoad, model::Order};
use serde_json::{Value, json};

use crate::model::{LIMIT, OBJECT, Operation, Place, SERVICE, What};

/// How many accounts each store has, and how many objects.
const ACCOUNTS: usize = 24;
const OBJECTS: usize = 12;
/// How many orders are made at least, if there are as many operations.
const ORDERS: usize = 20_000;
/// Some accounts hold little, so that some operations are refused.
const POOR_EVERY: usize = 8;
const POOR: i64 = 500;
const RICH: i64 = 1_000_000;

/// An operation, and how its client behaves.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What is asked.
    pub operation: Operation,
    /// The client drops its first connection after a moment, and asks again.
    pub impatient: bool,
    /// The client learns the invocation's id first: only so can it be acted on.
    pub watched: bool,
}

/// All that will be sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// What each store has before, by account.
    pub accounts: Vec<(String, i64)>,
    /// What there is to be ordered.
    pub seeds: Seeds,
    /// The operations.
    pub planned: Vec<Planned>,
}

impl Load {
    /// So many operations, by this seed.
    #[must_use]
    pub fn new(operations: usize, seed: Seed) -> Self {
        let mut random = seed.derive("load").rng();
        let accounts = (0..ACCOUNTS).map(|number| {
            let first = if number.is_multiple_of(POOR_EVERY) {
                POOR
            } else {
                RICH
            };
            (account(number), first)
        });
        let objects = (0..OBJECTS).map(|number| (object(number), RICH));
        // More orders than are needed, one in twelve; their names are their own.
        let orders = operations.min(ORDERS).max(operations / 8);
        let orders = OrderLoad::new(orders, seed.value());
        let mut left = orders.shares.into_iter().flatten().map(|sent| sent.order);
        let mut planned = Vec::with_capacity(operations);
        for number in 0..operations {
            let name = format!("op-{}-{number}", seed.value());
            let operation = operation(&mut random, name, &mut left);
            planned.push(Planned {
                operation,
                impatient: random.one_in(20),
                watched: random.one_in(4),
            });
        }
        Self {
            accounts: accounts.chain(objects).collect(),
            seeds: orders.seeds,
            planned,
        }
    }
}

fn account(number: usize) -> String {
    format!("account-{number:02}")
}

fn object(number: usize) -> String {
    format!("object-{number:02}")
}

fn operation(
    random: &mut CaseRng,
    name: String,
    orders: &mut impl Iterator<Item = Order>,
) -> Operation {
    let place = *random.pick(&Place::ALL).unwrap_or(&Place::Postgres);
    let own_key = random.one_in(2);
    let amount = |random: &mut CaseRng| {
        let much = random.one_in(40);
        if much {
            LIMIT + 1
        } else {
            random.within(1..=LIMIT)
        }
    };
    let delta = |random: &mut CaseRng| random.within(-400..=400);
    let what = match random.below(24) {
        0..=5 => What::Row {
            amount: amount(random),
        },
        6..=8 => What::OneShot {
            amount: random.within(1..=LIMIT),
        },
        9..=12 => What::Adjust {
            account: account(random.below(ACCOUNTS)),
            delta: delta(random),
        },
        13..=15 => {
            let from = random.below(ACCOUNTS);
            let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
            What::Transfer {
                from: account(from),
                to: account(to),
                amount: random.within(1..=400),
            }
        }
        16..=17 => What::CompareAndSet {
            account: account(random.below(ACCOUNTS)),
            delta: delta(random),
        },
        18..=19 => What::Object {
            account: object(random.below(OBJECTS)),
            delta: delta(random),
        },
        20..=21 => What::Outside {
            amount: amount(random),
        },
        _ => match orders.next() {
            Some(order) => {
                let (name, what) = (order.name.clone(), What::Order(order));
                return Operation {
                    name,
                    place,
                    own_key: false,
                    what,
                };
            }
            None => What::Row {
                amount: amount(random),
            },
        },
    };
    Operation {
        name,
        place,
        own_key,
        what,
    }
}

impl Operation {
    /// Which service the client calls.
    #[must_use]
    pub fn path(&self) -> String {
        match &self.what {
            What::Order(_) => "Orders/place".to_owned(),
            What::Object { account, .. } => {
                format!("{OBJECT}/{:?}-{account}/change", self.place)
            }
            _ => format!("{SERVICE}/apply"),
        }
    }

    /// With what input.
    #[must_use]
    pub fn body(&self) -> Value {
        match &self.what {
            What::Order(order) => json!(order),
            _ => json!(self),
        }
    }

    /// What its effect is called in the handler's journal.
    #[must_use]
    pub fn step(&self) -> &str {
        match &self.what {
            What::Order(_) => "order",
            _ => &self.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    #[test]
    fn a_seed_decides_the_load_and_every_form_is_in_it() {
        let load = |seed| Load::new(600, Seed::new(seed)).planned;
        let operations = |seed| -> Vec<Operation> {
            load(seed)
                .into_iter()
                .map(|planned| planned.operation)
                .collect()
        };
        assert_eq!(operations(1), operations(1));
        assert_ne!(operations(1), operations(2));
        let mut forms: BTreeMap<_, usize> = BTreeMap::new();
        let mut names = HashSet::new();
        for operation in operations(1) {
            *forms
                .entry((operation.what.word(), operation.place))
                .or_default() += 1;
            assert!(names.insert(operation.name));
        }
        assert_eq!(forms.len(), 8 * 3);
        assert!(forms.values().all(|count| *count > 5), "{forms:?}");
    }
}
