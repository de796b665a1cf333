//! The service under many small syncs, and how fast a list is paged: `cargo bench --bench service`.
//!
//! Prints one JSON object a line: name, value, unit, the baseline beside it and the ratio, and the goal where there is
//! one. The API is a process of its own that takes 50 ms for each answer. `TERAPI_BENCH_CONNECTIONS` sets how many
//! connections there are (1,000), each with a sync every 30 s, and `TERAPI_BENCH_SECONDS` how long is measured (300), after
//! a first round of all; `TERAPI_BENCH_PYTHON` which Python does what the hand-written script would (`python3`).

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a bench may stop where it stands")]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

#[path = "../shared/measure.rs"]
mod measure;
#[path = "../shared/server.rs"]
mod server;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use terapi::demo;
use terapi::demo::api::{DemoApi, DemoApiOptions};
use terapi::egress::{Egress, Policy, Request};
use terapi::ids::{ConnectionName, SyncKey};
use terapi::run::Outcome;
use terapi::runtime::{Asked, IntegrationSpec, Once, Options, ProxyMeter, Runtime, Service, Upload};
use tokio_util::sync::CancellationToken;

use measure::{cpu, figure, progress, skipped};
use server::{SERVE, Server};

/// How long the API takes for each answer.
const LATENCY: Duration = Duration::from_millis(50);
/// Issues of the repository that is paged; 100 to a page.
const ISSUES: u64 = 20_000;
/// Issues of the repositories of which there are many.
const FEW_ISSUES: u64 = 50;
/// Pages of a repository.
const PAGES: f64 = 200.0;
/// In sequence a list may take this much more than its pages' latencies.
const SEQUENCE_GOAL: f64 = 1.05;
/// With pages ahead, this share of them.
const AHEAD_GOAL: f64 = 0.25;
/// Of a run that finds nothing new, in milliseconds.
const CPU_GOAL_MS: f64 = 2.0;
/// Of the time between when a run is due and when it starts, the 99th percentile, in milliseconds.
const DELAY_GOAL_MS: f64 = 1_024.0;
/// Bytes.
const MIB: f64 = 1_048_576.0;
/// Memory at the end against memory half-way, when caches have filled.
const MEMORY_GOAL: f64 = 1.1;

fn asked(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut serving = std::env::args().skip_while(|argument| argument != SERVE).skip(1);
    if let Some(issues) = serving.next() {
        threads.block_on(serve(issues.parse().unwrap()));
        return;
    }
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (server, small) = (Server::start_with(&[&ISSUES.to_string()]), Server::start_with(&[&FEW_ISSUES.to_string()]));
    threads.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let networks = vec!["127.0.0.0/8".parse().unwrap()];
        let secrets_file = dir.path().join("secrets.key");
        let options = Options { networks, secrets_file, runs_at_once: 64, ..Options::default() };
        let service = Service::open(dir.path(), options).unwrap();
        let runtime = service.default_environment();
        for (name, server) in [("large", &server), ("small", &small)] {
            let spec = json!({ "base_url": server.url(), "networks": ["127.0.0.0/8"] });
            let spec: IntegrationSpec = serde_json::from_value(spec).unwrap();
            runtime.put_integration(name.parse().unwrap(), spec).await.unwrap();
        }
        for name in ["github-issues", "recent-issues"] {
            runtime.deploy(demo::script(name).unwrap().to_vec(), Upload::default()).await.unwrap();
        }
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (service, stop) = (service.clone(), stop.clone());
            async move { service.serve(stop, Duration::from_secs(10)).await.unwrap() }
        });
        pages(&runtime, &server).await;
        many(&service, &runtime, &small).await;
        stop.cancel();
        serving.await.unwrap();
    });
}

/// The API, in a child process that ends when its standard input closes.
async fn serve(issues: u64) {
    let options = DemoApiOptions {
        issues,
        cheap_pages: true,
        now_ms: Some(1_790_000_000_000),
        latency: LATENCY,
        ..Default::default()
    };
    let api = DemoApi::start(options).await.unwrap();
    println!("{}", api.url());
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
}

async fn connect(runtime: &Runtime, integration: &str, name: &str) -> ConnectionName {
    let spec = json!({ "name": name, "integration": integration });
    runtime.create_connection(serde_json::from_value(spec).unwrap()).await.unwrap().name
}

async fn add(
    runtime: &Runtime,
    script: &str,
    connection: &ConnectionName,
    frequency: &str,
    config: serde_json::Value,
) -> SyncKey {
    let spec = json!({ "script": script, "connection": connection, "frequency": frequency, "config": config });
    runtime.create_sync(serde_json::from_value(spec).unwrap()).await.unwrap().sync.key
}

/// A list of 200 pages, one after the other and with pages ahead.
async fn pages(runtime: &Runtime, server: &Server) {
    let ideal = PAGES * LATENCY.as_secs_f64();
    progress("200 pages fetched by a native client that does nothing with them");
    let bare = fetched(server).await;
    figure("service/200 pages fetched and thrown away", bare, "s").against("pages × latency", ideal).print();
    let connection = connect(runtime, "large", "pages").await;
    let years = json!({ "repository": "acme/widgets", "days": 20_000 });
    for (name, script, config, goal) in [
        ("in sequence", "github-issues", json!({ "repository": "acme/widgets" }), SEQUENCE_GOAL),
        ("with pages ahead", "recent-issues", years, AHEAD_GOAL),
    ] {
        progress(&format!("200 pages {name}"));
        let sync = add(runtime, script, &connection, "never", config).await;
        let start = Instant::now();
        let ended = runtime.trigger(&sync, Once::default(), Duration::from_mins(2)).await.unwrap();
        let took = start.elapsed().as_secs_f64();
        let Asked::Ended(run) = ended else { panic!("the run did not end") };
        assert_eq!(run.outcome, Some(Outcome::Succeeded));
        assert!(run.usage.http_requests >= 200, "{:?}", run.usage);
        figure(format!("service/200 pages {name}"), took, "s")
            .against("pages × latency", ideal)
            .ratio_at_most(goal)
            .print();
        figure(format!("service/200 pages {name}, beside a native client"), took, "s")
            .against("fetched and thrown away", bare)
            .print();
    }
}

/// How long a native client takes for the same pages, one after the other, in seconds.
async fn fetched(server: &Server) -> f64 {
    let policy = Policy { account: None, ..server.policy() };
    let egress = Egress::new().unwrap();
    let start = Instant::now();
    for page in 1..=200 {
        let url = format!("/repos/acme/widgets/issues?state=all&per_page=100&page={page}");
        let request = Request { method: "GET".to_owned(), url, ..Request::default() };
        let answer = egress.send(&policy, request, &ProxyMeter::default()).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    start.elapsed().as_secs_f64()
}

/// Many connections with a sync every 30 s that finds nothing new.
async fn many(service: &Service, runtime: &Runtime, server: &Server) {
    let connections = asked("TERAPI_BENCH_CONNECTIONS", 1_000);
    let seconds = asked("TERAPI_BENCH_SECONDS", 300);
    progress(&format!("{connections} connections: first runs"));
    let before = service.figures().started;
    let config = json!({ "repository": "acme/widgets" });
    for number in 0..connections {
        let connection = connect(runtime, "small", &format!("account-{number}")).await;
        add(runtime, "github-issues", &connection, "every 30 seconds", config.clone()).await;
    }
    let deadline = Instant::now() + Duration::from_mins(5);
    while service.figures().started - before < connections * 2 || service.figures().running > 0 {
        assert!(Instant::now() < deadline, "the first round does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    progress(&format!("measuring for {seconds} s"));
    let (started, delays, used, memory) = (service.figures().started, service.start_delays(), cpu(), rss());
    tokio::time::sleep(Duration::from_secs(seconds) / 2).await;
    let half_way = rss();
    tokio::time::sleep(Duration::from_secs(seconds) / 2).await;
    let runs = service.figures().started - started;
    let used = cpu().saturating_sub(used);
    let after = service.start_delays();
    let delays: Vec<u64> = after.iter().zip(delays).map(|(after, before)| after - before).collect();
    let wanted = connections as f64 * seconds as f64 / 30.0;
    figure("service/runs", runs as f64, "runs").against("due", wanted).ratio_at_least(0.98).print();
    figure("service/start delay p99, below", percentile(&delays, 0.99), "ms").at_most(DELAY_GOAL_MS).print();
    let cpu_ms = used.as_secs_f64() * 1_000.0 / runs as f64;
    let cpu_figure = figure("service/CPU of a run with nothing new", cpu_ms, "ms").at_most(CPU_GOAL_MS);
    if let Some(script_ms) = script(server) {
        cpu_figure.against("a hand-written Python script", script_ms).print();
    } else {
        skipped("a hand-written Python script", "there is no python3: set TERAPI_BENCH_PYTHON");
        cpu_figure.print();
    }
    figure("service/memory half-way", half_way / MIB, "MiB").against("after the first round", memory / MIB).print();
    figure("service/memory at the end", rss() / MIB, "MiB")
        .against("half-way", half_way / MIB)
        .ratio_at_most(MEMORY_GOAL)
        .print();
    let failed = runtime.syncs(None, None, usize::MAX).await.unwrap();
    let failed = failed.iter().filter(|sync| sync.plan.failures > 0).count();
    assert_eq!(failed, 0, "some syncs failed");
}

/// The bound of the class below which so much of the runs lie: classes are below 1, 2, 4 … ms.
fn percentile(classes: &[u64], share: f64) -> f64 {
    let total: u64 = classes.iter().sum();
    let mut seen = 0;
    for (class, count) in classes.iter().enumerate() {
        seen += count;
        if seen as f64 >= total as f64 * share {
            return f64::from(1_u32 << class);
        }
    }
    f64::INFINITY
}

/// What this process has in memory, in bytes.
fn rss() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) * 1_024.0
}

/// CPU of the script that one would write instead, in milliseconds: the second run, which finds nothing new.
fn script(server: &Server) -> Option<f64> {
    let python = std::env::var("TERAPI_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let dir = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/service/nothing_new.py");
    let mut used = None;
    for _ in 0..5 {
        let child = Command::new(&python)
            .arg(&path)
            .arg(format!("{}/repos/acme/widgets/issues", server.url()))
            .arg(dir.path().join("issues.db"))
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let ended = measure::wait(child);
        assert!(ended.status.success(), "the script failed");
        used = Some(ended.cpu.as_secs_f64() * 1_000.0);
    }
    used
}
