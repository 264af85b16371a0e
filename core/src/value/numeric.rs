//! Decimal numbers, as their digits.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A decimal number with all its digits, of any length: `12345678901234567890.50`.
///
/// ```
/// # use exactly_once_core::Numeric;
/// let price: Numeric = "2.50".parse()?;
/// assert_eq!(price.as_str(), "2.50");
/// assert!("1e3".parse::<Numeric>().is_err());
/// # Ok::<(), exactly_once_core::InvalidNumeric>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Numeric(String);

/// A text that is no decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a decimal number as -12.50: digits and at most one point, of 1000 digits at most"
)]
pub struct InvalidNumeric;

/// The most digits: what PostgreSQL lets a column declare.
const MAX_DIGITS: usize = 1_000;

impl Numeric {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What another crate has written, without an exponent.
    #[cfg(feature = "rust_decimal")]
    pub(super) fn of_digits(digits: String) -> Self {
        Self(digits)
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Numeric {
    type Err = InvalidNumeric;
    fn from_str(text: &str) -> Result<Self, InvalidNumeric> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|one| one.is_ascii_digit());
        let good = digits(whole) && digits(fraction) && unsigned.len() <= MAX_DIGITS;
        good.then(|| Self(text.to_owned())).ok_or(InvalidNumeric)
    }
}

impl TryFrom<String> for Numeric {
    type Error = InvalidNumeric;
    fn try_from(text: String) -> Result<Self, InvalidNumeric> {
        text.parse()
    }
}

impl From<Numeric> for String {
    fn from(number: Numeric) -> Self {
        number.0
    }
}

macro_rules! whole {
    ($($type:ty),*) => {$(
        impl From<$type> for Numeric {
            fn from(number: $type) -> Self {
                Self(number.to_string())
            }
        }
    )*};
}

whole!(i32, i64, i128, u32, u64, u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_kept_and_nothing_else_is_a_number() {
        for good in ["0", "-0.10", "12345678901234567890.50", "007"] {
            assert_eq!(good.parse::<Numeric>().unwrap().to_string(), good);
        }
        for bad in [
            "", "-", ".5", "5.", "1e3", "+1", "1_000", "NaN", "1.2.3", "٣",
        ] {
            assert!(bad.parse::<Numeric>().is_err(), "{bad}");
        }
        assert!("9".repeat(1_000).parse::<Numeric>().is_ok());
        assert!("9".repeat(1_001).parse::<Numeric>().is_err());
    }
}
