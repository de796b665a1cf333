//! Scheduling: nobody starves, nothing runs twice, poison is set aside.

mod poison;

use super::{Case, Tested, library_case};

const PLANS: &str = "runtime/src/scheduler/tests/plans.rs";
const ENDS: &str = "runtime/src/scheduler/tests/ends.rs";
const FAIRNESS: &str = "runtime/src/scheduler/tests/fairness.rs";
const WALK: &str = "tests/service/walk.rs";

pub(super) const CASES: &[Case] = &[
    Case("S01", Tested::Elsewhere(&[(PLANS, "after_three_hours_down_it_runs_once_and_then_on_the_grid_again")])),
    Case("S02", Tested::Elsewhere(&[(PLANS, "a_run_longer_than_its_period_is_followed_by_the_next_tick_after_it")])),
    Case(
        "S03",
        Tested::Elsewhere(&[(
            "tests/service/kills.rs",
            "killed_in_the_middle_of_twenty_syncs_it_goes_on_at_once_and_every_record_is_there_once",
        )]),
    ),
    Case("S05", Tested::Here),
    Case(
        "S06",
        Tested::Elsewhere(&[
            (ENDS, "a_script_that_always_fails_is_tried_after_10_20_40_seconds_and_at_most_once_an_hour"),
            (ENDS, "backoff_has_the_same_jitter_each_time_and_another_for_each_key"),
            (ENDS, "a_permanent_failure_pauses_until_it_is_resumed_or_triggered"),
        ]),
    ),
    Case("S07", Tested::Elsewhere(&[(ENDS, "what_the_script_asked_for_is_honored_also_past_a_tick")])),
    Case(
        "S08",
        Tested::LeftOut(
            "a million rows and their claims are those of the PostgreSQL store; of one process see \
             `twenty_thousand_due_at_once_are_no_matter` and `a_hundred_syncs_that_are_due_at_once_take_turns`",
        ),
    ),
    Case("S09", Tested::Elsewhere(&[(PLANS, "jitter_spreads_a_thousand_syncs_and_is_the_same_after_a_restart")])),
    Case(
        "S10",
        Tested::Elsewhere(&[(FAIRNESS, "a_thousand_due_at_once_with_ten_slots_take_turns_and_none_runs_twice")]),
    ),
    Case(
        "S11",
        Tested::Elsewhere(&[
            ("tests/service/stopping.rs", "on_sigterm_runs_come_to_rest_at_their_checkpoint_and_go_on_from_there"),
            (
                "tests/service/stopping.rs",
                "a_run_without_a_checkpoint_is_cancelled_when_patience_is_over_and_goes_on_after_the_start",
            ),
            (
                "tests/store/suspicion.rs",
                "what_a_service_that_was_told_to_stop_left_over_is_held_against_nobody_and_that_counts_once",
            ),
        ]),
    ),
    Case(
        "S12",
        Tested::Elsewhere(&[
            (PLANS, "paused_while_it_runs_it_ends_and_then_rests"),
            (PLANS, "another_schedule_during_a_run_or_a_backoff_takes_nothing_away"),
            (WALK, "a_connection_that_is_deleted_while_its_run_begins_leaves_nothing"),
            (WALK, "a_deleted_connection_leaves_nothing"),
        ]),
    ),
    Case("S15", Tested::LeftOut("there is no database that could be out of reach; it comes with the PostgreSQL store")),
    Case("S16", Tested::LeftOut("there is no database that could be slow; it comes with the PostgreSQL store")),
    Case("S17", Tested::LeftOut("leases are renewed in memory; statements come with the PostgreSQL store")),
    Case("S18", Tested::Elsewhere(&[(PLANS, "a_trigger_during_a_run_is_one_more_run_after_it")])),
    Case("S19", Tested::LeftOut("one process at a time has a data directory; versions meet with the PostgreSQL store")),
];
