//! Runs beside one another: none feels what another does.

use std::backtrace::Backtrace;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use terapi::clock::{Clock, SystemClock};
use terapi::ids::Timestamp;
use terapi::run::StopReason;

use crate::support::{Bench, BreakingStore, guest, on_shared_bench, probe};

fn two_threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Eight runs that do only this, on two threads, and an honest one beside them.
fn an_honest_run_finishes_beside(step: &'static str) {
    two_threads().block_on(async {
        let bench = Arc::new(Bench::open().await);
        let (script, honest) = (
            bench.load(guest("probe")).await,
            bench
                .execution(
                    "probe",
                    probe(json!([
                        { "do": "fetch", "url": "/users.list" }, { "do": "save", "list": ["a", "{}"] },
                    ])),
                )
                .await,
        );
        let mut others = Vec::new();
        for _ in 0..8 {
            let steps =
                json!([{ "do": "fetch", "url": "/users.list" }, { "do": step, "url": bench.odd.url("/silent") }]);
            let mut execution = bench.execution_of(script.clone(), probe(steps));
            execution.limits.fuel = u64::MAX / 2;
            let (cancel, mut progress) = (execution.cancel.clone(), execution.progress.subscribe());
            let runtime = bench.runtime.clone();
            let run = tokio::spawn(async move { runtime.sync(execution).await.unwrap() });
            progress.wait_for(|progress| progress.pages == 1).await.unwrap();
            others.push((cancel, run));
        }
        let ran = tokio::spawn({
            let bench = Arc::clone(&bench);
            async move { bench.sync(honest).await }
        });
        let ran = ran.await.unwrap().succeeded();
        assert_eq!(bench.things(ran.connection()), ["a={}"]);
        for (cancel, run) in others {
            assert!(!run.is_finished(), "it still runs");
            cancel.cancel();
            assert_eq!(run.await.unwrap().outcome.unwrap().code(), "cancelled");
        }
    });
}

#[test]
fn a_run_finishes_beside_eight_that_loop_on_two_threads() {
    an_honest_run_finishes_beside("loop");
}

#[test]
fn a_run_finishes_beside_eight_that_only_call_the_host_on_two_threads() {
    an_honest_run_finishes_beside("calls");
}

#[test]
fn a_run_finishes_beside_eight_that_wait_for_ever() {
    an_honest_run_finishes_beside("fetch");
}

#[test]
fn fifty_runs_of_one_script_at_once_have_each_their_own_records() {
    on_shared_bench(async |bench| {
        let script = bench.load(guest("probe")).await;
        let runs = (0..50).map(|nth| {
            let steps = json!([
                { "do": "hold", "size": 1 << 20 },
                { "do": "fetch", "url": bench.odd.url(&format!("/nth?nth={nth}")) },
                { "do": "save", "list": [format!("own-{nth}"), "{}", "common", json!({ "of": nth }).to_string()] },
                { "do": "set-metadata", "text": json!({ "of": nth }).to_string() },
                { "do": "list" },
            ]);
            bench.sync(bench.execution_of(script.clone(), probe(steps)))
        });
        for (nth, ran) in futures_util::future::join_all(runs).await.into_iter().enumerate() {
            let ran = ran.succeeded();
            let records = [format!("own-{nth}={{}}"), format!(r#"common={{"of":{nth}}}"#)];
            assert_eq!(bench.things(ran.connection()), records);
            assert_eq!(ran.said("list"), [records.join(" ")]);
            assert_eq!(bench.runtime.store().metadata(ran.connection()).unwrap(), json!({ "of": nth }).to_string());
        }
    });
}

#[test]
fn two_runs_of_one_sync_at_once_are_one_run_and_a_refusal() {
    two_threads().block_on(async {
        let bench = Bench::open().await;
        let steps = json!([{ "do": "fetch", "url": bench.odd.url("/gate/1") }]);
        let first = bench.execution("probe", probe(steps.clone())).await;
        let mut second = bench.execution("probe", probe(steps)).await;
        second.connection = first.connection.clone();
        let refused = async {
            bench.odd.until_waiting(1).await;
            let error = bench.runtime.sync(second).await.unwrap_err();
            assert_eq!(error.code(), "sync-busy");
            bench.odd.open_gates(1);
        };
        let (ran, ()) = tokio::join!(bench.sync(first), refused);
        ran.succeeded();
    });
}

/// A clock that breaks once, when it is told to and a host function asks it: others than the sandbox ask it too.
#[derive(Default)]
struct BreakingClock(AtomicBool);

impl Clock for BreakingClock {
    fn now(&self) -> Timestamp {
        if self.0.load(Ordering::SeqCst) && Backtrace::force_capture().to_string().contains("terapi::sandbox::host") {
            self.0.store(false, Ordering::SeqCst);
            panic!("the clock broke");
        }
        SystemClock.now()
    }
}

#[test]
fn a_panic_of_the_host_ends_the_run_that_it_served_as_internal_and_no_other() {
    two_threads().block_on(async {
        let clock = Arc::new(BreakingClock::default());
        let bench = Bench::with(|store| store, clock.clone()).await;
        let steps = json!([
            { "do": "save", "list": ["a", "{}"] }, { "do": "fetch", "url": bench.odd.url("/gate/1") },
            { "do": "save", "list": ["b", "{}"] },
        ]);
        let broken = bench.execution("probe", probe(steps.clone())).await;
        let other = bench.execution("probe", probe(json!([{ "do": "fetch", "url": bench.odd.url("/gate/2") }]))).await;
        let opened = async {
            bench.odd.until_waiting(2).await;
            clock.0.store(true, Ordering::SeqCst);
            bench.odd.open_gates(1);
        };
        let broken = async {
            let ran = bench.sync(broken).await;
            bench.odd.open_gates(2);
            ran
        };
        let (broken, other, ()) = tokio::join!(broken, bench.sync(other), opened);
        let broken = broken.stopped(StopReason::Internal, &["the clock broke", "report"]);
        assert_eq!(bench.things(broken.connection()), ["a={}"]);
        other.succeeded();
        bench.sync(bench.execution("probe", probe(steps)).await).await.succeeded();
    });
}

#[test]
fn a_panic_of_the_store_ends_the_run_that_it_served_as_internal_and_no_other() {
    two_threads().block_on(async {
        let bench = Bench::with(|inner| Arc::new(BreakingStore { inner }), Arc::new(SystemClock)).await;
        let steps = json!([
            { "do": "save", "list": ["a", "{}"] }, { "do": "save", "list": ["break", "{}"] }, { "do": "save", "list": ["b", "{}"] },
        ]);
        let ran = bench.sync(bench.execution("probe", probe(steps)).await).await;
        let ran = ran.stopped(StopReason::Internal, &["the store", "report"]);
        assert_eq!(bench.things(ran.connection()), ["a={}"]);
        let steps = json!([{ "do": "save", "list": ["a", "{}"] }]);
        bench.sync(bench.execution("probe", probe(steps)).await).await.succeeded();
    });
}
