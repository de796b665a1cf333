//! What `describe` does and returns: under small limits, and checked before anything is kept.

use super::uploads::refused;
use crate::support::{HandWritten, Manifest, on_shared_bench};

#[test]
fn a_describe_that_does_too_much_is_refused() {
    let log = r#"(import "terapi:sync/log@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32 i32)))"#;
    let date = r#"(import "terapi:sync/state@0.1.0" "last-sync-date" (func $date (param i32)))"#;
    on_shared_bench(async |bench| {
        let describe = |imports: &str, describe: &str| {
            HandWritten { imports: imports.to_owned(), describe: describe.to_owned(), ..HandWritten::default() }.bytes()
        };
        let message = refused(bench, describe("", "(loop $again (br $again))"), "describe-limit").await;
        assert!(message.contains("fuel limit of 100000000"), "{message}");
        let grow = "(loop $again (drop (memory.grow (i32.const 16))) (br $again))";
        let message = refused(bench, describe("", grow), "describe-limit").await;
        assert!(message.contains("memory limit of 64 MiB"), "{message}");
        let message = refused(bench, describe("", "unreachable"), "describe-failed").await;
        assert!(message.contains("unreachable"), "{message}");
        let message = refused(bench, describe(date, "(call $date (i32.const 512))"), "describe-failed").await;
        assert!(message.contains("describe called a host function"), "{message}");
        let message = refused(bench, describe("", "(return (i32.const -8))"), "describe-failed").await;
        assert!(!message.contains('\n'), "{message}");
        // To log is no harm.
        let logs = "(call $log (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))";
        bench.runtime.load(describe(log, logs)).await.unwrap();
        let floods = format!("(loop $again {logs} (br $again))");
        refused(bench, describe(log, &floods), "describe-limit").await;
    });
}

#[test]
fn a_start_function_that_loops_or_traps_is_refused() {
    on_shared_bench(async |bench| {
        let start = |body: &str| HandWritten {
            fields: format!("(start $start) (func $start {body})"),
            ..HandWritten::default()
        };
        refused(bench, start("(loop $again (br $again))").bytes(), "describe-limit").await;
        refused(bench, start("unreachable").bytes(), "describe-failed").await;
    });
}

#[test]
fn a_manifest_that_is_not_acceptable_is_refused_with_its_reason() {
    let manifest = Manifest::default;
    let model = |name: &str, schema: &str| (name.to_owned(), schema.to_owned());
    let deep = format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65));
    on_shared_bench(async |bench| {
        for (manifest, part) in [
            (Manifest { name: b"".to_vec(), ..manifest() }, "script name"),
            (Manifest { name: b"../../etc/x".to_vec(), ..manifest() }, "script name"),
            (Manifest { name: b"a\0b".to_vec(), ..manifest() }, "script name"),
            (Manifest { name: b"CON".to_vec(), ..manifest() }, "script name"),
            (Manifest { name: b"-a".to_vec(), ..manifest() }, "script name"),
            (Manifest { name: "gіthub".as_bytes().to_vec(), ..manifest() }, "script name"),
            (Manifest { name: vec![b'a'; 64], ..manifest() }, "1 to 63"),
            (Manifest { models: Vec::new(), ..manifest() }, "at least one model"),
            (Manifest { models: vec![model("Thing", "{}"), model("Thing", "{}")], ..manifest() }, "there twice"),
            (Manifest { models: vec![model("", "{}")], ..manifest() }, "model name"),
            (Manifest { models: vec![model("1st", "{}")], ..manifest() }, "model name"),
            (Manifest { models: vec![model("a/b", "{}")], ..manifest() }, "model name"),
            (Manifest { models: vec![model(&"M".repeat(65), "{}")], ..manifest() }, "1 to 64"),
            (Manifest { models: vec![model("Thing", "")], ..manifest() }, "schema of model Thing"),
            (Manifest { models: vec![model("Thing", "[]")], ..manifest() }, "must be an object"),
            (Manifest { models: vec![model("Thing", "true")], ..manifest() }, "must be an object"),
            (Manifest { models: vec![model("Thing", r#"{"a":1,"a":1}"#)], ..manifest() }, "already"),
            (Manifest { models: vec![model("Thing", r#"{"a":"\ud800"}"#)], ..manifest() }, "surrogate"),
            (Manifest { models: vec![model("Thing", &deep)], ..manifest() }, "64 levels"),
            (Manifest { models: vec![model("Thing", r#"{"maximum":1e999}"#)], ..manifest() }, "schema of model Thing"),
            (Manifest { config_schema: Some("{".to_owned()), ..manifest() }, "config-schema"),
            (Manifest { base_url: Some("api.example.com".to_owned()), ..manifest() }, "base-url"),
            (Manifest { base_url: Some("file:///etc".to_owned()), ..manifest() }, "base-url"),
            (Manifest { hosts: vec!["not a host".to_owned()], ..manifest() }, "hosts"),
            (Manifest { hosts: vec!["*".to_owned()], ..manifest() }, "hosts"),
            (Manifest { description: "d".repeat(1 << 20), ..manifest() }, "1048576"),
            (Manifest { description: "\0".repeat(200_000), ..manifest() }, "1048576"),
        ] {
            let name = String::from_utf8_lossy(&manifest.name).into_owned();
            let message =
                refused(bench, HandWritten { manifest, ..HandWritten::default() }.bytes(), "bad-manifest").await;
            assert!(message.contains(part), "{name}: no {part:?} in {message}");
        }
        for manifest in [Manifest { mode: 2, ..manifest() }, Manifest { name: b"\xff\xfe".to_vec(), ..manifest() }] {
            refused(bench, HandWritten { manifest, ..HandWritten::default() }.bytes(), "describe-failed").await;
        }
        // Just what goes.
        let manifest = Manifest {
            name: vec![b'a'; 63],
            models: vec![model(&"M".repeat(64), "{}"), model("a-B_9", "{}")],
            base_url: Some("https://api.example.com/v1".to_owned()),
            hosts: vec!["*.example.com".to_owned(), "http://127.0.0.1:8080".to_owned()],
            description: "d".repeat(1_000_000),
            ..manifest()
        };
        bench.runtime.load(HandWritten { manifest, ..HandWritten::default() }.bytes()).await.unwrap();
    });
}

#[test]
fn a_manifest_says_whether_its_sync_starts_by_itself() {
    on_shared_bench(async |bench| {
        for auto_start in [true, false] {
            let manifest = Manifest { auto_start, hosts: vec!["a.example".to_owned()], ..Manifest::default() };
            let script = bench.runtime.load(HandWritten { manifest, ..HandWritten::default() }.bytes()).await.unwrap();
            assert_eq!(script.manifest.auto_start, auto_start);
            assert_eq!(script.manifest.hosts, ["a.example"]);
            // One that was stored by an older Terapi says nothing of it.
            let mut stored = serde_json::to_value(&script.manifest).unwrap();
            assert_eq!(stored["auto_start"], auto_start);
            stored.as_object_mut().unwrap().remove("auto_start");
            assert!(!serde_json::from_value::<terapi::script::Manifest>(stored).unwrap().auto_start);
        }
        for (name, auto_start) in [("recent-issues", true), ("misbehaving", false)] {
            let script = bench.load(terapi::demo::script(name).unwrap().to_vec()).await;
            assert_eq!(script.manifest.auto_start, auto_start, "{name}");
        }
    });
}

#[test]
fn a_schema_that_its_reader_would_read_a_second_time_is_refused() {
    on_shared_bench(async |bench| {
        let text = "[".repeat(127) + &"]".repeat(127);
        for key in ["$serde_json::private::RawValue", "\\u0024serde_json::private::RawValue"] {
            let models = vec![("M".to_owned(), format!(r#"{{"{key}":"{text}"}}"#))];
            let script = HandWritten { manifest: Manifest { models, ..Manifest::default() }, ..HandWritten::default() };
            let error = bench.runtime.load(script.bytes()).await.err().expect("refused");
            assert_eq!(error.code(), "bad-manifest", "{error}");
        }
    });
}

#[test]
fn a_manifest_of_very_many_models_is_refused_soon() {
    on_shared_bench(async |bench| {
        let models = (0..150_000).map(|nth| (format!("M{nth}"), "{}".to_owned())).collect();
        let manifest = Manifest { models, ..Manifest::default() };
        let script = HandWritten { manifest, pages: 200, ..HandWritten::default() };
        let error = bench.runtime.load(script.bytes()).await.err().expect("refused");
        assert!(
            ["bad-manifest", "describe-failed", "describe-limit"].contains(&error.code()),
            "{}: {error}",
            error.code()
        );
    });
}
