//! Running guests: whatever a guest does, the process and its neighbors live.

mod breaks;
mod calls;
mod crowd;
mod stops;
mod wasi;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Case, Ground, Tested, library_case, prepared_case};
use crate::service::connect;
use crate::support::{HandWritten, guest};

const FAILURES: &str = "tests/sandbox/failures.rs";
const FUNCTIONS: &str = "tests/sandbox/functions.rs";
const LIMITS: &str = "tests/sandbox/limits.rs";
const RECORDS: &str = "tests/sandbox/records.rs";
const TIME: &str = "tests/sandbox/time.rs";
const BATCHES: &str = "tests/store/conformance/batches.rs";
const IDENTITY: &str = "tests/store/conformance/identity.rs";

pub(super) const CASES: &[Case] = &[
    Case("G01", Tested::Here),
    Case("G02", Tested::Here),
    Case("G04", Tested::Here),
    Case("G06", Tested::Here),
    Case("G07", Tested::Here),
    Case(
        "G08",
        Tested::Elsewhere(&[
            (FAILURES, "a_log_without_end_is_cut_in_its_middle_with_a_marker"),
            (FAILURES, "a_huge_line_and_huge_fields_are_cut_and_the_run_goes_on"),
        ]),
    ),
    Case("G09", Tested::Here),
    Case("G10", Tested::Here),
    Case("G12", Tested::Here),
    Case(
        "G13",
        Tested::Elsewhere(&[
            (RECORDS, "a_record_has_a_mebibyte_at_most"),
            (RECORDS, "an_id_has_one_to_512_bytes_of_anything"),
        ]),
    ),
    Case(
        "G14",
        Tested::Elsewhere(&[
            (RECORDS, "every_kind_of_bad_json_is_refused_with_its_reason_and_nothing_of_the_batch_is_stored"),
            (RECORDS, "json_at_the_edge_is_stored_as_it_is"),
            ("runtime/src/store/canonical/tests.rs", "a_value_of_any_kind_is_held_to_the_same_rules"),
            (
                "tests/sandbox/actions.rs",
                "an_input_that_is_no_json_and_a_configuration_that_is_no_object_do_not_start_a_run",
            ),
        ]),
    ),
    Case(
        "G16",
        Tested::Elsewhere(&[
            (RECORDS, "an_id_has_one_to_512_bytes_of_anything"),
            (IDENTITY, "ids_are_compared_byte_by_byte"),
        ]),
    ),
    Case("G17", Tested::Elsewhere(&[(BATCHES, "of_an_id_given_twice_the_last_counts_and_the_summary_says_so")])),
    Case(
        "G18",
        Tested::Elsewhere(&[
            (LIMITS, "a_script_that_saves_for_ever_ends_at_its_budget_with_whole_batches"),
            (LIMITS, "the_budget_of_records_holds_for_saves_updates_and_deletes_and_a_batch_is_all_or_none"),
        ]),
    ),
    Case(
        "G19",
        Tested::Elsewhere(&[
            (TIME, "a_run_that_waits_for_an_answer_is_stopped_at_its_deadline_and_the_connection_closed"),
            ("tests/sandbox/requests.rs", "a_request_that_is_denied_too_large_or_too_slow_is_an_error_that_says_so"),
        ]),
    ),
    Case("G20", Tested::Here),
    Case("G22", Tested::Here),
    Case("G24", Tested::Here),
    Case("G25", Tested::Here),
    Case(
        "G26",
        Tested::Elsewhere(&[(
            TIME,
            "a_run_that_is_cancelled_at_any_moment_leaves_whole_batches_and_a_checkpoint_with_all_before_it",
        )]),
    ),
    Case(
        "G27",
        Tested::Elsewhere(&[(
            TIME,
            "a_run_that_is_cancelled_at_any_moment_leaves_whole_batches_and_a_checkpoint_with_all_before_it",
        )]),
    ),
    Case("G29", Tested::Here),
    Case(
        "G30",
        Tested::Elsewhere(&[
            (FAILURES, "a_wish_for_the_next_try_is_held_between_a_second_and_a_day"),
            (FAILURES, "a_huge_message_is_cut_at_four_kibibytes"),
        ]),
    ),
    Case(
        "G31",
        Tested::Elsewhere(&[
            (FUNCTIONS, "a_full_refresh_deletes_what_it_did_not_save_and_only_if_it_succeeds"),
            (FUNCTIONS, "deletes_are_tracked_from_start_to_end_and_done_when_the_run_succeeds"),
        ]),
    ),
    Case("G32", Tested::Here),
    // WASI: nothing is behind it.
    Case("G40", Tested::Here),
    Case("G41", Tested::Here),
];

/// A case on the server of this area. What it takes to compile the probe, which many of them run, is none of a case.
fn case(id: &'static str, test: impl AsyncFnOnce(&Ground) -> Vec<&'static str>) {
    let prepare = async |ground: &Ground| drop(ground.client.upload("probe", "name=probe").await.ok());
    prepared_case(id, prepare, test);
}

/// Deploys a script under a name, with limits such as `fuel=1000`, and a sync of it on a connection of that name which runs only
/// when it is asked to: whatever becomes of a run, none follows it.
async fn sync(ground: &Ground, name: &str, bytes: Vec<u8>, limits: &str, config: Value) {
    ground.client.upload_bytes(bytes, &format!("name={name}&{limits}")).await.ok();
    connect(&ground.client, &ground.api, name, json!({ "type": "none" })).await;
    manual(ground, name, name, config).await;
}

/// A sync of a deployed script on a connection.
async fn manual(ground: &Ground, script: &str, connection: &str, config: Value) {
    let spec = json!({ "script": script, "connection": connection, "frequency": "never", "config": config });
    ground.client.post("/v1/syncs", &spec).await.ok();
    ground.client.post(&format!("/v1/syncs/{connection}/{script}/base/pause"), &json!({})).await.ok();
}

/// A sync of the probe that does these steps.
async fn probe(ground: &Ground, name: &str, limits: &str, steps: Value) {
    sync(ground, name, guest("probe"), limits, json!({ "steps": steps })).await;
}

/// Runs the script of this name on its connection, and returns the run, which has this code.
#[track_caller]
fn ran(run: &Value, code: &str) {
    assert_eq!(run["outcome"]["code"], code, "{run:#}");
}

/// Runs a script with these limits once, and returns the run.
async fn once(ground: &Ground, name: &str, script: &HandWritten, limits: &str) -> Value {
    sync(ground, name, script.bytes(), limits, json!({})).await;
    let run = ground.run(name, name).await;
    forget(ground, name).await;
    run
}

/// Runs steps of the probe with these limits once, and returns the run.
async fn steps(ground: &Ground, name: &str, limits: &str, steps: Value) -> Value {
    probe(ground, name, limits, steps).await;
    let run = ground.run(name, name).await;
    forget(ground, name).await;
    run
}

/// Takes away what [`sync`] made.
async fn forget(ground: &Ground, name: &str) {
    ground.client.delete(&format!("/v1/connections/{name}")).await.ok();
    ground.client.delete(&format!("/v1/scripts/{name}")).await.ok();
}

/// The lines of a run's log.
async fn log(ground: &Ground, run: &Value) -> Vec<String> {
    let path = format!("/v1/runs/{}/logs", run["id"].as_str().unwrap());
    let lines = ground.client.ask(Method::GET, &path, None).await.ok();
    lines["items"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect()
}
