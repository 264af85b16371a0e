//! Which transactions there are: decided by the seed alone.

use exactly_once_conformance::seed::Seed;

use super::stores::STOCK;

/// A flow, by its own store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// Orders and stock; the register is in orders.
    Orders,
    /// Shipping and stock; the register is in shipping.
    Shipping,
}

impl Flow {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Orders, Self::Shipping];

    /// The number of the store that only this flow writes to, and that has its register.
    #[must_use]
    pub const fn own(self) -> usize {
        match self {
            Self::Orders => 0,
            Self::Shipping => 2,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Orders => Self::Shipping,
            Self::Shipping => Self::Orders,
        }
    }
}

/// The participants of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Members {
    /// Those of the flow.
    Usual,
    /// The flow's own store and the other flow's, which is a mistake of the caller.
    Crossed,
}

impl Members {
    /// The numbers of the stores.
    #[must_use]
    pub const fn of(self, flow: Flow) -> [usize; 2] {
        match self {
            Self::Usual => [flow.own(), STOCK],
            Self::Crossed => [flow.own(), flow.other().own()],
        }
    }

    /// In one word, which stands in the rows.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Crossed => "crossed",
        }
    }
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its name, which is in every row that it leaves.
    pub name: String,
    /// Whose it is.
    pub flow: Flow,
    /// Its work in the stock is refused, whatever happens.
    pub refused: bool,
    /// One attempt has other participants.
    pub crossed: bool,
}

/// The transactions of a run.
#[must_use]
pub fn plan(operations: usize, seed: Seed) -> Vec<Planned> {
    let mut random = seed.derive("flows").rng();
    let one = |number: usize| Planned {
        name: format!("t{number}"),
        flow: Flow::ALL[random.below(2)],
        refused: random.one_in(12),
        crossed: random.one_in(15),
    };
    (0..operations).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_the_transactions() {
        let plan = |seed| plan(300, Seed::new(seed));
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        let count = |which: fn(&Planned) -> bool| plan(1).iter().filter(|one| which(one)).count();
        assert!(count(|one| one.refused) > 5);
        assert!(count(|one| one.crossed && !one.refused) > 5);
        assert!(count(|one| one.flow == Flow::Orders) > 100);
    }
}
