//! How a run ends when the script gives up, breaks off or prints without end; and what a script sees of the machine.

use serde_json::json;
use terapi::run::{Level, Outcome, StopReason};

use crate::support::{HandWritten, guest, on_shared_bench, probe};

#[test]
fn a_failure_carries_its_kind_message_and_details() {
    on_shared_bench(async |bench| {
        let ran = bench.probe(json!([{ "do": "fail", "text": "the API said no" }])).await;
        let Outcome::Failed(failure) = ran.outcome() else { panic!("{ran:?}") };
        assert_eq!((failure.code.as_str(), failure.transient), ("script-permanent", false));
        assert_eq!((failure.message.as_str(), failure.retry_after_ms), ("the API said no", None));
        assert_eq!(failure.details.as_deref(), Some("1"));
    });
}

#[test]
fn a_wish_for_the_next_try_is_held_between_a_second_and_a_day() {
    on_shared_bench(async |bench| {
        for (asked, held) in
            [(0, 1_000), (999, 1_000), (5_000, 5_000), (86_400_001, 86_400_000), (u64::MAX, 86_400_000)]
        {
            let ran = bench.probe(json!([{ "do": "fail-transient", "text": "busy", "timeout_ms": asked }])).await;
            let Outcome::Failed(failure) = ran.outcome() else { panic!("{ran:?}") };
            assert_eq!((failure.code.as_str(), failure.transient), ("script-transient", true));
            assert_eq!(failure.retry_after_ms, Some(held), "{asked}");
        }
    });
}

#[test]
fn a_huge_message_is_cut_at_four_kibibytes() {
    on_shared_bench(async |bench| {
        let ran = bench.probe(json!([{ "do": "fail", "size": 10 << 20 }])).await;
        let message = ran.outcome().message();
        assert!(message.len() < (4 << 10) + 20 && message.ends_with("(cut)"), "{} bytes", message.len());
        let ran = bench.probe(json!([{ "do": "fail", "size": 4 << 10 }])).await;
        assert_eq!(ran.outcome().message().len(), 4 << 10);
    });
}

#[test]
fn details_that_are_no_json_or_too_large_are_not_kept_as_details() {
    on_shared_bench(async |bench| {
        for (details, kept) in
            [(r#"{"a":1}"#, true), ("7", true), ("not json", false), ("{", false), (r#""\ud800"#, false)]
        {
            let script = HandWritten {
                fields: format!(r#"(data (i32.const 1024) "{}")"#, details.replace('\\', "\\\\").replace('"', "\\22")),
                run: format!(
                    "(i32.store8 (i32.const 512) (i32.const 1))
                    (i32.store8 (i32.const 520) (i32.const 1))
                    (i32.store (i32.const 532) (i32.const 1))
                    (i32.store (i32.const 536) (i32.const 1024))
                    (i32.store (i32.const 540) (i32.const {}))",
                    details.len()
                ),
                result: "(i32.const 512)".to_owned(),
                ..HandWritten::default()
            };
            let ran = bench.sync(bench.execution_of(bench.load(script.bytes()).await, json!({}))).await;
            let Outcome::Failed(failure) = ran.outcome() else { panic!("{ran:?}") };
            assert_eq!(failure.details.as_deref(), kept.then_some(details), "{details}");
        }
    });
}

#[test]
fn a_trap_is_told_with_the_functions_that_led_to_it() {
    on_shared_bench(async |bench| {
        for (step, part) in [
            ("panic", "unreachable"),
            ("abort", "unreachable"),
            ("unreachable", "unreachable"),
            ("divide", "unreachable"),
            ("exit", "exit(1)"),
            ("recurse", "stack overflow"),
        ] {
            let ran = bench
                .probe(json!([{ "do": step, "text": "at the disco", "n": if step == "exit" { 3 } else { 0 } }]))
                .await;
            let ran = ran.stopped(StopReason::Trapped, &[part]);
            let Outcome::Stopped(stopped) = ran.outcome() else { unreachable!() };
            assert!((1..=20).contains(&stopped.backtrace.len()), "{step}: {:?}", stopped.backtrace);
            assert!(stopped.backtrace.iter().any(|frame| frame.contains("probe::")), "{step}: {:?}", stopped.backtrace);
            if step == "panic" {
                let printed = ran.log.iter().find(|line| line.message.contains("at the disco"));
                assert_eq!(printed.map(|line| line.level), Some(Level::Warn), "{:?}", ran.log);
            }
        }
        // The next run of the same component is unaffected.
        bench.probe(json!([{ "do": "save", "list": ["a", "{}"] }])).await.succeeded();
    });
}

#[test]
fn core_traps_of_every_kind_end_the_run_alone() {
    on_shared_bench(async |bench| {
        let table = "(table $t 1 funcref) (type $f (func)) (type $g (func (param i32)))";
        for (what, fields, run) in [
            ("division", "", "(drop (i32.div_s (i32.const 1) (local.get $i)))"),
            ("overflow", "", "(drop (i32.div_s (i32.const -2147483648) (i32.const -1)))"),
            ("conversion", "", "(drop (i32.trunc_f32_s (f32.const nan)))"),
            ("bounds", "", "(drop (i32.load (i32.const -4)))"),
            ("copy", "", "(memory.copy (i32.const 0) (i32.const -16) (i32.const 32))"),
            ("null call", table, "(call_indirect (type $f) (i32.const 0))"),
            ("call out of bounds", table, "(call_indirect (type $f) (i32.const 7))"),
            (
                "call of another type",
                "(table $t funcref (elem $h)) (type $f (func)) (func $h (param i32))",
                "(call_indirect (type $f) (i32.const 0))",
            ),
            ("result out of bounds", "", "(return (i32.const -4))"),
            ("result unaligned", "", "(return (i32.const 1025))"),
            ("result of no such case", "", "(i32.store8 (i32.const 512) (i32.const 9)) (return (i32.const 512))"),
        ] {
            let script = HandWritten { fields: fields.to_owned(), ..HandWritten::run(run) };
            let script = bench.load(script.bytes()).await;
            for _ in 0..2 {
                let ran = bench.sync(bench.execution_of(script.clone(), json!({}))).await;
                assert_eq!(ran.outcome().code(), "trapped", "{what}: {}", ran.outcome().message());
            }
        }
    });
}

#[test]
fn a_trap_while_memory_is_given_for_the_context_ends_the_run() {
    on_shared_bench(async |bench| {
        for realloc in ["unreachable", "(i32.const -16)", "(loop (br 0)) unreachable"] {
            let script = HandWritten { realloc: Some(realloc.to_owned()), ..HandWritten::default() };
            let mut execution = bench.execution_of(bench.load(script.bytes()).await, json!({}));
            execution.limits.fuel = 10_000_000;
            let ran = bench.sync(execution).await;
            assert!(["trapped", "out-of-fuel"].contains(&ran.outcome().code()), "{realloc}: {:?}", ran.outcome());
        }
    });
}

/// Calls of the host with arguments that no compiler would make.
#[test]
fn arguments_that_break_the_abi_end_the_run_and_not_the_host() {
    let log = r#"(import "terapi:sync/log@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32 i32)))"#;
    let save = r#"(import "terapi:sync/records@0.1.0" "batch-save" (func $save (param i32 i32 i32 i32 i32)))"#;
    let bad_text = r#"(data (i32.const 1024) "\ff\fe\80")"#;
    on_shared_bench(async |bench| {
        for (what, imports, fields, run) in [
            (
                "no UTF-8",
                log,
                bad_text,
                "(call $log (i32.const 0) (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0))",
            ),
            (
                "text out of bounds",
                log,
                "",
                "(call $log (i32.const 0) (i32.const -8) (i32.const 64) (i32.const 0) (i32.const 0) (i32.const 0))",
            ),
            (
                "text without end",
                log,
                "",
                "(call $log (i32.const 0) (i32.const 8) (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 0))",
            ),
            (
                "no such level",
                log,
                "",
                "(call $log (i32.const 99) (i32.const 8) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))",
            ),
            (
                "no such option",
                log,
                "",
                "(call $log (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 7) (i32.const 0) (i32.const 0))",
            ),
            (
                "a list without end",
                save,
                "",
                "(call $save (i32.const 8) (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 512))",
            ),
            (
                "a list out of bounds",
                save,
                "",
                "(call $save (i32.const 8) (i32.const 1) (i32.const 131056) (i32.const 9999) (i32.const 512))",
            ),
            (
                "an unaligned list",
                save,
                "",
                "(call $save (i32.const 8) (i32.const 1) (i32.const 1025) (i32.const 1) (i32.const 512))",
            ),
            (
                "a result out of bounds",
                save,
                "",
                "(call $save (i32.const 8) (i32.const 1) (i32.const 1024) (i32.const 0) (i32.const -8))",
            ),
            (
                "an unaligned result",
                save,
                "",
                "(call $save (i32.const 8) (i32.const 1) (i32.const 1024) (i32.const 0) (i32.const 513))",
            ),
        ] {
            let script =
                HandWritten { imports: imports.to_owned(), fields: fields.to_owned(), ..HandWritten::run(run) };
            let ran = bench.sync(bench.execution_of(bench.load(script.bytes()).await, json!({}))).await;
            let code = ran.outcome().code();
            assert_eq!(code, "trapped", "{what}: {:?}", ran.outcome());
            assert!(bench.things(ran.connection()).is_empty());
        }
    });
}

#[test]
fn a_script_sees_no_file_no_variable_no_argument_and_no_input() {
    on_shared_bench(async |bench| {
        let ran = bench.probe(json!([{ "do": "files" }, { "do": "environment" }, { "do": "stdin" }])).await.succeeded();
        assert_eq!(ran.said("files"), ["nothing"]);
        assert_eq!(ran.said("environment"), ["0 variables, 0 arguments"]);
        assert!(ran.said("stdin")[0].ends_with(" 0"), "{:?}", ran.said("stdin"));
    });
}

#[test]
fn a_script_that_dials_by_itself_reaches_nobody() {
    on_shared_bench(async |bench| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let script = bench.load(guest("dialer")).await;
        let address = listener.local_addr().unwrap().to_string();
        let mut execution = bench.execution_of(script, json!({ "address": address }));
        // What the operator allows is for requests through Terapi.
        execution.policy.private_networks = vec!["127.0.0.0/8".parse().unwrap()];
        let ran = bench.sync(execution).await;
        let Outcome::Failed(failure) = ran.outcome() else { panic!("{:?}", ran.outcome()) };
        assert!(failure.message.contains("ermission"), "{}", failure.message);
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_log_without_end_is_cut_in_its_middle_with_a_marker() {
    on_shared_bench(async |bench| {
        let mut execution = bench
            .execution(
                "probe",
                probe(json!([
                    { "do": "log", "text": "the first line" },
                    { "do": "log", "text": "x", "size": 1000, "n": 5000 },
                    { "do": "log", "text": "the last line" },
                ])),
            )
            .await;
        execution.limits.log_bytes = 256 << 10;
        let ran = bench.sync(execution).await.succeeded();
        let kept: usize =
            ran.log.iter().map(|line| line.message.len() + line.fields.as_ref().map_or(0, String::len)).sum();
        assert!(kept <= 256 << 10, "{kept} bytes");
        assert!(kept > 200 << 10, "{kept} bytes");
        let at = |text: &str| {
            ran.log.iter().position(|line| line.message.contains(text)).unwrap_or_else(|| panic!("no {text}"))
        };
        let marker = at("log-truncated");
        assert!(at("the first line") < marker && marker < at("the last line"));
        // None is lost without a word.
        let word = ran.log[marker].message.split_whitespace().find_map(|word| word.parse::<usize>().ok()).unwrap();
        assert_eq!(ran.log.len() - 1 + word, 5000 + 2 + 3);
        assert!(ran.usage().log_bytes > 5_000_000);
        // Times do not go back.
        assert!(ran.log.windows(2).all(|two| two[0].at <= two[1].at));
    });
}

#[test]
fn a_huge_line_and_huge_fields_are_cut_and_the_run_goes_on() {
    on_shared_bench(async |bench| {
        let ran = bench
            .probe(json!([
                { "do": "log", "size": 10 << 20 },
                { "do": "log-fields", "size": 10 << 20 },
                { "do": "print", "size": 300_000 },
                { "do": "print", "text": "end\n" },
            ]))
            .await
            .succeeded();
        assert!(ran.log.iter().all(|line| line.message.len() <= (8 << 10) + 20), "a line is cut at 8 KiB");
        assert!(ran.log.iter().any(|line| line.message.ends_with("(cut)")));
        let printed: usize =
            ran.log.iter().filter(|line| line.message.starts_with("xxx")).map(|line| line.message.len()).sum();
        assert_eq!(printed, 300_000 + (8 << 10) + " … (cut)".len() + "end".len(), "nothing printed is lost");
    });
}
