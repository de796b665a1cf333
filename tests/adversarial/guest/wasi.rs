//! WASI: all of it can be called, nothing is behind it, and nothing hides in it.

use serde_json::json;

use super::*;
use crate::support::Wit;

/// A sync that imports one interface of WASI, and does this with it.
fn wasi(packages: &'static [&'static str], import: &'static str, imports: &str, run: &str) -> HandWritten {
    HandWritten {
        imports: imports.to_owned(),
        pages: 40,
        wit: Wit::Importing { packages, import },
        ..HandWritten::run(run)
    }
}

const RANDOM: &[&str] =
    &["package wasi:random@0.2.6; interface random { get-random-bytes: func(len: u64) -> list<u8>; }"];
const GET_RANDOM: &str = r#"(import "wasi:random/random@0.2.6" "get-random-bytes" (func $random (param i64 i32)))"#;
const CLOCK: &[&str] = &[
    "package wasi:io@0.2.6; interface poll { resource pollable { ready: func() -> bool; block: func(); }
        poll: func(in: list<borrow<pollable>>) -> list<u32>; }",
    "package wasi:clocks@0.2.6; interface monotonic-clock { use wasi:io/poll@0.2.6.{pollable};
        subscribe-duration: func(when: u64) -> pollable; subscribe-instant: func(when: u64) -> pollable; }",
];
const SUBSCRIBE: &str =
    r#"(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe (param i64) (result i32)))"#;
const INSTANT: &str =
    r#"(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-instant" (func $subscribe (param i64) (result i32)))"#;
const EXIT: &[&str] = &["package wasi:cli@0.2.6; interface exit { exit: func(status: result); }"];
const FILES: &[&str] = &["package wasi:filesystem@0.2.6; interface types { resource descriptor; }
        interface preopens { use types.{descriptor}; get-directories: func() -> list<tuple<descriptor, string>>; }"];
const ENVIRONMENT: &[&str] = &["package wasi:cli@0.2.6; interface environment {
    get-environment: func() -> list<tuple<string, string>>; get-arguments: func() -> list<string>;
    initial-cwd: func() -> option<string>; }"];
const OUT: &[&str] = &[
    "package wasi:io@0.2.6; interface error { resource error; }
        interface streams { use error.{error}; variant stream-error { last-operation-failed(error), closed }
            resource output-stream {
                check-write: func() -> result<u64, stream-error>;
                write: func(contents: list<u8>) -> result<_, stream-error>;
                blocking-write-zeroes-and-flush: func(len: u64) -> result<_, stream-error>;
            } }",
    "package wasi:cli@0.2.6; interface stdout { use wasi:io/streams@0.2.6.{output-stream};
        get-stdout: func() -> output-stream; }",
];
const STDOUT: &str = r#"(import "wasi:cli/stdout@0.2.6" "get-stdout" (func $stdout (result i32)))"#;

#[test]
fn a_guest_that_tries_each_interface_of_wasi_finds_nothing_and_ends_within_its_limits() {
    case("G40", async |ground| {
        let mut limits = Vec::new();
        let mut expect = async |name: &str, script: &HandWritten, with: &str, code: &'static str| {
            let run = once(ground, name, script, with).await;
            ran(&run, code);
            if code != "succeeded" {
                limits.push(code);
            }
            run
        };

        // Nothing is there: no directory, no variable, no argument, no place.
        let none = "(if (i32.load (i32.const 516)) (then unreachable))";
        let files = wasi(
            FILES,
            "wasi:filesystem/preopens@0.2.6",
            r#"(import "wasi:filesystem/preopens@0.2.6" "get-directories" (func $get (param i32)))"#,
            &format!("(call $get (i32.const 512)) {none}"),
        );
        expect("g40-files", &files, "", "succeeded").await;
        for (name, function) in [("g40-variables", "get-environment"), ("g40-arguments", "get-arguments")] {
            let import = format!(r#"(import "wasi:cli/environment@0.2.6" "{function}" (func $get (param i32)))"#);
            let run = format!("(call $get (i32.const 512)) {none}");
            expect(name, &wasi(ENVIRONMENT, "wasi:cli/environment@0.2.6", &import, &run), "", "succeeded").await;
        }
        let place = wasi(
            ENVIRONMENT,
            "wasi:cli/environment@0.2.6",
            r#"(import "wasi:cli/environment@0.2.6" "initial-cwd" (func $get (param i32)))"#,
            "(call $get (i32.const 512)) (if (i32.load8_u (i32.const 512)) (then unreachable))",
        );
        expect("g40-place", &place, "", "succeeded").await;

        // Random numbers: 64 KiB at a time and no more, and they are paid for.
        let random = |bytes: u32| {
            let run = format!(
                "(loop $again (call $random (i64.const {bytes}) (i32.const 512))
                (global.set $heap (i32.const 65536)) (br $again))"
            );
            wasi(RANDOM, "wasi:random/random@0.2.6", GET_RANDOM, &run)
        };
        let run = expect("g40-random-64m", &random(64 << 20), "", "trapped").await;
        assert!(run["outcome"]["message"].as_str().unwrap().contains("exceeds limit"), "{run:#}");
        expect("g40-random", &random(64 << 10), "fuel=100000000&timeout_ms=60000", "out-of-fuel").await;

        // Sleep ends at the deadline, however it is asked for and however long it is to be.
        let sleeps = [
            ("g40-sleep", SUBSCRIBE, "-1"),
            ("g40-sleep-until", INSTANT, "-1"),
            ("g40-sleep-a-day", SUBSCRIBE, "86400000000000"),
        ];
        for (name, import, time) in sleeps {
            let imports =
                format!(r#"{import} (import "wasi:io/poll@0.2.6" "[method]pollable.block" (func $block (param i32)))"#);
            let script = HandWritten {
                wit: Wit::Importing {
                    packages: CLOCK,
                    import: "wasi:clocks/monotonic-clock@0.2.6; import wasi:io/poll@0.2.6",
                },
                ..wasi(CLOCK, "", &imports, &format!("(call $block (call $subscribe (i64.const {time})))"))
            };
            expect(name, &script, "timeout_ms=1000", "timed-out").await;
        }
        limits
    });
}

const FLOOD_LIMITS: &str = "fuel=50000000&timeout_ms=60000";

/// A script that prints without end and without a newline.
fn flood() -> HandWritten {
    let zeroes = r#"(import "wasi:io/streams@0.2.6" "[method]output-stream.blocking-write-zeroes-and-flush"
        (func $zeroes (param i32 i64 i32)))"#;
    HandWritten {
        wit: Wit::Importing { packages: OUT, import: "wasi:cli/stdout@0.2.6; import wasi:io/streams@0.2.6" },
        ..wasi(
            OUT,
            "",
            &format!("{STDOUT} {zeroes}"),
            "(local.set $i (call $stdout))
            (loop $again (call $zeroes (local.get $i) (i64.const 4096) (i32.const 512)) (br $again))",
        )
    }
}

#[test]
fn what_wasi_would_pile_up_print_or_leave_by_ends_within_the_limits_too() {
    // What a flood of lines once took the allocator keeps some of.
    let before = async |ground: &Ground| {
        ran(&once(ground, "g40-flood-before", &flood(), FLOOD_LIMITS).await, "out-of-fuel");
    };
    prepared_case("G41", before, async |ground| {
        let mut limits = Vec::new();
        let mut expect = async |name: &str, script: &HandWritten, with: &str, code: &'static str| {
            let run = once(ground, name, script, with).await;
            ran(&run, code);
            limits.push(code);
            run
        };
        // So many clocks that ring at once, each asked about again and again.
        let pile = "(loop $more (drop (call $subscribe (i64.const 1000000000))) (br $more))";
        expect("g40-pile", &wasi(CLOCK, "wasi:clocks/monotonic-clock@0.2.6", SUBSCRIBE, pile), "", "exhausted").await;

        // One clock, asked about a hundred thousand times in one call.
        let poll = r#"(import "wasi:io/poll@0.2.6" "poll" (func $poll (param i32 i32 i32)))"#;
        let crowd = HandWritten {
            wit: Wit::Importing {
                packages: CLOCK,
                import: "wasi:clocks/monotonic-clock@0.2.6; import wasi:io/poll@0.2.6",
            },
            ..wasi(
                CLOCK,
                "",
                &format!("{SUBSCRIBE} {poll}"),
                "(local.set $i (i32.const 1024)) (global.set $heap (call $subscribe (i64.const 0)))
                (loop $fill (i32.store (local.get $i) (global.get $heap)) (local.set $i (i32.add (local.get $i) (i32.const 4)))
                (br_if $fill (i32.lt_u (local.get $i) (i32.const 800000))))
                (call $poll (i32.const 1024) (i32.const 100000) (i32.const 512))",
            )
        };
        let run = expect("g40-crowd", &crowd, "", "trapped").await;
        assert!(run["outcome"]["message"].as_str().unwrap().contains("handle limit exceeded"), "{run:#}");

        // The way out is an end of the run, not of the process.
        let exit = wasi(
            EXIT,
            "wasi:cli/exit@0.2.6",
            r#"(import "wasi:cli/exit@0.2.6" "exit" (func $exit (param i32)))"#,
            "(call $exit (i32.const 1))",
        );
        expect("g40-exit", &exit, "", "trapped").await;
        let exit_well = HandWritten { run: "(call $exit (i32.const 0))".to_owned(), ..exit };
        expect("g40-exit-well", &exit_well, "", "trapped").await;

        // What is printed without a newline is cut into lines, kept within the log's limit, and paid for.
        expect("g40-flood", &flood(), FLOOD_LIMITS, "out-of-fuel").await;
        // A handle a turn.
        let handles = wasi(OUT, "wasi:cli/stdout@0.2.6", STDOUT, "(loop $again (drop (call $stdout)) (br $again))");
        expect("g40-handles", &handles, "", "exhausted").await;

        // The same as a language's own library does it.
        let tries = json!([{ "do": "files" }, { "do": "environment" }, { "do": "stdin" }]);
        probe(ground, "g40-std", "", tries).await;
        let run = ground.run("g40-std", "g40-std").await;
        ran(&run, "succeeded");
        let said = log(ground, &run).await;
        assert!(said.contains(&"files: nothing".to_owned()), "{said:?}");
        assert!(said.contains(&"environment: 0 variables, 0 arguments".to_owned()), "{said:?}");
        forget(ground, "g40-std").await;
        limits
    });
}
