//! Every function of the contract through the real SDK, with its effect in the store.

use std::sync::Arc;

use serde_json::json;
use terapi::clock::SimulatedClock;
use terapi::ids::Timestamp;
use terapi::run::Level;
use terapi::store::{Action, DeleteGuard};

use crate::support::{Bench, on_shared_bench, probe};

#[test]
fn a_batch_is_saved_and_its_summary_tells_what_is_new_changed_and_the_same() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save", "list": ["a", r#"{"x":1}"#, "b", r#"{"x":1}"#, "c", r#"{"x":1}"#] },
                { "do": "save", "list": ["a", r#"{ "x" : 1 }"#, "b", r#"{"x":2}"#, "d", "{}", "d", r#"{"last":true}"#] },
            ]))
            .await
            .succeeded();
        assert_eq!(ran.said("save"), ["+3 ~0 =0 x0", "+1 ~1 =1 x1"]);
        let c = r#"c={"x":1}"#;
        assert_eq!(bench.things(ran.connection()), [r#"a={"x":1}"#, c, r#"b={"x":2}"#, r#"d={"last":true}"#]);
        let changes = ran.run.changes;
        assert_eq!((changes.added, changes.updated, changes.unchanged, changes.deleted), (4, 1, 1, 0));
        assert_eq!(ran.usage().records, 7);
    });
}

#[test]
fn a_change_of_an_ignored_field_is_no_change() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save", "list": ["a", r#"{"x":1,"seen":1}"#] },
                { "do": "save", "list": ["a", r#"{"seen":2,"x":1}"#] },
                { "do": "save", "list": ["a", r#"{"seen":3,"x":2}"#] },
            ]))
            .await
            .succeeded();
        assert_eq!(ran.said("save"), ["+1 ~0 =0 x0", "+0 ~0 =1 x0", "+0 ~1 =0 x0"]);
        assert_eq!(bench.things(ran.connection()), [r#"a={"seen":3,"x":2}"#]);
    });
}

#[test]
fn records_with_fields_and_raw_records_are_saved_too() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save-other", "n": 2, "text": "t" },
                { "do": "save-raw", "list": ["r"], "text": r#"{"id":"r","big":9007199254740993,"one":1.0}"# },
            ]))
            .await
            .succeeded();
        let others: Vec<_> = bench.feed(ran.connection(), "Other").into_iter().map(|it| (it.id, it.data)).collect();
        let record = |id: &str| (id.to_owned(), format!(r#"{{"id":"{id}","text":"t"}}"#));
        assert_eq!(others, [record("0"), record("1")]);
        // Numbers keep their text.
        assert_eq!(bench.things(ran.connection()), [r#"r={"id":"r","big":9007199254740993,"one":1.0}"#]);
    });
}

#[test]
fn an_update_merges_fields_and_adds_what_is_unknown() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save", "list": ["a", r#"{"id":"a","x":1,"y":{"z":1}}"#] },
                { "do": "update", "list": ["a", r#"{"x":2,"n":null}"#, "b", r#"{"x":3}"#] },
                { "do": "get", "list": ["b", "a", "none"] },
            ]))
            .await
            .succeeded();
        assert_eq!(ran.said("update"), ["+1 ~1 =0 x0"]);
        let (a, b) = (r#"a={"id":"a","x":2,"y":{"z":1},"n":null}"#, r#"b={"id":"b","x":3}"#);
        assert_eq!(ran.said("get"), [format!("{b} {a}")]);
        assert_eq!(bench.things(ran.connection()), [a, b]);
    });
}

#[test]
fn a_delete_keeps_the_last_content_and_an_unknown_id_leaves_no_trace() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save", "list": ["a", r#"{"x":1}"#, "b", "{}"] },
                { "do": "delete", "list": ["a", "never", "a"] },
                { "do": "delete", "list": ["a"] },
                { "do": "get", "list": ["a", "b"] },
                { "do": "save", "list": ["a", r#"{"x":2}"#] },
            ]))
            .await
            .succeeded();
        assert_eq!(ran.said("delete"), ["1", "0"]);
        assert_eq!(ran.said("get"), ["b={}"]);
        // It came back, so it counts as new.
        assert_eq!(ran.said("save"), ["+2 ~0 =0 x0", "+1 ~0 =0 x0"]);
        assert_eq!(ran.run.changes.deleted, 1);
        let again = bench.feed(ran.connection(), "Thing");
        assert_eq!(again.last().map(|it| (it.id.as_str(), it.action)), Some(("a", Action::Added)));
    });
}

#[test]
fn records_are_listed_while_they_are_updated_without_end_or_gap() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save-many", "n": 1000, "text": "a" },
                { "do": "save-many", "n": 1000, "text": "b" },
                { "do": "list-raw", "n": 1_000_000 },
                { "do": "list" },
                { "do": "update-while-listing" },
                { "do": "list-raw", "n": 0 },
                { "do": "list-raw", "n": 7, "text": "no cursor" },
            ]))
            .await
            .succeeded();
        assert_eq!(ran.said("list"), ["2000 records"]);
        let raw = ran.said("list-raw");
        assert_eq!(raw[..2], ["1000 entries, next true", "1 entries, next true"]);
        assert!(raw[2].contains("NotAllowed") && raw[2].contains("cursor"), "{}", raw[2]);
        assert_eq!(ran.said("update-while-listing"), ["2000 seen, 2000 different"]);
    });
}

#[test]
fn deletes_are_tracked_from_start_to_end_and_done_when_the_run_succeeds() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let run = async |steps| {
            let mut execution = bench.execution("probe", probe(steps)).await;
            execution.connection = connection.clone();
            bench.sync(execution).await
        };
        run(json!([{ "do": "save", "list": ["a", "{}", "b", "{}", "c", "{}"] }])).await.succeeded();
        // An account that was ended in a run that fails deletes nothing.
        let failed = run(json!([
            { "do": "track" }, { "do": "save", "list": ["a", "{}"] }, { "do": "track-end" }, { "do": "fail", "text": "no" },
        ]))
        .await;
        assert_eq!((failed.said("track-end"), failed.outcome().word()), (vec!["2"], "failed"));
        assert_eq!(bench.things(&connection), ["a={}", "b={}", "c={}"]);

        let ended_only = run(json!([{ "do": "track-end" }])).await.succeeded();
        assert!(ended_only.said("track-end")[0].contains("not allowed"), "{:?}", ended_only.said("track-end"));

        let ran = run(json!([{ "do": "track" }, { "do": "save", "list": ["b", "{}"] }, { "do": "track-end" }]));
        let ran = ran.await.succeeded();
        assert_eq!((ran.said("track-end"), ran.run.changes.deleted), (vec!["2"], 2));
        assert_eq!(bench.things(&connection), ["b={}", "-a={}", "-c={}"]);
    });
}

#[test]
fn what_would_be_deleted_is_told_before_it_is() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let run = async |steps| {
            let mut execution = bench.execution("probe", probe(steps)).await;
            execution.connection = connection.clone();
            bench.sync(execution).await.succeeded()
        };
        run(json!([{ "do": "save", "list": ["a", "{}", "b", "{}", "c", "{}"] }])).await;
        let ran = run(json!([
            { "do": "unseen" },
            { "do": "track" }, { "do": "save", "list": ["b", "{}"] },
            { "do": "unseen" }, { "do": "unseen-raw", "n": 1 }, { "do": "unseen-raw", "n": 9, "text": "elsewhere" },
            { "do": "track-end" },
        ]))
        .await;
        let said = ran.said("unseen");
        assert!(said[0].contains("not allowed"), "{}", said[0]);
        let mut ids: Vec<_> = said[1].split(' ').collect();
        ids.sort_unstable();
        assert_eq!(ids, ["a", "c"]);
        let raw = ran.said("unseen-raw");
        assert_eq!(raw[0], "1 ids, next true");
        assert!(raw[1].contains("NotAllowed") && raw[1].contains("cursor"), "{}", raw[1]);
        assert_eq!(ran.said("track-end"), ["2"]);
    });
}

#[test]
fn a_script_reads_what_the_operator_configured_of_its_connection() {
    on_shared_bench(async |bench| {
        let ran = bench.probe(json!([{ "do": "connection" }])).await.succeeded();
        assert_eq!(ran.said("connection"), [format!(r#"{{"id":"{}"}}"#, ran.connection())]);
        let mut execution = bench.execution("probe", probe(json!([{ "do": "connection" }]))).await;
        execution.connection_facts = Some(r#"{"id":"acme","config":{"site":"eu"}}"#.into());
        let ran = bench.sync(execution).await.succeeded();
        assert_eq!(ran.said("connection"), [r#"{"id":"acme","config":{"site":"eu"}}"#]);
    });
}

#[test]
fn an_account_of_deletes_spans_runs_that_save_a_checkpoint() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let run = async |steps| {
            let mut execution = bench.execution("probe", probe(steps)).await;
            execution.connection = connection.clone();
            bench.sync(execution).await
        };
        run(json!([{ "do": "save", "list": ["a", "{}", "b", "{}", "c", "{}"] }])).await.succeeded();
        run(json!([
            { "do": "track" }, { "do": "save", "list": ["a", "{}"] }, { "do": "save-checkpoint", "text": r#"{"page":2}"# },
            { "do": "unreachable" },
        ]))
        .await;
        let ran = run(json!([
            { "do": "checkpoint" }, { "do": "track" }, { "do": "save", "list": ["b", "{}"] }, { "do": "track-end" },
        ]));
        let ran = ran.await.succeeded();
        assert_eq!(ran.said("checkpoint"), [r#"Some("{\"page\":2}")"#]);
        assert_eq!(ran.said("track-end"), ["1"]);
        assert_eq!(bench.things(&connection), ["a={}", "b={}", "-c={}"]);
    });
}

#[test]
fn the_delete_guard_is_told_to_the_script_and_holds() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let run = async |steps, guard| {
            let mut execution = bench.execution("probe", probe(steps)).await;
            execution.connection = connection.clone();
            execution.guard = guard;
            bench.sync(execution).await
        };
        let guard = DeleteGuard { min_records: 10, max_share: 0.5, allow: false };
        run(json!([{ "do": "save-many", "n": 20, "text": "a" }]), guard.clone()).await.succeeded();
        let prune = json!([{ "do": "track" }, { "do": "save-many", "n": 5, "text": "a" }, { "do": "track-end" }]);
        let ran = run(prune.clone(), guard.clone()).await;
        assert!(ran.said("track-end")[0].contains("delete guard"), "{:?}", ran.said("track-end"));
        assert!(ran.said("track-end")[0].contains("15 of the 20 records"), "{:?}", ran.said("track-end"));
        assert!(bench.feed(&connection, "Thing").iter().all(|it| it.action != Action::Deleted));
        let ran = run(prune, DeleteGuard { allow: true, ..guard }).await.succeeded();
        assert_eq!((ran.said("track-end"), ran.run.changes.deleted), (vec!["15"], 15));
    });
}

#[test]
fn a_full_refresh_deletes_what_it_did_not_save_and_only_if_it_succeeds() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let run = async |config| {
            let mut execution = bench.execution("mirror", config).await;
            execution.connection = connection.clone();
            bench.sync(execution).await
        };
        run(json!({ "things": ["a", "b"], "others": ["o"] })).await.succeeded();
        for end in ["fail", "trap"] {
            let ran = run(json!({ "things": ["b"], "text": end, "others": [], "end": end })).await;
            assert_ne!(ran.outcome().word(), "succeeded");
            assert_eq!(ran.run.changes.deleted, 0);
        }
        let records = |model| {
            let feed = bench.feed(&connection, model);
            feed.into_iter().map(|it| (it.id, it.action)).collect::<Vec<_>>()
        };
        // What it saved before it failed stays.
        assert_eq!(records("Thing"), [("a".to_owned(), Action::Added), ("b".to_owned(), Action::Updated)]);
        let ran = run(json!({ "things": ["b"], "text": "trap", "others": [] })).await.succeeded();
        assert_eq!(ran.run.changes.deleted, 2);
        assert_eq!(records("Thing"), [("b".to_owned(), Action::Updated), ("a".to_owned(), Action::Deleted)]);
        assert_eq!(records("Other"), [("o".to_owned(), Action::Deleted)]);
    });
}

#[test]
fn the_last_sync_date_is_the_start_of_the_last_success() {
    let threads = tokio::runtime::Runtime::new().unwrap();
    threads.block_on(async {
        let clock = Arc::new(SimulatedClock::new(Timestamp(1_700_000_000_000)));
        let bench = Bench::with(|store| store, clock.clone()).await;
        let connection = Bench::connection();
        let run = async |steps| {
            let mut execution = bench.execution("probe", probe(steps)).await;
            execution.connection = connection.clone();
            clock.advance_ms(1_000);
            bench.sync(execution).await
        };
        assert_eq!(run(json!([{ "do": "date" }])).await.succeeded().said("date"), ["None"]);
        run(json!([{ "do": "fail", "text": "no" }])).await;
        run(json!([{ "do": "unreachable" }])).await;
        let ran = run(json!([{ "do": "date" }])).await.succeeded();
        assert_eq!(ran.said("date"), ["Some(1700000001000)"]);

        bench.runtime.reset(ran.run.sync.clone(), terapi::store::Reset::Refetch).await.unwrap();
        assert_eq!(run(json!([{ "do": "date" }])).await.succeeded().said("date"), ["None"]);
    });
}

#[test]
fn a_checkpoint_is_there_in_the_next_run_until_it_is_cleared() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let run = async |steps| {
            let mut execution = bench.execution("probe", probe(steps)).await;
            execution.connection = connection.clone();
            bench.sync(execution).await
        };
        let ran = run(json!([
            { "do": "checkpoint" }, { "do": "save-checkpoint", "text": r#"{"page": 2}"# }, { "do": "checkpoint" },
            { "do": "save", "list": ["a", "{}"] }, { "do": "unreachable" },
        ]));
        assert_eq!(ran.await.said("checkpoint"), ["None", r#"Some("{\"page\": 2}")"#]);
        let ran = run(json!([{ "do": "checkpoint" }, { "do": "clear-checkpoint" }, { "do": "checkpoint" }]))
            .await
            .succeeded();
        assert_eq!(ran.said("checkpoint"), [r#"Some("{\"page\": 2}")"#, "None"]);
        assert_eq!(run(json!([{ "do": "checkpoint" }])).await.said("checkpoint"), ["None"]);
    });
}

#[test]
fn the_metadata_is_shared_by_the_scripts_of_a_connection() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let run = async |steps| {
            let mut execution = bench.execution("probe", probe(steps)).await;
            execution.connection = connection.clone();
            bench.sync(execution).await.succeeded()
        };
        let ran = run(json!([
            { "do": "metadata" }, { "do": "set-metadata", "text": r#"{"a":1,"b":2}"# },
            { "do": "update-metadata", "text": r#"{"b":null,"c":{}}"# }, { "do": "metadata" },
        ]));
        assert_eq!(ran.await.said("metadata"), ["{}", r#"{"a":1,"b":null,"c":{}}"#]);
        assert_eq!(bench.runtime.store().metadata(&connection).unwrap(), r#"{"a":1,"b":null,"c":{}}"#);

        let doer = bench.load(crate::support::guest("doer")).await;
        let mut execution = bench.execution_of(doer, json!({}));
        execution.connection = connection.clone();
        let (_, output) = bench.runtime.action(execution, r#"{"do":"metadata"}"#.to_owned()).await.unwrap();
        assert_eq!(output.as_deref(), Some(r#""by the action""#));
        let ran = run(json!([{ "do": "metadata" }])).await;
        assert_eq!(ran.said("metadata"), [r#"{"a":1,"b":null,"c":{},"text":"by the action"}"#]);
    });
}

#[test]
fn state_that_is_too_large_or_no_object_is_refused_and_the_old_one_stays() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "save-checkpoint", "size": 64 << 10 },
                { "do": "save-checkpoint", "size": (64 << 10) + 1 },
                { "do": "save-checkpoint-raw", "text": "[1]" },
                { "do": "save-checkpoint-raw", "text": "" },
                { "do": "set-metadata", "size": 256 << 10 },
                { "do": "set-metadata", "size": (256 << 10) + 1 },
                { "do": "set-metadata-raw", "text": r#"{"a":1,"a":2}"# },
                { "do": "update-metadata", "text": r#"{"one":"more"}"# },
            ]))
            .await
            .succeeded();
        let said = ran.said("save-checkpoint");
        assert_eq!(said[0], "ok");
        assert!(said[1].contains("was not saved") && said[1].contains("65537"), "{}", said[1]);
        for refused in
            [ran.said("save-checkpoint-raw")[0], ran.said("save-checkpoint-raw")[1], ran.said("set-metadata-raw")[0]]
        {
            assert!(refused.contains("Invalid"), "{refused}");
        }
        let said = ran.said("set-metadata");
        assert_eq!(said[0], "ok");
        assert!(said[1].contains("was not saved"), "{}", said[1]);
        assert!(ran.said("update-metadata")[0].contains("was not saved"), "{:?}", ran.said("update-metadata"));
        let kept = bench.runtime.store().sync_state(&ran.run.sync).unwrap();
        assert_eq!(kept.checkpoint.unwrap().len(), 64 << 10);
        assert_eq!(bench.runtime.store().metadata(ran.connection()).unwrap().len(), 256 << 10);
    });
}

#[test]
fn log_lines_have_their_level_and_fields_and_what_is_printed_is_logged_too() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "levels" },
                { "do": "log-fields", "text": "no JSON" },
                { "do": "print", "text": "one\ntwo\r\nthree, without an end" },
                { "do": "eprint", "text": "to stderr\nand more" },
            ]))
            .await
            .succeeded();
        let lines: Vec<_> = ran.log.iter().map(|line| (line.level, line.message.as_str())).collect();
        for expected in [
            (Level::Debug, "a debug line"),
            (Level::Info, "an info line"),
            (Level::Warn, "a warn line"),
            (Level::Error, "an error line"),
            (Level::Info, "with fields no JSON"),
            (Level::Info, "one"),
            (Level::Info, "two"),
            (Level::Info, "three, without an end"),
            (Level::Warn, "to stderr"),
            (Level::Warn, "and more"),
        ] {
            assert!(lines.contains(&expected), "no {expected:?} in {lines:?}");
        }
        let with_fields = ran.log.iter().find(|line| line.message == "an info line").unwrap();
        assert_eq!(with_fields.fields.as_deref(), Some(r#"{"id":7,"name":"x"}"#));
    });
}

#[test]
fn a_script_knows_its_run_connection_and_variant() {
    on_shared_bench(async |bench| {
        let mut execution =
            bench.execution("probe", probe(json!([{ "do": "who" }, { "do": "save", "list": ["a", "{}"] }]))).await;
        execution.variant = "eu".parse().unwrap();
        let ran = bench.sync(execution).await.succeeded();
        assert_eq!(ran.said("who"), [format!("{} {} eu", ran.run.id, ran.connection())]);
        // Another variant is another stream.
        assert!(bench.things(ran.connection()).is_empty());
    });
}
