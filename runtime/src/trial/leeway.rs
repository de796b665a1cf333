//! Values that cannot be as recorded: the time of the run, and what is random.
//!
//! A script that asks for what changed in the last 30 days, or saves when it ran, has another value on each day. Such a
//! value is accepted in the place of one of the same shape, and noted, if
//! - the trial's clock showed it during the run, or something that is a whole number of minutes away from that (of hours,
//!   where it has no milliseconds; of days, where it is written without seconds): filters such as "now less 30 days", or it
//!   is the beginning of the run's minute or hour, and
//! - neither it nor the recorded one is among what the script was given: such a value was taken from there.
//!
//! A day without a time says less, and is accepted only as the day of the run, and in a request up to two years before
//! and one after it. A UUID is accepted where none of both was given.
//!
//! With a clock that the file sets, times come out as recorded, and none is accepted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::stamps::{Piece, Precision, Stamp, pieces};
use crate::clock::JumpingClock;
use crate::sandbox::value_in_short;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How far from the run's day a day in a request may be: "the last two years", "the next twelve months".
const DAYS_AROUND: std::ops::RangeInclusive<i64> = -366..=732;

/// How far from the time of the run anything may be.
const MOST: i64 = 20 * 366 * DAY;

/// Where a value came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a request.
    Request,
    /// In what the script saved or returned.
    Result,
}

/// Values that came and are accepted in the place of recorded ones, by where that is, without the numbers of a list.
#[derive(Debug, Default)]
pub(super) struct Accepted(BTreeMap<String, Note>);

#[derive(Debug)]
struct Note {
    what: &'static str,
    recorded: String,
    came: String,
    times: u64,
}

impl Accepted {
    fn add(&mut self, place: String, note: Note) {
        self.0.entry(place).and_modify(|known| known.times += note.times).or_insert(note);
    }

    /// Adds those of a part of something.
    pub(super) fn extend(&mut self, part: &str, others: Self) {
        for (place, note) in others.0 {
            let separator = if part.is_empty() || place.is_empty() { "" } else { " " };
            self.add(format!("{part}{separator}{place}"), note);
        }
    }

    /// A line for each.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(place, Note { what, recorded, came, times })| {
            let times = if *times > 1 { format!(", {times} times") } else { String::new() };
            format!("{place} is {what}: {came}, recorded {recorded}{times}")
        })
    }
}

/// Times and random ids that a script was given.
#[derive(Default)]
pub(super) struct Given {
    instants: HashSet<i64>,
    days: HashSet<i64>,
    random: HashSet<String>,
}

impl Given {
    /// Notes all that are in a JSON text.
    pub(super) fn add(&mut self, text: &str) {
        for piece in pieces(text) {
            match piece {
                Piece::Text(_) => {}
                Piece::Random(id) => {
                    self.random.insert(id.to_ascii_lowercase());
                }
                Piece::Stamp(stamp) if stamp.is_of_a_day() => {
                    self.days.insert(stamp.ms.div_euclid(DAY));
                }
                Piece::Stamp(Stamp { ms, .. }) => self.instants.extend([ms, ms - ms.rem_euclid(SECOND)]),
            }
        }
    }
}

impl Stamp<'_> {
    /// Whether it is a day, its first or its last moment.
    fn is_of_a_day(&self) -> bool {
        self.precision == Precision::Day
            || self.ms % DAY == 0
            || [DAY - 1, DAY - SECOND].contains(&self.ms.rem_euclid(DAY))
    }
}

/// What is accepted.
pub(super) struct Leeway {
    /// The trial's clock, unless the file sets it.
    time: Option<Arc<JumpingClock>>,
    /// Before any request: the input, what is remembered and stored.
    at_start: Given,
    /// In answers.
    in_answers: Given,
}

impl Leeway {
    pub(super) fn new(time: Option<Arc<JumpingClock>>, at_start: Given, in_answers: Given) -> Self {
        Self { time, at_start, in_answers }
    }

    /// Whether what came is only another time or another random id than what was recorded.
    pub(super) fn accepts(&self, recorded: &str, came: &str, place: Place) -> Option<Accepted> {
        let (before, after) = (pieces(recorded), pieces(came));
        if before.len() != after.len() {
            return None;
        }
        let mut accepted = Accepted::default();
        for (recorded, came) in before.iter().zip(&after) {
            let (what, recorded, came) = match (recorded, came) {
                (recorded, came) if recorded == came => continue,
                (Piece::Stamp(recorded), Piece::Stamp(came)) => {
                    (self.time_of_the_run(recorded, came, place)?, recorded.text, came.text)
                }
                (Piece::Random(recorded), Piece::Random(came)) if self.is_random(recorded) && self.is_random(came) => {
                    ("random", *recorded, *came)
                }
                _ => return None,
            };
            let (recorded, came) = (recorded.to_owned(), came.to_owned());
            accepted.add(String::new(), Note { what, recorded, came, times: 1 });
        }
        Some(accepted)
    }

    /// Accepts a text of which only a hash is recorded, if it is another one on each day.
    pub(super) fn accepts_hashed(&self, hash: &str, came: &str) -> Option<Accepted> {
        let varies = |piece: &Piece<'_>| match piece {
            Piece::Text(_) => false,
            Piece::Random(id) => self.is_random(id),
            Piece::Stamp(stamp) => !stamp.is_of_a_day() && self.time_of_the_run(stamp, stamp, Place::Request).is_some(),
        };
        if !pieces(came).iter().any(varies) {
            return None;
        }
        let mut accepted = Accepted::default();
        let what = "not compared: it has the time of the run or what is random";
        accepted.add(String::new(), Note { what, recorded: hash.to_owned(), came: value_in_short(came), times: 1 });
        Some(accepted)
    }

    fn is_random(&self, id: &str) -> bool {
        let id = id.to_ascii_lowercase();
        !self.at_start.random.contains(&id) && !self.in_answers.random.contains(&id)
    }

    fn time_of_the_run(&self, recorded: &Stamp<'_>, came: &Stamp<'_>, place: Place) -> Option<&'static str> {
        let time = self.time.as_ref()?;
        if recorded.shape() != came.shape() || recorded.is_of_a_day() != came.is_of_a_day() {
            return None;
        }
        let shown: Vec<(i64, i64)> = time.shown().into_iter().map(|(from, to)| (signed(from), signed(to))).collect();
        if came.is_of_a_day() {
            return self.day_of_the_run(recorded.ms.div_euclid(DAY), came.ms.div_euclid(DAY), &shown, place);
        }
        let given = [&self.at_start, &self.in_answers];
        if [recorded, came].iter().any(|it| given.iter().any(|given| given.instants.contains(&it.ms))) {
            return None;
        }
        let cut_to = |unit: i64| recorded.ms % unit == 0 && came.ms % unit == 0;
        let (unit, period) = match came.precision {
            // What was cut to seconds has no milliseconds, whatever the shape; and what was cut to more says little, and is
            // the time of the run or nothing.
            Precision::Millisecond if came.ms % SECOND != 0 => (1, Some(MINUTE)),
            Precision::Millisecond | Precision::Second if cut_to(HOUR) => (HOUR, None),
            Precision::Millisecond | Precision::Second if cut_to(MINUTE) => (MINUTE, None),
            Precision::Millisecond | Precision::Second => (SECOND, Some(HOUR)),
            Precision::Minute | Precision::Day => (MINUTE, Some(DAY)),
        };
        let cut = |ms: i64| ms - ms.rem_euclid(unit);
        let now = shown.iter().any(|(from, to)| (cut(*from)..=*to).contains(&came.ms));
        let apart = shown.iter().any(|(from, to)| {
            let (from, to) = (cut(*from), cut(*to));
            let whole = |period| (came.ms - from).rem_euclid(period) <= to - from;
            (came.ms - from).abs() <= MOST && period.is_some_and(whole)
        });
        match (now, apart) {
            (true, _) => Some("the time of the run"),
            (false, true) => Some("reckoned from the time of the run"),
            (false, false) => None,
        }
    }

    fn day_of_the_run(&self, recorded: i64, came: i64, shown: &[(i64, i64)], place: Place) -> Option<&'static str> {
        let (first, last) = (shown.first()?.0.div_euclid(DAY), shown.last()?.1.div_euclid(DAY));
        let given = |given: &Given| given.days.contains(&recorded) || given.days.contains(&came);
        if given(&self.at_start) || place == Place::Result && given(&self.in_answers) {
            return None;
        }
        if (first..=last).contains(&came) {
            return Some("the day of the run");
        }
        // In an answer that day stands for something, and may have been taken from there.
        let taken = self.in_answers.days.contains(&came);
        let near = DAYS_AROUND.contains(&(last - came));
        (place == Place::Request && near && !taken).then_some("reckoned from the day of the run")
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::time::Duration;

    use super::*;
    use crate::ids::Timestamp;

    /// 2026-11-23T04:23:49.123Z, and 40 seconds later after a wait.
    fn leeway(at_start: &str, in_answers: &str) -> Leeway {
        let clock = JumpingClock::new(Timestamp(1_795_407_829_123));
        clock.wait(Duration::from_secs(40));
        let given = |text: &str| {
            let mut given = Given::default();
            given.add(text);
            given
        };
        Leeway::new(Some(Arc::new(clock)), given(at_start), given(in_answers))
    }

    fn accepts(leeway: &Leeway, recorded: &str, came: &str, place: Place) -> bool {
        leeway.accepts(recorded, came, place).is_some()
    }

    #[test]
    fn the_time_of_the_run_is_accepted_and_what_is_reckoned_from_it() {
        let leeway = leeway("", "");
        for (recorded, came) in [
            ("2025-02-03T10:11:12.131Z", "2026-11-23T04:23:49.123Z"),
            ("2025-02-03T10:11:12.131Z", "2026-11-23T04:24:29.123Z"),
            ("2025-01-03T10:11:12.131Z", "2026-10-24T04:23:49.123Z"),
            ("2025-01-03T10:06:12.131Z", "2026-11-23T04:18:49.123Z"),
            ("2025-02-03T10:11:12Z", "2026-11-23T04:23:49Z"),
            ("2025-02-03T10:11:12.000Z", "2026-11-23T03:23:49.000Z"),
            ("1738577472", "1795407829"),
            ("1738577472131", "1795407829123"),
            ("2025-02-03T10:11:00.000Z", "2026-11-23T04:23:00.000Z"),
            ("2025-02-03T10:00:00Z", "2026-11-23T04:00:00Z"),
            ("2025-02-03 10:11", "2026-11-23 04:23"),
            ("Mon, 03 Feb 2025 10:11:12 GMT", "Mon, 23 Nov 2026 04:23:49 GMT"),
            ("updated > '2025-02-03T10:11:12Z' order by id", "updated > '2026-11-23T04:23:49Z' order by id"),
        ] {
            assert!(accepts(&leeway, recorded, came, Place::Result), "{came} for {recorded}");
        }
    }

    #[test]
    fn any_other_time_is_a_difference() {
        let leeway = leeway("", "");
        for (recorded, came) in [
            ("2025-02-03T10:11:12.131Z", "2026-11-23T04:23:49.124Z"),
            ("2025-02-03T10:11:12.131Z", "2026-11-23T04:23:50.123Z"),
            ("2025-02-03T10:11:12Z", "2026-11-23T04:22:49Z"),
            ("2025-02-03T10:11:12.131Z", "2026-11-23T04:23:49Z"),
            ("2025-02-03T10:11:12Z", "1795407829"),
            ("2025-02-03T10:11:00.000Z", "2026-11-23T03:23:00.000Z"),
            ("2025-02-03T10:00:00Z", "2026-11-23T03:00:00Z"),
            ("2025-02-03T10:11:00Z", "2026-11-23T04:00:00Z"),
            ("2025-02-03", "2026-11-23T04:23:49Z"),
            ("2025-02-03T00:00:00Z", "2026-11-23T04:23:49Z"),
            ("2025-02-03T10:11:12Z", "2026-11-23T00:00:00Z"),
            ("created > '2025-02-03T10:11:12Z'", "updated > '2026-11-23T04:23:49Z'"),
            ("nothing", "2026-11-23T04:23:49.123Z"),
            ("1738577472131", "1795407829124"),
        ] {
            assert!(!accepts(&leeway, recorded, came, Place::Request), "{came} for {recorded}");
        }
    }

    #[test]
    fn what_the_script_was_given_is_no_time_of_the_run() {
        let (recorded, came) = ("2025-02-03T10:11:12.131Z", "2026-11-23T04:23:49.123Z");
        let givens = [("", ""), (recorded, ""), ("", recorded), ("1738577472131", ""), ("", came)];
        let accepted =
            givens.map(|(at_start, in_answers)| accepts(&leeway(at_start, in_answers), recorded, came, Place::Result));
        assert_eq!(accepted, [true, false, false, false, false]);
        let cut = ("2025-02-03T10:11:12Z", "2026-11-23T04:23:49Z");
        assert!(!accepts(&leeway(recorded, ""), cut.0, cut.1, Place::Result), "cut to seconds");
    }

    #[test]
    fn a_day_is_accepted_where_nothing_else_is_likely() {
        use Place::{Request, Result};
        for (at_start, in_answers, recorded, came, place, accepted) in [
            ("", "", "2025-02-03", "2026-11-23", Result, true),
            ("", "", "2025-02-03T00:00:00.000Z", "2026-11-23T00:00:00.000Z", Result, true),
            ("", "", "2025-02-03T23:59:59.999Z", "2026-11-23T23:59:59.999Z", Request, true),
            ("", "", "2025-02-03", "2026-11-22", Result, false),
            ("", "", "2025-01-04", "2026-10-24", Request, true),
            ("", "", "2025-01-04", "2024-10-24", Request, false),
            ("", "", "2025-02-03", "2026/11/23", Request, false),
            ("2025-01-04", "", "2025-01-04", "2026-10-24", Request, false),
            ("", "2025-02-03", "2025-02-03", "2026-11-23", Result, false),
            ("", "2025-02-03", "2025-02-03", "2026-11-23", Request, true),
            ("", "2026-10-24", "2025-01-04", "2026-10-24", Request, false),
        ] {
            let leeway = leeway(at_start, in_answers);
            assert_eq!(accepts(&leeway, recorded, came, place), accepted, "{came} for {recorded}: {place:?}");
        }
    }

    #[test]
    fn a_random_id_is_accepted_unless_it_was_given() {
        let (recorded, came) = ("936da01f-9abd-4d9d-80c7-02af85c822a8", "a8098c1a-f86e-41da-bd1a-00112444be1e");
        assert!(accepts(&leeway("", ""), recorded, came, Place::Request));
        for (at_start, in_answers) in [(recorded, ""), ("", came)] {
            assert!(!accepts(&leeway(at_start, in_answers), recorded, came, Place::Request));
        }
    }

    #[test]
    fn of_what_is_hashed_only_what_varies_is_accepted() {
        let leeway = leeway("2024-01-02T03:04:05.678Z", "");
        let accepts = |text: &str| leeway.accepts_hashed("sha1:0", text).is_some();
        assert!(accepts(r#"{"since":"2026-11-23T04:23:49.123Z"}"#));
        assert!(accepts(r#"{"key":"936da01f-9abd-4d9d-80c7-02af85c822a8"}"#));
        assert!(!accepts(r#"{"since":"2024-01-02T03:04:05.678Z"}"#));
        assert!(!accepts(r#"{"since":"2026-11-23T04:23:49.124Z","day":"2026-11-23"}"#));
    }

    #[test]
    fn where_the_file_sets_the_clock_no_other_time_is_accepted() {
        let leeway = Leeway::new(None, Given::default(), Given::default());
        assert!(!accepts(&leeway, "2025-02-03T10:11:12.131Z", "2026-11-23T04:23:49.123Z", Place::Result));
    }

    #[test]
    fn a_note_says_how_often() {
        let leeway = leeway("", "");
        let mut all = Accepted::default();
        for _ in 0..3 {
            let one = leeway.accepts("1738577472131", "1795407829123", Place::Result).unwrap();
            all.extend("saved Item at", one);
        }
        let notes: Vec<String> = all.notes().collect();
        assert_eq!(notes, ["saved Item at is the time of the run: 1795407829123, recorded 1738577472131, 3 times"]);
    }
}
