//! A full sync in several ways, to tell what each part of it costs: with and without the sandbox, with and without a
//! store, by the example script and by a guest that only moves pages.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use terapi::clock::SystemClock;
use terapi::demo;
use terapi::egress::{Egress, Policy, Request};
use terapi::ids::{RunId, ScriptHash, SyncKey, Timestamp};
use terapi::run::{Changes, Outcome, Run, RunKind, Usage};
use terapi::runtime::{Execution, Runtime};
use terapi::sandbox::{Limits, Patience, RunRequest, Sandbox, Script};
use terapi::store::embedded::{EmbeddedStore, StoreOptions};
use terapi::store::{DeleteGuard, Entry, ModelRule, RunStart, Store};
use tokio_util::sync::CancellationToken;

use crate::measure::{cpu, figure, median};

#[path = "../../../example-scripts/large-dataset/src/mapping.rs"]
#[expect(unreachable_pub, reason = "the guest's file, as it is")]
mod mapping;
mod null_store;

pub(crate) use null_store::NullStore;

use null_store::Unmetered;

const REPOSITORY: &str = r#"{"repository": "terapi/bench"}"#;

/// The component that does single things.
pub(crate) fn build_guest() -> Vec<u8> {
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

pub(crate) fn request(
    script: &Arc<Script>,
    store: &Arc<dyn Store>,
    egress: &Egress,
    config: &str,
    policy: Policy,
) -> RunRequest {
    let run = RunId::new(Timestamp(1_790_000_000_000));
    let sync = sync_key(script);
    RunRequest {
        script: Arc::clone(script),
        run,
        connection: sync.connection.clone(),
        connection_facts: "{}".into(),
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
        park: CancellationToken::new(),
        progress: tokio::sync::watch::Sender::new(terapi::sandbox::Progress::default()),
        recorder: None,
        time: None,
    }
}

fn sync_key(script: &Script) -> SyncKey {
    SyncKey {
        script: script.manifest.name.clone(),
        connection: "bench".parse().unwrap(),
        variant: terapi::ids::Variant::default(),
    }
}

/// What one way of doing the sync took.
struct Took {
    cpu: Duration,
    records: u64,
}

/// The CPU seconds of several rounds, and the records of one.
struct Figures(Vec<f64>, u64);

impl Figures {
    fn seconds(&self) -> f64 {
        median(&self.0)
    }
}

/// What the guest that only moves pages saves for each of them.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    pub(crate) records: u32,
    pub(crate) record_bytes: u32,
}

/// Does a full sync in every way, `rounds` times, and prints what each took and the shares of what it consists of.
/// `page` is a page of records of the size that the example script saves, for the guest that only moves them.
pub(crate) async fn full_sync(guest: &[u8], policy: &Policy, rounds: usize, page: Page) {
    let egress = Egress::new().unwrap();
    let sandbox = Sandbox::new(8, Arc::new(SystemClock)).unwrap();
    let script = sandbox.load(demo::script("large-dataset").unwrap().to_vec(), Patience::Upload).await.unwrap();
    let mover = sandbox.load(guest.to_vec(), Patience::Upload).await.unwrap();
    let null: Arc<dyn Store> = Arc::new(NullStore);
    let names =
        ["fetch only", "native, no store", "native, store", "boundary only", "sandbox, no store", "sandbox, store"];
    let mut figures: Vec<Figures> = names.iter().map(|_| Figures(Vec::new(), 0)).collect();
    // One round of each in turn, so that all see the same machine.
    for _ in 0..rounds {
        let took = [
            native(&egress, policy, None, false).await,
            native(&egress, policy, None, true).await,
            {
                let dir = tempfile::tempdir().unwrap();
                let store = EmbeddedStore::open(dir.path(), &StoreOptions::default()).unwrap();
                native(&egress, policy, Some(Arc::new(store)), true).await
            },
            {
                let config = format!(
                    r#"{{"repository": "terapi/bench", "records": {}, "record_bytes": {}}}"#,
                    page.records, page.record_bytes
                );
                sandboxed(&sandbox, request(&mover, &null, &egress, &config, policy.clone())).await
            },
            sandboxed(&sandbox, request(&script, &null, &egress, REPOSITORY, policy.clone())).await,
            with_store(policy).await,
        ];
        for (figures, took) in figures.iter_mut().zip(took) {
            figures.0.push(took.cpu.as_secs_f64());
            figures.1 = took.records;
        }
    }
    let [fetch, native, native_store, boundary, wasm, wasm_store] = &figures[..] else { panic!("six figures") };
    for (name, figures) in names.iter().zip(&figures) {
        let line = figure(format!("full sync, {name}, CPU"), figures.seconds(), "s");
        match *name {
            "sandbox, no store" => line.against("native, no store", native.seconds()),
            "sandbox, store" => line.against("native, store", native_store.seconds()),
            _ => line,
        }
        .print();
        if figures.1 > 0 {
            let rate = figures.1 as f64 / figures.seconds();
            figure(format!("full sync, {name}, rate"), rate, "records/CPU-s").print();
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
        figure(format!("full sync, share of the {name}"), 100.0 * seconds / whole, "%").print();
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
