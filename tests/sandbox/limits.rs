//! Fuel, what one host call may carry, and the budgets of host calls.

use serde_json::{Value, json};
use terapi::run::StopReason;
use terapi::sandbox::Limits;

use crate::support::{Bench, HandWritten, Ran, Wit, on_shared_bench, probe};

async fn run(bench: &Bench, steps: Value, set: impl FnOnce(&mut Limits)) -> Ran {
    let mut execution = bench.execution("probe", probe(steps)).await;
    set(&mut execution.limits);
    bench.sync(execution).await
}

#[test]
fn a_run_with_just_the_fuel_that_it_needs_succeeds_and_with_one_less_is_stopped() {
    on_shared_bench(async |bench| {
        let steps = json!([{ "do": "save", "list": ["a", "{}"] }, { "do": "spin", "n": 100_000 }]);
        let used = run(bench, steps.clone(), |_| ()).await.succeeded().usage().fuel;
        let again = run(bench, steps.clone(), |limits| limits.fuel = used).await.succeeded();
        assert_eq!(again.usage().fuel, used, "the same work uses the same fuel");
        // The engine looks at the fuel where functions and loops begin, so the last few instructions are free.
        let (mut stopped, mut enough) = (used - 2_000, used);
        while enough - stopped > 1 {
            let middle = u64::midpoint(stopped, enough);
            let ran = run(bench, steps.clone(), |limits| limits.fuel = middle).await;
            *(if ran.outcome().word() == "succeeded" { &mut enough } else { &mut stopped }) = middle;
        }
        assert!(used - enough < 1_000, "{used} used, {enough} are enough");
        run(bench, steps.clone(), |limits| limits.fuel = enough).await.succeeded();
        let fuel = format!("fuel limit of {stopped} exceeded");
        let over = run(bench, steps.clone(), |limits| limits.fuel = stopped).await;
        let over = over.stopped(StopReason::OutOfFuel, &[&fuel, "--fuel"]);
        assert_eq!(bench.things(over.connection()), ["a={}"], "what was saved before stays");
        run(bench, steps, |limits| limits.fuel = enough).await.succeeded();
    });
}

#[test]
fn a_run_without_fuel_does_nothing() {
    on_shared_bench(async |bench| {
        for fuel in [0, 1, 999] {
            let ran = run(bench, json!([{ "do": "save", "list": ["a", "{}"] }]), |limits| limits.fuel = fuel).await;
            assert!(ran.usage().fuel <= fuel);
            let ran = ran.stopped(StopReason::OutOfFuel, &["fuel limit of"]);
            assert!(bench.things(ran.connection()).is_empty());
        }
        // More than ever fits is no overflow.
        run(bench, json!([]), |limits| limits.fuel = u64::MAX).await.succeeded();
    });
}

#[test]
fn an_endless_loop_runs_out_of_fuel_and_its_function_is_named() {
    on_shared_bench(async |bench| {
        let ran = run(bench, json!([{ "do": "loop" }]), |limits| limits.fuel = 100_000_000).await;
        assert_eq!(ran.usage().fuel, 100_000_000);
        let ran = ran.stopped(StopReason::OutOfFuel, &["fuel limit of 100000000 exceeded"]);
        let terapi::run::Outcome::Stopped(stopped) = ran.outcome() else { unreachable!() };
        assert!(stopped.backtrace.iter().any(|frame| frame.contains("probe::misuse::step")), "{:?}", stopped.backtrace);
    });
}

#[test]
fn a_host_call_costs_a_thousand_units_of_fuel() {
    on_shared_bench(async |bench| {
        let fuel = async |calls: u64| {
            run(bench, json!([{ "do": "calls", "n": calls }]), |_| ()).await.succeeded().usage().fuel
        };
        let (none, many) = (fuel(1).await, fuel(1_001).await);
        assert!((1_000_000..1_200_000).contains(&(many - none)), "{}", many - none);
        let ran = run(bench, json!([{ "do": "calls" }]), |limits| limits.fuel = 20_000_000).await;
        ran.stopped(StopReason::OutOfFuel, &["fuel limit of 20000000 exceeded"]);
    });
}

#[test]
fn bulk_memory_costs_fuel_by_the_byte() {
    on_shared_bench(async |bench| {
        let script = HandWritten {
            pages: 160,
            ..HandWritten::run(
                "(loop $again (memory.fill (i32.const 65536) (i32.const 1) (i32.const 10000000)) (br $again))",
            )
        };
        let mut execution = bench.execution_of(bench.load(script.bytes()).await, json!({}));
        execution.limits.fuel = 1_000_000_000;
        bench.sync(execution).await.stopped(StopReason::OutOfFuel, &["fuel limit of"]);
    });
}

#[test]
fn a_call_that_carries_too_much_is_stopped() {
    on_shared_bench(async |bench| {
        // A list of a million entries of nothing, all at the same place: 16 bytes each in the guest and 48 in the host.
        let save = |entries: u32| HandWritten {
            imports: r#"(import "terapi:sync/records@0.1.0" "batch-save" (func $save (param i32 i32 i32 i32 i32)))"#
                .to_owned(),
            pages: 300,
            fields: r#"(data (i32.const 1024) "Thing")"#.to_owned(),
            ..HandWritten::run(&format!(
                "(call $save (i32.const 1024) (i32.const 5) (i32.const 65536) (i32.const {entries}) (i32.const 512))"
            ))
        };
        let sync = async |script: HandWritten| {
            bench.sync(bench.execution_of(bench.load(script.bytes()).await, json!({}))).await
        };
        sync(save(1_000_000)).await.stopped(StopReason::Exhausted, &["more than 16 MiB", "smaller batches"]);
        // What passes is refused by the store's own limit, as a value.
        let ran = sync(save(300_000)).await.succeeded();
        assert_eq!(ran.usage().records, 300_000);

        // One text, just under and over.
        let log = |bytes: u32| HandWritten {
            imports: r#"(import "terapi:sync/log@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32 i32)))"#.to_owned(),
            pages: 300,
            ..HandWritten::run(&format!(
                "(call $log (i32.const 1) (i32.const 65536) (i32.const {bytes}) (i32.const 0) (i32.const 0) (i32.const 0))"
            ))
        };
        sync(log(16 << 20)).await.succeeded();
        sync(log((16 << 20) + 1)).await.stopped(StopReason::Exhausted, &["more than 16 MiB"]);
    });
}

#[test]
fn the_budget_of_requests_holds_for_each_way_to_send_one() {
    on_shared_bench(async |bench| {
        let url = bench.odd.url("/nth");
        let fetches: Vec<_> = (0..4).map(|_| json!({ "do": "fetch", "url": url })).collect();
        let ran = run(bench, json!(fetches), |limits| limits.http_requests = 3).await.succeeded();
        let said = ran.said("fetch");
        assert!(said[2].starts_with("200"), "{}", said[2]);
        assert!(said[3].contains("HttpRequests") && said[3].contains("budget"), "{}", said[3]);
        assert_eq!(ran.usage().http_requests, 3);

        let ran =
            run(bench, json!([{ "do": "fetch-all-raw", "n": 10, "url": url }]), |limits| limits.http_requests = 3)
                .await;
        assert!(ran.said("fetch-all-raw")[0].starts_with("10 answers, 7 errors"), "{:?}", ran.said("fetch-all-raw"));

        let steps = json!([{ "do": "start", "n": 4, "url": url }, { "do": "wait", "n": 4 }]);
        let ran = run(bench, steps, |limits| limits.http_requests = 3).await.succeeded();
        assert_eq!(ran.said("wait")[0].matches("HttpRequests").count(), 1, "{:?}", ran.said("wait"));
    });
}

#[test]
fn the_budget_of_received_bytes_holds() {
    on_shared_bench(async |bench| {
        let fetch = |bytes: u32| json!({ "do": "fetch", "url": bench.odd.url(&format!("/bytes/{bytes}")) });
        let steps = json!([fetch(60_000), fetch(40_000), fetch(1), fetch(0)]);
        let ran = run(bench, steps, |limits| limits.http_bytes = 100_000).await.succeeded();
        let said = ran.said("fetch");
        assert!(said[1].starts_with("200 40000 bytes"), "{}", said[1]);
        assert!(said[2].contains("HttpBytes") && said[2].contains("raise the limit"), "{}", said[2]);
        assert!(said[3].starts_with("200 0 bytes"), "{}", said[3]);
        assert_eq!(ran.usage().http_bytes, 100_000);
    });
}

#[test]
fn the_budget_of_records_holds_for_saves_updates_and_deletes_and_a_batch_is_all_or_none() {
    on_shared_bench(async |bench| {
        let steps = json!([
            { "do": "save", "list": ["a", "{}", "b", "{}"] },
            { "do": "save", "list": ["c", "{}", "d", "{}"] },
            { "do": "update", "list": ["a", r#"{"x":1}"#] },
            { "do": "delete", "list": ["a"] },
            { "do": "update", "list": ["b", r#"{"x":1}"#] },
        ]);
        let ran = run(bench, steps, |limits| limits.records = 3).await.succeeded();
        assert_eq!(ran.said("save")[0], "+2 ~0 =0 x0");
        for refused in [ran.said("save")[1], ran.said("delete")[0], ran.said("update")[1]] {
            assert!(refused.contains("Records") && refused.contains("budget"), "{refused}");
        }
        assert_eq!(ran.said("update")[0], "+0 ~1 =0 x0");
        assert_eq!(bench.things(ran.connection()), ["b={}", r#"a={"id":"a","x":1}"#]);
        assert_eq!(ran.usage().records, 3);
    });
}

#[test]
fn a_script_that_saves_for_ever_ends_at_its_budget_with_whole_batches() {
    on_shared_bench(async |bench| {
        let steps = json!([{ "do": "save-for-ever", "n": 100, "text": "id" }]);
        let ran = run(bench, steps, |limits| limits.records = 1_050).await;
        assert_eq!(bench.feed(ran.connection(), "Thing").len(), 1_000);
        assert_eq!((ran.usage().records, ran.run.changes.added), (1_000, 1_000));
    });
}

#[test]
fn the_budgets_of_record_bytes_and_state_bytes_hold() {
    on_shared_bench(async |bench| {
        // An id of one byte and data of 999.
        let save = |id: &str| json!({ "do": "save", "list": [id, "<999"] });
        let steps = json!([save("a"), save("b"), save("c")]);
        let ran = run(bench, steps, |limits| limits.record_bytes = 2_000).await.succeeded();
        assert_eq!(ran.said("save")[1], "+1 ~0 =0 x0");
        assert!(ran.said("save")[2].contains("RecordBytes"), "{}", ran.said("save")[2]);
        assert_eq!(ran.usage().record_bytes, 2_000);

        let steps = json!([
            { "do": "save-checkpoint", "size": 600 }, { "do": "set-metadata", "size": 400 },
            { "do": "update-metadata", "text": "{}" }, { "do": "save-checkpoint", "size": 20 }, { "do": "clear-checkpoint" },
        ]);
        let ran = run(bench, steps, |limits| limits.state_bytes = 1_000).await.succeeded();
        assert_eq!((ran.said("set-metadata")[0], ran.said("clear-checkpoint")[0]), ("ok", "ok"));
        for refused in [ran.said("update-metadata")[0], ran.said("save-checkpoint")[1]] {
            assert!(refused.contains("StateBytes"), "{refused}");
        }
        assert_eq!(ran.usage().state_bytes, 1_000);
    });
}

#[test]
fn handles_are_limited() {
    on_shared_bench(async |bench| {
        // A pollable each turn, none given back.
        let script = HandWritten {
            imports: r#"(import "wasi:clocks/monotonic-clock@0.2.6" "subscribe-duration" (func $subscribe (param i64) (result i32)))"#
                .to_owned(),
            wit: Wit::Importing {
                packages: &[
                    "package wasi:io@0.2.6; interface poll { resource pollable; }",
                    "package wasi:clocks@0.2.6; interface monotonic-clock { use wasi:io/poll@0.2.6.{pollable};
                        subscribe-duration: func(when: u64) -> pollable; }",
                ],
                import: "wasi:clocks/monotonic-clock@0.2.6",
            },
            ..HandWritten::run("(loop $again (drop (call $subscribe (i64.const 1))) (br $again))")
        };
        let ran = bench.sync(bench.execution_of(bench.load(script.bytes()).await, json!({}))).await;
        ran.stopped(StopReason::Exhausted, &["more than 1000 handles at once", "let go"]);
    });
}
