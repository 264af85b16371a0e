//! Dates and times of the Gregorian calendar without a zone, to the microsecond.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::{MICROS_OF_DAY, Timestamp, date_of};

/// A text that is no date, time or moment of the form that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidMoment(&'static str);

const DATE: InvalidMoment = InvalidMoment("a date as 2026-03-01");
const TIME: InvalidMoment = InvalidMoment("a time of day as 12:30:00.000250");
const DATE_TIME: InvalidMoment =
    InvalidMoment("a date and time without a zone as 2026-03-01T12:30:00.000250");
const MOMENT: InvalidMoment =
    InvalidMoment("a moment with its zone as 2026-03-01T12:30:00.000250Z or …+02:00");

/// A date. It is written `2026-03-01`.
///
/// ```
/// # use exactly_once_core::Date;
/// let date: Date = "2024-02-29".parse()?;
/// assert_eq!(date.days(), 19_782);
/// assert!("2026-02-29".parse::<Date>().is_err());
/// # Ok::<(), exactly_once_core::InvalidMoment>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    days: i32,
}

/// A time of day. It is written `12:30:00.000250`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    micros: i64,
}

/// A date and a time, without a zone. It is written `2026-03-01T12:30:00.000250`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    micros: i64,
}

/// Whether this moment after 1970 is within the years 1 to 9999: others have no text that all backends
/// read.
pub(super) fn has_form(micros: i64) -> bool {
    is_day_with_form(micros.div_euclid(MICROS_OF_DAY))
}

fn is_day_with_form(days: i64) -> bool {
    let (year, _, _) = date_of(days);
    (1..=9_999).contains(&year)
}

impl Date {
    /// The date so many days after 1970-01-01 (before it, if negative).
    #[must_use]
    pub const fn from_days(days: i32) -> Self {
        Self { days }
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn days(self) -> i32 {
        self.days
    }

    pub(super) fn has_form(self) -> bool {
        is_day_with_form(self.days.into())
    }
}

impl TimeOfDay {
    /// The time so many microseconds after midnight; `None` for a day or more.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if micros < 0 || micros >= MICROS_OF_DAY {
            return None;
        }
        Some(Self { micros })
    }

    /// Microseconds since midnight.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.micros
    }

    /// Of a clock of another crate, which ends before midnight.
    #[cfg(any(feature = "chrono", feature = "time", feature = "jiff"))]
    pub(super) const fn wrapping(micros: i64) -> Self {
        Self {
            micros: micros.rem_euclid(MICROS_OF_DAY),
        }
    }
}

impl DateTime {
    /// So many microseconds after 1970-01-01T00:00:00 (before it, if negative).
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// Microseconds since 1970-01-01T00:00:00.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.micros
    }

    pub(super) fn has_form(self) -> bool {
        has_form(self.micros)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.days.into());
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, fraction) = (self.micros / 1_000_000, self.micros % 1_000_000);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{hour:02}:{minute:02}:{second:02}.{fraction:06}")
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.micros.div_euclid(MICROS_OF_DAY));
        let time = TimeOfDay {
            micros: self.micros.rem_euclid(MICROS_OF_DAY),
        };
        write!(f, "{year:04}-{month:02}-{day:02}T{time}")
    }
}

impl FromStr for Date {
    type Err = InvalidMoment;
    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        date(text).map(Self::from_days).ok_or(DATE)
    }
}

impl FromStr for TimeOfDay {
    type Err = InvalidMoment;
    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        time(text).map(|micros| Self { micros }).ok_or(TIME)
    }
}

impl FromStr for DateTime {
    type Err = InvalidMoment;
    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        date_time(text).map(Self::from_micros).ok_or(DATE_TIME)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidMoment;

    /// Reads RFC 3339: a date, a time and an offset, to the microsecond at most.
    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        moment(text).map(Self::from_micros).ok_or(MOMENT)
    }
}

fn moment(text: &str) -> Option<i64> {
    if let Some(utc) = text.strip_suffix(['Z', 'z']) {
        return date_time(utc);
    }
    let at = text.len().checked_sub("+00:00".len())?;
    let (local, offset) = text.split_at_checked(at)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = number(hours, 2, 0..=23)? * 60 + number(minutes, 2, 0..=59)?;
    let ahead = match offset.as_bytes().first()? {
        b'+' => minutes,
        b'-' => -minutes,
        _ => return None,
    };
    Some(date_time(local)? - ahead * 60_000_000)
}

fn date_time(text: &str) -> Option<i64> {
    let (day, clock) = text.split_once(['T', 't', ' '])?;
    Some(i64::from(date(day)?) * MICROS_OF_DAY + time(clock)?)
}

fn date(text: &str) -> Option<i32> {
    let mut parts = text.splitn(3, '-');
    let year = number(parts.next()?, 4, 1..=9_999)?;
    let month = number(parts.next()?, 2, 1..=12)?;
    let day = number(parts.next()?, 2, 1..=31)?;
    let days = days_of(year, month, day);
    // 30 February is another day.
    (date_of(days) == (year, month, day)).then_some(())?;
    i32::try_from(days).ok()
}

fn time(text: &str) -> Option<i64> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, micros(fraction)?),
        None => (text, 0),
    };
    let mut parts = clock.splitn(3, ':');
    let hour = number(parts.next()?, 2, 0..=23)?;
    let minute = number(parts.next()?, 2, 0..=59)?;
    let second = number(parts.next()?, 2, 0..=59)?;
    Some((hour * 3_600 + minute * 60 + second) * 1_000_000 + fraction)
}

/// Digits after the point; more than six would be cut off.
fn micros(digits: &str) -> Option<i64> {
    let length = u32::try_from(digits.len()).ok()?;
    let scale = 6_u32.checked_sub(length)?;
    let number = number(digits, digits.len(), 0..=999_999)?;
    (length > 0).then_some(number * 10_i64.pow(scale))
}

/// Exactly so many digits.
fn number(text: &str, digits: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| text.parse().ok()).flatten()?;
    range.contains(&number).then_some(number)
}

/// Days after 1970-01-01: the reverse of [`date_of`].
pub(super) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let march = (month + 9) % 12;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

as_text!(Date, TimeOfDay, DateTime);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_ten_thousand_years_read_back() {
        // Coprime to the days of a week, a year and an era.
        for days in (-719_162..=2_932_896).step_by(19).chain([2_932_896]) {
            let date = Date::from_days(days);
            assert!(date.has_form(), "{days}");
            assert_eq!(date.to_string().parse(), Ok(date), "{days}");
        }
        assert!(!Date::from_days(-719_163).has_form());
        assert!(!Date::from_days(2_932_897).has_form());
    }

    #[test]
    fn times_read_back_to_the_microsecond() {
        for micros in [0, 1, 999_999, 43_200_000_250, MICROS_OF_DAY - 1] {
            let time = TimeOfDay::from_micros(micros).unwrap();
            assert_eq!(time.to_string().parse(), Ok(time));
            for days in [-719_162, 0, 2_932_896] {
                let moment = DateTime::from_micros(days * MICROS_OF_DAY + micros);
                assert_eq!(moment.to_string().parse(), Ok(moment));
                let moment = Timestamp::from_micros(moment.as_micros());
                assert_eq!(moment.to_string().parse(), Ok(moment));
            }
        }
        assert_eq!(TimeOfDay::from_micros(MICROS_OF_DAY), None);
        assert_eq!(TimeOfDay::from_micros(-1), None);
    }

    #[test]
    fn a_zone_moves_the_moment() {
        let moment = |text: &str| text.parse::<Timestamp>().unwrap().as_micros();
        let noon = moment("2026-03-01T12:00:00Z");
        assert_eq!(moment("2026-03-01T14:00:00+02:00"), noon);
        assert_eq!(moment("2026-03-01 06:30:00.5-05:30"), noon + 500_000);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2026-02-29",
            "2026-13-01",
            "0000-01-01",
            "10000-01-01",
            "2026-1-1",
            "+026-01-01",
            "2026-01-01x",
            "2026-01-01T00:00:00",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
        for text in [
            "24:00:00",
            "12:60:00",
            "12:00:60",
            "12:00",
            "12:00:00.",
            "12:00:00.1234567",
        ] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
        for text in [
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+2",
            "2026-01-01T00:00:00+24:00",
            "Z",
            "é2026",
            "2026-01-01é00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        assert!("2026-01-01T00:00:00Z".parse::<DateTime>().is_err());
    }
}
