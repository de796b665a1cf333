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
