//! A canary beside guests that loop: reads of the API, starts of runs (from the request that asks for one until it has begun, in
//! whole milliseconds, as runs are noted), and whole runs, with the idle times beside them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use terapi::api;
use terapi::clock::{Clock as _, SystemClock};
use terapi::ids::{ConnectionName, Time};
use terapi::keys::Scopes;
use terapi::runtime::{Execution, Options, Runtime, Service, Upload};
use tokio_util::sync::CancellationToken;

use crate::measure::{at, figure, progress, sorted};
use crate::{asked, micros};

/// Guests that loop; the machine has two cores.
const LOOPS: usize = 4;
/// What loops may add to the 99th percentile, in milliseconds.
const GOAL_MS: f64 = 10.0;

/// The canary's times, in milliseconds.
struct Times {
    reads: Vec<f64>,
    starts: Vec<f64>,
    runs: Vec<f64>,
}

pub(crate) fn bench(threads: &tokio::runtime::Runtime, guest: &[u8]) {
    let rounds = asked("TERAPI_BENCH_ROUNDS", 1_000);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let (runtime, url, key) = threads.block_on(open(dir.path(), guest, &stop));
    let measure = || {
        // A thread of its own asks, as another process would: what it waits for is the service's two threads.
        let (url, key) = (url.clone(), key.clone());
        let asking = std::thread::spawn(move || {
            let threads = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            threads.block_on(canary(&url, &key, rounds))
        });
        asking.join().unwrap()
    };
    progress("the canary, idle");
    measure();
    let idle = measure();
    progress(&format!("the canary beside {LOOPS} guests that loop"));
    let cancel = CancellationToken::new();
    let loops = threads.block_on(async {
        let script = runtime.load(guest.to_vec()).await.unwrap();
        let mut loops = Vec::new();
        for nth in 0..LOOPS {
            let connection: ConnectionName = format!("loop-{nth}").parse().unwrap();
            let mut execution = Execution::new(Arc::clone(&script), connection);
            execution.config = json!({ "json_rounds": u32::MAX }).to_string();
            execution.limits.fuel = u64::MAX / 2;
            execution.cancel = cancel.clone();
            let runtime = runtime.clone();
            loops.push(tokio::spawn(async move { runtime.sync(execution).await.unwrap() }));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        loops
    });
    let beside = measure();
    cancel.cancel();
    threads.block_on(async {
        for run in loops {
            assert_eq!(run.await.unwrap().outcome.unwrap().code(), "cancelled");
        }
        stop.cancel();
    });
    for (name, idle, beside, goal) in [
        ("API read", &idle.reads, &beside.reads, true),
        ("start of a run", &idle.starts, &beside.starts, true),
        ("whole run", &idle.runs, &beside.runs, false),
    ] {
        for quantile in [0.5, 0.99] {
            let (quiet, busy) = (at(idle, quantile), at(beside, quantile));
            let percent = quantile * 100.0;
            figure(format!("sandbox/{name} beside {LOOPS} loops, p{percent}"), busy, "ms")
                .against("idle", quiet)
                .print();
            if quantile > 0.9 {
                let above =
                    figure(format!("sandbox/{name} beside {LOOPS} loops, p{percent} above idle"), busy - quiet, "ms");
                if goal { above.at_most(GOAL_MS) } else { above }.print();
            }
        }
    }
}

async fn open(dir: &std::path::Path, guest: &[u8], stop: &CancellationToken) -> (Runtime, String, String) {
    let options = Options { secrets_file: dir.join("secrets.key"), runs_at_once: 64, ..Options::default() };
    let service = Service::open(dir, options).unwrap();
    service.create_keyring().unwrap();
    let listener = api::serve::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = api::router(service.clone(), Arc::default(), stop.clone(), api::BodyLimits::default());
    let runtime = service.default_environment();
    let key = runtime.create_key("bench", Scopes::all(), None).await.unwrap().text.expose().to_owned();
    let serving = stop.clone();
    tokio::spawn(async move {
        let grace = Duration::from_secs(1);
        let api = api::serve::serve(listener, None, router, serving.clone(), grace, api::serve::Limits::default());
        let (served, ()) = tokio::join!(service.serve(serving.clone(), grace), api);
        served.unwrap();
    });
    runtime
        .put_integration(
            "api".parse().unwrap(),
            serde_json::from_value(json!({ "base_url": "https://example.com" })).unwrap(),
        )
        .await
        .unwrap();
    let connection = json!({ "name": "canary", "integration": "api" });
    runtime.create_connection(serde_json::from_value(connection).unwrap()).await.unwrap();
    let upload = Upload { name: Some("canary".parse().unwrap()), ..Upload::default() };
    runtime.deploy(guest.to_vec(), upload).await.unwrap();
    let sync = json!({ "script": "canary", "connection": "canary", "frequency": "never" });
    runtime.create_sync(serde_json::from_value(sync).unwrap()).await.unwrap();
    (runtime, url, key)
}

/// Asks the API and runs a sync that does nothing, in turn.
async fn canary(url: &str, key: &str, rounds: usize) -> Times {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (mut reads, mut starts, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let answer = client.get(format!("{url}/v1/syncs/canary/canary/base")).bearer_auth(key).send().await.unwrap();
        assert!(answer.status().is_success());
        answer.bytes().await.unwrap();
        reads.push(micros(start.elapsed()) / 1_000.0);
        let (start, asked) = (Instant::now(), SystemClock.now());
        let path = format!("{url}/v1/syncs/canary/canary/base/trigger");
        let body = json!({ "wait_seconds": 60 }).to_string();
        let request = client.post(path).bearer_auth(key).header("content-type", "application/json").body(body);
        let answer = request.send().await.unwrap().text().await.unwrap();
        runs.push(micros(start.elapsed()) / 1_000.0);
        let run = &serde_json::from_str::<serde_json::Value>(&answer).unwrap()["run"];
        assert_eq!(run["outcome"]["status"], "succeeded", "{answer}");
        let Time(began) = run["started_at"].as_str().unwrap().parse().unwrap();
        starts.push(began.since(asked) as f64);
    }
    Times { reads: sorted(reads), starts: sorted(starts), runs: sorted(runs) }
}
