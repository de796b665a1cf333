//! What is recorded, and that a replay of it is silent.

use serde_json::json;
use terapi::demo;
use terapi::run::{Outcome, StopReason};

use super::{cassette, record, record_probe, replay, step, with_another_hash};
use crate::support::{Bench, on_shared_bench, probe};

#[test]
fn each_example_script_replays_silently_and_asks_nobody() {
    on_shared_bench(async |_| {
        // Of its own: nobody else asks its API.
        let bench = &Bench::open().await;
        let repository = json!({ "repository": "a/b" });
        let mut played = 0;
        for (name, bytes) in demo::SCRIPTS {
            let config = match *name {
                "filtered-contacts" => json!({ "days": 30 }),
                "misbehaving" => json!({ "repository": "a/b", "mistake": "loops" }),
                "shopify-redirects" | "slack-members" => json!({}),
                "create-issue" => continue,
                _ => repository.clone(),
            };
            let mut execution = bench.execution_of(bench.load(bytes.to_vec()).await, config);
            if *name == "misbehaving" {
                execution.limits.fuel = 200_000_000;
            }
            let recorded = record(bench, execution).await;
            let asked = bench.api.requests_served();
            let report = replay(bench, &recorded.script, &recorded.bytes).await;
            recorded.is_same(&report);
            assert_eq!(bench.api.requests_served(), asked, "{name} asked the API in its replay");
            assert_eq!(report.calls, recorded.calls().len() as u64, "{name}");
            if *name == "misbehaving" {
                assert_eq!(report.outcome.code(), "out-of-fuel");
            }
            played += 1;
        }
        assert!(played >= 6, "{played}");
    });
}

#[test]
fn a_recording_has_what_the_run_began_with_and_no_credential() {
    on_shared_bench(async |bench| {
        let mut execution = bench.execution("probe", probe(json!([{ "do": "fetch", "url": "/users.list" }]))).await;
        execution.connection_facts = Some(r#"{"id":"x","config":{"site":"s"}}"#.into());
        let recorded = record(bench, execution).await;
        let header = &recorded.lines()[0];
        assert_eq!(header["format"], "terapi-cassette/1");
        assert_eq!(header["script"], "probe");
        assert_eq!(header["kind"], "sync");
        assert_eq!(header["hash"], recorded.script.hash.as_str());
        assert_eq!(header["connection"], recorded.ran.connection().as_str());
        assert_eq!(header["connection-facts"], r#"{"id":"x","config":{"site":"s"}}"#);
        assert_eq!(header["limits"]["memory"], 64 << 20);
        assert_eq!(header["seed"].as_str().unwrap().len(), 64);
        let fetch = recorded.lines().into_iter().find(|line| line["call"] == "http.fetch").unwrap();
        assert_eq!(fetch["arguments"]["request"]["url"], "/users.list");
        assert_eq!(fetch["answer"]["ok"]["status"], 200);
        assert!(fetch["answer"]["ok"]["body"].as_str().unwrap().contains("members"), "a text is a text");
        assert_eq!(recorded.lines().last().unwrap()["end"]["outcome"]["status"], "succeeded");
    });
}

#[test]
fn clocks_and_random_numbers_are_the_same_again() {
    on_shared_bench(async |bench| {
        let steps = json!([step("clocks"), { "do": "random", "n": 3 }, step("date"), step("clocks"), step("random")]);
        let one = record_probe(bench, steps.clone()).await;
        let two = record_probe(bench, steps).await;
        assert_ne!(one.ran.said("random"), two.ran.said("random"), "another run has other numbers");
        assert_ne!(one.ran.said("clocks"), two.ran.said("clocks"));
        one.is_same(&replay(bench, &one.script, &one.bytes).await);
        two.is_same(&replay(bench, &two.script, &two.bytes).await);
    });
}

#[test]
fn bodies_of_any_bytes_are_kept() {
    on_shared_bench(async |bench| {
        let url = bench.odd.url("/binary");
        let recorded = record_probe(bench, json!([{ "do": "post-binary", "url": url, "size": 3 }])).await;
        assert_eq!(recorded.ran.said("post-binary"), ["200 [255, 254, 253, 252]"]);
        let call = &recorded.lines()[1];
        assert_eq!(call["arguments"]["request"]["body"]["base64"], "////");
        recorded.is_same(&replay(bench, &recorded.script, &recorded.bytes).await);
        let other = recorded.with_steps(json!([{ "do": "post-binary", "url": bench.odd.url("/binary"), "size": 4 }]));
        let difference = replay(bench, &recorded.script, &other).await.difference.unwrap();
        assert_eq!(difference.path, "request.body.base64");
    });
}

#[test]
fn answers_of_started_requests_come_in_the_order_in_which_they_came() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = Bench::open().await;
        let url = |path| bench.odd.url(path);
        let steps = json!([
            { "do": "start", "n": 1, "url": url("/gate/1") },
            { "do": "start", "n": 1, "url": url("/nth") },
            { "do": "wait", "n": 1 },
            { "do": "start", "n": 1, "url": url("/gate/2") },
            { "do": "wait", "n": 3 },
            { "do": "start-pages", "text": "count", "url": url("/nth"), "n": 2 },
            { "do": "take-pages", "size": 4, "n": 2 },
            { "do": "stop-pages", "size": 4 },
        ]);
        let execution = bench.execution("probe", probe(steps)).await;
        let opened = async {
            bench.odd.until_waiting(2).await;
            bench.odd.open_gates(2);
        };
        let (recorded, ()) = tokio::join!(record(&bench, execution), opened);
        let waited = recorded.ran.said("wait").join(" | ");
        assert!(waited.contains("nth") && waited.contains("gate 1") && waited.contains("gate 2"), "{waited}");
        recorded.is_same(&replay(&bench, &recorded.script, &recorded.bytes).await);
    });
}

#[test]
fn a_run_that_is_stopped_leaves_a_whole_recording_that_replays_to_where_it_stopped() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = Bench::open().await;
        let steps = json!([
            { "do": "save", "list": ["a", r#"{"x":1}"#] },
            { "do": "fetch", "url": bench.odd.url("/silent") },
            { "do": "save", "list": ["b", r#"{"x":1}"#] },
        ]);
        let execution = bench.execution("probe", probe(steps)).await;
        let cancel = execution.cancel.clone();
        let cancelled = async {
            bench.odd.until_waiting(1).await;
            cancel.cancel();
        };
        let (recorded, ()) = tokio::join!(record(&bench, execution), cancelled);
        assert_eq!(recorded.ran.outcome().code(), StopReason::Cancelled.code());
        assert_eq!(recorded.calls(), ["records.batch-save", "http.fetch"]);
        let fetch = recorded.lines().into_iter().find(|line| line["call"] == "http.fetch").unwrap();
        assert!(fetch.get("answer").is_none(), "{fetch}");
        let report = replay(&bench, &recorded.script, &recorded.bytes).await;
        assert_eq!(report.difference, None);
        assert_eq!(report.calls, 2);
        assert_eq!(report.outcome.code(), "cancelled");
        // What comes before is compared all the same.
        let other = recorded.with_steps(json!([{ "do": "save", "list": ["a", r#"{"x":2}"#] }]));
        let difference = replay(&bench, &recorded.script, &other).await.difference.unwrap();
        assert_eq!((difference.kind, difference.path.as_str()), ("arguments", "entries[0].data.x"));
    });
}

#[test]
fn errors_of_the_host_are_answers_like_any() {
    on_shared_bench(async |bench| {
        let steps = json!([
            step("save-stranger"),
            { "do": "save", "list": ["a", "no json"] },
            { "do": "fetch", "url": "https://not-allowed.example/" },
            step("track-end"),
            { "do": "set-metadata", "text": "{\"a\":1}" },
            step("metadata"),
            { "do": "save-checkpoint", "text": "{\"page\":2}" },
            step("checkpoint"),
            { "do": "save", "list": ["a", r#"{"n":9007199254740993}"#] },
            { "do": "get", "list": ["a", "b"] },
            step("list"),
            { "do": "delete", "list": ["a"] },
        ]);
        let recorded = record_probe(bench, steps).await;
        assert!(recorded.ran.said("get")[0].contains("9007199254740993"));
        recorded.is_same(&replay(bench, &recorded.script, &recorded.bytes).await);
    });
}

#[test]
fn a_changed_script_that_does_the_same_is_no_difference() {
    on_shared_bench(async |bench| {
        let recorded = record_probe(bench, json!([{ "do": "save", "list": ["a", r#"{"x":1,"y":2}"#] }])).await;
        let changed = with_another_hash(bench, "probe").await;
        assert_ne!(changed.hash, recorded.script.hash);
        recorded.is_same(&replay(bench, &changed, &recorded.bytes).await);
        // Another spelling of the same JSON, and more lines in the log.
        let steps = json!([{ "do": "log", "text": "new" }, { "do": "save", "list": ["a", r#"{ "y": 2, "x": 1 }"#] }]);
        let report = replay(bench, &changed, &recorded.with_steps(steps)).await;
        assert_eq!(report.difference, None);
        assert_eq!(report.outcome, Outcome::Succeeded);
    });
}

#[test]
fn memory_stays_flat_because_each_line_is_written_when_its_call_ends() {
    on_shared_bench(async |bench| {
        let saves: Vec<_> = (0..50)
            .map(|nth| json!({ "do": "save-many", "text": format!("{nth}-"), "n": 100, "size": 1000 }))
            .collect();
        let recorded = record_probe(bench, json!(saves)).await;
        assert!(recorded.bytes.len() > 5_000_000);
        assert_eq!(cassette(&recorded.bytes).unwrap().calls, recorded.lines().len() as u64 - 2);
        recorded.is_same(&replay(bench, &recorded.script, &recorded.bytes).await);
    });
}
