//! Amounts in minor units, and the versions that count an account's changes.

use std::{fmt, ops::Neg};

use serde::{Deserialize, Serialize};

/// An amount in **minor units** (cents, satoshi, items): a whole `i64`, never a float.
///
/// All arithmetic is checked; nothing wraps and nothing saturates.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Amount(i64);

impl Amount {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// The largest amount; one more is an overflow.
    pub const MAX: Self = Self(i64::MAX);
    /// The smallest amount; one less is an overflow.
    pub const MIN: Self = Self(i64::MIN);

    /// An amount of so many minor units.
    #[must_use]
    pub const fn new(minor_units: i64) -> Self {
        Self(minor_units)
    }

    /// The amount in minor units.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum, or `None` where it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` where it does not fit.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The negative amount, or `None` for [`Amount::MIN`].
    #[must_use]
    pub const fn checked_neg(self) -> Option<Self> {
        match self.0.checked_neg() {
            Some(negated) => Some(Self(negated)),
            None => None,
        }
    }
}

impl From<i64> for Amount {
    fn from(minor_units: i64) -> Self {
        Self(minor_units)
    }
}

/// For literals such as `-Amount::new(5)`: saturates at [`Amount::MAX`] for [`Amount::MIN`], whose
/// negative does not exist; use [`Amount::checked_neg`] where that matters.
impl Neg for Amount {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many changes an account has seen: 1 to `i64::MAX`, one more with each applied change.
///
/// Never reset (not by closing and opening the account again) and never wrapped: a change beyond
/// [`Version::MAX`] is refused as an overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Version(i64);

/// A number below 1 is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no version: versions count from 1 to 9223372036854775807")]
pub struct InvalidVersion(pub i64);

impl Version {
    /// The version that an account's first change gives it.
    pub const FIRST: Self = Self(1);
    /// The last version; a further change is refused.
    pub const MAX: Self = Self(i64::MAX);

    /// Checks that the number is at least 1.
    ///
    /// # Errors
    /// [`InvalidVersion`] for zero and below.
    pub const fn new(number: i64) -> Result<Self, InvalidVersion> {
        if number < 1 {
            Err(InvalidVersion(number))
        } else {
            Ok(Self(number))
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The next version, or `None` at [`Version::MAX`].
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl TryFrom<i64> for Version {
    type Error = InvalidVersion;
    fn try_from(number: i64) -> Result<Self, InvalidVersion> {
        Self::new(number)
    }
}

impl From<Version> for i64 {
    fn from(version: Version) -> i64 {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
