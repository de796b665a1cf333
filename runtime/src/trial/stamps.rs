//! Times and random ids in a text, wherever they stand in it.

use jiff::civil::{Date, Time};
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

/// A text, cut where a time or a random id begins and ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Text(&'a str),
    Stamp(Stamp<'a>),
    /// A UUID.
    Random(&'a str),
}

/// A time, and how it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp<'a> {
    pub(super) text: &'a str,
    /// Since 1970, in UTC where it names no other zone.
    pub(super) ms: i64,
    pub(super) precision: Precision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    Day,
    Minute,
    Second,
    Millisecond,
}

/// Seconds since 1970 from 2001 on have ten digits, and milliseconds thirteen.
const EPOCH_DIGITS: [(usize, i64, Precision); 2] = [(10, 1_000, Precision::Second), (13, 1, Precision::Millisecond)];

/// `Mon, 23 Nov 2026 04:23:49 GMT`.
const HTTP_DATE_BYTES: usize = 29;

impl Stamp<'_> {
    /// The text with its digits and words as they would be at any other time.
    pub(super) fn shape(&self) -> String {
        if self.text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return "date".to_owned();
        }
        // JavaScript leaves out zeros at the end of seconds with a fraction.
        if let Some((seconds, _)) = self.text.split_once('.').filter(|(seconds, _)| seconds.len() == 10) {
            return format!("{}.", "0".repeat(seconds.len()));
        }
        self.text.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect()
    }
}

/// Cuts a text.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    let bytes = text.as_bytes();
    let word = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    while at < bytes.len() {
        if !word(at) || at.checked_sub(1).is_some_and(word) {
            at += 1;
            continue;
        }
        let found = text.get(at..).and_then(|rest| stamp(rest).map(Piece::Stamp).or_else(|| uuid(rest)));
        let length = match &found {
            Some(Piece::Stamp(stamp)) => stamp.text.len(),
            Some(Piece::Random(id)) => id.len(),
            _ => 0,
        };
        match found {
            Some(piece) if !word(at + length) => {
                if from < at {
                    pieces.push(Piece::Text(text.get(from..at).unwrap_or_default()));
                }
                pieces.push(piece);
                at += length;
                from = at;
            }
            _ => at += 1,
        }
    }
    if from < text.len() {
        pieces.push(Piece::Text(text.get(from..).unwrap_or_default()));
    }
    pieces
}

/// A number of so many digits at the beginning, and what follows it.
fn digits(text: &str, count: usize) -> Option<(i64, &str)> {
    let (number, rest) = text.split_at_checked(count)?;
    let all = number.bytes().all(|byte| byte.is_ascii_digit());
    Some((number.parse().ok().filter(|_| all)?, rest))
}

fn length_of_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn stamp(text: &str) -> Option<Stamp<'_>> {
    epoch(text).or_else(|| date(text)).or_else(|| http_date(text))
}

fn epoch(text: &str) -> Option<Stamp<'_>> {
    let length = length_of_digits(text);
    let (_, unit, precision) = EPOCH_DIGITS.into_iter().find(|(digits, _, _)| *digits == length)?;
    let (number, rest) = digits(text, length)?;
    // From 2001 to 2099.
    let ms = Some(number * unit).filter(|ms| (1_000_000_000_000..4_070_908_800_000).contains(ms))?;
    let fraction = rest.strip_prefix('.').map(length_of_digits).filter(|fraction| *fraction > 0 && length == 10);
    let Some(fraction) = fraction else {
        return Some(Stamp { text: text.get(..length)?, ms, precision });
    };
    let all = text.get(..length + 1 + fraction)?;
    let thousandths = format!("{:0<3}", rest.get(1..1 + fraction.min(3))?);
    Some(Stamp { text: all, ms: ms + thousandths.parse::<i64>().ok()?, precision: Precision::Millisecond })
}

/// `2026-11-23`, with a time of day or without, also with slashes or with no separators between `20261123T042349Z`.
fn date(text: &str) -> Option<Stamp<'_>> {
    let (year, rest) = digits(text, 4)?;
    let separator = ["-", "/"].into_iter().find(|separator| rest.starts_with(separator)).unwrap_or_default();
    let (month, rest) = digits(rest.strip_prefix(separator)?, 2)?;
    let (day, rest) = digits(rest.strip_prefix(separator)?, 2)?;
    let date = Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
    if !(1990..2100).contains(&year) {
        return None;
    }
    let of = |rest: &str, time: Time, offset: i64, precision| {
        let at = date.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
        Some(Stamp { text: text.get(..text.len() - rest.len())?, ms: at - offset, precision })
    };
    let compact = separator.is_empty();
    let time = rest.strip_prefix('T').or_else(|| rest.strip_prefix(' ').filter(|_| !compact));
    let Some((hour, after)) = time.and_then(|time| digits(time, 2)) else {
        // Eight digits alone may be anything.
        return if compact { None } else { of(rest, Time::midnight(), 0, Precision::Day) };
    };
    let colon = if compact { "" } else { ":" };
    let (minute, after) = digits(after.strip_prefix(colon)?, 2)?;
    let (mut second, mut nanos, mut precision, mut after) = (0, 0, Precision::Minute, after);
    if let Some((seconds, rest)) = after.strip_prefix(colon).and_then(|rest| digits(rest, 2)) {
        (second, precision, after) = (seconds, Precision::Second, rest);
        if let Some(fraction) = rest.strip_prefix('.').map(length_of_digits).filter(|digits| *digits > 0) {
            let digits = rest.get(1..=fraction)?;
            nanos = format!("{digits:0<9}").get(..9)?.parse().ok()?;
            (precision, after) = (Precision::Millisecond, rest.get(1 + fraction..)?);
        }
    }
    let time = Time::new(hour.try_into().ok()?, minute.try_into().ok()?, second.try_into().ok()?, nanos).ok()?;
    let (offset, after) = zone(after);
    of(after, time, offset, precision)
}

/// The milliseconds that a zone is ahead of UTC, and what follows it.
fn zone(text: &str) -> (i64, &str) {
    if let Some(rest) = text.strip_prefix(['Z', 'z']) {
        return (0, rest);
    }
    let zone = || {
        let sign = if text.starts_with('+') { 1 } else { -1 };
        let (hours, rest) = digits(text.strip_prefix(['+', '-'])?, 2)?;
        let (minutes, rest) = digits(rest.strip_prefix(':').unwrap_or(rest), 2).unwrap_or((0, rest));
        Some((sign * (hours * 60 + minutes) * 60_000, rest))
    };
    zone().unwrap_or((0, text))
}

fn http_date(text: &str) -> Option<Stamp<'_>> {
    let text = text.get(..HTTP_DATE_BYTES).filter(|text| text.ends_with(" GMT"))?;
    let ms = rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    Some(Stamp { text, ms, precision: Precision::Second })
}

fn uuid(text: &str) -> Option<Piece<'_>> {
    let id = text.get(..36)?;
    uuid::Uuid::try_parse(id).ok().map(|_| Piece::Random(id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    const AT: i64 = 1_795_407_829_123;

    #[test]
    fn a_time_is_known_in_each_way_that_scripts_write_it() {
        for (text, ms, precision) in [
            ("2026-11-23T04:23:49.123Z", AT, Precision::Millisecond),
            ("2026-11-23T04:23:49.123456Z", AT, Precision::Millisecond),
            ("2026-11-23T05:23:49.123+01:00", AT, Precision::Millisecond),
            ("2026-11-22T23:23:49.123-0500", AT, Precision::Millisecond),
            ("2026-11-23T04:23:49Z", AT - 123, Precision::Second),
            ("2026-11-23 04:23:49", AT - 123, Precision::Second),
            ("20261123T042349Z", AT - 123, Precision::Second),
            ("2026/11/23 04:23", AT - 49_123, Precision::Minute),
            ("2026-11-23", 1_795_392_000_000, Precision::Day),
            ("1795407829", AT - 123, Precision::Second),
            ("1795407829.123", AT, Precision::Millisecond),
            ("1795407829.12", AT - 3, Precision::Millisecond),
            ("1795407829123", AT, Precision::Millisecond),
            ("Mon, 23 Nov 2026 04:23:49 GMT", AT - 123, Precision::Second),
        ] {
            assert_eq!(pieces(text), [Piece::Stamp(Stamp { text, ms, precision })], "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_text() {
        for text in [
            "",
            "12345",
            "123456789012",
            "x1795407829123",
            "1795407829123x",
            "9999999999999",
            "2026-13-01",
            "1026-11-23",
            "20261123",
            "v2026-11-23a",
            "4711-12-24-12",
            "Monday",
            "ä–日本",
        ] {
            assert!(pieces(text).iter().all(|piece| matches!(piece, Piece::Text(_))), "{text}: {:?}", pieces(text));
        }
    }

    #[test]
    fn times_and_random_ids_are_found_inside_of_a_text() {
        let found = pieces("updated > '2026-11-23T04:23:49Z' and é=1795407829123;936da01f-9abd-4d9d-80c7-02af85c822a8");
        let texts: Vec<String> = found
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => format!("<{text}>"),
                Piece::Stamp(stamp) => stamp.text.to_owned(),
                Piece::Random(id) => format!("[{id}]"),
            })
            .collect();
        assert_eq!(
            texts.concat(),
            "<updated > '>2026-11-23T04:23:49Z<' and é=>1795407829123<;>[936da01f-9abd-4d9d-80c7-02af85c822a8]"
        );
    }

    #[test]
    fn a_shape_is_the_same_at_all_times() {
        let shape = |text: &str| {
            let found = pieces(text);
            let Some(Piece::Stamp(stamp)) = found.first() else { panic!("{text}: {found:?}") };
            stamp.shape()
        };
        assert_eq!(shape("2026-11-23T04:23:49.123Z"), shape("2019-01-02T23:00:00.000Z"));
        assert_ne!(shape("2026-11-23T04:23:49.123Z"), shape("2026-11-23T04:23:49Z"));
        assert_ne!(shape("2026-11-23T04:23:49Z"), shape("2026-11-23T04:23:49+00:00"));
        assert_ne!(shape("1795407829"), shape("1795407829123"));
        assert_eq!(shape("1795407829.1"), shape("1795407829.123"));
        assert_eq!(shape("Mon, 23 Nov 2026 04:23:49 GMT"), shape("Sun, 06 Nov 1994 08:49:37 GMT"));
    }
}
