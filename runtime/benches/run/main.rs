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

#[path = "../../../example-scripts/large-dataset/src/mapping.rs"]
#[expect(unreachable_pub, reason = "the guest's file, as it is")]
mod mapping;
mod null_store;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use terapi::clock::SystemClock;
use terapi::demo;
use terapi::demo::api::{DemoApi, DemoApiOptions};
use terapi::egress::{Egress, Exhausted, Meter, Policy, Request};
use terapi::ids::{RunId, ScriptHash, SyncKey, Timestamp};
use terapi::run::{Changes, Outcome, Run, RunKind, Usage};
use terapi::runtime::{Execution, Runtime};
use terapi::sandbox::{Limits, RunRequest, Sandbox, Script};
use terapi::store::embedded::{EmbeddedStore, StoreOptions};
use terapi::store::{DeleteGuard, Entry, ModelRule, RunStart, Store};
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Component, Linker, Val};

use null_store::NullStore;

const REPOSITORY: &str = r#"{"repository": "terapi/bench"}"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().any(|arg| arg == "--serve") {
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
    let issues = std::env::var("TERAPI_BENCH_RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let options = DemoApiOptions { issues, cheap_pages: true, now_ms: Some(1_790_000_000_000), ..Default::default() };
    let api = DemoApi::start(options).await.unwrap();
    println!("{}", api.url());
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}

async fn bench() {
    let guest = build_guest();
    nop_run(&guest).await;
    host_call(&guest).await;
    full_sync(&guest).await;
}

fn print(name: &str, value: f64, unit: &str, baseline: Option<(&str, f64)>) {
    let mut line = serde_json::json!({ "name": name, "value": round(value), "unit": unit });
    if let Some((name, ratio)) = baseline {
        line["baseline"] = name.into();
        line["ratio"] = round(ratio).into();
    }
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

fn round(value: f64) -> f64 {
    let digits = if value.abs() >= 100.0 { 1.0 } else { 1_000.0 };
    (value * digits).round() / digits
}

fn build_guest() -> Vec<u8> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("../target/guests");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--target", "wasm32-wasip2", "--manifest-path"])
        .arg(here.join("benches/guest/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .output()
        .expect("cargo can be called");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::read(target.join("wasm32-wasip2/release/bench_guest.wasm")).unwrap()
}

// --- one run -----------------------------------------------------------------------------------------------------

async fn nop_run(guest: &[u8]) {
    const ROUNDS: usize = 2_000;
    let sandbox = Sandbox::new(8, Arc::new(SystemClock)).unwrap();
    let script = sandbox.load(guest.to_vec()).await.unwrap();
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
    print("nop run, bare wasmtime, median", at(&theirs, 0.5), "µs", None);
    print("nop run, median", at(&ours, 0.5), "µs", Some(("bare wasmtime", at(&ours, 0.5) / at(&theirs, 0.5))));
    print("nop run, p99", at(&ours, 0.99), "µs", Some(("bare wasmtime", at(&ours, 0.99) / at(&theirs, 0.99))));
    print("nop run, above bare wasmtime", at(&ours, 0.5) - at(&theirs, 0.5), "µs", None);
}

async fn host_call(guest: &[u8]) {
    const CALLS: u32 = 200_000;
    let sandbox = Sandbox::new(8, Arc::new(SystemClock)).unwrap();
    let script = sandbox.load(guest.to_vec()).await.unwrap();
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
    print("host call (last-sync-date), median", at(&sorted(rounds), 0.5), "ns", None);
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

fn request(script: &Arc<Script>, store: &Arc<dyn Store>, egress: &Egress, config: &str, policy: Policy) -> RunRequest {
    let run = RunId::new(Timestamp(1_790_000_000_000));
    let sync = sync_key(script);
    RunRequest {
        script: Arc::clone(script),
        run,
        connection: sync.connection.clone(),
        variant: sync.variant.clone(),
        config: config.to_owned(),
        input: None,
        limits: Limits { memory: 16 << 20, ..Limits::default() },
        store: Arc::clone(store),
        lease: Some(terapi::store::Lease { sync, run, token: 1 }),
        egress: egress.clone(),
        policy: Arc::new(policy),
        guard: DeleteGuard::default(),
        last_sync_date: None,
        checkpoint: None,
        cancel: CancellationToken::new(),
        progress: tokio::sync::watch::Sender::new(terapi::sandbox::Progress::default()),
    }
}

fn sync_key(script: &Script) -> SyncKey {
    SyncKey {
        script: script.manifest.name.clone(),
        connection: "bench".parse().unwrap(),
        variant: terapi::ids::Variant::default(),
    }
}

// --- a full sync -------------------------------------------------------------------------------------------------

/// What one way of doing the sync took.
struct Took {
    cpu: Duration,
    records: u64,
}

/// The median of several rounds, by CPU.
struct Figures(Vec<f64>, u64);

impl Figures {
    fn seconds(&self) -> f64 {
        at(&sorted(self.0.clone()), 0.5)
    }
}

async fn full_sync(guest: &[u8]) {
    const ROUNDS: usize = 3;
    let server = Server::start();
    let policy = server.policy();
    let egress = Egress::new().unwrap();
    let sandbox = Sandbox::new(8, Arc::new(SystemClock)).unwrap();
    let script = sandbox.load(demo::script("large-dataset").unwrap().to_vec()).await.unwrap();
    let mover = sandbox.load(guest.to_vec()).await.unwrap();
    let null: Arc<dyn Store> = Arc::new(NullStore);
    let names =
        ["fetch only", "native, no store", "native, store", "boundary only", "sandbox, no store", "sandbox, store"];
    let mut figures: Vec<Figures> = names.iter().map(|_| Figures(Vec::new(), 0)).collect();
    // One round of each in turn, so that all see the same machine.
    for _ in 0..ROUNDS {
        let took = [
            native(&egress, &policy, None, false).await,
            native(&egress, &policy, None, true).await,
            {
                let dir = tempfile::tempdir().unwrap();
                let store = EmbeddedStore::open(dir.path(), &StoreOptions::default()).unwrap();
                native(&egress, &policy, Some(Arc::new(store)), true).await
            },
            {
                let config = r#"{"repository": "terapi/bench", "record_bytes": 560}"#;
                sandboxed(&sandbox, request(&mover, &null, &egress, config, policy.clone())).await
            },
            sandboxed(&sandbox, request(&script, &null, &egress, REPOSITORY, policy.clone())).await,
            with_store(&policy).await,
        ];
        for (figures, took) in figures.iter_mut().zip(took) {
            figures.0.push(took.cpu.as_secs_f64());
            figures.1 = took.records;
        }
    }
    let [fetch, native, native_store, boundary, wasm, wasm_store] = &figures[..] else { panic!("six figures") };
    for (name, figures) in names.iter().zip(&figures) {
        let baseline = match *name {
            "sandbox, no store" => Some(("native, no store", wasm.seconds() / native.seconds())),
            "sandbox, store" => Some(("native, store", wasm_store.seconds() / native_store.seconds())),
            _ => None,
        };
        print(&format!("full sync, {name}, CPU"), figures.seconds(), "s", baseline);
        if figures.1 > 0 {
            let rate = figures.1 as f64 / figures.seconds();
            print(&format!("full sync, {name}, rate"), rate, "records/CPU-s", None);
        }
    }
    // Egress is measured alone, the boundary by a guest that only moves pages and batches; the rest is the guest's own
    // work and what the store adds.
    let whole = wasm_store.seconds();
    let moving = (boundary.seconds() - fetch.seconds()).max(0.0);
    let shares = [
        ("egress", fetch.seconds()),
        ("boundary", moving),
        ("guest", wasm.seconds() - fetch.seconds() - moving),
        ("store", whole - wasm.seconds()),
    ];
    for (name, seconds) in shares {
        print(&format!("full sync, share of the {name}"), 100.0 * seconds / whole, "%", None);
    }
}

/// Runs in the sandbox without a store.
async fn sandboxed(sandbox: &Sandbox, request: RunRequest) -> Took {
    let start = cpu();
    let report = sandbox.run(request).await;
    assert_eq!(report.outcome, Outcome::Succeeded);
    Took { cpu: cpu().saturating_sub(start), records: report.usage.records }
}

/// The whole product: runtime, sandbox, store.
async fn with_store(policy: &Policy) -> Took {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::open(dir.path(), &StoreOptions::default()).unwrap();
    let script = runtime.load(demo::script("large-dataset").unwrap().to_vec()).await.unwrap();
    let mut execution = Execution::new(script, "bench".parse().unwrap());
    REPOSITORY.clone_into(&mut execution.config);
    execution.limits.memory = 16 << 20;
    execution.policy = policy.clone();
    let start = cpu();
    let run = runtime.sync(execution).await.unwrap();
    assert_eq!(run.outcome, Some(Outcome::Succeeded));
    Took { cpu: cpu().saturating_sub(start), records: run.usage.records }
}

/// The same work in native Rust: the same egress, the same mapping, the same store; no sandbox.
async fn native(egress: &Egress, policy: &Policy, store: Option<Arc<dyn Store>>, map: bool) -> Took {
    let start = cpu();
    let model = ModelRule { name: "Issue".parse().unwrap(), ignore: Vec::new() };
    let lease = store.as_ref().map(|store| begin(&**store));
    let mut url = Some("/repos/terapi/bench/issues?state=all&per_page=100".to_owned());
    let mut records = 0;
    while let Some(next) = url {
        let request = Request { method: "GET".to_owned(), url: next, ..Request::default() };
        let response = egress.send(policy, request, &Unmetered).await.unwrap();
        let link = response.headers.iter().find(|(name, _)| name == "link").map(|(_, value)| value.as_str());
        url = link.and_then(next_link);
        if !map {
            continue;
        }
        let issues: Vec<mapping::ApiIssue> = serde_json::from_slice(&response.body).unwrap();
        let entries: Vec<Entry> = issues
            .iter()
            .filter(|issue| !issue.is_pull_request())
            .map(|issue| {
                let issue = mapping::Issue::from(issue);
                Entry { id: issue.id.get().to_owned(), data: serde_json::to_string(&issue).unwrap() }
            })
            .collect();
        records += entries.len() as u64;
        match (&store, &lease) {
            (Some(store), Some((lease, _))) => {
                // As the host functions do: the store may block.
                let (store, lease, model) = (Arc::clone(store), lease.clone(), model.clone());
                let save = move || store.save(&lease, &model, &entries, Timestamp(1_790_000_000_000)).unwrap();
                tokio::task::spawn_blocking(save).await.unwrap();
            }
            _ => drop(std::hint::black_box(entries)),
        }
    }
    if let (Some(store), Some((lease, mut run))) = (store, lease) {
        run.outcome = Some(Outcome::Succeeded);
        store.finish_run(&lease, &mut run, &DeleteGuard::default()).unwrap();
    }
    Took { cpu: cpu().saturating_sub(start), records }
}

fn begin(store: &dyn Store) -> (terapi::store::Lease, Run) {
    let now = Timestamp(1_790_000_000_000);
    let sync = SyncKey {
        script: "native".parse().unwrap(),
        connection: "bench".parse().unwrap(),
        variant: terapi::ids::Variant::default(),
    };
    let run = Run {
        id: RunId::new(now),
        kind: RunKind::Sync,
        sync,
        script: ScriptHash::of(b"native"),
        started_at: now,
        ended_at: None,
        outcome: None,
        usage: Usage::default(),
        changes: Changes::default(),
    };
    let refreshes = vec!["Issue".parse().unwrap()];
    (store.begin_run(RunStart { run: run.clone(), lease_ms: 3_600_000, refreshes }).unwrap(), run)
}

fn next_link(header: &str) -> Option<String> {
    let part = header.split(',').find(|part| part.contains("rel=\"next\""))?;
    Some(part.split_once('<')?.1.split_once('>')?.0.to_owned())
}

struct Unmetered;

impl Meter for Unmetered {
    fn request(&self) -> Result<(), Exhausted> {
        Ok(())
    }

    fn received(&self, _: usize) -> Result<(), Exhausted> {
        Ok(())
    }

    fn released(&self, _: usize) {}
}

/// The API in its own process.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }

    fn policy(&self) -> Policy {
        Policy {
            base_url: Some(self.url.parse().unwrap()),
            allowed_hosts: vec![self.url.parse().unwrap()],
            private_networks: vec!["127.0.0.0/8".parse().unwrap()],
            ..Policy::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// CPU of this process so far, user and system.
fn cpu() -> Duration {
    // Fields 14 and 15 of /proc/self/stat, in ticks of 10 ms (proc(5)): fine enough for seconds.
    let stat = std::fs::read_to_string(PathBuf::from("/proc/self/stat")).unwrap();
    let after = stat.rsplit_once(')').unwrap().1;
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000_000.0
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The value at a quantile of sorted values.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the length")]
fn at(sorted: &[f64], quantile: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * quantile).round() as usize]
}
