//! What the sandbox costs, and what runs beside guests that do their worst: `cargo bench --bench sandbox`.
//!
//! Prints one JSON object a line: name, value, unit, the baseline beside it and the ratio, and the goal where there is one.
//! Without fuel is the same component in bare wasmtime with default settings, in the same process. What a guest that sleeps
//! weighs is what the process has grown by: the peer of its connection is another process. `TERAPI_BENCH_ASLEEP` says how many
//! are asleep at most (5,000), `TERAPI_BENCH_ROUNDS` how often the canary is asked (1,000).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench may stop where it stands"
)]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

#[allow(dead_code, reason = "another bench's, of which this one uses a part")]
#[path = "../shared/full_sync.rs"]
mod full_sync;
#[path = "../shared/measure.rs"]
mod measure;
#[path = "../shared/server.rs"]
mod server;

mod asleep;
mod bare;
mod canary;
mod scan;

use std::sync::Arc;
use std::time::{Duration, Instant};

use terapi::clock::SystemClock;
use terapi::egress::{Egress, Policy};
use terapi::run::Outcome;
use terapi::sandbox::{Artifacts, Patience, Sandbox};
use terapi::store::Store;

use bare::Bare;
use full_sync::{NullStore, build_guest, request};
use measure::{at, figure, median, sorted};
use server::SERVE;

/// Of an empty run, in microseconds.
const INSTANTIATE_GOAL: f64 = 20.0;
/// Of a script that was compiled by another process, in milliseconds.
const COLD_START_GOAL: f64 = 2.0;
/// How often the guest reads and writes its JSON, a tenth of a second of work.
const JSON_ROUNDS: u32 = 200;

/// The binary's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn asked(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000_000.0
}

fn main() {
    if std::env::args().any(|argument| argument == SERVE) {
        asleep::serve();
        return;
    }
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let guest = build_guest();
    scan::bench(&guest);
    // Two threads, as a small server has.
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    threads.block_on(async {
        fuel(&guest).await;
        instantiate(&guest).await;
        cold_start(&guest).await;
    });
    canary::bench(&threads, &guest);
    threads.block_on(asleep::bench(&guest));
}

/// A guest that does nothing but read and write JSON, with fuel and without.
async fn fuel(guest: &[u8]) {
    let sandbox = Sandbox::new(8, Arc::new(SystemClock)).unwrap();
    let script = sandbox.load(guest.to_vec(), Patience::Upload).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(NullStore);
    let egress = Egress::new().unwrap();
    let config = format!(r#"{{"json_rounds": {JSON_ROUNDS}}}"#);
    let mut bare = Bare::new(guest);
    let (mut ours, mut theirs, mut units) = (Vec::new(), Vec::new(), 0);
    for _ in 0..15 {
        let start = Instant::now();
        let report = sandbox.run(request(&script, &store, &egress, &config, Policy::default())).await;
        ours.push(start.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!(report.outcome, Outcome::Succeeded);
        units = report.usage.fuel;
        let start = Instant::now();
        bare.run(&config);
        theirs.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    let (ours, theirs) = (median(&ours), median(&theirs));
    figure("sandbox/JSON-heavy guest with fuel", ours, "ms").against("bare wasmtime without fuel", theirs).print();
    figure("sandbox/a million units of fuel", ours * 1_000.0 / (units as f64 / 1_000_000.0), "µs").print();
}

/// An empty run: a fresh instance, its call, and what is noted of it.
async fn instantiate(guest: &[u8]) {
    let sandbox = Sandbox::new(8, Arc::new(SystemClock)).unwrap();
    let script = sandbox.load(guest.to_vec(), Patience::Upload).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(NullStore);
    let egress = Egress::new().unwrap();
    let mut bare = Bare::new(guest);
    let (mut runs, mut instances, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3_000 {
        let start = Instant::now();
        let report = sandbox.run(request(&script, &store, &egress, "{}", Policy::default())).await;
        runs.push(micros(start.elapsed()));
        assert_eq!(report.outcome, Outcome::Succeeded);
        let start = Instant::now();
        bare.instantiate();
        instances.push(micros(start.elapsed()));
        let start = Instant::now();
        bare.run("{}");
        theirs.push(micros(start.elapsed()));
    }
    let (runs, instances, theirs) = (sorted(runs), sorted(instances), sorted(theirs));
    figure("sandbox/instantiate, call and end an empty run, p50", at(&runs, 0.5), "µs")
        .against("the same in bare wasmtime", at(&theirs, 0.5))
        .print();
    figure("sandbox/instantiate, call and end an empty run, p99", at(&runs, 0.99), "µs")
        .against("the same in bare wasmtime", at(&theirs, 0.99))
        .print();
    figure("sandbox/instantiate alone, in bare wasmtime, p50", at(&instances, 0.5), "µs")
        .at_most(INSTANTIATE_GOAL)
        .print();
}

/// From the bytes of a script to one that can run, when another process has compiled it before.
async fn cold_start(guest: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let kept = || Arc::new(Artifacts::new(dir.path().to_owned(), [7; 32]));
    let sandbox = || Sandbox::new(8, Arc::new(SystemClock)).unwrap();
    let start = Instant::now();
    sandbox().keeping(kept()).load(guest.to_vec(), Patience::Upload).await.unwrap();
    let compiled = start.elapsed().as_secs_f64() * 1_000.0;
    let mut times = Vec::new();
    for _ in 0..50 {
        let sandbox = sandbox().keeping(kept());
        let start = Instant::now();
        sandbox.load(guest.to_vec(), Patience::Upload).await.unwrap();
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    figure("sandbox/cold start from the artifact, median", median(&times), "ms")
        .against("compiled", compiled)
        .at_most(COLD_START_GOAL)
        .print();
}
