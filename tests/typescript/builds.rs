//! The engine, and components that stand alone.

use serde_json::json;
use terapi::ids::ScriptHash;
use terapi::sandbox::{engine_component, engine_hash, stand_alone};

use super::{runs, sync_that};
use crate::support::on_shared_bench;

#[test]
fn the_engine_is_the_one_whose_digest_is_checked_in() {
    let component = engine_component().unwrap();
    assert_eq!(ScriptHash::of(&component).as_str(), engine_hash());
}

#[test]
fn the_engine_without_a_script_is_no_script() {
    on_shared_bench(async |bench| {
        let error = bench.runtime.load(engine_component().unwrap()).await.err().expect("refused");
        assert_eq!(error.code(), "load-failed", "{error}");
    });
}

/// The first script in TypeScript of a page.
fn printed(page: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(format!("{}/../{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    text.split_once("```ts\n").unwrap().1.split_once("```").unwrap().0.as_bytes().to_vec()
}

#[test]
fn the_script_in_the_readme_does_what_it_says() {
    on_shared_bench(async |bench| {
        let script = bench.load(printed("README.md")).await;
        assert_eq!(script.manifest.frequency.as_deref(), Some("every 5 minutes"));
        let run = async || {
            let script = std::sync::Arc::clone(&script);
            let mut execution = bench.execution_of(script, json!({ "repository": "octo/demo" }));
            execution.connection = "readme".parse().unwrap();
            bench.sync(execution).await.succeeded()
        };
        let first = run().await;
        let (added, requests) = (first.run.changes.added, first.usage().http_requests);
        assert!(added > 200 && requests > 2, "{added} records by {requests} requests");
        // Now there is a date to ask with, since when nothing changed.
        let second = run().await;
        assert_eq!((second.usage().http_requests, second.usage().records), (1, 0));
        let script = bench.load(printed("guest-sdk/typescript/README.md")).await;
        assert_eq!(script.manifest.models.len(), 1);
    });
}

#[test]
fn a_component_that_stands_alone_does_what_its_text_does() {
    on_shared_bench(async |bench| {
        let text = String::from_utf8(runs::issues()).unwrap();
        let component = stand_alone(&text).unwrap();
        assert!(component.starts_with(b"\0asm"));
        let script = bench.load(component.clone()).await;
        assert_eq!(script.modules().len(), 3);
        let ran = bench.sync(bench.execution_of(script, json!({}))).await.succeeded();
        assert_eq!(ran.run.changes.added, 100);
        // Also where something stands behind it, so that it is compiled by itself.
        let other = [component.as_slice(), b"\0\x05\x04more"].concat();
        let script = bench.load(other).await;
        assert_eq!(bench.sync(bench.execution_of(script, json!({}))).await.succeeded().run.changes.added, 100);
    });
}

#[test]
fn a_component_whose_text_is_bad_is_refused_like_the_text() {
    on_shared_bench(async |bench| {
        assert_eq!(stand_alone("let a = ;").unwrap_err().code(), "syntax-error");
        let mut component = stand_alone(&sync_that("")).unwrap();
        let end = component.len();
        component[end - 4..].copy_from_slice(b"((((");
        let error = bench.runtime.load(component.clone()).await.err().expect("refused");
        assert_eq!(error.code(), "syntax-error", "{error}");
        component[end - 4..].copy_from_slice(b"\xff\xff\xff\xff");
        let error = bench.runtime.load(component).await.err().expect("refused");
        assert_eq!(error.code(), "bad-source-package", "{error}");
    });
}
