//! A run that is asked to park ends at its next checkpoint, and nowhere else.

use serde_json::json;
use terapi::run::StopReason;

use crate::support::{on_shared_bench, probe};

#[test]
fn a_run_that_is_to_park_ends_right_after_its_checkpoint_and_the_next_goes_on_from_there() {
    on_shared_bench(async |bench| {
        let execution = bench
            .execution(
                "probe",
                probe(json!([
                    { "do": "save", "list": ["a", "{}"] },
                    // What saves nothing parks nothing.
                    { "do": "save-checkpoint-raw", "text": "no JSON" },
                    { "do": "clear-checkpoint" },
                    { "do": "save", "list": ["b", "{}"] },
                    { "do": "save-checkpoint", "text": r#"{"at":"b"}"# },
                    { "do": "save", "list": ["c", "{}"] },
                ])),
            )
            .await;
        execution.park.cancel();
        let parked = bench.sync(execution).await;
        let parked =
            parked.stopped(StopReason::Parked, &["parked at its checkpoint", "the next run goes on from there"]);
        assert_eq!(parked.outcome().code(), "parked");
        assert!(parked.said("save-checkpoint-raw")[0].contains("Invalid"), "{:?}", parked.log);
        assert_eq!(parked.said("clear-checkpoint"), ["ok"]);
        assert!(parked.said("save-checkpoint").is_empty());
        assert_eq!(bench.things(parked.connection()), ["a={}", "b={}"]);

        let mut next = bench.execution("probe", probe(json!([{ "do": "checkpoint" }, { "do": "date" }]))).await;
        next.connection = parked.connection().clone();
        let next = bench.sync(next).await.succeeded();
        assert_eq!(next.said("checkpoint"), [r#"Some("{\"at\":\"b\"}")"#]);
        assert_eq!(next.said("date"), ["None"], "a run that parked is no success");
    });
}

#[test]
fn a_run_that_is_to_park_and_saves_no_checkpoint_goes_on_to_its_end() {
    on_shared_bench(async |bench| {
        let steps = json!([{ "do": "save", "list": ["a", "{}"] }, { "do": "save", "list": ["b", "{}"] }]);
        let execution = bench.execution("probe", probe(steps)).await;
        execution.park.cancel();
        let ran = bench.sync(execution).await.succeeded();
        assert_eq!(bench.things(ran.connection()), ["a={}", "b={}"]);
    });
}

#[test]
fn a_checkpoint_before_a_run_is_asked_to_park_ends_nothing() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = crate::support::Bench::open().await;
        let steps = json!([
            { "do": "save-checkpoint", "text": r#"{"at":1}"# },
            { "do": "fetch", "url": bench.odd.url("/gate/1") },
            { "do": "save-checkpoint", "text": r#"{"at":2}"# },
        ]);
        let execution = bench.execution("probe", probe(steps)).await;
        let park = execution.park.clone();
        let asked = async {
            bench.odd.until_waiting(1).await;
            park.cancel();
            bench.odd.open_gates(1);
        };
        let (ran, ()) = tokio::join!(bench.sync(execution), asked);
        let ran = ran.stopped(StopReason::Parked, &[]);
        assert_eq!((ran.said("save-checkpoint").len(), ran.said("fetch")), (1, vec!["200 6 bytes: gate 1"]));
    });
}
