//! What a run costs: `cargo bench --bench run`.
//!
//! Prints one JSON object a line: name, value, unit, and where a baseline stands beside it in the same run its name and
//! the ratio to it. Read the ratios; absolute figures are the machine's of the moment. The API is a process of its own,
//! so its CPU is not counted. `TERAPI_BENCH_RECORDS` sets how many issues the API has (100,000).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench may stop where it stands"
)]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

#[path = "../shared/full_sync.rs"]
mod full_sync;
#[path = "../shared/measure.rs"]
mod measure;
#[path = "../shared/server.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use terapi::clock::SystemClock;
use terapi::demo::api::{DemoApi, DemoApiOptions};
use terapi::egress::{Egress, Policy};
use terapi::run::Outcome;
use terapi::sandbox::{Patience, Sandbox};
use terapi::store::Store;
use wasmtime::component::{Component, Linker, Val};

use full_sync::{NullStore, Page, build_guest, full_sync, request};
use measure::{at, figure, median, records_asked, sorted};
use server::{SERVE, Server};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().any(|arg| arg == SERVE) {
        runtime.block_on(serve());
        return;
    }
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    runtime.block_on(bench());
}

/// The API, in a child process that ends when its standard input closes.
async fn serve() {
    let issues = records_asked(100_000);
    let options = DemoApiOptions { issues, cheap_pages: true, now_ms: Some(1_790_000_000_000), ..Default::default() };
    let api = DemoApi::start(options).await.unwrap();
    println!("{}", api.url());
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}

async fn bench() {
    let guest = build_guest();
    nop_run(&guest).await;
    host_call(&guest).await;
    // Of a hundred issues twenty are pull requests, which are not saved.
    let server = Server::start();
    full_sync(&guest, &server.policy(), 3, Page { records: 80, record_bytes: 560 }).await;
}

// --- one run -----------------------------------------------------------------------------------------------------

async fn nop_run(guest: &[u8]) {
    const ROUNDS: usize = 2_000;
    let sandbox = Sandbox::new(8, Arc::new(SystemClock)).unwrap();
    let script = sandbox.load(guest.to_vec(), Patience::Upload).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(NullStore);
    let egress = Egress::new().unwrap();
    let mut bare = Bare::new(guest);
    let (mut ours, mut theirs) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    // In turn, so that both see the same machine.
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let report = sandbox.run(request(&script, &store, &egress, "{}", Policy::default())).await;
        ours.push(micros(start.elapsed()));
        assert_eq!(report.outcome, Outcome::Succeeded);
        let start = Instant::now();
        bare.run();
        theirs.push(micros(start.elapsed()));
    }
    let (ours, theirs) = (sorted(ours), sorted(theirs));
    figure("nop run, bare wasmtime, median", at(&theirs, 0.5), "µs").print();
    figure("nop run, median", at(&ours, 0.5), "µs").against("bare wasmtime", at(&theirs, 0.5)).print();
    figure("nop run, p99", at(&ours, 0.99), "µs").against("bare wasmtime", at(&theirs, 0.99)).print();
    figure("nop run, above bare wasmtime", at(&ours, 0.5) - at(&theirs, 0.5), "µs").print();
}

async fn host_call(guest: &[u8]) {
    const CALLS: u32 = 200_000;
    let sandbox = Sandbox::new(8, Arc::new(SystemClock)).unwrap();
    let script = sandbox.load(guest.to_vec(), Patience::Upload).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(NullStore);
    let egress = Egress::new().unwrap();
    let mut rounds = Vec::new();
    for _ in 0..9 {
        let config = format!(r#"{{"calls": {CALLS}}}"#);
        let start = Instant::now();
        let report = sandbox.run(request(&script, &store, &egress, &config, Policy::default())).await;
        assert_eq!(report.outcome, Outcome::Succeeded);
        rounds.push(micros(start.elapsed()) * 1_000.0 / f64::from(CALLS));
    }
    figure("host call (last-sync-date), median", median(&rounds), "ns").print();
}

/// The same component on an engine with default settings and a pool: no fuel, no limits, no WASI, no host functions.
struct Bare {
    engine: wasmtime::Engine,
    pre: wasmtime::component::InstancePre<()>,
    run: wasmtime::component::ComponentExportIndex,
}

impl Bare {
    fn new(guest: &[u8]) -> Self {
        let mut config = wasmtime::Config::new();
        config.allocation_strategy(wasmtime::InstanceAllocationStrategy::pooling());
        let engine = wasmtime::Engine::new(&config).unwrap();
        let component = Component::from_binary(&engine, guest).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let pre = linker.instantiate_pre(&component).unwrap();
        let interface = component.get_export_index(None, "terapi:sync/sync-script@0.1.0").unwrap();
        let run = component.get_export_index(Some(&interface), "run").unwrap();
        Self { engine, pre, run }
    }

    fn run(&mut self) {
        let mut store = wasmtime::Store::new(&self.engine, ());
        let instance = self.pre.instantiate(&mut store).unwrap();
        let run = instance.get_func(&mut store, self.run).unwrap();
        let field = |name: &str, value: &str| (name.to_owned(), Val::String(value.to_owned()));
        let context = Val::Record(vec![
            field("run-id", "01a203fb-d268-7708-9e29-c56a5a274e20"),
            field("connection", "bench"),
            field("variant", "base"),
            field("config", "{}"),
        ]);
        let mut result = [Val::Bool(false)];
        run.call(&mut store, &[context], &mut result).unwrap();
        assert!(matches!(result[0], Val::Result(Ok(_))));
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000_000.0
}
