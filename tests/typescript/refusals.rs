//! What is refused at upload, each with its code, and with the author's place where there is one.

use terapi::runtime::Upload;

use super::{package, sync_that};
use crate::support::{Bench, on_shared_bench};

/// Deploys it, expects this code, and returns the message.
async fn refused(bench: &Bench, bytes: Vec<u8>, code: &str) -> String {
    let error = match bench.runtime.deploy(bytes, Upload::default()).await {
        Ok(script) => panic!("{} was accepted, {code} was expected", script.name),
        Err(error) => error,
    };
    assert_eq!(error.code(), code, "{error}");
    let message = error.to_string();
    assert!(message.len() < 8_000, "{} bytes of message", message.len());
    message
}

#[test]
fn each_bad_input_has_a_code_and_says_where_it_is() {
    on_shared_bench(async |bench| {
        for (text, code, part) in [
            ("const x = {", "syntax-error", "script.ts:1:12"),
            ("\nlet a: = 1;", "syntax-error", "  2 | let a: = 1;"),
            ("<!doctype html><html></html>", "syntax-error", "script.ts:1:1"),
            ("hello world", "syntax-error", "script.ts:1:"),
            ("import x from 'lodash'; x()", "unresolved-import", "'lodash' cannot be imported"),
            ("import x from './x'; x()", "unresolved-import", "script.ts:1:15"),
            ("@d class A {}\nexport default A", "unsupported-syntax", "decorators"),
            (r#"{"terapi":"source/9","modules":[]}"#, "bad-source-package", "source/9"),
            (r#"{"terapi":"source/1","modules":[{"name":"../x.ts","source":""}]}"#, "bad-source-package", "folder"),
            ("export const x = 1;", "load-failed", "default export"),
            ("export default 1;", "load-failed", "default export"),
            ("type A = 1;\n\nthrow new Error('at once');\nexport default 1", "load-failed", "script.ts:3:"),
            ("const f = () => f();\nf();\nexport default 1", "load-failed", "script.ts:1:"),
            ("for (;;) {}\nexport default 1", "describe-limit", "fuel"),
            ("export default new Uint8Array(1 << 28)", "describe-limit", "memory"),
        ] {
            let message = refused(bench, text.as_bytes().to_vec(), code).await;
            assert!(message.contains(part), "{text}: no {part:?} in: {message}");
        }
    });
}

#[test]
fn a_bad_file_among_several_is_named() {
    on_shared_bench(async |bench| {
        let entry = sync_that("").replace("import {", "import './lib/b.js';\nimport {");
        let bytes = package(&[("a.ts", &entry), ("lib/b.ts", "\n\nconst = 1")]);
        let message = refused(bench, bytes, "syntax-error").await;
        assert!(message.starts_with("lib/b.ts:3:7"), "{message}");
        let bytes = package(&[("a.ts", &entry), ("lib/b.ts", "type T = 1;\nexport const x = (null as any).y;")]);
        let message = refused(bench, bytes, "load-failed").await;
        assert!(message.contains("lib/b.ts:2:") && message.contains("(null as any).y"), "{message}");
    });
}

#[test]
fn a_manifest_that_cannot_be_is_refused() {
    on_shared_bench(async |bench| {
        let text = sync_that("").replace("name: 'text'", "name: 'NOT a name'");
        refused(bench, text.into_bytes(), "bad-manifest").await;
        let text = sync_that("").replace("models: { Thing }", "models: {}");
        refused(bench, text.into_bytes(), "bad-manifest").await;
    });
}

#[test]
fn what_nests_deeply_or_is_large_is_refused_or_runs() {
    on_shared_bench(async |bench| {
        let deep = |open: &str, close: &str, count: usize| format!("{}{}", open.repeat(count), close.repeat(count));
        for text in [deep("(", ")", 100_000), deep("[", "]", 50_000), "!".repeat(150_000), deep("{", "}", 60_000)] {
            let error = bench.runtime.load(format!("export default {text}").into_bytes()).await.err().expect("refused");
            assert!(
                ["syntax-error", "load-failed", "describe-limit", "describe-failed", "source-too-large"]
                    .contains(&error.code()),
                "{}: {error}",
                error.code()
            );
        }
        let large = format!("{}\nconst data = '{}';", sync_that(""), "x".repeat(3 << 20));
        bench.runtime.load(large.into_bytes()).await.unwrap();
        let message = refused(bench, " x".repeat(3 << 20).into_bytes(), "source-too-large").await;
        assert!(message.contains("4194304"), "{message}");
        refused(bench, "x;".repeat(150_000).into_bytes(), "source-too-large").await;
    });
}
