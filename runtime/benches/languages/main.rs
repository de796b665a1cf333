//! The same sync in every language: `cargo bench --bench languages`.
//!
//! 20 pages of 100 issues, some 310 KB a page, fetched, mapped and saved into a store that keeps nothing. The API is a process of its
//! own. What fetching the pages takes the host alone is measured beside it and taken off, so that what is left is the guest's work
//! and its way over the boundary. Beside it Node runs the script's own mapping over the same pages in memory, if there is a `node`.
//!
//! Python and C run where their components are given: build `issues.py` and `issues.c` with the SDKs and name the results in
//! `TERAPI_BENCH_LANGUAGES_PYTHON` and `TERAPI_BENCH_LANGUAGES_C`. `TERAPI_BENCH_NODE` says which Node (`node`).
//!
//! Then what it costs to have a script that is text: to upload one, to keep a thousand, and `terapi run issues.ts` as a process.
//!
//! Prints one JSON object a line: name, value, unit, and the baseline beside it with the ratio. Read the ratios.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may stop where it stands")]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

#[path = "../shared/measure.rs"]
mod measure;
#[path = "../shared/null_store.rs"]
mod null_store;
mod pages;
#[path = "../shared/server.rs"]
mod server;
mod texts;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use terapi::clock::SystemClock;
use terapi::demo;
use terapi::egress::{Egress, Policy, Request};
use terapi::ids::{RunId, SyncKey, Timestamp, Variant};
use terapi::run::{Outcome, Usage};
use terapi::sandbox::{Limits, Patience, RunRequest, Sandbox, Script};
use terapi::store::{DeleteGuard, Store};
use tokio_util::sync::CancellationToken;

use measure::{cpu, figure, median, progress, skipped};
use null_store::{NullStore, Unmetered};
use server::{SERVE, Server};

/// Rounds of each; the medians are shown.
const ROUNDS: usize = 15;
/// What the issue asks for: Rust in the sandbox is no slower than V8, TypeScript at most so many times Rust.
const RUST_TO_NODE: f64 = 1.0;
const TYPESCRIPT_TO_RUST: f64 = 8.0;
/// Milliseconds.
const TYPESCRIPT_START: f64 = 1.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().any(|arg| arg == SERVE) {
        runtime.block_on(pages::serve());
        return;
    }
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    runtime.block_on(bench());
}

/// A script, and what it comes to.
struct Language {
    name: &'static str,
    bytes: Vec<u8>,
    script: Arc<Script>,
    compile_ms: f64,
    cpu_ms: Vec<f64>,
    start_ms: Vec<f64>,
    usage: Usage,
}

async fn bench() {
    let server = Server::start();
    let (policy, empty) = (policy(&server, ""), policy(&server, "/none"));
    let sandbox = Sandbox::new(2, Arc::new(SystemClock)).unwrap();
    let egress = Egress::new().unwrap();
    let mut languages = Vec::new();
    for (name, bytes) in scripts() {
        progress(&format!("compiling {name}"));
        let before = cpu();
        let script = sandbox.load(bytes.clone(), Patience::Upload).await.unwrap();
        let compile_ms = millis(cpu().saturating_sub(before));
        languages.push(Language {
            name,
            bytes,
            script,
            compile_ms,
            cpu_ms: Vec::new(),
            start_ms: Vec::new(),
            usage: Usage::default(),
        });
    }

    // One round of each in turn, so that all see the same machine.
    let (mut fetch_cpu, mut fetch_one) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = cpu();
        fetch(&egress, &policy).await;
        fetch_cpu.push(millis(cpu().saturating_sub(before)));
        let before = Instant::now();
        fetch(&egress, &empty).await;
        fetch_one.push(millis(before.elapsed()));
        for language in &mut languages {
            let before = cpu();
            language.usage = run(&sandbox, language, &egress, &policy).await;
            language.cpu_ms.push(millis(cpu().saturating_sub(before)));
            assert_eq!(language.usage.records, pages::RECORDS, "{}", language.name);
            let before = Instant::now();
            run(&sandbox, language, &egress, &empty).await;
            language.start_ms.push(millis(before.elapsed()));
        }
    }
    let (fetch_cpu, fetch_one) = (median(&fetch_cpu), median(&fetch_one));
    figure("languages, fetching the pages, CPU of the host", fetch_cpu, "ms").print();

    let node = node();
    let own = |language: &Language| (median(&language.cpu_ms) - fetch_cpu).max(0.001);
    let rust = own(&languages[0]);
    for language in &languages {
        let name = language.name;
        let line = figure(format!("languages, {name}, CPU"), own(language), "ms");
        match (name, node) {
            ("rust", Some(node)) => line.against("node", node).ratio_at_most(RUST_TO_NODE).print(),
            ("rust", None) => line.print(),
            ("typescript", _) => line.against("rust", rust).ratio_at_most(TYPESCRIPT_TO_RUST).print(),
            _ => line.against("rust", rust).print(),
        }
        let rust = &languages[0];
        let beside = |what: &str, value: f64, unit, baseline: f64| {
            let line = figure(format!("languages, {name}, {what}"), value, unit);
            if name == "rust" { line.print() } else { line.against("rust", baseline).print() }
        };
        beside("fuel", language.usage.fuel as f64 / 1e6, "million", rust.usage.fuel as f64 / 1e6);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        beside("peak memory", mib(language.usage.peak_memory), "MiB", mib(rust.usage.peak_memory));
        beside("size of the script", language.bytes.len() as f64 / 1e3, "KB", rust.bytes.len() as f64 / 1e3);
        beside("compiling, CPU", language.compile_ms, "ms", rust.compile_ms);
        let start = |language: &Language| (median(&language.start_ms) - fetch_one).max(0.001);
        let line = figure(
            format!("languages, {name}, start: a run with one empty page, less the request"),
            start(language),
            "ms",
        );
        match name {
            "rust" => line.print(),
            "typescript" => line.against("rust", start(rust)).at_most(TYPESCRIPT_START).print(),
            _ => line.against("rust", start(rust)).print(),
        }
    }
    texts::bench(&server).await;
}

/// The scripts that are there, Rust first.
fn scripts() -> Vec<(&'static str, Vec<u8>)> {
    let mut scripts = vec![("rust", demo::script("large-dataset").unwrap().to_vec()), ("typescript", typescript())];
    for (name, variable) in [("python", "TERAPI_BENCH_LANGUAGES_PYTHON"), ("c", "TERAPI_BENCH_LANGUAGES_C")] {
        match std::env::var_os(variable) {
            Some(file) => scripts.push((name, std::fs::read(file).unwrap())),
            None => skipped(&format!("languages, {name}"), &format!("{variable} names no component")),
        }
    }
    scripts
}

/// The script and the module that it shares with Node.
const TYPESCRIPT: [(&str, &str); 2] = [("issues.ts", include_str!("issues.ts")), ("map.js", include_str!("map.js"))];

/// As the command line packs them.
fn typescript() -> Vec<u8> {
    let modules = TYPESCRIPT.map(|(name, source)| serde_json::json!({ "name": name, "source": source }));
    serde_json::json!({ "terapi": "source/1", "modules": modules }).to_string().into_bytes()
}

/// The median CPU of Node's passes after the first, in milliseconds.
fn node() -> Option<f64> {
    let node = std::env::var("TERAPI_BENCH_NODE").unwrap_or_else(|_| "node".to_owned());
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/languages");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), (0..pages::PAGES).map(|page| pages::page(page) + "\n").collect::<String>()).unwrap();
    let done = Command::new(&node).arg(here.join("node.mjs")).arg(here.join("map.js")).arg(file.path()).output();
    let told = match done {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => {
            skipped("languages, node", String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Err(error) => {
            skipped("languages, node", &format!("{node}: {error}"));
            return None;
        }
    };
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["records"], pages::RECORDS);
    let version = told["version"].as_str().unwrap();
    figure(format!("languages, node {version}, first pass, CPU"), told["first"].as_f64().unwrap(), "ms").print();
    let warm = told["warm"].as_f64().unwrap();
    figure(format!("languages, node {version}, warm, CPU"), warm, "ms").print();
    Some(warm)
}

async fn run(sandbox: &Sandbox, language: &Language, egress: &Egress, policy: &Policy) -> Usage {
    let run = RunId::new(Timestamp(1_790_000_000_000));
    let sync = SyncKey {
        script: language.script.manifest.name.clone(),
        connection: "bench".parse().unwrap(),
        variant: Variant::default(),
    };
    let store: Arc<dyn Store> = Arc::new(NullStore);
    let request = RunRequest {
        script: Arc::clone(&language.script),
        run,
        connection: sync.connection.clone(),
        connection_facts: r#"{"id":"bench"}"#.into(),
        variant: sync.variant.clone(),
        config: r#"{"repository": "terapi/bench"}"#.to_owned(),
        input: None,
        limits: Limits::default(),
        store,
        lease: Some(terapi::store::Lease { sync, run, token: 1 }),
        egress: egress.clone(),
        policy: Arc::new(policy.clone()),
        guard: DeleteGuard::default(),
        last_sync_date: None,
        checkpoint: None,
        cancel: CancellationToken::new(),
        park: CancellationToken::new(),
        progress: tokio::sync::watch::Sender::new(terapi::sandbox::Progress::default()),
        recorder: None,
        time: None,
    };
    let report = sandbox.run(request).await;
    assert_eq!(report.outcome, Outcome::Succeeded, "{}", language.name);
    report.usage
}

/// Fetches all pages and looks into none.
async fn fetch(egress: &Egress, policy: &Policy) {
    let mut url = Some("/repos/terapi/bench/issues?state=all&per_page=100".to_owned());
    while let Some(next) = url {
        let request = Request { method: "GET".to_owned(), url: next, ..Request::default() };
        let response = egress.send(policy, request, &Unmetered).await.unwrap();
        let link = response.headers.iter().find(|(name, _)| name == "link").map(|(_, value)| value.as_str());
        url = link.map(|link| link.split_once('<').unwrap().1.split_once('>').unwrap().0.to_owned());
    }
}

fn policy(server: &Server, path: &str) -> Policy {
    Policy { base_url: Some(format!("{}{path}", server.url()).parse().unwrap()), ..server.policy() }
}

fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
