//! Reading changes over HTTP: `cargo bench --bench read`.
//!
//! Prints one JSON object a line: name, value, unit, the baseline beside it and the ratio, and the goal where there is
//! one. The API is served in this process, which is what is charged; its client is a process of its own. The records are
//! those of the bench `store`, about 1.5 KB each. `TERAPI_BENCH_RECORDS` sets how many the larger of two streams has
//! (1,000,000).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may stop where it stands")]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

#[path = "../shared/measure.rs"]
mod measure;
#[path = "../store/records.rs"]
#[expect(unreachable_pub, reason = "elsewhere it is a library")]
mod records;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use terapi::api::{self, metrics::Metrics, serve};
use terapi::ids::{ModelName, RunId, StreamKey, SyncKey, Timestamp};
use terapi::keys::Scopes;
use terapi::run::{Changes, Outcome, Run, RunKind, Usage};
use terapi::runtime::{Options, Runtime, Service};
use terapi::store::{ChangesQuery, DeleteGuard, Entry, ModelRule, RunStart, Store};
use tokio_util::sync::CancellationToken;

use measure::{cpu, figure, median, progress, records_asked};

/// The first argument of the client.
const CLIENT: &str = "--client";
/// Records of the smaller stream.
const SMALL: u64 = 20_000;
/// Records a page.
const PAGE: usize = 100;
/// Of one page, in milliseconds, in the median.
const PAGE_GOAL_MS: f64 = 1.0;
/// Records a CPU second of the server.
const RATE_GOAL: f64 = 150_000.0;
/// A large stream may be read at no less than this share of a small one's rate.
const SCALE_GOAL: f64 = 0.8;
/// Pages that are read of each stream, so that both are read alike often.
const PAGES: u64 = 2_000;

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != CLIENT).skip(1);
    if let (Some(address), Some(key), Some(connection)) = (arguments.next(), arguments.next(), arguments.next()) {
        client(&address, &key, &connection);
        return;
    }
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let large = records_asked(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let options = Options { secrets_file: dir.path().join("secrets.key"), ..Options::default() };
    let service = Service::open(dir.path(), options).unwrap();
    let runtime = service.default_environment();
    for (connection, count) in [("small", SMALL), ("large", large)] {
        progress(&format!("saving {count} records"));
        fill(&**runtime.store(), connection, count);
    }
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (address, key) = threads.block_on(up(&service, &runtime));
    let mut rates = Vec::new();
    for connection in ["small", "large"] {
        progress(&format!("reading {connection}"));
        let bare = bare(&**runtime.store(), connection);
        let (read, latencies, used) = over_http(&address, &key, connection);
        let rate = read as f64 / used.as_secs_f64();
        let p50 = median(&latencies);
        figure(format!("read/{connection}/page p50"), p50 * 1_000.0, "ms").at_most(PAGE_GOAL_MS).print();
        figure(format!("read/{connection}/records a CPU second"), rate, "records/s")
            .against("the store alone", bare)
            .at_least(RATE_GOAL)
            .print();
        rates.push(rate);
    }
    figure("read/large against small", rates[1], "records/s")
        .against("small", rates[0])
        .ratio_at_least(SCALE_GOAL)
        .print();
}

fn stream(connection: &str) -> StreamKey {
    let model: ModelName = "Issue".parse().unwrap();
    StreamKey { connection: connection.parse().unwrap(), model, variant: "base".parse().unwrap() }
}

fn fill(store: &dyn Store, connection: &str, count: u64) {
    let now = Timestamp(1_790_000_000_000);
    let sync = SyncKey {
        script: "bench".parse().unwrap(),
        connection: connection.parse().unwrap(),
        variant: "base".parse().unwrap(),
    };
    let mut run = Run {
        id: RunId::new(now),
        kind: RunKind::Sync,
        sync,
        script: terapi::ids::ScriptHash::of(b""),
        started_at: now,
        ended_at: None,
        outcome: None,
        usage: Usage::default(),
        changes: Changes::default(),
    };
    let lease = store.begin_run(RunStart { run: run.clone(), lease_ms: u64::MAX / 4, refreshes: Vec::new() }).unwrap();
    let rule = ModelRule { name: "Issue".parse().unwrap(), ignore: Vec::new() };
    for first in (0..count).step_by(PAGE) {
        let entry = |number: u64| {
            let id = records::id(number).to_string();
            let mut data = String::new();
            records::write_issue(&mut data, &format!("\"{id}\""), number, 0);
            Entry { id, data }
        };
        let batch: Vec<_> = (first..(first + PAGE as u64).min(count)).map(entry).collect();
        store.save(&lease, &rule, &batch, now).unwrap();
    }
    run.outcome = Some(Outcome::Succeeded);
    store.finish_run(&lease, &mut run, &DeleteGuard::default()).unwrap();
}

async fn up(service: &Service, runtime: &Runtime) -> (String, String) {
    let key = runtime.create_key("bench", Scopes::all(), None).await.unwrap();
    let stop = CancellationToken::new();
    let router = api::router(service.clone(), Arc::new(Metrics::default()), stop.clone(), api::BodyLimits::default());
    let listener = serve::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve::serve(listener, None, router, stop, Duration::ZERO, serve::Limits::default()));
    (address, key.text.expose().to_owned())
}

/// Records a CPU second that the store reads alone.
fn bare(store: &dyn Store, connection: &str) -> f64 {
    let stream = stream(connection);
    let (start, mut read, mut cursor) = (cpu(), 0, None);
    for _ in 0..PAGES {
        let query = ChangesQuery { cursor: cursor.take(), limit: PAGE, ..ChangesQuery::default() };
        let page = store.changes(&stream, &query).unwrap();
        read += page.changes.len();
        cursor = page.more.then_some(page.cursor);
    }
    read as f64 / cpu().saturating_sub(start).as_secs_f64()
}

/// Records read, how long each page took in seconds, and what the server used.
fn over_http(address: &str, key: &str, connection: &str) -> (u64, Vec<f64>, Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([CLIENT, address, key, connection])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // It has warmed up.
    lines.next().unwrap().unwrap();
    let start = cpu();
    writeln!(child.stdin.as_mut().unwrap(), "go").unwrap();
    let read: u64 = lines.next().unwrap().unwrap().parse().unwrap();
    let used = cpu().saturating_sub(start);
    let latencies = lines.map(|line| line.unwrap().parse().unwrap()).collect();
    assert!(child.wait().unwrap().success());
    (read, latencies, used)
}

/// Reads pages one after the other over one connection, as an app does.
fn client(address: &str, key: &str, connection: &str) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::with_capacity(1 << 20, stream.try_clone().unwrap());
    let mut writer = stream;
    let mut cursor = None;
    let mut body = Vec::new();
    for _ in 0..50 {
        cursor = page(&mut writer, &mut reader, key, connection, cursor, &mut body).1;
    }
    println!("warm");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let (mut read, mut latencies) = (0, Vec::new());
    for _ in 0..PAGES {
        let start = Instant::now();
        let (count, next) = page(&mut writer, &mut reader, key, connection, cursor, &mut body);
        latencies.push(start.elapsed().as_secs_f64());
        read += count;
        cursor = next;
    }
    println!("{read}");
    for latency in latencies {
        println!("{latency}");
    }
}

/// One page: how many records, and the cursor if there is more.
fn page(
    writer: &mut TcpStream,
    reader: &mut BufReader<TcpStream>,
    key: &str,
    connection: &str,
    cursor: Option<String>,
    body: &mut Vec<u8>,
) -> (u64, Option<String>) {
    let cursor = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
    let request = format!(
        "GET /v1/connections/{connection}/records/Issue?limit={PAGE}{cursor} HTTP/1.1\r\nHost: bench\r\n\
         Authorization: Bearer {key}\r\n\r\n"
    );
    writer.write_all(request.as_bytes()).unwrap();
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    body.resize(length, 0);
    reader.read_exact(body).unwrap();
    let text = std::str::from_utf8(body).unwrap();
    // What follows the records; the records themselves are counted by a field that each has once.
    let (_, end) = text.rsplit_once("],\"cursor\":\"").unwrap();
    let (cursor, rest) = end.split_once('"').unwrap();
    let count = text.matches("\"last_action\":").count() as u64;
    (count, rest.contains("true").then(|| cursor.to_owned()))
}
