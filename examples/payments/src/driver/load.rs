//! Which requests are sent, by which client, in which order: decided by the seed alone.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    audit::Request,
    model::{Charge, LIMIT, MERCHANT, Refund, TransferOrder},
};

/// How many clients send at once.
pub const CLIENTS: usize = 16;
/// How many customers there are.
const CUSTOMERS: usize = 48;
/// Some customers can't pay much, so that some payments are refused.
const POOR_EVERY: usize = 8;
const POOR: i64 = 500;
const RICH: i64 = 1_000_000;

/// A request, and how the client behaves.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What is asked. Its name is the ingress key, the same whenever it is sent again.
    pub request: Request,
    /// The client drops its first connection after a moment, and asks again.
    pub impatient: bool,
}

/// All that will be sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// Every account with its first balance.
    pub accounts: Vec<(String, i64)>,
    /// Each client's requests.
    pub shares: Vec<Vec<Planned>>,
}

impl Load {
    /// So many requests, by this seed.
    #[must_use]
    pub fn new(requests: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let accounts = (0..CUSTOMERS)
            .map(|number| {
                let first = if number % POOR_EVERY == 0 { POOR } else { RICH };
                (format!("customer-{number:02}"), first)
            })
            .chain([(MERCHANT.to_owned(), 0)])
            .collect();
        let mut shares = vec![Vec::new(); CLIENTS];
        for number in 0..requests {
            let share: &mut Vec<Planned> = &mut shares[number % CLIENTS];
            let request = request(&mut random, seed, number, share);
            let impatient = random.random_ratio(1, 20);
            share.push(Planned { request, impatient });
        }
        Self { accounts, shares }
    }

    /// How many requests there are.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shares.iter().map(Vec::len).sum()
    }

    /// The sum of all first balances.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.accounts
            .iter()
            .map(|(_, first)| i128::from(*first))
            .sum()
    }
}

/// Three in five are charges, one in five is a refund of one of the client's own charges, one in
/// five a transfer.
fn request(random: &mut StdRng, seed: u64, number: usize, before: &[Planned]) -> Request {
    let customer = |random: &mut StdRng| random.random_range(0..CUSTOMERS);
    let name = |what: &str| format!("{what}-{seed}-{number}");
    let charges: Vec<&Charge> = before
        .iter()
        .filter_map(|planned| match &planned.request {
            Request::Charge(charge) => Some(charge),
            _ => None,
        })
        .collect();
    match random.random_range(0..5) {
        0 if !charges.is_empty() => Request::Refund(Refund {
            request: name("refund"),
            payment: charges[random.random_range(0..charges.len())]
                .payment
                .clone(),
        }),
        1 => {
            let from = customer(random);
            let to = (from + random.random_range(1..CUSTOMERS)) % CUSTOMERS;
            Request::Transfer(TransferOrder {
                order: name("transfer"),
                from: format!("customer-{from:02}"),
                to: format!("customer-{to:02}"),
                amount: random.random_range(1..=400),
            })
        }
        _ => {
            let too_much = random.random_ratio(1, 50);
            let amount = if too_much {
                LIMIT + 1
            } else {
                random.random_range(1..=400)
            };
            Request::Charge(Charge {
                payment: name("payment"),
                account: format!("customer-{:02}", customer(random)),
                amount,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_load() {
        let names = |seed| -> Vec<String> {
            let load = Load::new(500, seed);
            let planned = load.shares.into_iter().flatten();
            planned
                .map(|planned| format!("{:?}", planned.request))
                .collect()
        };
        assert_eq!(names(1), names(1));
        assert_ne!(names(1), names(2));
        assert_eq!(names(1).len(), 500);
        for what in ["Charge", "Refund", "Transfer"] {
            let count = names(1)
                .iter()
                .filter(|name| name.starts_with(what))
                .count();
            assert!(count > 50, "{count} of {what}");
        }
    }
}
