//! Deterministic randomness: one seed per run, one stream per label.
//!
//! A case draws from the stream of its own name, so it sees the same values whether it runs
//! alone or among all the others. The runner prints the seed with every failure.

use std::fmt;
use std::ops::RangeInclusive;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// The seed of a run, or of one stream in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(u64);

impl Seed {
    /// The seed with this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// A seed that was not chosen.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The value to give to a run that shall repeat this one.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The seed of the stream with this label. The same seed and label give the same stream, in
    /// every build and on every machine.
    #[must_use]
    pub fn derive(self, label: &str) -> Self {
        // FNV-1a: the standard library's hashers don't promise the same value tomorrow.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.0.to_le_bytes().iter().chain(label.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(hash)
    }

    /// A generator that starts at this seed.
    #[must_use]
    pub fn rng(self) -> CaseRng {
        // Named and not `StdRng`: that one may change its algorithm, and with it every schedule.
        CaseRng(Xoshiro256PlusPlus::seed_from_u64(self.0))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A generator whose every value follows from its seed.
#[derive(Clone, Debug)]
pub struct CaseRng(Xoshiro256PlusPlus);

impl CaseRng {
    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in the range, both ends included.
    pub fn within(&mut self, range: RangeInclusive<i64>) -> i64 {
        self.0.random_range(range)
    }

    /// An index below `len`; 0 when there is nothing to choose from.
    pub fn below(&mut self, len: usize) -> usize {
        if len == 0 {
            0
        } else {
            self.0.random_range(0..len)
        }
    }

    /// True once in `n` times on average; never for 0.
    pub fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.0.random_range(0..n) == 0
    }

    /// One of the items, or none of an empty slice.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// Puts the items in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// That many random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_fixed_for_ever() {
        // Computed apart from this code, from the definitions of FNV-1a, SplitMix64 and
        // xoshiro256++: a changed algorithm would make printed seeds worthless.
        assert_eq!(Seed::new(7).derive("a case").value(), 0x83b1_6fab_a6ee_0c17);
        let mut rng = Seed::new(7).rng();
        assert_eq!(
            [rng.bits(), rng.bits()],
            [0x0e2c_1a00_2aae_913d, 0x2c0f_c8dd_fa4e_9e14]
        );
    }

    #[test]
    fn labels_and_seeds_give_different_streams() {
        let first = Seed::new(1).derive("a").rng().bytes(16);
        assert_eq!(first, Seed::new(1).derive("a").rng().bytes(16));
        assert_ne!(first, Seed::new(1).derive("b").rng().bytes(16));
        assert_ne!(first, Seed::new(2).derive("a").rng().bytes(16));
    }

    #[test]
    fn edges_are_in_range() {
        let mut rng = Seed::new(3).rng();
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        assert_eq!(rng.within(5..=5), 5);
        assert!(rng.within(i64::MIN..=i64::MAX) != rng.within(i64::MIN..=i64::MAX));
        assert!(!rng.one_in(0) && rng.one_in(1));
        assert_eq!(rng.pick::<u8>(&[]), None);
        let mut items: Vec<_> = (0..100).collect();
        rng.shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
