//! Points in time as APIs write them (RFC 3339).
//!
//! A date library would be most of a small component, and a script needs just three things of one: "now", "some days
//! ago", and the text. Days are counted as in Howard Hinnant's *chrono-Compatible Low-Level Date Algorithms*
//! (`days_from_civil`, `civil_from_days`), from 1 March on, so that the leap day is the last of its year.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DAY_SECONDS: u64 = 86_400;
/// 9999-12-31T23:59:59.999Z, the last moment that RFC 3339 can write.
const MAX_MILLIS: u64 = 253_402_300_799_999;

/// A point in time: milliseconds since 1970-01-01T00:00:00 UTC, up to the year 9999.
///
/// `{}` writes whole seconds, `2026-01-02T03:04:05Z`, which every API takes and which, rounded down, misses nothing as a
/// "changed since". `{:.3}` writes the milliseconds too. As JSON it is a string with milliseconds where there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The current time, of the host's clock.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// This many days, of 24 hours, before now.
    #[must_use]
    pub fn days_ago(days: u32) -> Self {
        Self::now() - Duration::from_secs(u64::from(days) * DAY_SECONDS)
    }

    /// From milliseconds since the epoch.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(MAX_MILLIS))
    }

    /// From seconds since the epoch.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1_000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub fn as_seconds(self) -> u64 {
        self.0 / 1_000
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Stops at the epoch.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Stops at the end of the year 9999.
    fn add(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_seconds();
        let (year, month, day) = civil_from_days(seconds / DAY_SECONDS);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if f.precision().is_some() {
            write!(f, ".{:03}", self.0 % 1_000)?;
        }
        f.write_str("Z")
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| NotATimestamp(text.chars().take(64).collect()))
    }
}

/// The text is no RFC 3339 date and time from 1970 on, such as `2026-01-02T03:04:05Z` or `2026-01-02T03:04:05.678+01:00`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotATimestamp(String);

impl fmt::Display for NotATimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no time such as 2026-01-02T03:04:05Z (RFC 3339, from 1970 on)", self.0)
    }
}

impl std::error::Error for NotATimestamp {}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1_000) {
            serializer.collect_str(self)
        } else {
            serializer.collect_str(&format_args!("{self:.3}"))
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. None before 1970.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = bytes.get(from..to)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    };
    let is = |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|byte| allowed.contains(byte));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last_day = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let punctuated = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    // 60 is a leap second, which UTC without them counts as the start of the next minute.
    let in_range =
        (1..=12).contains(&month) && (1..=last_day).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !punctuated || !in_range {
        return None;
    }
    let (millis, zone) = match bytes.get(19) {
        Some(b'.') => {
            let digits = bytes.get(20..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let millis = number(20, 20 + digits.min(3))?;
            let scale = [0, 100, 10, 1].get(digits.min(3)).copied()?;
            (if digits == 0 { return None } else { millis * scale }, 20 + digits)
        }
        _ => (0, 19),
    };
    let seconds = days_from_civil(year, month, day)? * DAY_SECONDS + hour * 3_600 + minute * 60 + second;
    let offset = match bytes.get(zone..)? {
        [b'Z' | b'z'] => 0,
        [_, _, _, b':', _, _] => {
            let (hours, minutes) = (number(zone + 1, zone + 3)?, number(zone + 4, zone + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            hours * 3_600 + minutes * 60
        }
        _ => return None,
    };
    let seconds = if is(zone, b"-") {
        seconds + offset
    } else if is(zone, b"+Zz") {
        seconds.checked_sub(offset)?
    } else {
        return None;
    };
    let millis = seconds * 1_000 + millis;
    (millis <= MAX_MILLIS).then_some(Timestamp(millis))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn known_moments_are_written_and_read() {
        // Checked against `date -u -d @…`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_323_045, "2026-01-02T03:04:05Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::from_seconds(seconds).to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap().as_seconds(), seconds);
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for days in 0..146_097 {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), Some(days));
        }
    }

    #[test]
    fn offsets_fractions_and_spellings_are_read() {
        for (text, millis) in [
            ("2026-01-02T03:04:05.6Z", 1_767_323_045_600),
            ("2026-01-02t03:04:05.678912345z", 1_767_323_045_678),
            ("2026-01-02 04:34:05.678+01:30", 1_767_323_045_678),
            ("2026-01-01T22:04:05-05:00", 1_767_323_045_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ] {
            assert_eq!(text.parse::<Timestamp>().map(Timestamp::as_millis), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-13-02T03:04:05Z",
            "2026-02-29T00:00:00Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+0100",
            "2026-01-02T03:04:05*01:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "2026-01-02T03:04:05Zx",
            "２０26-01-02T03:04:05Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn json_keeps_the_milliseconds_and_plain_text_rounds_down() {
        let time = Timestamp::from_millis(1_767_323_045_678);
        assert_eq!(time.to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(serde_json::to_string(&time).unwrap(), r#""2026-01-02T03:04:05.678Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(r#""2026-01-02T03:04:05.678Z""#).unwrap(), time);
        assert_eq!(serde_json::to_string(&Timestamp::from_seconds(0)).unwrap(), r#""1970-01-01T00:00:00Z""#);
    }

    #[test]
    fn arithmetic_stays_in_range() {
        let day = Duration::from_secs(DAY_SECONDS);
        assert_eq!(Timestamp::from_seconds(10) - day, Timestamp::from_seconds(0));
        assert_eq!(Timestamp::from_millis(u64::MAX) + day, Timestamp::from_millis(MAX_MILLIS));
        assert!(Timestamp::days_ago(2) < Timestamp::days_ago(1));
    }
}
