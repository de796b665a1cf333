//! A dry run says what the real one then does, and writes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use terapi::clock::SystemClock;
use terapi::ids::ConnectionName;
use terapi::run::{Changes, Outcome};
use terapi::runtime::{DryRun, Execution};
use terapi::store::{Action, Change, Reset};

use super::step;
use crate::support::{Bench, SealedStore, on_shared_bench, probe};

/// The probe on a connection.
async fn on(bench: &Bench, connection: &ConnectionName, guest: &str, config: Value) -> Execution {
    let mut execution = bench.execution(guest, config).await;
    execution.connection = connection.clone();
    execution
}

async fn dry(bench: &Bench, execution: Execution) -> DryRun {
    bench.runtime.dry_run(execution, "{}".to_owned(), None).await.unwrap_or_else(|error| panic!("{error}"))
}

fn said(dry: &DryRun) -> Vec<String> {
    dry.changes.records.iter().map(|it| format!("{} {} {}", it.action.word(), it.stream.model, it.id)).collect()
}

/// A dry run and then the real one, which must say the same of what they changed and logged. Returns the dry run.
async fn both(bench: &Bench, connection: &ConnectionName, guest: &str, config: Value) -> DryRun {
    let stream = |model: &str| bench.feed(connection, model);
    let before = [stream("Thing"), stream("Other")];
    let state = |bench: &Bench, dry: &DryRun| bench.runtime.store().sync_state(&dry.run.sync).unwrap();
    let tried = dry(bench, on(bench, connection, guest, config.clone()).await).await;
    assert_eq!([stream("Thing"), stream("Other")], before, "a dry run writes nothing");
    assert_eq!(state(bench, &tried), tried.before);
    assert!(bench.runtime.store().run(tried.run.id).unwrap().is_none(), "nor is it kept");

    let real = bench.sync(on(bench, connection, guest, config).await).await;
    assert_eq!(tried.run.outcome, real.run.outcome);
    assert_eq!(tried.run.changes, real.run.changes);
    let lines = |log: &[terapi::run::LogLine]| log.iter().map(|it| it.message.clone()).collect::<Vec<_>>();
    assert_eq!(lines(&tried.log), lines(&real.log));
    assert_eq!(state(bench, &tried).checkpoint, tried.after.checkpoint);
    // What the app will read is what was foretold: each record that changed, with its content.
    for (model, before) in ["Thing", "Other"].iter().zip(before) {
        let after = stream(model);
        let seen = before.iter().map(|change| change.sequence).max().unwrap_or_default();
        // What was added and then changed within one run was added by it, whatever happened last.
        let was_there = |id: &str| before.iter().any(|it| it.id == id && it.action != Action::Deleted);
        let net = |change: &Change| match change.action {
            Action::Updated if !was_there(&change.id) => Action::Added,
            action => action,
        };
        let mut changed: Vec<_> = after
            .iter()
            .filter(|change| change.sequence > seen)
            .map(|it| (it.id.clone(), net(it), (it.action != Action::Deleted).then(|| it.data.clone())))
            .collect();
        let mut foretold: Vec<_> = tried
            .changes
            .records
            .iter()
            .filter(|it| it.stream.model.as_str() == *model)
            .map(|it| (it.id.clone(), it.action, it.data.clone()))
            .collect();
        changed.sort_by(|a, b| a.0.cmp(&b.0));
        foretold.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(foretold, changed, "{model}");
    }
    tried
}

#[test]
fn it_counts_as_the_real_run_then_does() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let first =
            probe(json!([{ "do": "save", "list": ["a", r#"{"x":1}"#, "b", r#"{"x":1,"seen":1}"#, "c", "{}"] }]));
        let tried = both(bench, &connection, "probe", first).await;
        assert_eq!(tried.run.changes, Changes { added: 3, ..Changes::default() });
        let steps = json!([
            { "do": "save", "list": ["a", r#"{"x":2}"#, "b", r#"{"x":1,"seen":2}"#, "d", r#"{"x":1}"#] },
            // Again, against what the run itself saved.
            { "do": "save", "list": ["d", r#"{"x":1}"#, "d", r#"{"x":2}"#] },
            { "do": "update", "list": ["a", r#"{"y":1}"#, "e", r#"{"x":1}"#] },
            { "do": "get", "list": ["a", "b", "c", "d", "nobody"] },
            { "do": "delete", "list": ["c", "nobody"] },
            { "do": "list" },
            { "do": "get", "list": ["c", "e"] },
            { "do": "save", "list": ["bad", "no json"] },
            { "do": "save-other", "n": 3, "text": "t" },
            { "do": "save-checkpoint", "text": r#"{"page":7}"# },
            { "do": "update-metadata", "text": r#"{"team":"web"}"# },
            step("metadata"),
        ]);
        let tried = both(bench, &connection, "probe", probe(steps)).await;
        assert_eq!(said(&tried)[..2], ["added Other 0", "added Other 1"]);
        assert_eq!(tried.after.checkpoint.as_deref(), Some(r#"{"page":7}"#));
        assert_eq!(tried.changes.metadata[&connection], r#"{"team":"web"}"#);
        // And once more there is nothing new.
        let again = probe(json!([{ "do": "save", "list": ["d", r#"{"x":2}"#] }]));
        let tried = both(bench, &connection, "probe", again).await;
        assert_eq!((tried.run.changes.unchanged, tried.changes.records.len()), (1, 0));
    });
}

#[test]
fn deletes_of_a_full_refresh_are_foretold_and_the_guards_verdict_too() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let config = |range: std::ops::Range<u32>| {
            let ids: Vec<String> = range.map(|id| format!("{id:03}")).collect();
            json!({ "things": ids, "text": "t" })
        };
        both(bench, &connection, "mirror", config(0..200)).await;
        let tried = both(bench, &connection, "mirror", config(50..210)).await;
        assert_eq!(tried.run.changes, Changes { added: 10, unchanged: 150, deleted: 50, ..Changes::default() });
        assert_eq!(said(&tried).iter().filter(|it| it.starts_with("deleted")).count(), 50);
        let tried = both(bench, &connection, "mirror", config(0..1)).await;
        assert_eq!(tried.run.outcome.as_ref().unwrap().code(), "delete-guard");
        assert_eq!(tried.run.changes.deleted, 0);
        let mut allowed = on(bench, &connection, "mirror", config(0..1)).await;
        allowed.guard.allow = true;
        let tried = dry(bench, allowed).await;
        assert_eq!((tried.run.outcome.clone(), tried.run.changes.deleted), (Some(Outcome::Succeeded), 160));
    });
}

#[test]
fn tracked_deletes_are_foretold_also_where_they_span_runs() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let save = |ids: &[&str]| {
            let list: Vec<&str> = ids.iter().flat_map(|id| [*id, "{}"]).collect();
            json!({ "do": "save", "list": list })
        };
        both(bench, &connection, "probe", probe(json!([save(&["a", "b", "c", "d"])]))).await;
        // The first of two runs saves half, and a checkpoint.
        let keep = json!({ "do": "save-checkpoint", "text": r#"{"page":1}"# });
        both(bench, &connection, "probe", probe(json!([step("track"), save(&["a"]), keep]))).await;
        let rest = json!([step("track"), save(&["b"]), step("clear-checkpoint"), step("track-end")]);
        let tried = both(bench, &connection, "probe", probe(rest)).await;
        let deleted: Vec<String> = said(&tried);
        assert_eq!(deleted, ["deleted Thing c", "deleted Thing d"]);
    });
}

#[test]
fn a_reset_is_tried_out_too() {
    on_shared_bench(async |bench| {
        let connection = Bench::connection();
        let steps = |ids: [&str; 2]| {
            probe(json!([step("checkpoint"), { "do": "save", "list": [ids[0], "{}", ids[1], "{}"] },
            { "do": "save-checkpoint", "text": "{}" }]))
        };
        both(bench, &connection, "probe", steps(["a", "b"])).await;
        let run = async |mode| {
            let execution = on(bench, &connection, "probe", steps(["a", "c"])).await;
            bench.runtime.dry_run(execution, "{}".to_owned(), Some(mode)).await.unwrap()
        };
        let refetch = run(Reset::Refetch).await;
        assert_eq!(refetch.log[0].message, "checkpoint: None");
        assert_eq!(refetch.run.changes, Changes { added: 1, unchanged: 1, ..Changes::default() });
        let empty = run(Reset::Empty { models: vec!["Thing".parse().unwrap()] }).await;
        assert_eq!(empty.run.changes, Changes { added: 2, ..Changes::default() });
        assert_eq!(bench.things(&connection), ["a={}", "b={}"]);
    });
}

#[test]
fn it_asks_the_store_for_nothing_that_writes() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let sealed = Arc::new(AtomicBool::new(false));
        let wrap = |inner| Arc::new(SealedStore { inner, sealed: Arc::clone(&sealed) }) as _;
        let bench = Bench::with(wrap, Arc::new(SystemClock)).await;
        let connection = Bench::connection();
        let first = json!({ "things": ["a", "b"], "text": "t" });
        bench.sync(on(&bench, &connection, "mirror", first).await).await.succeeded();
        sealed.store(true, Ordering::SeqCst);
        let tried =
            dry(&bench, on(&bench, &connection, "mirror", json!({ "things": ["b", "c"], "text": "u" })).await).await;
        assert_eq!(tried.run.changes, Changes { added: 1, updated: 1, deleted: 1, ..Changes::default() });
        let steps = probe(json!([
            { "do": "log", "size": 100_000, "n": 3 }, step("track"), { "do": "save", "list": ["a", "{}"] },
            { "do": "set-metadata", "text": "{}" }, { "do": "save-checkpoint", "text": "{}" }, step("track-end"),
            { "do": "fail", "text": "at last" },
        ]));
        let failed = dry(&bench, on(&bench, &connection, "probe", steps).await).await;
        assert_eq!(failed.run.outcome.unwrap().code(), "script-permanent");
        sealed.store(false, Ordering::SeqCst);
    });
}

#[test]
fn it_needs_no_lease_and_holds_none() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = Bench::open().await;
        let connection = Bench::connection();
        let waits = probe(json!([{ "do": "fetch", "url": bench.odd.url("/gate/1") }]));
        let real = bench.sync(on(&bench, &connection, "probe", waits).await);
        let meanwhile = async {
            bench.odd.until_waiting(1).await;
            let steps = probe(json!([{ "do": "save", "list": ["a", "{}"] }]));
            let tried = dry(&bench, on(&bench, &connection, "probe", steps).await).await;
            assert_eq!(tried.run.changes.added, 1);
            bench.odd.open_gates(1);
        };
        let (real, ()) = tokio::join!(real, meanwhile);
        real.succeeded();
    });
}
