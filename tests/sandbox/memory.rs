//! The memory limit: one for all memories, tables and the host's buffers of a run.

use std::sync::Arc;

use serde_json::{Value, json};
use terapi::clock::SystemClock;
use terapi::run::StopReason;

use crate::support::{Bench, BreakingStore, HandWritten, Ran, on_shared_bench, probe};

const PAGE: u64 = 64 << 10;

async fn run(bench: &Bench, memory: u64, steps: Value) -> Ran {
    let mut execution = bench.execution("probe", probe(steps)).await;
    execution.limits.memory = memory;
    bench.sync(execution).await
}

/// Runs with just the memory that the run was seen to need, and with a byte less.
async fn just_under_and_just_over(bench: &Bench, script: &HandWritten) {
    let script = bench.load(script.bytes()).await;
    let run = async |memory| {
        let mut execution = bench.execution_of(script.clone(), json!({}));
        execution.limits.memory = memory;
        bench.sync(execution).await
    };
    let peak = run(64 << 20).await.succeeded().usage().peak_memory;
    assert_eq!(run(peak).await.succeeded().usage().peak_memory, peak);
    let over =
        run(peak - 1).await.stopped(StopReason::OutOfMemory, &["memory limit of", "--memory-limit", "page by page"]);
    assert!(over.usage().peak_memory < peak);
    run(peak).await.succeeded();
}

#[test]
fn a_run_with_just_the_memory_that_it_needs_succeeds_and_with_a_byte_less_is_stopped() {
    on_shared_bench(async |bench| {
        let steps = json!([{ "do": "save", "list": ["a", "{}"] }, { "do": "hold", "size": 5 << 20 }]);
        let peak = run(bench, 64 << 20, steps.clone()).await.succeeded().usage().peak_memory;
        assert!(((5 << 20)..(9 << 20)).contains(&peak), "{peak}");
        run(bench, peak, steps.clone()).await.succeeded();
        let parts = ["memory limit of", "exceeded", "page by page", "--memory-limit"];
        let over = run(bench, peak - 1, steps.clone()).await.stopped(StopReason::OutOfMemory, &parts);
        assert!(over.usage().peak_memory < peak);
        assert_eq!(bench.things(over.connection()), ["a={}"], "what was saved before stays");
        run(bench, peak, steps).await.succeeded();
    });
}

#[test]
fn memory_grown_in_steps_or_at_once_is_stopped_at_the_limit() {
    on_shared_bench(async |bench| {
        let limit = 32 << 20;
        let steps = run(bench, limit, json!([{ "do": "grow", "n": 1_000_000, "size": 1 }])).await;
        let steps = steps.stopped(StopReason::OutOfMemory, &["memory limit of 32 MiB exceeded"]);
        assert!(limit - steps.usage().peak_memory < PAGE, "{}", steps.usage().peak_memory);
        for pages in [512, 60_000] {
            let at_once = run(bench, limit, json!([{ "do": "grow", "n": 1, "size": pages }])).await;
            at_once.stopped(StopReason::OutOfMemory, &["memory limit of 32 MiB exceeded", "the script needs"]);
        }
        let hoarder = run(bench, limit, json!([{ "do": "hold-forever", "size": 100_000 }])).await;
        hoarder.stopped(StopReason::OutOfMemory, &["memory limit of 32 MiB exceeded"]);
    });
}

#[test]
fn a_limit_below_what_the_script_starts_with_stops_it_before_its_first_instruction() {
    on_shared_bench(async |bench| {
        for memory in [0, 1, PAGE] {
            let ran = run(bench, memory, json!([{ "do": "save", "list": ["a", "{}"] }])).await;
            let ran = ran.stopped(StopReason::OutOfMemory, &["memory limit of"]);
            assert!(bench.things(ran.connection()).is_empty());
        }
    });
}

#[test]
fn several_memories_share_one_limit() {
    on_shared_bench(async |bench| {
        // Three memories that grow by turns, a page each, a hundred times.
        let script = HandWritten {
            fields: "(memory $two 1) (memory $three 1)".to_owned(),
            ..HandWritten::run(
                "(loop $again
                    (drop (memory.grow $memory (i32.const 1)))
                    (drop (memory.grow $two (i32.const 1)))
                    (drop (memory.grow $three (i32.const 1)))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $i) (i32.const 100))))",
            )
        };
        just_under_and_just_over(bench, &script).await;
        let mut execution = bench.execution_of(bench.load(script.bytes()).await, json!({}));
        execution.limits.memory = 200 * PAGE;
        // Each alone would fit.
        bench.sync(execution).await.stopped(StopReason::OutOfMemory, &["memory limit of 12.5 MiB exceeded"]);
    });
}

#[test]
fn a_growth_that_the_script_itself_forbids_is_none_of_the_limit() {
    on_shared_bench(async |bench| {
        let script = HandWritten {
            fields: "(memory $two 1 2)".to_owned(),
            ..HandWritten::run(
                "(if (i32.ne (memory.grow $two (i32.const 2)) (i32.const -1)) (then unreachable))
                (if (i32.ne (memory.grow $two (i32.const 1)) (i32.const 1)) (then unreachable))",
            )
        };
        let ran = bench.sync(bench.execution_of(bench.load(script.bytes()).await, json!({}))).await.succeeded();
        assert_eq!(ran.usage().peak_memory % PAGE, 0);
    });
}

#[test]
fn tables_count_as_memory_and_have_a_limit_of_elements() {
    on_shared_bench(async |bench| {
        let grown = |elements: u32| HandWritten {
            fields: "(table $t 10 funcref) (table $u 10 funcref)".to_owned(),
            ..HandWritten::run(&format!(
                "(drop (table.grow $t (ref.null func) (i32.const {elements})))
                (drop (table.grow $u (ref.null func) (i32.const {elements})))"
            ))
        };
        just_under_and_just_over(bench, &grown(40_000)).await;
        let sync = async |script: HandWritten| {
            bench.sync(bench.execution_of(bench.load(script.bytes()).await, json!({}))).await
        };
        sync(grown(49_990)).await.succeeded();
        let over = ["table limit of 100000 elements", "100001"];
        sync(HandWritten { fields: "(table $t 10 funcref) (table $u 11 funcref)".to_owned(), ..grown(49_990) })
            .await
            .stopped(StopReason::OutOfMemory, &over);
        sync(grown(10_000_000)).await.stopped(StopReason::OutOfMemory, &["table limit of 100000 elements"]);
    });
}

#[test]
fn an_answer_larger_than_the_limit_ends_the_run() {
    on_shared_bench(async |bench| {
        let limit = 8 << 20;
        let fetch =
            |bytes: u64| json!([{ "do": "fetch", "url": bench.odd.url(&format!("/bytes/{bytes}")), "retries": 3 }]);
        let fits = run(bench, limit, fetch(2 << 20)).await.succeeded();
        // Once in the host and once in the guest.
        assert!(fits.usage().peak_memory > 4 << 20, "{}", fits.usage().peak_memory);
        let over = run(bench, limit, fetch(12 << 20)).await;
        over.stopped(StopReason::OutOfMemory, &["memory limit of 8 MiB exceeded", "page by page"]);
        run(bench, limit, fetch(2 << 20)).await.succeeded();
    });
}

#[test]
fn answers_that_are_under_way_together_count_together() {
    on_shared_bench(async |bench| {
        let url = bench.odd.url("/bytes/1000000");
        let started = |n: u64| json!([{ "do": "start", "n": n, "url": url }, { "do": "wait", "n": n }]);
        run(bench, 16 << 20, started(4)).await.succeeded();
        run(bench, 16 << 20, started(30)).await.stopped(StopReason::OutOfMemory, &["memory limit of 16 MiB exceeded"]);
        let all = json!([{ "do": "fetch-all-raw", "n": 30, "url": url }]);
        run(bench, 16 << 20, all).await.stopped(StopReason::OutOfMemory, &["memory limit of 16 MiB exceeded"]);
    });
}

#[test]
fn bodies_of_requests_that_are_under_way_count_too() {
    on_shared_bench(async |bench| {
        let url = bench.odd.url("/swallow");
        let posts = |n: u64| json!([{ "do": "start-posts", "n": n, "url": url, "size": 1 << 20 }]);
        run(bench, 16 << 20, posts(4)).await.succeeded();
        let over = run(bench, 16 << 20, posts(32)).await;
        over.stopped(StopReason::OutOfMemory, &["memory limit of 16 MiB exceeded"]);
    });
}

#[test]
fn memory_for_answers_is_given_back() {
    on_shared_bench(async |bench| {
        let fetch = json!({ "do": "fetch", "url": bench.odd.url("/bytes/2000000") });
        let post = json!({ "do": "post", "url": bench.odd.url("/echo"), "size": 2_000_000 });
        let save = json!({ "do": "save", "list": ["a", "<1000000"] });
        let get = json!({ "do": "get", "list": ["a"] });
        let steps: Vec<_> = (0..40).flat_map(|_| [fetch.clone(), post.clone(), save.clone(), get.clone()]).collect();
        let ran = run(bench, 12 << 20, json!(steps)).await.succeeded();
        assert!(ran.usage().http_bytes >= 80_000_000);
    });
}

#[test]
fn what_is_read_back_counts_before_it_fills_the_host() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = Bench::with(|inner| Arc::new(BreakingStore { inner }), Arc::new(SystemClock)).await;
        // A thousand times the same record of 1 MiB.
        let ran = run(
            &bench,
            16 << 20,
            json!([
                { "do": "save", "list": ["a", format!("<{}", 1 << 20)] },
                { "do": "get", "list": ["a"], "n": 2 },
                { "do": "get", "list": ["a"], "n": 1000 },
            ]),
        )
        .await
        .stopped(StopReason::OutOfMemory, &["memory limit of 16 MiB exceeded"]);
        assert_eq!(ran.said("get").len(), 1);
    });
}
