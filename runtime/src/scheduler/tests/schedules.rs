//! What schedules are read as, and when their ticks are.

use proptest::prelude::*;

use super::*;

fn problem(text: &str) -> String {
    let error = text.parse::<Schedule>().expect_err(text);
    assert_eq!(error.code(), "bad-schedule");
    assert!(error.to_string().contains("`every 5 minutes`"), "{error}");
    error.problem().to_owned()
}

/// The next few times, in the zone.
fn times(text: &str, from: &str, zone: &str, count: usize) -> Vec<String> {
    let schedule = schedule(text);
    let zone = jiff::tz::TimeZone::get(zone).unwrap();
    let mut time = at(from);
    (0..count)
        .map(|_| {
            let next = schedule.next_after(T0, time).unwrap();
            assert!(next > time);
            time = next;
            let time = jiff::Timestamp::from_millisecond(time.0.try_into().unwrap()).unwrap();
            time.to_zoned(zone.clone()).strftime("%m-%d %H:%M %Z").to_string()
        })
        .collect()
}

#[test]
fn frequencies_in_words_are_understood() {
    for (text, ms, shown) in [
        ("every 5 minutes", 5 * MINUTE, "every 5 minutes"),
        ("every minute", MINUTE, "every minute"),
        ("every hour", HOUR, "every hour"),
        ("every half hour", 30 * MINUTE, "every 30 minutes"),
        ("every half an hour", 30 * MINUTE, "every 30 minutes"),
        ("every half day", 12 * HOUR, "every 12 hours"),
        ("every 6h", 6 * HOUR, "every 6 hours"),
        ("every 30 seconds", 30 * SECOND, "every 30 seconds"),
        ("every 90s", 90 * SECOND, "every 90 seconds"),
        ("every day", DAY, "every day"),
        ("every 2 days", 2 * DAY, "every 2 days"),
        ("every week", 7 * DAY, "every week"),
        ("every 24 hours", DAY, "every day"),
        ("every 366 days", 366 * DAY, "every 366 days"),
        ("  EVERY   5\tMinutes ", 5 * MINUTE, "every 5 minutes"),
        ("every 1 minutes", MINUTE, "every minute"),
        ("5m", 5 * MINUTE, "every 5 minutes"),
        ("1d", DAY, "every day"),
    ] {
        assert_eq!(schedule(text), Schedule::Every { ms }, "{text}");
        assert_eq!(schedule(text).to_string(), shown);
    }
}

#[test]
fn cron_is_understood_with_and_without_a_zone_or_the_word() {
    for (text, shown) in [
        ("cron 0 9 * * MON-FRI Europe/Berlin", "cron 0 9 * * MON-FRI Europe/Berlin"),
        ("CRON  0 9 * *  mon-fri  europe/berlin", "cron 0 9 * * MON-FRI Europe/Berlin"),
        ("0 9 * * 1-5 America/New_York", "cron 0 9 * * 1-5 America/New_York"),
        ("*/5 * * * *", "cron */5 * * * * UTC"),
        ("cron 0 0 L * *", "cron 0 0 L * * UTC"),
        ("0,30 0 29 2 *", "cron 0,30 0 29 2 * UTC"),
    ] {
        assert_eq!(schedule(text).to_string(), shown);
        assert_eq!(schedule(shown), schedule(text));
        let json = serde_json::to_string(&schedule(text)).unwrap();
        assert_eq!(json, format!("{shown:?}"));
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule(text));
    }
}

#[test]
fn a_bad_schedule_is_told_what_is_wrong_and_what_was_meant() {
    for (text, expected) in [
        ("", "it is empty"),
        ("every", "after `every` comes a period"),
        ("every 5", "did you mean `every 5 minutes`?"),
        ("every 5 minuts", "did you mean `every 5 minutes`?"),
        ("every minuet", "did you mean `every minute`?"),
        ("every half huor", "did you mean `every half hour`?"),
        ("evry 6 hours", "did you mean `every 6 hours`?"),
        ("every 6 fortnights", "units are seconds, minutes, hours, days and weeks"),
        ("every 29 seconds", "the shortest period is 30 seconds"),
        ("every second", "the shortest period is 30 seconds"),
        ("every half minute and more", "units are"),
        ("every 367 days", "the longest period is a year"),
        ("every 99999999999999999999 days", "too large a number"),
        ("every 9999999999999999999 weeks", "the longest period is a year"),
        ("every 0 minutes", "a period of nothing"),
        ("every -5 minutes", "no unit"),
        ("every 1.5 hours", "no unit"),
        ("every month", "use cron"),
        ("every 2 years", "use cron"),
        ("daily", "did you mean `every day`"),
        ("@hourly", "did you mean `every hour`?"),
        ("@monthly", "use cron"),
        ("sometimes", "neither with `every` nor with `cron`"),
        ("every 5 minutes é", "characters"),
        ("cron", "five fields"),
        ("cron 0 9 * *", "and here are 4"),
        ("cron 0 9 * * * UTC now", "and here are 7"),
        ("cron 0 25 * * *", "the hour field `25` is wrong: value must be in range 0..=23; found 25"),
        ("cron 61 9 * * *", "the minute field `61` is wrong"),
        ("cron 0 9 * FOO *", "the month field `FOO` is wrong"),
        ("cron 0 9 * * MON-FRY", "the day of week field `MON-FRY` is wrong"),
        ("cron H 9 * * *", "the minute field `H` is wrong"),
        ("cron 0 9 * * * Europe/Berlni", "did you mean `Europe/Berlin`?"),
        ("cron 0 9 * * * Berlin", "did you mean `Europe/Berlin`?"),
        ("cron 0 9 * * * Middle/Earth", "IANA names"),
        ("cron 0 9 30 2 *", "does not come within four years"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(expected), "{text:?} → {problem}");
        assert!(!problem.contains('\n'), "{problem}");
    }
    assert!(problem(&"*".repeat(300)).contains("300 bytes"));
}

#[test]
fn ticks_lie_on_the_grid_whatever_is_asked() {
    let five = schedule("every 5 minutes");
    assert_eq!(five.next_after(T0, T0), Some(after(T0, 5 * MINUTE)), "strictly after");
    assert_eq!(five.next_after(T0, after(T0, 1)), Some(after(T0, 5 * MINUTE)));
    assert_eq!(five.next_after(T0, after(T0, 5 * MINUTE - 1)), Some(after(T0, 5 * MINUTE)));
    assert_eq!(five.next_after(T0, after(T0, 3 * HOUR + 1)), Some(after(T0, 3 * HOUR + 5 * MINUTE)));
    assert_eq!(five.next_after(T0, Timestamp(T0.0 - 1)), Some(T0));
    assert_eq!(five.next_after(T0, Timestamp(T0.0 - 5 * MINUTE)), Some(T0));
    assert_eq!(five.next_after(T0, Timestamp(T0.0 - 5 * MINUTE - 1)), Some(Timestamp(T0.0 - 5 * MINUTE)));
    assert_eq!(five.next_after(T0, Timestamp(u64::MAX - 1)), None);
    assert_eq!(schedule("0 9 * * *").next_after(T0, Timestamp(u64::MAX - 1)), None);
}

#[test]
fn a_time_that_the_clocks_skip_runs_right_after_the_gap() {
    // 2026-03-29, 02:00 CET → 03:00 CEST.
    let berlin = "Europe/Berlin";
    assert_eq!(
        times("30 2 * * * Europe/Berlin", "2026-03-27T12:00:00Z", berlin, 4),
        ["03-28 02:30 CET", "03-29 03:00 CEST", "03-30 02:30 CEST", "03-31 02:30 CEST"]
    );
    assert_eq!(
        times("0 2 * * * Europe/Berlin", "2026-03-28T12:00:00Z", berlin, 2),
        ["03-29 03:00 CEST", "03-30 02:00 CEST"]
    );
    // Several skipped times are one run, also with one that is due right after the gap.
    assert_eq!(
        times("*/20 1-3 * * * Europe/Berlin", "2026-03-29T00:30:00Z", berlin, 5),
        ["03-29 01:40 CET", "03-29 03:00 CEST", "03-29 03:20 CEST", "03-29 03:40 CEST", "03-30 01:00 CEST"]
    );
    assert_eq!(
        times("59 1,2 29 3 * Europe/Berlin", "2026-03-28T12:00:00Z", berlin, 3),
        ["03-29 01:59 CET", "03-29 03:00 CEST", "03-29 01:59 CEST"]
    );
    // 2026-03-08, 02:00 EST → 03:00 EDT.
    assert_eq!(
        times("15 2 * * * America/New_York", "2026-03-07T12:00:00Z", "America/New_York", 2),
        ["03-08 03:00 EDT", "03-09 02:15 EDT"]
    );
    // 2026-03-08 in Havana begins at 01:00, 2026-10-04 on Lord Howe Island half an hour is skipped.
    assert_eq!(
        times("0 0 * * SUN America/Havana", "2026-03-07T12:00:00Z", "America/Havana", 2),
        ["03-08 01:00 CDT", "03-15 00:00 CDT"]
    );
    assert_eq!(
        times("15 2 * * * Australia/Lord_Howe", "2026-10-03T00:00:00Z", "Australia/Lord_Howe", 2),
        ["10-04 02:30 +11", "10-05 02:15 +11"]
    );
}

#[test]
fn a_time_that_comes_twice_runs_the_first_time() {
    // 2026-10-25, 03:00 CEST → 02:00 CET.
    let berlin = "Europe/Berlin";
    assert_eq!(
        times("30 2 * * * Europe/Berlin", "2026-10-24T12:00:00Z", berlin, 3),
        ["10-25 02:30 CEST", "10-26 02:30 CET", "10-27 02:30 CET"]
    );
    assert_eq!(
        times("*/30 2,3 * * * Europe/Berlin", "2026-10-24T12:00:00Z", berlin, 5),
        ["10-25 02:00 CEST", "10-25 02:30 CEST", "10-25 03:00 CET", "10-25 03:30 CET", "10-26 02:00 CET"]
    );
    // Asked in the middle of the second time.
    assert_eq!(times("* 2 * * * Europe/Berlin", "2026-10-25T01:10:00Z", berlin, 1), ["10-26 02:00 CET"]);
    // 2026-11-01, 02:00 EDT → 01:00 EST.
    assert_eq!(
        times("30 1 * * * America/New_York", "2026-10-31T12:00:00Z", "America/New_York", 2),
        ["11-01 01:30 EDT", "11-02 01:30 EST"]
    );
}

#[test]
fn with_every_hour_an_interval_is_meant_and_kept_through_both_nights() {
    let berlin = "Europe/Berlin";
    assert_eq!(
        times("30 * * * * Europe/Berlin", "2026-03-29T00:00:00Z", berlin, 3),
        ["03-29 01:30 CET", "03-29 03:30 CEST", "03-29 04:30 CEST"]
    );
    assert_eq!(
        times("30 * * * * Europe/Berlin", "2026-10-24T23:00:00Z", berlin, 4),
        ["10-25 01:30 CEST", "10-25 02:30 CEST", "10-25 02:30 CET", "10-25 03:30 CET"]
    );
    for (from, zone) in [
        ("2026-10-24T20:00:00Z", "Europe/Berlin"),
        ("2026-03-28T20:00:00Z", "Europe/Berlin"),
        ("2026-11-01T02:00:00Z", "America/New_York"),
        ("2026-03-08T02:00:00Z", "America/New_York"),
        ("2026-10-03T10:00:00Z", "Australia/Lord_Howe"),
        ("2026-04-04T10:00:00Z", "Australia/Lord_Howe"),
    ] {
        let five = schedule(&format!("*/5 * * * * {zone}"));
        let mut time = at(from);
        for _ in 0..12 * 12 {
            let next = five.next_after(T0, time).unwrap();
            assert_eq!(next.since(time), 5 * MINUTE, "{zone} {time}");
            time = next;
        }
    }
}

#[test]
fn wall_clock_times_agree_with_a_search_through_every_minute() {
    // Against a plain model: the civil minutes of a week around each change, each at the first moment that shows it or,
    // if there is none, at the first moment after it.
    for (zone, from) in [
        ("Europe/Berlin", "2026-03-26T00:00:00Z"),
        ("Europe/Berlin", "2026-10-22T00:00:00Z"),
        ("America/New_York", "2026-03-05T00:00:00Z"),
        ("America/New_York", "2026-10-29T00:00:00Z"),
    ] {
        let tz = jiff::tz::TimeZone::get(zone).unwrap();
        for (hour, minute) in [(0, 0), (1, 0), (1, 30), (2, 0), (2, 59), (3, 0), (3, 1), (23, 59)] {
            let start = at(from);
            let mut expected = Vec::new();
            let (mut day, mut done, mut last) = (None, false, false);
            for k in 1..=7 * 24 * 60 {
                let time = after(start, k * MINUTE);
                let zoned = jiff::Timestamp::from_millisecond(time.0.try_into().unwrap()).unwrap().to_zoned(tz.clone());
                if day != Some(zoned.date()) {
                    (day, done, last) = (Some(zoned.date()), false, false);
                }
                let reached = (i64::from(zoned.hour()), i64::from(zoned.minute())) >= (hour, minute);
                if reached && !done && (last || k > 1) {
                    expected.push(time);
                }
                done |= reached;
                last = true;
            }
            let cron = schedule(&format!("{minute} {hour} * * * {zone}"));
            let mut found = Vec::new();
            let mut time = start;
            while let Some(next) = cron.next_after(T0, time).filter(|next| next.since(start) <= 7 * DAY) {
                found.push(next);
                time = next;
            }
            // The day on which the search begins is half over.
            let skip = |times: Vec<Timestamp>| times.into_iter().filter(|t| t.since(start) > DAY).collect::<Vec<_>>();
            assert_eq!(skip(found), skip(expected), "{hour}:{minute} {zone}");
        }
    }
}

#[test]
fn a_leap_day_is_found_four_years_ahead() {
    assert_eq!(schedule("0 0 29 2 *").next_after(T0, at("2024-02-29T00:00:00Z")), Some(at("2028-02-29T00:00:00Z")));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_reads_back_as_it_is_shown(ms in MIN_PERIOD_MS..=MAX_PERIOD_MS, seconds in any::<bool>()) {
        let ms = if seconds { ms / SECOND * SECOND } else { ms };
        let schedule = Schedule::Every { ms };
        prop_assert_eq!(schedule.to_string().parse::<Schedule>(), Ok(schedule));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,40}", tail in "(every|cron|\\*|[0-9]| |min|/|-|,|L|W|#|[A-Za-z/_])*") {
        for text in [text.clone(), tail.clone(), format!("every {text}"), format!("cron {tail}")] {
            if let Ok(schedule) = text.parse::<Schedule>() {
                prop_assert_eq!(schedule.to_string().parse::<Schedule>(), Ok(schedule.clone()));
                prop_assert!(schedule.next_after(T0, T0).is_none_or(|next| next > T0));
            }
        }
    }
}
