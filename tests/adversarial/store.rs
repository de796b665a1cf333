//! Store and durability: what must hold whatever the disk, the power and other processes do. All of it is tested with the store.

use super::{Case, Tested};

pub(super) const CASES: &[Case] = &[
    Case(
        "D01",
        Tested::Elsewhere(&[
            (
                "tests/store/durability.rs",
                "kill_9_at_any_moment_loses_nothing_acknowledged_and_leaves_nothing_by_halves",
            ),
            ("tests/kill.rs", "a_sync_killed_fifty_times_loses_nothing_and_the_next_run_completes"),
        ]),
    ),
    Case(
        "D02",
        Tested::Elsewhere(&[(
            "tests/store/failpoints.rs",
            "a_process_that_dies_at_any_failpoint_loses_nothing_acknowledged_and_leaves_nothing_by_halves",
        )]),
    ),
    Case(
        "D03",
        Tested::Elsewhere(&[
            (
                "tests/store/durability.rs",
                "a_power_cut_at_any_moment_loses_nothing_acknowledged_and_leaves_nothing_by_halves",
            ),
            ("tests/store/durability.rs", "a_power_cut_without_the_syncs_is_seen_to_lose_what_was_acknowledged"),
        ]),
    ),
    Case(
        "D04",
        Tested::Elsewhere(&[(
            "tests/store/full_disk.rs",
            "whichever_write_fails_nothing_is_there_by_halves_and_with_room_all_goes_on",
        )]),
    ),
    Case(
        "D05",
        Tested::Elsewhere(&[(
            "tests/store/durability.rs",
            "a_sync_that_fails_ends_the_process_and_nothing_is_acknowledged_after_it",
        )]),
    ),
    Case(
        "D06",
        Tested::Elsewhere(&[
            ("tests/store/damage/flips.rs", "a_bit_flipped_anywhere_is_never_served_and_found_where_it_matters"),
            ("tests/store/tools/checks.rs", "verify_finds_a_flipped_bit_wherever_it_matters"),
            ("tests/store/tools/rescue.rs", "a_flipped_bit_costs_no_more_than_its_block"),
        ]),
    ),
    Case(
        "D08",
        Tested::Elsewhere(&[
            ("tests/store/damage/directory.rs", "a_directory_in_use_is_refused_with_the_process_that_uses_it"),
            ("tests/store/tools/copies.rs", "a_backup_of_a_store_that_is_written_to_restores_to_whole_batches"),
        ]),
    ),
    Case(
        "D09",
        Tested::Elsewhere(&[
            (
                "tests/store/damage/directory.rs",
                "a_directory_of_a_newer_format_or_without_its_head_is_refused_and_left_alone",
            ),
            ("tests/store/damage/migration.rs", "a_store_of_format_1_is_migrated_with_all_it_has"),
            ("tests/store/damage/migration.rs", "a_migration_that_was_cut_short_begins_again"),
        ]),
    ),
    Case(
        "D11",
        Tested::Elsewhere(&[
            ("tests/store/concurrency.rs", "of_many_who_want_one_sync_at_a_time_exactly_one_has_it"),
            ("tests/store/concurrency.rs", "writes_of_an_old_run_never_come_after_those_of_a_newer"),
        ]),
    ),
    Case(
        "D12",
        Tested::Elsewhere(&[
            (
                "tests/store/feed.rs",
                "four_readers_beside_four_writers_miss_nothing_and_meet_nothing_twice_or_out_of_order",
            ),
            ("tests/store/concurrency.rs", "readers_beside_three_writers_miss_nothing_and_meet_nothing_twice"),
        ]),
    ),
    Case(
        "D14",
        Tested::LeftOut(
            "ten million records and 64 GB are for a machine with an hour to spare; `cargo bench --bench store` measures growth",
        ),
    ),
    Case(
        "D15",
        Tested::Elsewhere(&[("tests/store/damage/directory.rs", "a_cursor_from_a_history_that_is_gone_is_told_so")]),
    ),
    Case("D16", Tested::LeftOut("there is no PostgreSQL engine yet")),
];
