//! Deadlines and cancellation: wherever a run is, it ends then, and what it left is whole.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use terapi::run::StopReason;
use terapi::runtime::Execution;
use terapi::store::RunsQuery;

use crate::support::{Bench, HandWritten, Ran, on_shared_bench, probe};

/// Far more than any machine does within a test, so only the deadline can end it.
const PLENTY: u64 = u64::MAX / 2;
const SHORT: Duration = Duration::from_millis(50);

async fn timed(bench: &Bench, steps: Value) -> Execution {
    let mut execution = bench.execution("probe", probe(steps)).await;
    execution.limits.fuel = PLENTY;
    execution.limits.timeout = SHORT;
    execution
}

#[test]
fn a_run_that_computes_is_stopped_at_its_deadline() {
    on_shared_bench(async |bench| {
        let ran =
            bench.sync(timed(bench, json!([{ "do": "save", "list": ["a", "{}"] }, { "do": "loop" }])).await).await;
        let ran = ran.stopped(StopReason::TimedOut, &["time limit of 50ms exceeded", "--timeout", "checkpoint"]);
        assert!(ran.usage().fuel > 0 && ran.usage().wall_ms >= 50);
        assert_eq!(bench.things(ran.connection()), ["a={}"]);
    });
}

#[test]
fn a_run_that_only_calls_the_host_is_stopped_at_its_deadline() {
    on_shared_bench(async |bench| {
        for step in ["calls", "clock", "lines"] {
            let ran = bench.sync(timed(bench, json!([{ "do": step }])).await).await;
            assert!(ran.usage().wall_ms < 5_000, "{step}: {} ms", ran.usage().wall_ms);
            ran.stopped(StopReason::TimedOut, &["time limit of 50ms exceeded"]);
        }
    });
}

#[test]
fn a_run_that_has_the_engine_copy_text_between_its_components_is_stopped_at_its_deadline() {
    on_shared_bench(async |bench| {
        let script = bench.load(wat::parse_str(include_str!("composed.wat")).unwrap()).await;
        let mut execution = bench.execution_of(script.clone(), json!({}));
        (execution.limits.fuel, execution.limits.timeout) = (PLENTY, SHORT);
        let ran = bench.sync(execution).await;
        // A copy takes some milliseconds. Without a count of them it came to its next yield after half a minute.
        assert!(ran.usage().wall_ms < 5_000, "{} ms", ran.usage().wall_ms);
        ran.stopped(StopReason::TimedOut, &["time limit of"]);

        let mut execution = bench.execution_of(script, json!({}));
        execution.limits.fuel = 100_000_000;
        bench.sync(execution).await.stopped(StopReason::OutOfFuel, &["fuel limit of"]);
    });
}

#[test]
fn a_run_that_moves_tables_and_memory_about_is_stopped_at_its_deadline() {
    on_shared_bench(async |bench| {
        let fields = "(table $t 90000 funcref) (table $u 10 funcref) (func $f)
            (elem $e funcref (ref.func $f) (ref.func $f)) (data $d \"0123456789abcdef\")";
        for work in [
            "(table.fill $t (i32.const 0) (ref.null func) (i32.const 90000))",
            "(table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 89999))",
            "(table.init $t $e (i32.const 5) (i32.const 0) (i32.const 2))",
            "(drop (table.grow $t (ref.null func) (i32.const 0)))",
            "(drop (memory.grow (i32.const 0)))",
            "(memory.copy (i32.const 65536) (i32.const 65537) (i32.const 10000000))",
            "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 10000000))",
            "(memory.init $d (i32.const 600) (i32.const 0) (i32.const 16))",
            "(memory.copy (i32.const 600) (i32.const 616) (i32.const 1))",
        ] {
            let script = HandWritten {
                fields: fields.to_owned(),
                pages: 160,
                ..HandWritten::run(&format!("(loop $again {work} (br $again))"))
            };
            let mut execution = bench.execution_of(bench.load(script.bytes()).await, json!({}));
            (execution.limits.fuel, execution.limits.timeout) = (PLENTY, SHORT);
            let ran = bench.sync(execution).await;
            assert!(ran.usage().wall_ms < 5_000, "{work}: {} ms", ran.usage().wall_ms);
            ran.stopped(StopReason::TimedOut, &["time limit of"]);
        }
    });
}

#[test]
fn a_run_that_waits_for_an_answer_is_stopped_at_its_deadline_and_the_connection_closed() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = Bench::open().await;
        let url = bench.odd.url("/silent");
        for steps in [
            json!([{ "do": "fetch", "url": url }]),
            json!([{ "do": "fetch-all", "n": 3, "url": url }]),
            json!([{ "do": "start", "n": 3, "url": url }, { "do": "wait", "n": 1 }]),
            json!([{ "do": "start", "n": 3, "url": url }, { "do": "loop" }]),
            json!([{ "do": "sleep", "n": 86_400_000 }]),
        ] {
            let ran = bench.sync(timed(&bench, steps).await).await;
            ran.stopped(StopReason::TimedOut, &["time limit of 50ms exceeded"]);
            bench.odd.until_waiting(0).await;
        }
    });
}

#[test]
fn a_run_is_stopped_at_its_deadline_while_it_starts() {
    on_shared_bench(async |bench| {
        let script = HandWritten {
            // Quick when it describes itself, endless when it is given a context.
            realloc: Some("(loop $again (br $again)) unreachable".to_owned()),
            ..HandWritten::default()
        };
        let mut execution = bench.execution_of(bench.load(script.bytes()).await, json!({}));
        (execution.limits.fuel, execution.limits.timeout) = (PLENTY, SHORT);
        bench.sync(execution).await.stopped(StopReason::TimedOut, &["time limit of"]);
    });
}

#[test]
fn no_time_at_all_is_stopped_too() {
    on_shared_bench(async |bench| {
        let mut execution = timed(bench, json!([{ "do": "loop" }])).await;
        execution.limits.timeout = Duration::ZERO;
        bench.sync(execution).await.stopped(StopReason::TimedOut, &["time limit of"]);
        let mut execution = timed(bench, json!([])).await;
        execution.limits.timeout = Duration::MAX;
        bench.sync(execution).await.succeeded();
    });
}

#[test]
fn a_run_that_is_cancelled_ends_wherever_it_is() {
    on_shared_bench(async |bench| {
        let url = bench.odd.url("/silent");
        for steps in [
            json!([{ "do": "fetch", "url": "/users.list" }, { "do": "loop" }]),
            json!([{ "do": "fetch", "url": "/users.list" }, { "do": "calls" }]),
            json!([{ "do": "fetch", "url": "/users.list" }, { "do": "fetch", "url": url }]),
            json!([{ "do": "fetch", "url": "/users.list" }, { "do": "sleep", "n": 86_400_000 }]),
        ] {
            let mut execution = bench.execution("probe", probe(steps)).await;
            execution.limits.fuel = PLENTY;
            let (cancel, mut progress) = (execution.cancel.clone(), execution.progress.subscribe());
            let cancelled = async {
                progress.wait_for(|progress| progress.pages == 1).await.unwrap();
                cancel.cancel();
            };
            let (ran, ()) = tokio::join!(bench.sync(execution), cancelled);
            ran.stopped(StopReason::Cancelled, &["cancelled"]);
        }
        let execution = bench.execution("probe", probe(json!([{ "do": "save", "list": ["a", "{}"] }]))).await;
        execution.cancel.cancel();
        let ran = bench.sync(execution).await.stopped(StopReason::Cancelled, &["cancelled"]);
        assert!(bench.things(ran.connection()).is_empty());
    });
}

#[test]
fn a_run_that_is_cancelled_at_any_moment_leaves_whole_batches_and_a_checkpoint_with_all_before_it() {
    on_shared_bench(async |bench| {
        let seed = rand::random();
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let steps: Vec<_> = (0..200)
            .flat_map(|nth| {
                [
                    json!({ "do": "save-many", "n": 10, "text": format!("{nth}-") }),
                    json!({ "do": "save-checkpoint", "text": json!({ "batches": nth + 1 }).to_string() }),
                ]
            })
            .collect();
        let mut ended = [0, 0];
        for _ in 0..40 {
            let execution = bench.execution("probe", probe(json!(steps))).await;
            let (cancel, mut progress) = (execution.cancel.clone(), execution.progress.subscribe());
            let (after, then) = (random.random_range(0..300_u64), random.random_range(0..2_000));
            let cancelled = async {
                // So many batches in, and then so many turns of the scheduler.
                let _ = progress.wait_for(|progress| progress.changes.added >= after * 10).await;
                for _ in 0..then {
                    tokio::task::yield_now().await;
                }
                cancel.cancel();
            };
            let (ran, ()) = tokio::join!(bench.sync(execution), cancelled);
            ended[usize::from(ran.outcome().word() == "succeeded")] += 1;
            let stored = bench.feed(ran.connection(), "Thing").len();
            assert_eq!(stored % 10, 0, "half a batch, seed {seed}");
            let state = bench.runtime.store().sync_state(&ran.run.sync).unwrap();
            let batches: usize = state.checkpoint.as_deref().map_or(0, |text| {
                serde_json::from_str::<Value>(text).unwrap()["batches"].as_u64().unwrap().try_into().unwrap()
            });
            assert!(batches * 10 <= stored, "a checkpoint of {batches} batches, {stored} records, seed {seed}");
            assert_eq!(state.last_sync_date.is_some(), ran.outcome().word() == "succeeded");
            // Whoever comes next finds the sync free.
            let mut next = bench.execution("probe", probe(json!([{ "do": "checkpoint" }]))).await;
            next.connection = ran.connection().clone();
            bench.sync(next).await.succeeded();
        }
        assert!(ended[0] > 5, "{ended:?} were cancelled and succeeded, seed {seed}");
    });
}

#[test]
fn a_run_that_waits_for_a_slot_can_be_cancelled() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        let bench = Bench::open().await;
        let gate = json!([{ "do": "fetch", "url": bench.odd.url("/gate/1") }]);
        let script = bench.load(crate::support::guest("probe")).await;
        let execution = || bench.execution_of(script.clone(), probe(gate.clone()));
        let full = futures_util::future::join_all((0..32).map(|_| bench.sync(execution())));
        let checks = async {
            bench.odd.until_waiting(32).await;
            let (one_more, last) = (execution(), execution());
            let cancel = one_more.cancel.clone();
            let cancelled = async {
                // It is known to the store from its start on, also while it waits.
                while bench.runtime.store().runs(&RunsQuery::newest(100)).unwrap().runs.len() < 33 {
                    tokio::task::yield_now().await;
                }
                cancel.cancel();
            };
            let (ran, ()) = tokio::join!(bench.sync(one_more), cancelled);
            ran.stopped(StopReason::Cancelled, &["cancelled"]);
            bench.odd.open_gates(1);
            bench.sync(last).await.succeeded();
        };
        let (full, ()) = tokio::join!(full, checks);
        assert_eq!(
            full.into_iter().map(Ran::succeeded).filter(|ran| ran.said("fetch") == ["200 6 bytes: gate 1"]).count(),
            32
        );
    });
}
