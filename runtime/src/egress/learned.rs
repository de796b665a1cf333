//! What an API says of its own limits, in the headers of any answer.
//!
//! Sources: draft-ietf-httpapi-ratelimit-headers (`RateLimit`, and from before version 08 `RateLimit-Remaining` and
//! `RateLimit-Reset`); the `X-RateLimit-*` that GitHub, GitLab, Discord, Okta and others send, also spelled
//! `X-Rate-Limit-*`, whose reset is a number of seconds, a Unix time in seconds or milliseconds, or a date.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use super::retry::{MAX_RETRY_AFTER, retry_after};

/// From here on a reset is no number of seconds but a time: the year 2001, or 31 years.
const FIRST_TIME: f64 = 1e9;

/// From here on it is a time in milliseconds: also the year 2001, or the year 33,658.
const FIRST_TIME_MS: f64 = 1e12;

/// Spellings of what remains and when it is more again.
const SPELLINGS: &[(&str, &[&str])] = &[
    ("ratelimit-remaining", &["ratelimit-reset"]),
    ("x-ratelimit-remaining", &["x-ratelimit-reset-after", "x-ratelimit-reset"]),
    ("x-rate-limit-remaining", &["x-rate-limit-reset-after", "x-rate-limit-reset"]),
];

/// For how long nothing more should be sent, if the answer says so: it is 429 or 503 with `Retry-After`, or nothing
/// remains until a reset. Ten minutes at most.
pub(super) fn closed_for(status: u16, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let asked = matches!(status, 429 | 503).then(|| retry_after(headers, now)).flatten();
    asked.max(until_reset(headers, now)).filter(|wait| !wait.is_zero())
}

/// How long nothing remains, if nothing does. The longest, where several limits are told.
pub(super) fn until_reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let spelled = SPELLINGS.iter().filter_map(|(remaining, resets)| {
        let none_left = number(text(remaining)?)? <= 0.0;
        let reset = resets.iter().find_map(|name| text(name))?;
        none_left.then(|| wait(reset, now)).flatten()
    });
    let lines = headers.get_all("ratelimit").iter().filter_map(|line| line.to_str().ok());
    lines.filter_map(|line| structured(line, now)).chain(spelled).max().map(|wait| wait.min(MAX_RETRY_AFTER))
}

/// `"default";r=0;t=30, "daily";r=7;t=3600`, or of version 07 `limit=10, remaining=0, reset=30`.
fn structured(line: &str, now: SystemTime) -> Option<Duration> {
    let policies = line.split(',').filter_map(|policy| exhausted(&policy.split(';').skip(1), ["r", "t"], now));
    policies.chain(exhausted(&line.split(','), ["remaining", "reset"], now)).max()
}

fn exhausted<'l>(
    parameters: &(impl Iterator<Item = &'l str> + Clone),
    [remaining, reset]: [&str; 2],
    now: SystemTime,
) -> Option<Duration> {
    let value = |name: &str| {
        let mut pairs = parameters.clone().filter_map(|parameter| parameter.trim().split_once('='));
        pairs.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let none_left = number(value(remaining)?)? <= 0.0;
    none_left.then(|| wait(value(reset)?, now)).flatten()
}

/// The number at the start, before any parameters.
fn number(text: &str) -> Option<f64> {
    let number: f64 = text.split([',', ';']).next()?.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

/// From now until a reset.
fn wait(reset: &str, now: SystemTime) -> Option<Duration> {
    let since_1970 = |at: Duration| (SystemTime::UNIX_EPOCH + at).duration_since(now).unwrap_or_default();
    let Some(number) = number(reset) else {
        let date: SystemTime = reset.trim().parse::<Timestamp>().ok()?.into();
        return Some(date.duration_since(now).unwrap_or_default());
    };
    // What no duration holds is no time that anybody means.
    let seconds = |number: f64| Duration::try_from_secs_f64(number.max(0.0)).ok().filter(|at| at.as_secs() < 1 << 40);
    if number >= FIRST_TIME_MS {
        seconds(number / 1000.0).map(since_1970)
    } else if number >= FIRST_TIME {
        seconds(number).map(since_1970)
    } else {
        seconds(number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    /// Seconds, at Unix time 1,700,000,000.
    fn closed(status: u16, lines: &[(&'static str, &str)]) -> Option<f64> {
        let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        closed_for(status, &headers, now).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn nothing_remaining_closes_until_the_reset_in_every_spelling() {
        for (remaining, reset) in [
            ("ratelimit-remaining", "ratelimit-reset"),
            ("x-ratelimit-remaining", "x-ratelimit-reset"),
            ("x-ratelimit-remaining", "x-ratelimit-reset-after"),
            ("x-rate-limit-remaining", "x-rate-limit-reset"),
        ] {
            for at in ["30", "1700000030", "1700000030000", "1700000030.0", "2023-11-14T22:13:50Z", " 30 ", "30, 60"] {
                assert_eq!(closed(200, &[(remaining, "0"), (reset, at)]), Some(30.0), "{reset}: {at}");
                assert_eq!(closed(200, &[(remaining, "1"), (reset, at)]), None, "{reset}: {at}");
            }
            for nonsense in ["", "soon", "NaN", "inf", "-5", "1600000000", "0"] {
                assert_eq!(closed(200, &[(remaining, "0"), (reset, nonsense)]), None, "{reset}: {nonsense}");
            }
            assert_eq!(closed(200, &[(remaining, "0")]), None);
            assert_eq!(closed(200, &[(reset, "30")]), None);
        }
        // With parts of a second, as Discord has them.
        assert_eq!(closed(200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1700000000.250")]), Some(0.25));
    }

    #[test]
    fn the_structured_field_is_read_with_several_policies() {
        for (line, expected) in [
            (r#""default";r=0;t=30"#, Some(30.0)),
            (r#""default"; r=0; t=30"#, Some(30.0)),
            (r#""default";t=30;r=0"#, Some(30.0)),
            (r#""a";r=5;t=90, "b";r=0;t=7"#, Some(7.0)),
            (r#""a";r=0;t=90, "b";r=0;t=7"#, Some(90.0)),
            (r#""a";r=1;t=90"#, None),
            (r#""a";r=0"#, None),
            ("limit=10, remaining=0, reset=30", Some(30.0)),
            ("limit=10, remaining=2, reset=30", None),
            ("", None),
            (";;==,,", None),
        ] {
            assert_eq!(closed(200, &[("ratelimit", line)]), expected, "{line}");
        }
    }

    #[test]
    fn retry_after_closes_for_429_and_503_alone() {
        assert_eq!(closed(429, &[("retry-after", "7")]), Some(7.0));
        assert_eq!(closed(503, &[("retry-after", "Tue, 14 Nov 2023 22:13:27 GMT")]), Some(7.0));
        for status in [200, 202, 301, 404, 500] {
            assert_eq!(closed(status, &[("retry-after", "7")]), None, "{status}");
        }
        assert_eq!(
            closed(429, &[("retry-after", "7"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")]),
            Some(9.0)
        );
    }

    #[test]
    fn no_api_closes_for_more_than_ten_minutes() {
        for reset in ["601", "1e300", "1800000000", "999999999999999999"] {
            let closed = closed(200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)]);
            assert!(closed.is_none_or(|wait| wait <= 600.0), "{reset}: {closed:?}");
        }
        assert_eq!(closed(429, &[("retry-after", "601")]), Some(600.0));
    }
}
