//! When runs start: the grid, the clock, triggers, pauses, other schedules.

use super::super::rules::jitter_ms;
use super::*;

#[test]
fn a_new_sync_runs_within_its_jitter_and_then_on_its_grid() {
    let mut one = One::every("every 5 minutes");
    let first = one.run(3 * SECOND, &ok());
    assert!(first.since(T0) < 30 * SECOND);
    for k in 1..100 {
        // However long the runs take, the grid does not drift.
        assert_eq!(one.run(k * SECOND, &ok()), after(first, k * 5 * MINUTE));
        assert_eq!(one.plan().last_outcome.as_deref(), Some("succeeded"));
    }
}

#[test]
fn after_three_hours_down_it_runs_once_and_then_on_the_grid_again() {
    let mut one = One::every("every 5 minutes");
    let first = one.run(SECOND, &ok());
    let row = serde_json::to_string(one.plan()).unwrap();

    let up = after(first, 3 * HOUR + 7 * SECOND);
    let mut one = One::named("issues", serde_json::from_str(&row).unwrap(), up);
    assert_eq!(one.wake(), up, "at once");
    one.now = after(up, 2 * SECOND);
    one.end(&ok());
    assert!(!one.pass(SECOND), "once");
    assert_eq!(one.wake(), after(first, 3 * HOUR + 5 * MINUTE));
}

#[test]
fn a_run_longer_than_its_period_is_followed_by_the_next_tick_after_it() {
    let mut one = One::every("every 5 minutes");
    let first = one.run(12 * MINUTE, &ok());
    assert_eq!(one.next(), Some(after(first, 15 * MINUTE)));
    let second = one.wake();
    for _ in 0..100 {
        assert!(!one.pass(10 * SECOND), "one at a time");
    }
    assert_eq!(one.planner.running(), 1);
    one.end(&ok());
    assert_eq!(one.next(), Some(after(second, 20 * MINUTE)));
}

#[test]
fn a_clock_set_forward_is_as_being_down() {
    let mut one = One::every("every 5 minutes");
    let first = one.run(SECOND, &ok());
    assert!(one.set(after(first, 400 * DAY + 2 * MINUTE)));
    one.end(&ok());
    assert!(!one.pass(2 * MINUTE));
    assert_eq!(one.next(), Some(after(first, 400 * DAY + 5 * MINUTE)));
}

#[test]
fn a_clock_set_back_stops_nothing_and_starts_nothing_twice() {
    for text in ["every 5 minutes", "every 30 seconds", "every hour", "every day"] {
        let Schedule::Every { ms } = schedule(text) else { panic!() };
        for back in [2 * SECOND, 31 * SECOND, MINUTE, ms / 2, ms - 1, ms, 3 * ms + 7, 400 * DAY] {
            let mut one = One::every(text);
            let first = one.run(1, &ok());
            let clock = Timestamp(first.0 - back);
            assert!(!one.set(clock), "{text}, {back} ms back: not at once again");
            let next = one.next().unwrap();
            let bound = ms + jitter_of(&one);
            assert!(next > clock && next.since(clock) <= bound, "{text}, {back} ms back: {}", next.since(clock));
            // In real time it is no sooner than after a good part of the period, or the tick was another one.
            assert!(next > first || next.since(clock) >= ms, "{text}, {back} ms back: {first} ran, {next} is next");
            assert_eq!(one.wake(), next);
            one.end(&ok());
            assert!(one.next().unwrap().since(one.now) <= bound);
        }
    }
}

fn jitter_of(one: &One) -> u64 {
    let schedule = one.plan().schedule.as_ref().unwrap();
    match schedule {
        Schedule::Every { ms } => (ms / 10).min(MINUTE),
        Schedule::Cron(_) => 30 * SECOND,
    }
}

#[test]
fn a_clock_set_back_during_a_run_or_between_two_processes_stops_nothing() {
    let mut one = One::every("every 5 minutes");
    one.wake();
    assert!(!one.set(Timestamp(T0.0 - 30 * DAY)));
    assert_eq!(one.planner.running(), 1);
    one.end(&ok());
    assert!(one.next().unwrap().since(one.now) <= 5 * MINUTE + 30 * SECOND);

    let mut one = One::every("every 5 minutes");
    one.run(SECOND, &ok());
    let earlier = Timestamp(T0.0 - 30 * DAY);
    let one = One::new(one.plan().clone(), earlier);
    assert!(one.next().unwrap().since(earlier) <= 5 * MINUTE + 30 * SECOND);

    // Made while the clock was wrong, and it never ran.
    let one = One::new(Plan::new(Some(schedule("every day")), None, T0), earlier);
    assert!(one.next().unwrap().since(earlier) <= DAY + MINUTE);
}

#[test]
fn a_clock_set_back_wakes_whoever_sleeps_and_is_seen_in_the_rows_of_another_process() {
    let mut one = One::every("every day");
    one.run(SECOND, &ok());
    let earlier = Timestamp(T0.0 - 30 * DAY);
    assert_eq!(one.planner.next_wake(earlier), Some(earlier));

    // A row that never ran.
    let fresh = One::every("every day");
    assert!(fresh.next().is_some());
    let fresh = One::new(fresh.plan().clone(), earlier);
    assert!(fresh.next().unwrap().since(earlier) <= DAY + MINUTE);

    // A row in the middle of its backoff.
    one.run(0, &end(transient()));
    let wait = one.next().unwrap().since(one.now);
    let one = One::new(one.plan().clone(), earlier);
    assert_eq!(one.next().unwrap().since(earlier), wait);
}

#[test]
fn a_clock_set_back_shortens_no_backoff_and_lengthens_none() {
    let mut one = One::every("every hour");
    one.run(SECOND, &end(transient()));
    let wait = one.next().unwrap().since(one.now);
    one.set(Timestamp(one.now.0 - 2 * HOUR));
    assert_eq!(one.next().unwrap().since(one.now), wait);
}

#[test]
fn a_clock_that_trembles_is_not_set_back() {
    let mut one = One::every("every 5 minutes");
    let first = one.wake();
    one.end(&ok());
    one.set(after(first, 5 * MINUTE - 500));
    assert!(!one.set(after(first, 5 * MINUTE - 1_200)));
    assert_eq!(one.next(), Some(after(first, 5 * MINUTE)));
    one.run(0, &end(transient()));
    let retry = one.next();
    one.set(Timestamp(one.now.0 - 900));
    assert_eq!(one.next(), retry);
}

#[test]
fn cron_runs_once_a_night_on_both_nights_with_its_jitter() {
    for (zone, from, expected) in [
        (
            "Europe/Berlin",
            "2026-03-28T00:30:00Z",
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
        ),
        (
            "Europe/Berlin",
            "2026-10-23T12:30:00Z",
            ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
        ),
        (
            "America/New_York",
            "2026-03-06T12:30:00Z",
            ["2026-03-07T07:30:00Z", "2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"],
        ),
        // In New York it is the hour from one to two that comes twice, so half past two is there once.
        (
            "America/New_York",
            "2026-10-30T12:30:00Z",
            ["2026-10-31T06:30:00Z", "2026-11-01T07:30:00Z", "2026-11-02T07:30:00Z"],
        ),
    ] {
        let plan = Plan::new(Some(schedule(&format!("30 2 * * * {zone}"))), None, at(from));
        let mut one = One::new(plan, at(from));
        let jitter = one.next().unwrap().since(at(expected[0]));
        assert!(jitter < 30 * SECOND);
        for time in expected {
            assert_eq!(one.run(5 * MINUTE, &ok()), after(at(time), jitter), "{zone}");
        }
    }
}

#[test]
fn cron_set_back_over_one_tick_leaves_it_out_and_over_many_does_not_wait_for_them() {
    let plan = Plan::new(Some(schedule("0 9 * * *")), None, T0);
    let mut one = One::new(plan, T0);
    let first = one.run(SECOND, &ok());
    one.set(Timestamp(first.0 - 5 * MINUTE));
    assert_eq!(one.next(), Some(after(first, DAY)), "nine o'clock of this day has been");
    one.set(Timestamp(first.0 - 30 * DAY - 5 * MINUTE));
    assert_eq!(one.next(), Some(Timestamp(first.0 - 30 * DAY)));
}

#[test]
fn start_at_is_kept_to_the_moment_and_is_the_grids_anchor() {
    let start = after(T0, 3 * DAY + 17);
    let mut one = One::new(Plan::new(Some(schedule("every hour")), Some(start), T0), T0);
    assert!(!one.set(Timestamp(start.0 - 1)));
    assert_eq!(one.run(SECOND, &ok()), start);
    let second = one.run(SECOND, &ok());
    let jitter = second.since(start) - HOUR;
    assert!(jitter < MINUTE);
    assert_eq!(one.run(SECOND, &ok()), after(start, 2 * HOUR + jitter));

    // By hand before it, that changes nothing.
    let mut one = One::new(Plan::new(Some(schedule("every hour")), Some(start), T0), T0);
    one.planner.trigger(&one.key, T0);
    assert_eq!(one.run(SECOND, &ok()), T0);
    assert_eq!(one.next(), Some(start));

    let mut one = One::new(Plan::new(Some(schedule("0 * * * *")), Some(after(T0, 90 * MINUTE)), T0), T0);
    let first = one.wake();
    assert!(first >= after(T0, 2 * HOUR) && first.since(after(T0, 2 * HOUR)) < 30 * SECOND, "{first}");
}

#[test]
fn jitter_spreads_a_thousand_syncs_and_is_the_same_after_a_restart() {
    let firsts = |text: &str| -> Vec<u64> {
        let names = (0..1_000).map(|k| format!("sync-{k}"));
        names.map(|n| One::named(&n, Plan::new(Some(schedule(text)), None, T0), T0).next().unwrap().since(T0)).collect()
    };
    let five = firsts("every 5 minutes");
    assert_eq!(five, firsts("every 5 minutes"));
    let mut seconds = [0; 30];
    for ms in &five {
        seconds[usize::try_from(ms / SECOND).unwrap()] += 1;
    }
    assert!(seconds.iter().all(|count| (10..70).contains(count)), "{seconds:?}");
    assert!(firsts("every day").iter().all(|ms| *ms < MINUTE));
    assert!(firsts("0 1 * * *").iter().all(|ms| (HOUR..HOUR + 30 * SECOND).contains(ms)));
    assert_eq!(jitter_ms(&Schedule::Every { ms: 5 }, 77), 0);
}

#[test]
fn a_trigger_during_a_run_is_one_more_run_after_it() {
    let mut one = One::every("every day");
    let first = one.wake();
    assert_eq!(one.planner.trigger(&one.key, one.now), Some(Triggered::AfterRun));
    assert_eq!(one.planner.trigger(&one.key, one.now), Some(Triggered::Coalesced));
    assert!(!one.pass(MINUTE), "not beside it");
    one.end(&ok());
    assert!(one.pass(0), "after it, at once");
    assert_eq!(one.plan().running.as_ref().map(|run| run.cause), Some(Cause::Triggered));
    one.end(&ok());
    assert!(!one.pass(MINUTE), "once");
    assert_eq!(one.next(), Some(after(first, DAY)));
    assert_eq!(one.planner.trigger(&"nobody".to_owned(), one.now), None);
}

#[test]
fn one_triggered_before_its_first_tick_does_not_run_again_for_that_tick() {
    let mut one = One::every("every 5 minutes");
    let first = one.next().unwrap();
    assert!(first > T0);
    one.planner.trigger(&one.key, T0);
    assert_eq!(one.run(1, &ok()), T0);
    assert_eq!(one.next(), Some(after(first, 5 * MINUTE)));
}

#[test]
fn a_trigger_outlives_a_crash_and_a_failure() {
    let mut one = One::new(Plan::new(None, None, T0), T0);
    assert_eq!(one.planner.next_wake(T0), None);
    assert_eq!(one.planner.trigger(&one.key, T0), Some(Triggered::Now));
    assert_eq!(one.planner.trigger(&one.key, T0), Some(Triggered::Coalesced));
    let mut one = One::new(one.plan().clone(), after(T0, HOUR));
    assert!(one.set(one.now));
    one.planner.trigger(&one.key, one.now);
    one.end(&end(permanent()));
    assert_eq!(one.plan().state, PlanState::Active, "one more was asked for");
    one.run(SECOND, &ok());
    assert_eq!(one.next(), None, "without a schedule nothing comes by itself");
    one.planner.trigger(&one.key, one.now);
    one.run(0, &end(transient()));
    assert!(about(one.next().unwrap().since(one.now), 10 * SECOND), "but what was asked for is tried again");
}

#[test]
fn paused_while_it_runs_it_ends_and_then_rests() {
    let mut one = One::every("every 5 minutes");
    let first = one.wake();
    one.planner.trigger(&one.key, one.now);
    one.planner.pause(&one.key, Some("quarter's end".into()), one.now);
    assert_eq!(one.planner.running(), 1, "the run goes on");
    one.pass(MINUTE);
    one.end(&ok());
    assert_eq!(one.plan().state, PlanState::Paused { by: PausedBy::Operator, reason: Some("quarter's end".into()) });
    assert!(!one.pass(HOUR));

    one.planner.resume(&one.key, one.now);
    assert_eq!(one.next(), Some(after(first, 65 * MINUTE)), "what was not wanted was not missed");
    // Left in the middle of its work it goes on at once.
    one.wake();
    one.planner.pause(&one.key, None, one.now);
    one.end(&moved(Ended::Parked));
    assert!(!one.pass(HOUR));
    one.planner.resume(&one.key, one.now);
    assert!(one.set(one.now));
}

#[test]
fn a_trigger_on_a_paused_sync_runs_once_and_leaves_it_paused() {
    let mut one = One::every("every 5 minutes");
    one.planner.pause(&one.key, None, T0);
    one.planner.trigger(&one.key, T0);
    assert_eq!(one.run(SECOND, &end(transient())), T0);
    assert!(one.plan().is_paused());
    assert!(!one.pass(DAY));
    one.planner.trigger(&one.key, one.now);
    one.run(SECOND, &end(permanent()));
    assert_eq!(one.plan().state, PlanState::Paused { by: PausedBy::Operator, reason: None }, "it is the operator's");
}

#[test]
fn a_sync_that_missed_its_first_tick_is_due_at_once() {
    let up = after(T0, 3 * HOUR);
    let mut one = One::new(Plan::new(Some(schedule("every day")), None, T0), up);
    assert!(one.set(up));
    // Or somebody asked for it while nobody was there.
    let plan = Plan { trigger: Some(Trigger { at: T0 }), ..Plan::new(None, None, T0) };
    assert!(One::new(plan, up).set(up));
}

#[test]
fn a_trigger_of_one_that_waits_for_a_slot_keeps_its_place() {
    let mut one = One::every("every day");
    let due = one.next().unwrap();
    one.planner.trigger(&one.key, after(due, HOUR));
    assert_eq!(one.next(), Some(due));
}

#[test]
fn a_new_period_counts_from_the_last_run_and_the_same_one_changes_nothing() {
    let mut one = One::every("every day");
    let first = one.run(SECOND, &ok());
    one.planner.trigger(&one.key, after(T0, HOUR));
    one.now = after(T0, HOUR);
    one.run(SECOND, &ok());
    let before = one.plan().clone();
    one.planner.set_schedule(&one.key, Some(schedule("every 24 hours")), None, after(T0, 3 * HOUR));
    assert_eq!(one.plan(), &before);

    let mut one = One::every("every day");
    assert_eq!(one.run(SECOND, &ok()), first);

    one.now = after(T0, 3 * HOUR);
    one.planner.set_schedule(&one.key, Some(schedule("every 4 hours")), None, one.now);
    assert_eq!(one.run(SECOND, &ok()), after(first, 4 * HOUR));
    assert_eq!(one.run(SECOND, &ok()), after(first, 8 * HOUR));
    one.now = after(one.now, HOUR);
    one.planner.set_schedule(&one.key, Some(schedule("every half hour")), None, one.now);
    assert_eq!(
        one.run(SECOND, &ok()),
        one.now.0.checked_sub(SECOND).map(Timestamp).unwrap(),
        "overdue by the new period"
    );
    one.planner.set_schedule(&one.key, None, None, one.now);
    assert_eq!(one.next(), None);
    let start = after(one.now, DAY);
    one.planner.set_schedule(&one.key, Some(schedule("every hour")), Some(start), one.now);
    assert_eq!(one.next(), Some(start));
    one.planner.set_schedule(&one.key, Some(schedule("0 9 * * *")), None, one.now);
    let next = one.next().unwrap();
    assert!(next > one.now && next.since(one.now) < DAY + 30 * SECOND);
}

#[test]
fn another_schedule_during_a_run_or_a_backoff_takes_nothing_away() {
    let mut one = One::every("every day");
    let first = one.wake();
    one.pass(2 * MINUTE);
    one.planner.set_schedule(&one.key, Some(schedule("every hour")), None, one.now);
    assert_eq!((one.next(), one.planner.running()), (None, 1));
    one.end(&end(transient()));
    let retry = one.next();
    one.planner.set_schedule(&one.key, Some(schedule("every 2 hours")), None, one.now);
    assert_eq!(one.next(), retry);
    one.run(SECOND, &ok());
    assert!(one.next().unwrap() >= after(first, 2 * HOUR));
}

#[test]
fn a_row_of_another_version_is_read() {
    let plan: Plan = serde_json::from_str(r#"{"schedule":"every 5 minutes","anchor":5,"new-thing":[1]}"#).unwrap();
    assert_eq!(plan, Plan { schedule: Some(schedule("every 5 minutes")), anchor: Timestamp(5), ..Plan::default() });
    let plan: Plan = serde_json::from_str(r#"{"running":{"started_at":7}}"#).unwrap();
    assert!(plan.running.unwrap().checkpoint_moved);
    let mut one = One::every("every 5 minutes");
    one.run(0, &end(permanent()));
    let row = serde_json::to_string(one.plan()).unwrap();
    assert!(row.contains(r#""state":{"status":"paused","by":"failure","reason":"#), "{row}");
    assert_eq!(&serde_json::from_str::<Plan>(&row).unwrap(), one.plan());
}

#[test]
fn a_sync_removed_during_its_run_holds_its_slot_and_one_put_back_does_not_run_twice() {
    let mut one = One::every("every 5 minutes");
    one.wake();
    one.planner.remove(&one.key);
    assert_eq!((one.planner.plan(&one.key), one.planner.running()), (None, 1));
    assert_eq!(one.planner.trigger(&one.key, one.now), None);
    one.planner.insert(&one.key, placement(), Plan::new(Some(schedule("every minute")), None, T0), one.now);
    assert!(!one.pass(HOUR));
    one.end(&ok());
    assert_eq!(one.planner.running(), 0);
    assert!(one.next().is_some());

    one.wake();
    one.planner.remove(&one.key);
    assert_eq!(one.planner.ended(&one.key, &ok(), one.now), None);
    assert_eq!((one.planner.running(), one.planner.memory()), (0, 0));
    assert_eq!(one.planner.ended(&one.key, &ok(), one.now), None);
    assert_eq!(one.planner.next_wake(one.now), None);
}
