//! Which orders are sent, by which client: decided by the seed alone.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::model::{How, Language, Order, Request};

/// How many clients send at once.
pub const CLIENTS: usize = 16;
/// What is sold.
pub const ITEMS: [&str; 4] = ["apple", "bread", "candle", "drum"];

/// All that will be sent.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many pieces there are of each item at first. Fewer than are ordered, so that some orders are
    /// refused.
    pub pieces: i64,
    /// Each client's requests.
    pub shares: Vec<Vec<Request>>,
}

impl Load {
    /// So many orders, by this seed; by `steps` alone, or also at once.
    #[must_use]
    pub fn new(orders: usize, seed: u64, at_once: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut shares = vec![Vec::new(); CLIENTS];
        for number in 0..orders {
            let language = match number % 2 {
                0 => Language::Ts,
                _ => Language::Py,
            };
            let how = match at_once && random.random_ratio(1, 4) {
                true => How::AtOnce,
                false => How::Steps,
            };
            let order = Order {
                order: format!("order-{seed}-{number}"),
                item: ITEMS[random.random_range(0..ITEMS.len())].to_owned(),
                cents: random.random_range(1..=9_999),
            };
            shares[number / 2 % CLIENTS].push(Request {
                language,
                how,
                order,
            });
        }
        Self {
            pieces: i64::try_from(orders / ITEMS.len()).unwrap_or(i64::MAX) * 9 / 10,
            shares,
        }
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
    fn a_seed_decides_the_load_and_both_languages_have_their_half() {
        let all = |seed| {
            Load::new(400, seed, true)
                .shares
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        let of = |language| all(1).iter().filter(|one| one.language == language).count();
        assert_eq!((of(Language::Ts), of(Language::Py)), (200, 200));
        let at_once = all(1).iter().filter(|one| one.how == How::AtOnce).count();
        assert!((50..150).contains(&at_once), "{at_once}");
    }
}
