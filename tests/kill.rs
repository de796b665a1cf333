//! kill -9 at random moments of a sync: nothing that the script was told is saved is lost, nothing is doubled or out of
//! order, and the next run completes.
//!
//! The script asks for page n + 1 only after page n was saved, so the API knows what the store must have.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use terapi::demo;
use terapi::demo::api::{DemoApi, DemoApiOptions};
use terapi::ids::{StreamKey, Variant};
use terapi::store::embedded::{EmbeddedStore, StoreOptions};
use terapi::store::{Action, ChangesQuery, RunsQuery, Store as _};

const KILLS: usize = 50;
const ISSUES: u64 = 3_000;
const PAGES: u64 = ISSUES / 100;
/// Of ten issues of the demo's API two are pull requests.
const RECORDS_A_PAGE: usize = 80;

/// What the app knows: the records it has, and how far it has read.
#[derive(Default)]
struct App {
    records: BTreeMap<String, String>,
    cursor: Option<String>,
    last_sequence: u64,
}

impl App {
    fn read(&mut self, dir: &Path) {
        let store = EmbeddedStore::open(dir, &StoreOptions::default()).unwrap();
        let stream = stream();
        loop {
            let query = ChangesQuery { cursor: self.cursor.clone(), limit: 700, ..Default::default() };
            let page = store.changes(&stream, &query).unwrap();
            for change in page.changes {
                assert!(change.sequence > self.last_sequence, "out of order or doubled: {change:?}");
                self.last_sequence = change.sequence;
                match change.action {
                    Action::Added => {
                        let known = self.records.insert(change.id, change.data);
                        assert_eq!(known, None, "added twice");
                    }
                    Action::Updated => {
                        let known = self.records.insert(change.id, change.data);
                        assert!(known.is_some(), "updated, but never added");
                    }
                    Action::Deleted => assert!(self.records.remove(&change.id).is_some(), "deleted, but never added"),
                }
            }
            self.cursor = Some(page.cursor);
            if !page.more {
                break;
            }
        }
        // The index and the feed tell the same.
        let ids: Vec<String> = self.records.keys().cloned().collect();
        let entries = store.get(&stream, None, &ids).unwrap();
        assert_eq!(entries.len(), ids.len());
        for entry in entries {
            assert_eq!(self.records[&entry.id], entry.data);
        }
        let live: u64 = store.streams().unwrap().iter().map(|info| info.live).sum();
        assert_eq!(live, self.records.len() as u64, "records that no reader was told of");
    }
}

fn stream() -> StreamKey {
    StreamKey { connection: "acme".parse().unwrap(), model: "Issue".parse().unwrap(), variant: Variant::default() }
}

fn start(data: &Path, script: &Path, url: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_terapi"))
        .arg("run")
        .arg(script)
        .args(["--connection", "acme", "--config", r#"{"repository": "a/b"}"#, "--json"])
        .args(["--base-url", url, "--allow-host", url, "--allow-network", "127.0.0.0/8", "--data-dir"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_sync_killed_fifty_times_loses_nothing_and_the_next_run_completes() {
    let seed = std::env::var("TERAPI_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x7e2a_9115_u64);
    eprintln!("seed {seed} (set TERAPI_SEED to repeat)");
    let mut random = StdRng::seed_from_u64(seed);
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = DemoApiOptions { issues: ISSUES, now_ms: Some(1_790_000_000_000), ..Default::default() };
    let api = server.block_on(DemoApi::start(options)).unwrap();
    let url = api.url();
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("large-dataset.wasm");
    std::fs::write(&script, demo::script("large-dataset").unwrap()).unwrap();
    let data = dir.path().join("data");
    let mut app = App::default();
    let mut most_pages = 0;

    for kill in 0..KILLS {
        // A few changes a round, so that updates are under way too.
        for _ in 0..random.random_range(0..20) {
            let number = random.random_range(1..=ISSUES);
            api.update_issue(number, |issue| issue.title = format!("Changed before kill {kill}"));
        }
        let before = api.requests_served();
        let until = random.random_range(1..=PAGES);
        let mut child = start(&data, &script, &url);
        let patience = Instant::now();
        while api.requests_served() - before < until && child.try_wait().unwrap().is_none() {
            assert!(patience.elapsed() < Duration::from_mins(1), "the run neither goes on nor ends");
            std::thread::yield_now();
        }
        // Somewhere between asking for one page and saving the next.
        std::thread::sleep(Duration::from_micros(random.random_range(0..3_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        most_pages = most_pages.max(api.requests_served() - before);

        app.read(&data);
        let saved = usize::try_from(most_pages - 1).unwrap() * RECORDS_A_PAGE;
        assert!(
            app.records.len() >= saved,
            "kill {kill}: page {most_pages} was asked for, so {saved} records were saved, but there are {}",
            app.records.len()
        );
        // No batch by halves; the last run may have reached its end.
        assert_eq!(app.records.len() % RECORDS_A_PAGE, 0, "kill {kill}: half a batch");
    }

    let done = start(&data, &script, &url).wait_with_output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let run: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(run["outcome"]["status"], "succeeded");
    app.read(&data);
    assert_eq!(app.records.len(), usize::try_from(PAGES).unwrap() * RECORDS_A_PAGE);
    let store = EmbeddedStore::open(&data, &StoreOptions::default()).unwrap();
    let runs = store.runs(&RunsQuery::newest(1_000)).unwrap().runs;
    let interrupted =
        runs.iter().filter(|run| run.outcome.as_ref().is_some_and(|it| it.code() == "interrupted")).count();
    assert!(interrupted >= KILLS / 2, "only {interrupted} runs were noted as interrupted");
}
