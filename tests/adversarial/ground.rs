//! Where the cases take place: `terapi serve` as a process, one an area, with an external API beside it and a canary: a sync and
//! a read that nobody attacks.
//!
//! After each case: the process lives and answers; the canary's sync and read take no longer than twice their idle time, and a
//! tenth of a second; the memory is back within 32 MiB of before; descriptors, tasks and temporary files are as many as before;
//! the log names exactly the limits that the case says it ran into; and no secret is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::matrix;
use crate::service::api::{Account, ItemsApi};
use crate::service::client::Client;
use crate::service::server::{self, Process};
use crate::service::{PATIENCE, THREADS, until};

/// What the memory of the process may have grown by after a case.
const MAX_GROWTH: u64 = 32 << 20;
/// How long it may take to be as before.
const RECOVERY: Duration = Duration::from_secs(30);
/// Besides twice the idle time, for a machine that does something else just then.
const SLACK: Duration = Duration::from_millis(100);
/// What the canary's credential is, and must never be seen in a log or an answer.
const SECRET: &str = "canary-secret-8b1f04e7c2";

/// An area's server.
pub(super) struct Ground {
    /// The service's process.
    pub(super) process: Process,
    /// May do everything in the environment `default`.
    pub(super) client: Client,
    /// The canary's external API, which cases may use for accounts of their own.
    pub(super) api: ItemsApi,
    /// The data directory.
    pub(super) data: PathBuf,
    metrics: String,
    idle: Duration,
}

/// What is counted before and after.
#[derive(Debug)]
struct Figures {
    memory: u64,
    /// The same by what it is of.
    #[expect(dead_code, reason = "shown where a case fails")]
    shares: String,
    /// What they are of.
    descriptors: Vec<String>,
    tasks: u64,
    temporary_files: usize,
}

/// One that cases take turns on, once there is one.
type Shared = Arc<Mutex<Option<Ground>>>;

static GROUNDS: LazyLock<std::sync::Mutex<BTreeMap<&'static str, Shared>>> = LazyLock::new(std::sync::Mutex::default);

/// Notes how a case ended, also if it panics.
struct Ending(&'static str);

impl Drop for Ending {
    fn drop(&mut self) {
        matrix::ended(self.0, !std::thread::panicking());
    }
}

/// A case on the server of its area. `test` returns the codes of the limits that it ran into, as often as it did, and the
/// log has to name just those. Cases of an area take turns.
pub(super) fn case(id: &'static str, test: impl AsyncFnOnce(&Ground) -> Vec<&'static str>) {
    prepared_case(id, async |_| {}, test);
}

/// The same with something to do first that is none of the case: what it leaves is there before and after.
pub(super) fn prepared_case(
    id: &'static str,
    prepare: impl AsyncFnOnce(&Ground),
    test: impl AsyncFnOnce(&Ground) -> Vec<&'static str>,
) {
    let _ending = Ending(id);
    THREADS.block_on(async {
        let place = Arc::clone(GROUNDS.lock().unwrap().entry(matrix::area_of(id)).or_default());
        let mut place: MutexGuard<'_, Option<Ground>> = place.lock().await;
        // After a case that failed, the next gets a new one.
        let ground = match place.take() {
            Some(ground) => ground,
            None => start(matrix::area_of(id)).await,
        };
        prepare(&ground).await;
        ground.check(id, test).await;
        *place = Some(ground);
    });
}

/// An area's server.
async fn start(area: &str) -> Ground {
    if area != "egress" {
        return Ground::start(&[]).await;
    }
    let ground = Ground::start(&super::egress::settings().await).await;
    super::egress::warm_up(&ground).await;
    ground
}

/// A case that is tested through the library's doors: millions of inputs, or what only a simulated clock or disk can do.
pub(super) fn library_case(id: &'static str, test: impl FnOnce()) {
    // Only what is listed is counted.
    matrix::area_of(id);
    let _ending = Ending(id);
    test();
}

impl Ground {
    /// A server with these settings besides, for a case that needs one of its own.
    pub(super) async fn start(settings: &[(&str, &str)]) -> Self {
        // For as long as the process lives.
        let dir = Box::leak(Box::new(tempfile::tempdir().unwrap()));
        let data = dir.path().join("data");
        let key = server::init(&data);
        let mut all = vec![
            ("TERAPI_LOG_FORMAT", "json"),
            ("TERAPI_SERVER_METRICS_LISTEN", "127.0.0.1:0"),
            // What an attacker would like to be used, and nobody uses.
            ("HTTP_PROXY", "http://127.0.0.1:9"),
            ("ALL_PROXY", "http://127.0.0.1:9"),
        ];
        all.extend_from_slice(settings);
        let process = Process::start(&data, &all);
        let client = Client::unpooled(&process.url, &key);
        let metrics = process.metrics.clone().expect("it serves metrics");
        let api = ItemsApi::start().await;
        // How many connections a pool keeps is a matter of moments, and none of a leak.
        api.close_connections();
        api.put("canary", Account::of("canary", 5, 10));
        let mut integration = crate::service::integration(&api);
        integration["auth"] = json!({ "type": "api-key-header", "name": "x-api-key" });
        client.put("/v1/integrations/items", &integration).await.ok();
        client.upload("paged", "integration=items").await.ok();
        let credential = json!({ "type": "api-key", "key": SECRET });
        crate::service::connect(&client, &api, "canary", credential).await;
        let mut ground = Self { process, client, api, data, metrics, idle: Duration::MAX };
        for _ in 0..3 {
            ground.canary().await;
        }
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(ground.canary().await);
        }
        times.sort_unstable();
        ground.idle = times[times.len() / 2];
        ground
    }

    /// Runs the case and checks what must hold after each.
    pub(super) async fn check(&self, id: &str, test: impl AsyncFnOnce(&Self) -> Vec<&'static str>) {
        self.check_panicking(id, test).await;
        let log = std::fs::read_to_string(&self.process.log).unwrap();
        assert!(!log.contains("panicked at"), "{id}: something panicked: {log}");
    }

    /// The same where something is to panic.
    pub(super) async fn check_panicking(&self, id: &str, test: impl AsyncFnOnce(&Self) -> Vec<&'static str>) {
        self.canary().await;
        let (before, log) = (self.figures().await, self.process.log_size());
        let mut expected = test(self).await;
        self.is_as_before(id, &before).await;
        expected.sort_unstable();
        let limits = until(&format!("{id}: the log names {expected:?}"), async || {
            let mut limits = self.limits_since(log);
            limits.sort_unstable();
            (limits.len() >= expected.len()).then_some(limits)
        })
        .await;
        assert_eq!(limits, expected, "{id}: limits in the log");
        let log = std::fs::read_to_string(&self.process.log).unwrap();
        assert!(!log.contains(SECRET), "{id}: the credential is in the log");
        assert!(!log.contains(&self.client.key), "{id}: the API key is in the log");
    }

    async fn is_as_before(&self, id: &str, before: &Figures) {
        let start = Instant::now();
        loop {
            let (now, canary) = (self.figures().await, self.canary().await);
            let mut wrong = Vec::new();
            if now.memory > before.memory + MAX_GROWTH {
                wrong.push("memory");
            }
            if now.descriptors.len() > before.descriptors.len() {
                wrong.push("descriptors");
            }
            if now.tasks > before.tasks {
                wrong.push("tasks");
            }
            if now.temporary_files > before.temporary_files {
                wrong.push("temporary files");
            }
            if canary > self.idle * 2 + SLACK {
                wrong.push("the canary");
            }
            if wrong.is_empty() {
                return;
            }
            assert!(
                start.elapsed() < RECOVERY,
                "{id}: not as before: {wrong:?}: {before:?}, then {now:?}; canary {canary:?}, idle {:?}",
                self.idle
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One run of the canary's sync and one read of its records: how long both took.
    pub(super) async fn canary(&self) -> Duration {
        let start = Instant::now();
        let path = "/v1/syncs/canary/paged/base/trigger";
        let answer = self.client.post(path, &json!({ "wait_seconds": 60 })).await.ok();
        assert_eq!(answer["run"]["outcome"]["status"], "succeeded", "the canary's sync: {answer}");
        let page = self.client.get("/v1/connections/canary/records/Item").await.ok();
        assert_eq!(page["records"].as_array().map(Vec::len), Some(5), "the canary's records: {page}");
        start.elapsed()
    }

    /// Ends the process; what it left behind stays.
    pub(super) async fn stop(&mut self) {
        self.process.terminate();
        until("it ends", async || self.process.has_ended().then_some(())).await;
    }

    async fn figures(&self) -> Figures {
        let proc = PathBuf::from(format!("/proc/{}", self.process.pid()));
        let status = std::fs::read_to_string(proc.join("status")).expect("the process lives");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = resident.trim().trim_end_matches(" kB").trim().parse().unwrap();
        let shares: Vec<&str> = status.lines().filter(|line| line.starts_with("Rss")).collect();
        let metrics = reqwest_text(&self.client, &self.metrics).await;
        let tasks = metrics.lines().find_map(|line| line.strip_prefix("terapi_tasks ")).unwrap();
        Figures {
            memory: kilobytes << 10,
            shares: shares.join(", ").replace(['\t', ' '], ""),
            descriptors: descriptors(&proc, &self.data),
            tasks: tasks.trim().parse().unwrap(),
            temporary_files: temporary_files(&self.data),
        }
    }

    /// Limits that the log named from there on.
    pub(super) fn limits_since(&self, place: u64) -> Vec<String> {
        let log = std::fs::read(&self.process.log).unwrap();
        let log = String::from_utf8_lossy(&log[usize::try_from(place).unwrap()..]).into_owned();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line["fields"]["limit"].as_str().map(str::to_owned)).collect()
    }

    /// The address of the service's figures.
    pub(super) fn metrics(&self) -> &str {
        &self.metrics
    }

    /// The resident memory of the process, in bytes.
    pub(super) async fn memory(&self) -> u64 {
        self.figures().await.memory
    }

    /// What runs and actions under way may use of memory together, in bytes.
    pub(super) async fn admitted(&self) -> u64 {
        let metrics = reqwest_text(&self.client, &self.metrics).await;
        let line = metrics.lines().find_map(|line| line.strip_prefix("terapi_runs_memory_bytes "));
        line.expect("it is told").trim().parse().unwrap()
    }

    /// Runs a script that is deployed under this name on a connection of its own, and returns the run.
    pub(super) async fn run(&self, script: &str, connection: &str) -> Value {
        let path = format!("/v1/syncs/{connection}/{script}/base/trigger");
        let answer = self.client.post(&path, &json!({ "wait_seconds": 60 })).await.ok();
        assert!(answer["run"].is_object(), "the run did not end: {answer}");
        answer["run"].clone()
    }
}

async fn reqwest_text(client: &Client, url: &str) -> String {
    let asking = client.send(client.plain(url));
    tokio::time::timeout(PATIENCE, asking).await.expect("it answers").text
}

/// Sockets and pipes without their numbers, files by name. Not those of the data directory, whose files come and go as the store
/// keeps house and stay mapped while a script is loaded, and not memory images of scripts, one for each that is loaded.
fn descriptors(proc: &Path, data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(proc.join("fd")).unwrap().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let targets = targets.filter(|target| !target.starts_with(data));
    let mut found: Vec<String> = targets
        .filter(|target| !target.to_string_lossy().starts_with("/memfd:"))
        .map(|target| target.to_string_lossy().trim_end_matches(|c: char| "[]0123456789".contains(c)).to_owned())
        .collect();
    found.sort_unstable();
    found
}

fn temporary_files(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            count += temporary_files(&path);
        } else {
            count += usize::from(path.extension().is_some_and(|ending| ending == "tmp"));
        }
    }
    count
}
