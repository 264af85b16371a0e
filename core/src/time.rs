//! Time by the **database's** clock, and how long things are kept.
//!
//! No contract of this crate compares a client's clock: deadlines and retention are measured by the
//! store's own clock, so a client that is a year off changes nothing.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A moment by the store's clock, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A moment so many microseconds after 1970 (before it, if negative).
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The moment so much later, or `None` where it does not fit.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let micros = i64::try_from(duration.as_micros()).ok()?;
        self.0.checked_add(micros).map(Self)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0))
            .map_or(Duration::ZERO, Duration::from_micros)
    }
}

/// As RFC 3339 in UTC, to the microsecond: `2026-03-01T12:30:00.000250Z`. Outside of the years 0 to
/// 9999, which RFC 3339 has no form for, the microseconds since 1970.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.rem_euclid(MICROS_OF_DAY);
        let (year, month, day) = date_of(self.0.div_euclid(MICROS_OF_DAY));
        if !(0..=9_999).contains(&year) {
            return write!(f, "{}us", self.0);
        }
        let seconds = micros / 1_000_000;
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let fraction = micros % 1_000_000;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z"
        )
    }
}

pub(crate) const MICROS_OF_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01. Counted from a March,
/// so that the leap day is the last one of its year, in eras of 400 years, which all have the same days.
pub(crate) fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day - (153 * march + 2) / 5 + 1)
}

/// A hundred years: the longest duration that is taken for a retention, a lease or a deadline.
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// A duration that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {what} of {given:?} can't be used: it must be at least 1 microsecond and at most 100 years"
)]
pub struct InvalidDuration {
    /// What the duration was meant for, as `"retention"`.
    pub what: &'static str,
    /// What was given.
    pub given: Duration,
}

/// Checks a duration: at least one microsecond, at most [`MAX_DURATION`].
///
/// # Errors
/// [`InvalidDuration`] names the limit.
pub fn check_duration(what: &'static str, given: Duration) -> Result<Duration, InvalidDuration> {
    if given < Duration::from_micros(1) || given > MAX_DURATION {
        return Err(InvalidDuration { what, given });
    }
    Ok(given)
}

/// How long a completed key is remembered: the **deduplication window**, counted from completion.
///
/// A retry that comes after it is a new effect. So it must be no shorter than the longest time in
/// which the engine may still retry; the default of 30 days exceeds Restate's default retention of
/// one day thirty times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Option<Duration>", into = "Option<Duration>")]
pub struct Retention(Option<Duration>);

impl Retention {
    /// Never expires: only an explicit *forget* removes the key.
    pub const FOREVER: Self = Self(None);

    /// Kept for so long after completion.
    ///
    /// # Errors
    /// [`InvalidDuration`] for zero, and for more than 100 years (use [`Retention::FOREVER`]).
    pub fn new(duration: Duration) -> Result<Self, InvalidDuration> {
        check_duration("retention", duration).map(|duration| Self(Some(duration)))
    }

    /// The duration, or `None` for [`Retention::FOREVER`].
    #[must_use]
    pub const fn duration(self) -> Option<Duration> {
        self.0
    }

    /// When a key that is completed at `now` expires; `None` is never.
    #[must_use]
    pub fn expires_at(self, now: Timestamp) -> Option<Timestamp> {
        self.0.and_then(|duration| now.checked_add(duration))
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self(Some(Duration::from_secs(30 * 24 * 60 * 60)))
    }
}

impl TryFrom<Option<Duration>> for Retention {
    type Error = InvalidDuration;
    fn try_from(duration: Option<Duration>) -> Result<Self, InvalidDuration> {
        duration.map_or(Ok(Self::FOREVER), Self::new)
    }
}

impl From<Retention> for Option<Duration> {
    fn from(retention: Retention) -> Self {
        retention.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_as_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (951_868_799_999_999, "2000-02-29T23:59:59.999999Z"),
            (1_772_368_200_000_250, "2026-03-01T12:30:00.000250Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000Z"),
            (253_402_300_800_000_000, "253402300800000000us"),
            (i64::MIN, "-9223372036854775808us"),
        ] {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        }
    }

    #[test]
    fn absurd_durations_are_refused() {
        assert!(Retention::new(Duration::ZERO).is_err());
        assert!(Retention::new(Duration::MAX).is_err());
        assert!(Retention::new(Duration::from_nanos(1)).is_err());
        assert!(Retention::new(MAX_DURATION).is_ok());
    }

    #[test]
    fn time_does_not_overflow() {
        assert_eq!(
            Timestamp::from_micros(i64::MAX).checked_add(Duration::from_micros(1)),
            None
        );
        assert_eq!(
            Timestamp::from_micros(5).since(Timestamp::from_micros(9)),
            Duration::ZERO
        );
        assert_eq!(
            Timestamp::from_micros(i64::MAX).since(Timestamp::from_micros(i64::MIN)),
            Duration::from_micros(i64::MAX.unsigned_abs())
        );
    }
}
