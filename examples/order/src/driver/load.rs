//! Which orders are sent, by which client, in which order: decided by the seed alone.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{audit::Seeds, model::Order};

/// How many clients send at once.
pub const CLIENTS: usize = 16;
/// How many customers there are, and how many items.
const NAMES: usize = 256;
/// Some items are scarce and some quotas small, so that some orders are refused.
const SCARCE_EVERY: usize = 8;
const SCARCE: i64 = 5;
const PLENTY: i64 = 1_000_000;
const MOST: i64 = 5;

/// An order, and how the client behaves.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What is ordered. Its name is the ingress key, the same whenever it is sent again.
    pub order: Order,
    /// The client drops its first connection after a moment, and asks again.
    pub impatient: bool,
}

/// All that will be sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// What there is before.
    pub seeds: Seeds,
    /// Each client's orders.
    pub shares: Vec<Vec<Planned>>,
}

impl Load {
    /// So many orders, by this seed.
    #[must_use]
    pub fn new(orders: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let units = |what: &'static str| {
            (0..NAMES).map(move |number| {
                let units = if number % SCARCE_EVERY == 0 {
                    SCARCE
                } else {
                    PLENTY
                };
                (format!("{what}-{number:03}"), units)
            })
        };
        let seeds = Seeds {
            stock: units("item").collect(),
            quota: units("customer").collect(),
        };
        let mut shares = vec![Vec::new(); CLIENTS];
        for number in 0..orders {
            let order = Order {
                name: format!("order-{seed}-{number}"),
                customer: format!("customer-{:03}", random.random_range(0..NAMES)),
                item: format!("item-{:03}", random.random_range(0..NAMES)),
                units: random.random_range(1..=MOST),
            };
            let impatient = random.random_ratio(1, 20);
            let share: &mut Vec<Planned> = &mut shares[number % CLIENTS];
            share.push(Planned { order, impatient });
        }
        Self { seeds, shares }
    }

    /// Orders of rows that no two of them share.
    #[must_use]
    pub fn abandoned(seed: u64) -> Vec<Order> {
        (1..SCARCE_EVERY)
            .map(|number| Order {
                name: format!("abandoned-{seed}-{number}"),
                customer: format!("customer-{number:03}"),
                item: format!("item-{number:03}"),
                units: 1,
            })
            .collect()
    }

    /// How many orders there are.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.shares.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_load() {
        let orders = |seed| -> Vec<Order> {
            let load = Load::new(500, seed);
            let planned = load.shares.into_iter().flatten();
            planned.map(|planned| planned.order).collect()
        };
        assert_eq!(orders(1), orders(1));
        assert_ne!(orders(1), orders(2));
        assert_eq!(orders(1).len(), 500);
    }
}
