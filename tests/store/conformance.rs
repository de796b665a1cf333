//! The contract of [`terapi::store::Store`] as tests that every engine passes. A test gets an engine with nothing in
//! it; [`suite!`] is where they are listed, once, and where an engine is added.

mod batches;
mod cursors;
mod deletes;
mod feed;
mod generations;
mod identity;
mod leases;
mod listing;
mod retention;
mod rows;
mod runs;
mod service;

macro_rules! suite {
    ($($engine:ident: $new:expr;)*) => { $(
        mod $engine {
            suite! { @tests $new;
                batches {
                    a_batch_with_one_bad_entry_leaves_nothing_wherever_it_stands,
                    a_refused_first_batch_leaves_no_stream,
                    a_batch_over_the_limits_is_refused_whole,
                    what_is_exactly_at_the_limits_is_accepted,
                    of_an_id_given_twice_the_last_counts_and_the_summary_says_so,
                    a_repeated_entry_that_would_not_count_must_be_acceptable_too,
                    an_unchanged_record_makes_no_feed_entry,
                    numbers_and_arrays_are_compared_as_they_are_written,
                    what_is_stored_is_what_was_written_byte_for_byte,
                    ignored_fields_alone_are_no_change_and_are_stored_with_a_real_one,
                    an_empty_batch_changes_nothing,
                    update_replaces_top_level_fields_and_keeps_the_others,
                    update_adds_unknown_and_deleted_records_as_given,
                    an_update_that_changes_nothing_makes_no_feed_entry,
                    an_update_with_one_bad_entry_leaves_nothing,
                    an_update_that_grows_a_record_over_the_limit_is_refused_whole,
                    a_delete_keeps_the_last_content,
                    deleting_an_unknown_or_deleted_id_leaves_no_trace,
                    a_deleted_record_that_comes_back_is_added,
                    a_delete_of_too_many_ids_is_refused_whole,
                    many_large_records_can_be_deleted,
                }
                generations {
                    readers_see_the_old_generation_until_the_new_one_is_whole,
                    a_cursor_of_the_old_generation_is_refused_after_the_swap,
                    a_script_that_builds_a_generation_reads_that_one,
                    a_generation_with_too_little_in_it_does_not_take_the_place_of_the_old,
                    a_refresh_deletes_in_the_generation_that_it_builds,
                    another_sync_goes_on_with_the_generation_that_is_read,
                    a_second_reset_begins_the_generation_again,
                    a_model_that_saves_nothing_is_empty_after_the_swap,
                }
                retention {
                    without_a_retention_nothing_is_pruned,
                    content_that_did_not_change_for_long_goes_and_the_record_stays_known,
                    a_merge_into_pruned_content_keeps_what_is_given,
                    deleted_records_are_forgotten,
                    a_cursor_from_before_what_was_pruned_is_refused_and_a_later_one_goes_on,
                }
                identity {
                    ids_are_compared_byte_by_byte,
                    ids_that_share_a_long_beginning_are_distinct,
                    streams_with_the_same_ids_are_apart,
                    names_that_could_run_together_are_apart,
                }
                feed {
                    changes_come_in_the_order_of_their_commits,
                    the_feed_holds_each_record_once_at_its_last_change,
                    a_reader_that_stopped_half_way_ends_with_the_final_state,
                    times_say_when_a_record_came_and_when_it_changed,
                    a_filter_leaves_out_the_other_actions_and_moves_on,
                    a_page_that_the_filter_empties_still_leads_to_the_end,
                    a_page_holds_at_most_the_limit_and_at_least_one_change,
                    a_page_holds_about_the_bytes_asked_for_and_at_least_one_change,
                    a_page_that_ends_exactly_at_the_head_says_that_there_is_no_more,
                    a_commit_shows_itself_without_being_asked_to,
                    every_page_size_reads_the_same_feed,
                    streams_are_listed_by_name_with_their_figures,
                }
                cursors {
                    a_cursor_handed_back_goes_on_where_the_page_ended,
                    a_cursor_taken_before_the_stream_exists_reads_from_its_start,
                    a_cursor_stays_good_across_reopening,
                    a_cursor_of_another_stream_is_refused,
                    a_cursor_with_any_character_changed_is_refused,
                    a_cursor_cut_or_lengthened_anywhere_is_refused,
                    a_cursor_of_a_megabyte_is_refused,
                }
                listing {
                    get_returns_what_exists_in_the_order_asked,
                    list_returns_those_that_changed_longest_ago_first,
                    list_keeps_to_its_limits,
                    a_listing_whose_records_are_updated_meanwhile_ends_and_returns_each_once,
                    a_listing_whose_records_are_deleted_meanwhile_ends,
                    a_place_in_a_listing_that_was_never_given_out_is_refused_or_harmless,
                    get_and_list_see_a_batch_at_once,
                }
                deletes {
                    a_full_refresh_deletes_what_it_did_not_save,
                    a_full_refresh_that_saves_the_same_again_changes_nothing,
                    a_failed_refresh_deletes_nothing,
                    a_refresh_deletes_in_all_its_models,
                    a_record_saved_and_deleted_in_the_same_refresh_is_gone,
                    a_record_deleted_by_another_script_does_not_hide_one_that_went,
                    the_guard_stops_a_refresh_that_saved_nothing,
                    the_guard_counts_no_record_that_another_script_deleted,
                    the_guard_stops_a_refresh_that_would_delete_more_than_its_share,
                    the_guard_stops_all_models_of_a_run_together,
                    the_guard_leaves_small_streams_alone,
                    the_guard_lets_everything_through_once,
                    an_account_deletes_what_was_not_saved_between_start_and_end,
                    what_an_account_has_not_seen_is_listed_in_pages,
                    an_account_that_was_not_ended_deletes_nothing,
                    an_ended_account_deletes_nothing_if_the_run_fails,
                    an_account_goes_on_in_the_next_run_with_its_checkpoint,
                    an_account_waits_for_a_run_that_does_not_ask_for_it,
                    an_account_without_a_checkpoint_does_not_outlive_its_run,
                    an_account_of_a_run_that_failed_is_as_old_as_its_checkpoint,
                    an_account_is_gone_once_it_has_deleted,
                    clearing_the_checkpoint_ends_what_it_carried,
                    ending_what_was_not_started_is_refused,
                    the_guard_holds_for_accounts_when_they_are_ended,
                    a_refresh_goes_on_after_an_interruption_with_its_checkpoint,
                }
                leases {
                    a_second_run_of_a_sync_is_refused_while_the_first_is_active,
                    different_syncs_run_side_by_side,
                    an_expired_lease_is_taken_over_and_the_old_run_can_write_nothing,
                    a_renewed_lease_is_not_taken_over,
                    a_finished_run_can_write_nothing,
                    a_lease_from_before_a_restart_can_write_nothing,
                    tokens_ascend,
                    a_run_that_was_taken_over_is_not_shown_as_active,
                }
                runs {
                    the_last_sync_date_moves_only_on_success_and_to_the_start_of_the_run,
                    a_checkpoint_is_kept_until_it_is_replaced_or_cleared,
                    a_checkpoint_outlives_failure_and_reopening,
                    an_unacceptable_checkpoint_is_refused_and_the_old_one_stays,
                    reset_forgets_state_and_keeps_records,
                    reset_is_refused_while_a_run_is_active,
                    reset_ends_accounts,
                    a_run_is_stored_as_it_started_and_as_it_ended,
                    every_kind_of_outcome_comes_back_as_it_was,
                    runs_come_newest_first_and_page_by_page,
                    an_action_is_stored_without_a_lease,
                    a_run_that_the_process_left_behind_is_interrupted,
                    a_run_that_ended_without_its_lease_keeps_its_outcome,
                    log_lines_come_back_in_order,
                }
                service {
                    documents_are_kept_listed_and_forgotten,
                    a_document_of_one_kind_is_none_of_another,
                    each_upload_is_a_version_and_one_of_them_is_active,
                    of_old_versions_so_many_are_kept,
                    runs_are_found_by_whose_they_are,
                    runs_are_forgotten_by_age_with_all_that_is_noted_of_them,
                    a_deleted_connection_leaves_nothing_and_its_neighbors_alone,
                    a_connection_with_an_active_run_is_not_deleted,
                    a_connection_made_again_begins_anew,
                    who_watches_a_stream_hears_of_every_change,
                    each_change_has_the_cursor_that_reads_on_behind_it,
                    changes_are_found_by_their_date,
                    changes_are_found_by_their_ids_deleted_ones_too,
                }
                rows {
                    metadata_is_an_empty_object_at_first,
                    metadata_is_replaced_and_merged,
                    unacceptable_metadata_is_refused_and_the_old_stays,
                    metadata_is_the_connections_own,
                    a_script_is_deployed_replaced_and_removed,
                    the_bytes_of_a_script_stay_while_any_name_has_them,
                    scripts_survive_reopening,
                }
            }
        }
    )* };
    (@tests $new:expr; $($topic:ident { $($test:ident,)* })*) => { $(
        mod $topic {
            use super::super::super::*;
            $(
                #[test]
                fn $test() {
                    super::super::$topic::$test(&$new);
                }
            )*
        }
    )* };
}

suite! {
    embedded: Embedded::new();
}
