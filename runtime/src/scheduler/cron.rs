//! Times of the wall clock in a time zone: `cron 0 9 * * MON-FRI Europe/Berlin`, read by the crate `cronexpr`.
//!
//! Where clocks change, `cronexpr` left alone drops a time that does not exist that day and runs one that exists twice
//! twice. Here it is asked for civil times only (its own zone is UTC, which has no changes), and the zone is applied after:
//!
//! - a time that the clocks skip runs at the first moment after the gap; several of them are one run;
//! - a time that comes twice runs the first time;
//! - but with `*` in the hour field an interval is meant, not a time: such a schedule follows real time, so that
//!   `*/5 * * * *` runs every five minutes all through both nights.

use std::fmt;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::ids::Timestamp;

/// How many civil times in a row may map to a moment that has passed: those of the hour that comes twice, one a minute.
/// Some zones have moved by a whole day; the bound is generous and only keeps the search finite.
const MAX_STEPS: usize = 3_000;
/// Where parsing looks from to see that the times of a schedule ever come: 2024-01-01, so that the four years that
/// `cronexpr` looks ahead have a 29th of February.
const PROBE_MS: i64 = 1_704_067_200_000;

/// Five fields of cron and a time zone.
#[derive(Clone)]
pub struct Cron {
    /// The five fields, single blanks between them.
    fields: String,
    /// The IANA name.
    zone_name: String,
    zone: TimeZone,
    /// The fields in UTC, which stands for civil time here.
    civil: Crontab,
    /// The fields in their zone, where the hour is `*`.
    real: Option<Crontab>,
}

impl Cron {
    /// Reads five fields and perhaps a zone; UTC without.
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let (fields, zone_name) = match words {
            [fields @ .., zone] if fields.len() == 5 => (fields, *zone),
            fields if fields.len() == 5 => (fields, "UTC"),
            _ => {
                return Err(format!(
                    "cron has five fields (minute, hour, day of month, month, day of week) and then perhaps a time zone, \
                     and here are {}",
                    words.len()
                ));
            }
        };
        let zone = TimeZone::get(zone_name).map_err(|_| unknown_zone(zone_name))?;
        let zone_name = zone.iana_name().unwrap_or("UTC").to_owned();
        let every_hour = fields.get(1) == Some(&"*");
        let fields = fields.join(" ").to_ascii_uppercase();
        let civil = crontab(&format!("{fields} UTC"))?;
        let real = if every_hour { Some(crontab(&format!("{fields} {zone_name}"))?) } else { None };
        let cron = Self { fields, zone_name, zone, civil, real };
        match MakeTimestamp::from_millisecond(PROBE_MS).and_then(|probe| cron.civil.find_next(probe)) {
            Ok(_) => Ok(cron),
            Err(_) => Err(format!("the time `{}` does not come within four years", cron.fields)),
        }
    }

    /// The first time strictly after `after`.
    pub(super) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(i64::try_from(after.0).ok()?).ok()?;
        if let Some(real) = &self.real {
            return known(real.find_next(after).ok()?.timestamp());
        }
        let mut civil = after.to_zoned(self.zone.clone()).datetime().to_zoned(TimeZone::UTC).ok()?.timestamp();
        for _ in 0..MAX_STEPS {
            let time = self.civil.find_next(civil).ok()?;
            civil = time.timestamp();
            let time = time.datetime();
            let moment = match self.zone.to_ambiguous_timestamp(time).offset() {
                // The clocks jump from `before` to `after` the moment that `before` would show the gap's start.
                AmbiguousOffset::Gap { before, .. } => {
                    let inside = before.to_timestamp(time).ok()?;
                    self.zone.preceding(inside.checked_add(jiff::Span::new().nanoseconds(1)).ok()?).next()?.timestamp()
                }
                AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                    offset.to_timestamp(time).ok()?
                }
            };
            if moment > after {
                return known(moment);
            }
        }
        None
    }
}

fn known(moment: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(moment.as_millisecond()).ok().map(Timestamp)
}

fn crontab(text: &str) -> Result<Crontab, String> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = FallbackTimezoneOption::None;
    cronexpr::parse_crontab_with(text, options).map_err(|error| {
        // The crate draws an arrow below the text in three lines; of these the reason is the part after the arrow.
        let error = error.to_string();
        let reason = error.rsplit("^ ").next().unwrap_or(&error).trim();
        let at = error.lines().last().and_then(|line| line.find('^')).unwrap_or(0);
        let field = text.get(..at).map_or(0, |before| before.matches(' ').count());
        let name =
            ["minute", "hour", "day of month", "month", "day of week"].get(field).copied().unwrap_or("time zone");
        let given = text.split(' ').nth(field).unwrap_or_default();
        format!("the {name} field `{given}` is wrong: {reason}")
    })
}

fn unknown_zone(given: &str) -> String {
    let lower = given.to_ascii_lowercase();
    let near = jiff::tz::db()
        .available()
        .map(|name| {
            let name = name.to_string();
            let lower_name = name.to_ascii_lowercase();
            let city = lower_name.rsplit('/').next().unwrap_or_default();
            // `Berlin` is as good as `Europe/Berlni`.
            let far = strsim::damerau_levenshtein(&lower, &lower_name).min(strsim::damerau_levenshtein(&lower, city));
            (far, name)
        })
        .min();
    match near {
        Some((far, name)) if far <= 2 => format!("there is no time zone {given:?}; did you mean `{name}`?"),
        _ => format!("there is no time zone {given:?}; zones have IANA names, such as `UTC` or `America/New_York`"),
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cron {} {}", self.fields, self.zone_name)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({} {})", self.fields, self.zone_name)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.fields, &self.zone_name) == (&other.fields, &other.zone_name)
    }
}

impl Eq for Cron {}
