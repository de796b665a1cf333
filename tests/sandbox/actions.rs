//! Actions: what they may do, and what only a sync may.

use serde_json::json;
use terapi::run::{Outcome, Run, StopReason};

use crate::support::{Bench, guest, on_shared_bench, probe};

async fn act(bench: &Bench, connection: &str, input: serde_json::Value) -> (Run, Option<String>) {
    let mut execution = bench.execution("doer", json!({})).await;
    execution.connection = connection.parse().unwrap();
    bench.runtime.action(execution, input.to_string()).await.unwrap()
}

#[test]
fn an_action_reads_records_and_writes_none() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let mut sync =
            bench.execution("probe", probe(json!([{ "do": "save", "list": ["a", r#"{"x":1}"#, "b", "{}"] }]))).await;
        sync.connection = connection.clone();
        bench.sync(sync).await.succeeded();
        let before = bench.things(&connection);
        let act = async |what: &str| {
            let (run, output) = act(bench, connection.as_str(), json!({ "do": what })).await;
            assert_eq!(run.outcome, Some(Outcome::Succeeded), "{what}");
            serde_json::from_str::<String>(&output.unwrap()).unwrap()
        };
        assert_eq!(act("read").await, r#"{"x":1}{}"#);
        assert_eq!(act("list").await, "a,b");
        for refused in ["save", "update", "delete", "track", "checkpoint", "clear"] {
            let said = act(refused).await;
            assert!(said.contains("not allowed") && said.contains("action"), "{refused}: {said}");
        }
        assert_eq!(act("date").await, "None");
        assert!(act("who").await.ends_with(&format!("{connection} base")));
        assert_eq!(bench.things(&connection), before);
    });
}

#[test]
fn an_action_fetches_and_its_run_is_stored() {
    on_shared_bench(async |bench| {
        let (run, output) = act(bench, "someone", json!({ "do": "fetch", "url": bench.odd.url("/nth?nth=1") })).await;
        assert_eq!(output.as_deref(), Some(r#""nth=1""#));
        assert_eq!(run.usage.http_requests, 1);
        assert_eq!(bench.runtime.store().run(run.id).unwrap(), Some(run));
    });
}

#[test]
fn an_output_over_two_mebibytes_fails_the_action() {
    on_shared_bench(async |bench| {
        // With its quotes.
        let (run, output) = act(bench, "someone", json!({ "do": "large", "n": (2 << 20) - 2 })).await;
        assert_eq!((run.outcome, output.map(|it| it.len())), (Some(Outcome::Succeeded), Some(2 << 20)));
        let (run, output) = act(bench, "someone", json!({ "do": "large", "n": (2 << 20) - 1 })).await;
        assert_eq!((run.outcome.as_ref().map(Outcome::code), output), (Some("bad-output"), None));
        assert!(run.outcome.unwrap().message().contains("2097153 bytes, over 2097152"));
    });
}

#[test]
fn an_output_that_is_nested_too_deep_fails_the_action() {
    on_shared_bench(async |bench| {
        let (_, output) = act(bench, "someone", json!({ "do": "nested", "n": 64 })).await;
        assert_eq!(output, Some(["[".repeat(64), "]".repeat(64)].concat()));
        let (run, output) = act(bench, "someone", json!({ "do": "nested", "n": 65 })).await;
        assert_eq!((run.outcome.as_ref().map(Outcome::code), output), (Some("bad-output"), None));
    });
}

#[test]
fn a_failed_action_carries_its_details() {
    on_shared_bench(async |bench| {
        let (run, output) = act(bench, "someone", json!({ "do": "fail" })).await;
        let Some(Outcome::Failed(failure)) = run.outcome else { panic!("{:?}", run.outcome) };
        assert_eq!((failure.code.as_str(), failure.transient, output), ("script-permanent", false, None));
        assert_eq!(failure.details.as_deref(), Some(r#"{"text":"why"}"#));
    });
}

#[test]
fn an_action_is_stopped_like_a_sync() {
    on_shared_bench(async |bench| {
        let mut execution = bench.execution("doer", json!({})).await;
        execution.limits.fuel = 1_000;
        let (run, output) = bench.runtime.action(execution, r#"{"do":"date"}"#.to_owned()).await.unwrap();
        let Some(Outcome::Stopped(stopped)) = run.outcome else { panic!("{:?}", run.outcome) };
        assert_eq!((stopped.reason, output), (StopReason::OutOfFuel, None));
    });
}

#[test]
fn an_input_that_is_no_json_and_a_configuration_that_is_no_object_do_not_start_a_run() {
    on_shared_bench(async |bench| {
        for input in ["", "{", "NaN", "{} {}", "\u{feff}{}", &"[".repeat(100_000)] {
            let execution = bench.execution("doer", json!({})).await;
            let error = bench.runtime.action(execution, input.to_owned()).await.unwrap_err();
            assert_eq!(error.code(), "bad-input", "{error}");
        }
        for config in ["", "[]", "{", r#"{"a":1,"a":1}"#, &format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65))] {
            let mut execution = bench.execution("probe", json!({})).await;
            execution.config = config.to_owned();
            let error = bench.runtime.sync(execution).await.unwrap_err();
            assert_eq!(error.code(), "bad-input", "{error}");
        }
    });
}

#[test]
fn a_sync_is_no_action_and_an_action_no_sync() {
    on_shared_bench(async |bench| {
        let action = bench.execution("doer", json!({})).await;
        assert_eq!(bench.runtime.sync(action).await.unwrap_err().code(), "wrong-kind");
        let sync = bench.execution_of(bench.load(guest("probe")).await, json!({}));
        assert_eq!(bench.runtime.action(sync, "{}".to_owned()).await.unwrap_err().code(), "wrong-kind");
    });
}
