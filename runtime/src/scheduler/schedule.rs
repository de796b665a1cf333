//! Frequencies in words, and how a schedule is read and shown.
//!
//! Reading forgives case and blanks; showing gives one canonical text, which reads back as the same schedule and is what is
//! stored. Checked in this order: length and alphabet, `cron` or five fields, `every`, the number, the unit, the bounds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::cron::Cron;
use crate::ids::Timestamp;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// The shortest period: a run costs a sandbox and a few commits, and an API that must be asked more often has webhooks.
pub const MIN_PERIOD_MS: u64 = 30 * SECOND;
/// The longest period. What is rarer is no schedule but an appointment.
pub const MAX_PERIOD_MS: u64 = 366 * DAY;
/// No schedule is longer; error messages repeat what was given.
const MAX_TEXT: usize = 200;
/// Units from the largest, with their short forms. Showing uses the first that divides the period.
const UNITS: [(&str, &[&str], u64); 6] = [
    ("week", &["w", "wk", "wks"], WEEK),
    ("day", &["d"], DAY),
    ("hour", &["h", "hr", "hrs"], HOUR),
    ("minute", &["m", "min", "mins"], MINUTE),
    ("second", &["s", "sec", "secs"], SECOND),
    ("millisecond", &["ms"], 1),
];
/// What every message about a bad schedule ends with.
const EXAMPLES: &str =
    "`every 5 minutes`, `every half hour`, `every 6h`, `every day`, `cron 0 9 * * MON-FRI Europe/Berlin`";

/// How often a sync runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Schedule {
    /// With a fixed period.
    Every {
        /// The period in milliseconds, from [`MIN_PERIOD_MS`] to [`MAX_PERIOD_MS`].
        ms: u64,
    },
    /// At times of the wall clock.
    Cron(Box<Cron>),
}

/// A schedule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading the schedule {given:?}: {problem}; right are for example {EXAMPLES}")]
pub struct ScheduleError {
    given: String,
    problem: String,
}

impl ScheduleError {
    /// The stable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "bad-schedule"
    }

    /// What was wrong, without the examples.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl Schedule {
    /// The first tick strictly after `after`; `None` if there is none to be found (a cron time that does not come within
    /// four years, or the end of the calendar).
    ///
    /// With `every …` ticks lie at `anchor` plus or minus any number of periods, however long runs take. Before the anchor
    /// there are ticks too, so that a sync made while the clock was wrong does not wait for that time.
    #[must_use]
    pub fn next_after(&self, anchor: Timestamp, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { ms } => {
                let ms = (*ms).max(1);
                let wait = if after >= anchor {
                    ms - (after.0 - anchor.0) % ms
                } else {
                    match (anchor.0 - after.0) % ms {
                        0 => ms,
                        rest => rest,
                    }
                };
                after.0.checked_add(wait).map(Timestamp)
            }
            Self::Cron(cron) => cron.next_after(after),
        }
    }

    /// The period of `every …`, in milliseconds.
    #[must_use]
    pub fn period_ms(&self) -> Option<u64> {
        match self {
            Self::Every { ms } => Some(*ms),
            Self::Cron(_) => None,
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        parse(text).map_err(|problem| ScheduleError { given: text.chars().take(80).collect(), problem })
    }
}

fn parse(text: &str) -> Result<Schedule, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("it has {} bytes, and {MAX_TEXT} are the most", text.len()));
    }
    if !text.is_ascii() {
        return Err("it has characters that no schedule has".to_owned());
    }
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let Some((first, rest)) = words.split_first() else {
        return Err("it is empty".to_owned());
    };
    if first.eq_ignore_ascii_case("cron") {
        return Cron::parse(rest).map(|cron| Schedule::Cron(Box::new(cron)));
    }
    let lower = text.to_ascii_lowercase();
    let mut lower: Vec<&str> = lower.split_ascii_whitespace().collect();
    if lower.first() == Some(&"every") {
        lower.remove(0);
        return every(&lower).map(|ms| Schedule::Every { ms });
    }
    // The bare five fields begin with a minute: digits, `*`, or a list of them.
    if words.len() >= 5 && first.bytes().all(|b| b.is_ascii_digit() || b"*/,-".contains(&b)) {
        return Cron::parse(&words).map(|cron| Schedule::Cron(Box::new(cron)));
    }
    let whole = lower.join(" ");
    if words.len() == 1 && first.starts_with(|c: char| c.is_ascii_digit()) {
        return every(&lower).map(|ms| Schedule::Every { ms });
    }
    Err(match whole.as_str() {
        "@hourly" | "hourly" => "did you mean `every hour`?".to_owned(),
        "@daily" | "@midnight" | "daily" => "did you mean `every day`, or `cron 0 0 * * *`?".to_owned(),
        "@weekly" | "weekly" => "did you mean `every week`, or `cron 0 0 * * SUN`?".to_owned(),
        "@monthly" | "monthly" | "@yearly" | "@annually" | "yearly" => MONTHS.to_owned(),
        _ if strsim::damerau_levenshtein(lower.first().copied().unwrap_or_default(), "every") <= 2 => {
            let rest = lower.get(1..).unwrap_or_default();
            match every(rest) {
                Ok(ms) => format!("did you mean `{}`?", Schedule::Every { ms }),
                Err(_) => "it begins neither with `every` nor with `cron`; did you mean `every`?".to_owned(),
            }
        }
        _ => "it begins neither with `every` nor with `cron`, and is not five fields of cron".to_owned(),
    })
}

const MONTHS: &str =
    "months and years differ in length: use cron, such as `cron 0 0 1 * *` for the first of each month";

/// What follows `every`, in lower case: `5 minutes`, `6h`, `half hour`, `hour`.
fn every(words: &[&str]) -> Result<u64, String> {
    let joined = words.join(" ");
    let (number, unit) = match words {
        [] => return Err("after `every` comes a period".to_owned()),
        ["half", unit] | ["half", "a" | "an", unit] => {
            let ms = period_of(unit, || format!("every half {}", spelled(unit).unwrap_or("hour")))?;
            return bounded(ms / 2);
        }
        _ => {
            let digits = joined.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = joined.split_at(digits);
            (number, unit.trim_start())
        }
    };
    let number = match number {
        "" => 1,
        digits => digits.parse::<u64>().map_err(|_| format!("{digits} is too large a number"))?,
    };
    if number == 0 {
        return Err("a period of nothing is none".to_owned());
    }
    if unit.is_empty() {
        return Err(format!("it lacks a unit; did you mean `every {number} minutes`?"));
    }
    let ms = period_of(unit, || {
        let unit = spelled(unit).unwrap_or("minute");
        if number == 1 { format!("every {unit}") } else { format!("every {number} {unit}s") }
    })?;
    bounded(number.saturating_mul(ms))
}

/// The milliseconds of a unit. `instead` is what was probably meant if there is no such unit, but nearly.
fn period_of(unit: &str, instead: impl FnOnce() -> String) -> Result<u64, String> {
    let found = UNITS.iter().find(|(name, short, _)| {
        unit == *name || unit.strip_suffix('s').is_some_and(|one| one == *name) || short.contains(&unit)
    });
    if let Some((_, _, ms)) = found {
        return Ok(*ms);
    }
    if ["month", "months", "year", "years", "mo", "y"].contains(&unit) {
        return Err(MONTHS.to_owned());
    }
    Err(match spelled(unit) {
        Some(_) => format!("{unit:?} is no unit; did you mean `{}`?", instead()),
        None => format!("{unit:?} is no unit; units are seconds, minutes, hours, days and weeks"),
    })
}

/// The unit that was probably meant, if one is near.
fn spelled(unit: &str) -> Option<&'static str> {
    let near = |name: &str| {
        strsim::damerau_levenshtein(unit, name).min(strsim::damerau_levenshtein(unit, &format!("{name}s")))
    };
    UNITS.iter().map(|(name, ..)| (near(name), *name)).filter(|(far, _)| *far <= 2).min().map(|(_, name)| name)
}

fn bounded(ms: u64) -> Result<u64, String> {
    if ms < MIN_PERIOD_MS {
        return Err("the shortest period is 30 seconds".to_owned());
    }
    if ms > MAX_PERIOD_MS {
        return Err("the longest period is a year (366 days)".to_owned());
    }
    Ok(ms)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every { ms } => {
                // The last unit divides everything.
                for (name, _, unit) in UNITS {
                    match (ms % unit, ms / unit) {
                        (0, 1) => return write!(f, "every {name}"),
                        (0, count) if count > 0 => return write!(f, "every {count} {name}s"),
                        _ => {}
                    }
                }
                write!(f, "every {ms} milliseconds")
            }
            Self::Cron(cron) => cron.fmt(f),
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = ScheduleError;

    fn try_from(text: String) -> Result<Self, ScheduleError> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> String {
        schedule.to_string()
    }
}
