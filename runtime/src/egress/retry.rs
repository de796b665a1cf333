//! When to try again.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822;
use reqwest::Method;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::policy::RetryRules;
use crate::ids::Timestamp;

/// Most retries of a request: with waits that double this is up to five minutes, all the time that a run has by default.
pub const MAX_RETRIES: u32 = 10;

/// The longest wait that an API can ask for. A run that holds its memory for longer had better end and come again.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_mins(10);

/// How many times a request is tried again: as often as the script says, or, where the method does no harm when it is
/// sent twice (RFC 9110 section 9.2.2), as the policy says if that is more.
pub(super) fn retries(method: &Method, asked: u32, rules: &RetryRules) -> u32 {
    let given = if method.is_idempotent() { rules.max } else { 0 };
    asked.max(given).min(MAX_RETRIES)
}

/// Whether an answer is worth another try by its status alone.
pub(super) fn is_passing(status: u16, retry_on: &[u16]) -> bool {
    status == 429 || status >= 500 || retry_on.contains(&status)
}

/// How long the API asks to wait, as seconds or as a date, at most [`MAX_RETRY_AFTER`].
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds are a long wait, too.
        value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date: SystemTime = rfc2822::parse(value).ok()?.timestamp().into();
        date.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// How long to wait after so many tries before this one where the API asks for nothing: a random time between half and
/// all of the rules' first wait, doubled each time. Random so that runs that failed together do not come back together.
pub(super) fn backoff(tries_before: u32, rules: &RetryRules) -> Duration {
    let whole = longest_backoff(tries_before, rules);
    // The hasher's keys are random: no generator is needed for what is no secret.
    let random = RandomState::new().hash_one(tries_before);
    let share = 0.5 + 0.5 * f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX);
    whole.mul_f64(share)
}

/// The longest that [`backoff`] can be.
pub(super) fn longest_backoff(tries_before: u32, rules: &RetryRules) -> Duration {
    let (first, most) = (Duration::from_millis(rules.first_wait_ms), Duration::from_millis(rules.max_wait_ms));
    first.saturating_mul(1_u32.checked_shl(tries_before).unwrap_or(u32::MAX)).min(most)
}

/// A clock's time, for [`retry_after`].
pub(super) fn at(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(now.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn asked(value: &str) -> Option<u64> {
        let now: jiff::Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        let headers = [(RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
        retry_after(&headers, now.into()).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(asked("0"), Some(0));
        assert_eq!(asked(" 7 "), Some(7));
        assert_eq!(asked("Sun, 06 Nov 1994 08:51:37 GMT"), Some(120));
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        for nonsense in ["", "-1", "1.5", "soon", "+5"] {
            assert_eq!(asked(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn nobody_can_make_a_run_wait_for_more_than_ten_minutes() {
        assert_eq!(asked("601"), Some(600));
        assert_eq!(asked("99999999999999999999999999"), Some(600));
        assert_eq!(asked("Thu, 31 Dec 9998 23:59:59 GMT"), Some(600));
    }

    #[test]
    fn waits_double_up_to_a_minute_and_vary() {
        for (tries, most) in [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (10, 60), (40, 60), (u32::MAX, 60)] {
            let most = Duration::from_secs(most);
            for _ in 0..100 {
                let wait = backoff(tries, &RetryRules::default());
                assert!(most / 2 <= wait && wait <= most, "{tries}: {wait:?}");
            }
        }
        assert_ne!(backoff(5, &RetryRules::default()), backoff(5, &RetryRules::default()));
    }

    #[test]
    fn the_larger_of_what_script_and_policy_say_counts_where_the_method_is_idempotent() {
        let rules = RetryRules { max: 5, ..RetryRules::default() };
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            assert_eq!([0, 7, 99].map(|asked| retries(&method, asked, &rules)), [5, 7, 10], "{method}");
        }
        for method in [Method::POST, Method::PATCH] {
            assert_eq!([0, 7, 99].map(|asked| retries(&method, asked, &rules)), [0, 7, 10], "{method}");
        }
    }

    #[test]
    fn server_errors_too_many_requests_and_what_the_script_names_are_worth_a_retry() {
        for status in [429, 500, 501, 503, 599, 404] {
            assert!(is_passing(status, &[404]), "{status}");
        }
        for status in [200, 302, 400, 404, 428, 430, 499] {
            assert!(!is_passing(status, &[]), "{status}");
        }
    }
}
