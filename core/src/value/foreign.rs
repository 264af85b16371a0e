//! Conversions from the types of other crates. Times are cut to microseconds, which is what the backends
//! keep.

#[cfg(feature = "uuid")]
mod of_uuid {
    use crate::value::Value;

    impl From<uuid::Uuid> for Value {
        fn from(id: uuid::Uuid) -> Self {
            Self::Uuid(*id.as_bytes())
        }
    }
}

#[cfg(feature = "rust_decimal")]
mod of_rust_decimal {
    use crate::value::{Numeric, Value};

    impl From<rust_decimal::Decimal> for Numeric {
        fn from(number: rust_decimal::Decimal) -> Self {
            Self::of_digits(number.to_string())
        }
    }

    impl From<rust_decimal::Decimal> for Value {
        fn from(number: rust_decimal::Decimal) -> Self {
            Self::Numeric(number.into())
        }
    }
}

#[cfg(feature = "chrono")]
mod of_chrono {
    use chrono::{Datelike, Timelike};

    use crate::{
        time::Timestamp,
        value::{Date, DateTime, TimeOfDay, Value},
    };

    impl<Z: chrono::TimeZone> From<chrono::DateTime<Z>> for Value {
        fn from(moment: chrono::DateTime<Z>) -> Self {
            Self::Timestamp(Timestamp::from_micros(moment.timestamp_micros()))
        }
    }

    impl From<chrono::NaiveDateTime> for Value {
        fn from(moment: chrono::NaiveDateTime) -> Self {
            Self::DateTime(DateTime::from_micros(moment.and_utc().timestamp_micros()))
        }
    }

    impl From<chrono::NaiveDate> for Value {
        fn from(date: chrono::NaiveDate) -> Self {
            /// Of 1970-01-01, counted from the day before year 1.
            const EPOCH: i32 = 719_163;
            Self::Date(Date::from_days(date.num_days_from_ce() - EPOCH))
        }
    }

    impl From<chrono::NaiveTime> for Value {
        fn from(time: chrono::NaiveTime) -> Self {
            // A leap second has a second's nanoseconds more: it becomes the second before it.
            let micros = i64::from(time.nanosecond().min(999_999_999)) / 1_000;
            let seconds = i64::from(time.num_seconds_from_midnight());
            Self::Time(TimeOfDay::wrapping(seconds * 1_000_000 + micros))
        }
    }
}

#[cfg(feature = "time")]
mod of_time {
    use crate::{
        time::Timestamp,
        value::{Date, DateTime, TimeOfDay, Value},
    };

    fn micros(nanos: i128) -> i64 {
        // A year of six digits at most fits.
        i64::try_from(nanos.div_euclid(1_000)).unwrap_or(i64::MAX)
    }

    impl From<time::OffsetDateTime> for Value {
        fn from(moment: time::OffsetDateTime) -> Self {
            Self::Timestamp(Timestamp::from_micros(micros(
                moment.unix_timestamp_nanos(),
            )))
        }
    }

    impl From<time::PrimitiveDateTime> for Value {
        fn from(moment: time::PrimitiveDateTime) -> Self {
            let nanos = moment.assume_utc().unix_timestamp_nanos();
            Self::DateTime(DateTime::from_micros(micros(nanos)))
        }
    }

    impl From<time::Date> for Value {
        fn from(date: time::Date) -> Self {
            /// The Julian day of 1970-01-01.
            const EPOCH: i32 = 2_440_588;
            Self::Date(Date::from_days(date.to_julian_day() - EPOCH))
        }
    }

    impl From<time::Time> for Value {
        fn from(time: time::Time) -> Self {
            let (hour, minute, second, micros) = time.as_hms_micro();
            let seconds = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
            Self::Time(TimeOfDay::wrapping(seconds * 1_000_000 + i64::from(micros)))
        }
    }
}

#[cfg(feature = "jiff")]
mod of_jiff {
    use crate::{
        time::Timestamp,
        value::{Date, DateTime, TimeOfDay, Value, civil},
    };

    impl From<jiff::Timestamp> for Value {
        fn from(moment: jiff::Timestamp) -> Self {
            let micros = moment.as_nanosecond().div_euclid(1_000);
            Self::Timestamp(Timestamp::from_micros(
                i64::try_from(micros).unwrap_or(i64::MAX),
            ))
        }
    }

    impl From<jiff::Zoned> for Value {
        fn from(moment: jiff::Zoned) -> Self {
            moment.timestamp().into()
        }
    }

    fn days_of(date: jiff::civil::Date) -> i64 {
        civil::days_of(date.year().into(), date.month().into(), date.day().into())
    }

    fn micros_of(time: jiff::civil::Time) -> i64 {
        let (hour, minute) = (i64::from(time.hour()), i64::from(time.minute()));
        let seconds = hour * 3_600 + minute * 60 + i64::from(time.second());
        seconds * 1_000_000 + i64::from(time.subsec_nanosecond()) / 1_000
    }

    impl From<jiff::civil::DateTime> for Value {
        fn from(moment: jiff::civil::DateTime) -> Self {
            let days = days_of(moment.date()) * crate::time::MICROS_OF_DAY;
            Self::DateTime(DateTime::from_micros(days + micros_of(moment.time())))
        }
    }

    impl From<jiff::civil::Date> for Value {
        fn from(date: jiff::civil::Date) -> Self {
            // Years of four digits fit.
            Self::Date(Date::from_days(
                i32::try_from(days_of(date)).unwrap_or(i32::MAX),
            ))
        }
    }

    impl From<jiff::civil::Time> for Value {
        fn from(time: jiff::civil::Time) -> Self {
            Self::Time(TimeOfDay::wrapping(micros_of(time)))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::value::Value;

    fn text(value: impl Into<Value>) -> String {
        value.into().as_text().unwrap()
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn of_uuid() {
        let id = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(text(id.parse::<uuid::Uuid>().unwrap()), id);
    }

    #[cfg(feature = "rust_decimal")]
    #[test]
    fn of_rust_decimal() {
        for digits in [
            "2.50",
            "-79228162514264337593543950335",
            "0.0000000000000000000000000001",
        ] {
            assert_eq!(
                text(digits.parse::<rust_decimal::Decimal>().unwrap()),
                digits
            );
        }
    }

    #[cfg(feature = "chrono")]
    #[test]
    fn of_chrono() {
        use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
        let moment = DateTime::parse_from_rfc3339("2024-02-29T14:30:00.123456789+02:00").unwrap();
        assert_eq!(text(moment), "2024-02-29T12:30:00.123456Z");
        let local: NaiveDateTime = "1969-12-31T23:59:59.999999".parse().unwrap();
        assert_eq!(text(local), "1969-12-31T23:59:59.999999");
        for date in ["0001-01-01", "1970-01-01", "9999-12-31"] {
            assert_eq!(text(date.parse::<NaiveDate>().unwrap()), date);
        }
        assert!(Value::from(NaiveDate::MAX).mistake().is_some());
        let time: NaiveTime = "23:59:59.999999".parse().unwrap();
        assert_eq!(text(time), "23:59:59.999999");
        let leap = NaiveTime::from_hms_nano_opt(23, 59, 59, 1_500_000_000).unwrap();
        assert_eq!(text(leap), "23:59:59.999999");
    }

    #[cfg(feature = "time")]
    #[test]
    fn of_time() {
        use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};
        let date = Date::from_calendar_date(2024, Month::February, 29).unwrap();
        let clock = Time::from_hms_nano(14, 30, 0, 123_456_789).unwrap();
        let local = PrimitiveDateTime::new(date, clock);
        assert_eq!(text(date), "2024-02-29");
        assert_eq!(text(clock), "14:30:00.123456");
        assert_eq!(text(local), "2024-02-29T14:30:00.123456");
        let moment = local.assume_offset(UtcOffset::from_hms(2, 0, 0).unwrap());
        assert_eq!(text(moment), "2024-02-29T12:30:00.123456Z");
    }

    #[cfg(feature = "jiff")]
    #[test]
    fn of_jiff() {
        use jiff::{Timestamp, civil};
        let moment: Timestamp = "2024-02-29T14:30:00.123456789+02:00".parse().unwrap();
        assert_eq!(text(moment), "2024-02-29T12:30:00.123456Z");
        let local: civil::DateTime = "1969-12-31T23:59:59.999999".parse().unwrap();
        assert_eq!(text(local), "1969-12-31T23:59:59.999999");
        assert_eq!(text(local.date()), "1969-12-31");
        assert_eq!(text(local.time()), "23:59:59.999999");
    }
}
