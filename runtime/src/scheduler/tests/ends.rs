//! How runs end, and what follows: retries, pauses, the stalled.

use super::super::rules::backoff_ms;
use super::*;

#[test]
fn a_script_that_always_fails_is_tried_after_10_20_40_seconds_and_at_most_once_an_hour() {
    let mut one = One::every("every day");
    let first = one.run(0, &end(transient()));
    let mut last = first;
    let waits = [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600, 3_600, 3_600];
    for (k, wait) in waits.into_iter().enumerate() {
        assert_eq!(one.plan().failures as usize, k + 1);
        assert_eq!(one.plan().next_cause, Cause::Retry);
        let start = one.run(0, &end(transient()));
        assert!(about(start.since(last), wait * SECOND), "try {k} after {} ms", start.since(last));
        last = start;
    }
    // The tick is not put off by it: it is the sooner of both.
    let mut seen = Vec::new();
    while last.since(first) < DAY + HOUR {
        last = one.run(0, &end(transient()));
        seen.push(last);
    }
    assert!(seen.contains(&after(first, DAY)));
    assert!(!one.plan().is_paused(), "transient is transient");

    one.run(SECOND, &ok());
    assert_eq!(one.plan().failures, 0);
    let ended = one.now;
    assert_eq!(one.next(), Some(after(first, 2 * DAY)));
    one.run(0, &end(transient()));
    assert!(about(one.next().unwrap().since(one.now), 10 * SECOND), "a success begins anew, {ended}");
}

#[test]
fn with_a_short_period_the_tick_comes_before_the_backoff() {
    let mut one = One::every("every minute");
    let first = one.run(0, &end(transient()));
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(one.run(0, &end(transient())).since(first));
    }
    // 10 s, 20 s after that, and then each minute.
    assert!(about(starts[0], 10 * SECOND) && starts[1] >= 27 * SECOND && starts[1] <= 33 * SECOND, "{starts:?}");
    assert_eq!(starts[2..], [MINUTE, 2 * MINUTE, 3 * MINUTE], "{starts:?}");
}

#[test]
fn what_the_script_asked_for_is_honored_also_past_a_tick() {
    let asked = |ms| {
        end(Ended::Failed {
            code: "script-transient".into(),
            message: "429".into(),
            transient: true,
            retry_after_ms: Some(ms),
        })
    };
    let mut one = One::every("every 5 minutes");
    one.run(SECOND, &asked(3 * MINUTE));
    assert_eq!(one.next(), Some(after(one.now, 3 * MINUTE)));
    one.run(SECOND, &asked(20 * MINUTE));
    assert_eq!(one.next(), Some(after(one.now, 20 * MINUTE)), "two ticks pass");
    one.run(SECOND, &asked(1));
    assert!(one.next().unwrap().since(one.now) > 30 * SECOND, "it does not shorten the backoff");
}

#[test]
fn backoff_has_the_same_jitter_each_time_and_another_for_each_key() {
    let waits: std::collections::BTreeSet<u64> =
        (0..1_000_u64).map(|k| backoff_ms(3, (k << 40) | (12_345 * k))).collect();
    assert!(waits.len() > 900, "{}", waits.len());
    assert!(waits.iter().all(|wait| about(*wait, 40 * SECOND)));
    assert_eq!(backoff_ms(3, 7), backoff_ms(3, 7));
    assert!(about(backoff_ms(u32::MAX, 7), HOUR));
}

#[test]
fn a_permanent_failure_pauses_until_it_is_resumed_or_triggered() {
    let mut one = One::every("every 5 minutes");
    one.run(SECOND, &end(permanent()));
    let paused = PlanState::Paused { by: PausedBy::Failure, reason: Some("script-permanent: no access".into()) };
    assert_eq!(one.plan().state, paused);
    assert_eq!((one.next(), one.planner.next_wake(one.now)), (None, None));
    assert!(!one.pass(DAY));
    let mut again = One::new(one.plan().clone(), one.now);
    assert!(!again.pass(DAY), "also after a restart");

    one.planner.resume(&one.key, one.now);
    assert!(one.set(one.now), "there is work left over");
    one.end(&end(permanent()));
    assert_eq!(one.plan().state, paused);
    assert_eq!(one.planner.trigger(&one.key, one.now), Some(Triggered::Now));
    one.run(SECOND, &ok());
    assert_eq!(one.plan().state, PlanState::Active);
    assert!(one.next().is_some());
}

#[test]
fn a_script_that_is_broken_off_five_times_in_a_row_is_paused() {
    for reason in [
        StopReason::OutOfFuel,
        StopReason::OutOfMemory,
        StopReason::Trapped,
        StopReason::Exhausted,
        StopReason::Internal,
    ] {
        let mut one = One::every("every day");
        for k in 1..5 {
            one.run(0, &end(stopped(reason)));
            assert!(!one.plan().is_paused(), "{k}");
            assert!(about(one.next().unwrap().since(one.now), (10 << (k - 1)) * SECOND), "{k}");
        }
        one.run(0, &end(stopped(reason)));
        let PlanState::Paused { by: PausedBy::Failure, reason: Some(why) } = &one.plan().state else { panic!() };
        assert_eq!(why, &format!("5 runs in a row were broken off, the last: {}: stopped", reason.code()));
        assert!(one.plan().stalled);
        one.planner.resume(&one.key, one.now);
        one.run(0, &end(stopped(reason)));
        assert!(!one.plan().is_paused(), "resumed, it has five more");
    }
}

#[test]
fn a_script_that_is_broken_off_but_gets_on_is_not_paused() {
    let mut one = One::every("every day");
    for _ in 0..20 {
        one.run(0, &moved(stopped(StopReason::OutOfFuel)));
        assert!(!one.plan().is_paused() && !one.plan().stalled);
        assert!(about(one.next().unwrap().since(one.now), 10 * SECOND));
    }
}

#[test]
fn a_run_whose_checkpoint_does_not_move_again_and_again_is_stalled() {
    for how in [stopped(StopReason::TimedOut), stopped(StopReason::Interrupted), Ended::Parked] {
        let mut one = One::every("every day");
        let at_once = how != stopped(StopReason::TimedOut);
        for k in 1..=4 {
            one.run(MINUTE, &end(how.clone()));
            assert_eq!((one.plan().unmoved, one.plan().stalled, one.plan().failures), (k, false, 0));
            assert_eq!(one.next() == Some(one.now), at_once);
        }
        one.run(MINUTE, &end(how.clone()));
        assert!(one.plan().stalled && !one.plan().is_paused());
        let wait = one.next().unwrap().since(one.now);
        assert!(about(wait, if at_once { 10 } else { 160 } * SECOND), "backoff applies: {wait}");
        one.run(MINUTE, &end(how.clone()));
        assert!(one.next().unwrap().since(one.now) > wait, "and grows");

        let mut better = One::new(one.plan().clone(), one.now);
        better.run(MINUTE, &moved(how.clone()));
        assert_eq!((better.plan().unmoved, better.plan().stalled), (0, false));
        assert_eq!(better.next(), Some(better.now), "there is more to do, and it gets on");

        one.run(MINUTE, &end(Ended::Succeeded));
        assert_eq!((one.plan().unmoved, one.plan().stalled), (0, false));
    }
}

#[test]
fn a_cancelled_run_is_no_failure_and_waits_for_the_next_tick() {
    let mut one = One::every("every hour");
    let first = one.run(SECOND, &end(stopped(StopReason::Cancelled)));
    assert_eq!((one.plan().failures, one.plan().unmoved, one.plan().unfinished), (0, 0, false));
    assert_eq!(one.next(), Some(after(first, HOUR)));
}

#[test]
fn after_a_crash_it_is_due_at_once_and_crashing_again_and_again_is_stalled() {
    let mut one = One::every("every day");
    one.wake();
    let mut row: Plan = serde_json::from_str(&serde_json::to_string(one.plan()).unwrap()).unwrap();
    assert!(row.running.is_some());
    one = One::new(row.clone(), after(one.now, 3 * SECOND));
    assert_eq!(one.next(), Some(one.now));
    assert_eq!(one.plan().next_cause, Cause::Continued);
    assert_eq!((one.plan().failures, one.plan().unmoved), (0, 0), "the benefit of the doubt");
    assert_eq!(one.plan().last_outcome.as_deref(), Some("interrupted"));

    for k in 1..=5 {
        one.wake();
        row = one.plan().clone();
        row.running.as_mut().unwrap().checkpoint_moved = false;
        one = One::new(row.clone(), after(one.now, 3 * SECOND));
        assert_eq!(one.plan().unmoved, k);
    }
    assert!(one.plan().stalled);
    assert!(about(one.next().unwrap().since(one.now), 10 * SECOND));
}

#[test]
fn a_transient_failure_between_begins_the_count_of_broken_runs_anew() {
    let mut one = One::every("every day");
    for _ in 0..3 {
        for _ in 0..4 {
            one.run(0, &end(stopped(StopReason::Trapped)));
        }
        one.run(0, &end(transient()));
        assert!(!one.plan().is_paused());
    }
}
