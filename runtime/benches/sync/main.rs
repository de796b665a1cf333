//! A sync from end to end, beside the script that one would write instead: `cargo bench --bench sync`.
//!
//! Prints one JSON object a line: name, value, unit, the baseline of the same run with the ratio to it, and the goal
//! where there is one. Both sides are processes of their own (`terapi run` with the example script on fuel, and
//! `script.py`), fetch the same pages from the same API, a third process, and are charged with all the CPU of their
//! lives, start and compiling included. `TERAPI_BENCH_RECORDS` sets how many records the API has (200,000),
//! `TERAPI_BENCH_PYTHON` which Python runs the script (`python3`); without one that has httpx and orjson the
//! comparison is skipped, and says so.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench may stop where it stands"
)]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

mod api;
#[path = "../shared/full_sync.rs"]
mod full_sync;
#[path = "../shared/measure.rs"]
mod measure;
#[path = "../store/records.rs"]
#[expect(unreachable_pub, reason = "elsewhere it is a library")]
mod records;
#[path = "../shared/server.rs"]
mod server;

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Deserialize;
use terapi::demo;

use full_sync::{Page, build_guest, full_sync};
use measure::{Figure, figure, median, progress, records_asked, skipped};
use server::{SERVE, Server};

/// Each side does its syncs so often, in turn; the median counts.
const ROUNDS: usize = 3;
/// A run with nothing new is short, so it is done so often.
const NOTHING_NEW_ROUNDS: usize = 20;
/// Of the first full sync, the CPU may be this share of the script's.
const FIRST_GOAL: f64 = 1.0 / 2.2;
/// The same for a full refresh with changes and deletions.
const REFRESH_GOAL: f64 = 1.0 / 4.0;
/// For a run with nothing new, of wall time as of CPU, in milliseconds.
const NOTHING_NEW_GOAL: f64 = 20.0;

fn main() {
    let records = records_asked(200_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().any(|arg| arg == SERVE) {
        runtime.block_on(api::serve(records));
        return;
    }
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let mut server = Server::start();
    let script = Script::find();
    let page = beside_the_script(records, &mut server, script.as_ref());
    progress("the parts of a full sync");
    server.tell(api::FIRST);
    runtime.block_on(full_sync(&build_guest(), &server.policy(), 1, page));
}

// --- the two sides -----------------------------------------------------------------------------------------------

/// What a sync said that it did; `terapi run --json` and the script say it alike.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Changes {
    added: u64,
    updated: u64,
    unchanged: u64,
    deleted: u64,
}

/// What a process took, in seconds and bytes, and what it wrote.
struct Took {
    cpu: f64,
    wall: f64,
    peak_rss: u64,
    output: Vec<u8>,
}

fn took(command: &mut Command) -> Took {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    let ended = measure::wait(child);
    let wall = start.elapsed().as_secs_f64();
    assert!(ended.status.success(), "{command:?}: {}\n{}", ended.status, String::from_utf8_lossy(&output));
    Took { cpu: ended.cpu.as_secs_f64(), wall, peak_rss: ended.peak_rss, output }
}

/// Terapi, with a data directory of its own.
struct Terapi<'a> {
    dir: tempfile::TempDir,
    server: &'a str,
}

impl<'a> Terapi<'a> {
    fn new(server: &'a str) -> Self {
        let this = Self { dir: tempfile::tempdir().unwrap(), server };
        for script in ["large-dataset", "github-issues"] {
            let file = this.dir.path().join(format!("{script}.wasm"));
            std::fs::write(&file, demo::script(script).unwrap()).unwrap();
            took(this.command().args(["script", "add"]).arg(file));
        }
        this
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terapi"));
        command.arg("--data-dir").arg(self.dir.path().join("data")).arg("--json");
        command
    }

    fn run(&self, script: &str, repository: &str) -> Took {
        let mut command = self.command();
        command.args(["run", script, "--connection", "bench", "--base-url", self.server, "--allow-host", self.server]);
        command.args(["--allow-network", "127.0.0.0/8", "--fuel", "100000G"]);
        command.args(["--config", &format!(r#"{{"repository": "terapi/{repository}"}}"#)]);
        took(&mut command)
    }
}

/// The script, with a database of its own.
struct Script {
    python: String,
}

impl Script {
    fn find() -> Option<Self> {
        let python = std::env::var("TERAPI_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let check = Command::new(&python).args(["-c", "import httpx, orjson, sqlite3"]).output();
        let why = match check {
            Ok(output) if output.status.success() => return Some(Self { python }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned(),
            Err(error) => error.to_string(),
        };
        let why = format!("{python}: {why}; name a Python with httpx and orjson in TERAPI_BENCH_PYTHON");
        skipped("sync, the script beside it", &why);
        None
    }

    fn run(&self, mode: &str, dir: &Path, server: &str, repository: &str) -> Took {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sync/script.py");
        let url = format!("{server}/repos/terapi/{repository}/issues");
        took(Command::new(&self.python).arg(script).arg(mode).arg(dir.join("records.sqlite")).arg(url))
    }
}

// --- side by side ------------------------------------------------------------------------------------------------

/// What all rounds of one sync took.
#[derive(Default)]
struct Rounds(Vec<Took>);

impl Rounds {
    fn median(&self, of: impl Fn(&Took) -> f64) -> f64 {
        median(&self.0.iter().map(of).collect::<Vec<_>>())
    }

    /// Adds a round, after checking that the sync did what was to be done.
    fn push(&mut self, took: Took, changes: &Changes, expected: &Changes) {
        assert_eq!(changes, expected);
        self.0.push(took);
    }
}

/// The three syncs of one side.
#[derive(Default)]
struct Side {
    first: Rounds,
    refresh: Rounds,
    nothing_new: Rounds,
}

/// Does all syncs on both sides and prints their figures. Returns what a page of saved records is like.
fn beside_the_script(records: u64, server: &mut Server, script: Option<&Script>) -> Page {
    let url = server.url().to_owned();
    let count = |test: fn(u64) -> bool| (0..records).filter(|number| test(*number)).count() as u64;
    let (updated, deleted) = (count(api::is_changed), count(api::is_deleted));
    let first = Changes { added: records, ..Changes::default() };
    let refresh = Changes { updated, deleted, unchanged: records - updated - deleted, added: 0 };
    let nothing = Changes::default();
    let (mut ours, mut theirs) = (Side::default(), Side::default());
    let mut record_bytes = 0;
    for round in 1..=ROUNDS {
        progress(&format!("round {round} of {ROUNDS}, {records} records"));
        let terapi = Terapi::new(&url);
        let dir = tempfile::tempdir().unwrap();
        let rounds = [
            (api::FIRST, &first, &mut ours.first, &mut theirs.first),
            (api::SECOND, &refresh, &mut ours.refresh, &mut theirs.refresh),
        ];
        for (state, expected, ours, theirs) in rounds {
            server.tell(state);
            let took = terapi.run("large-dataset", "bench");
            let (changes, bytes) = ran(&took);
            record_bytes = bytes / records;
            ours.push(took, &changes, expected);
            if let Some(script) = script {
                let took = script.run("full", dir.path(), &url, "bench");
                let changes = serde_json::from_slice(&took.output).unwrap();
                theirs.push(took, &changes, expected);
            }
        }
        if round < ROUNDS {
            continue;
        }
        // With all those records in the store. The first run only makes that there is a date to ask for.
        terapi.run("github-issues", "empty");
        for _ in 0..NOTHING_NEW_ROUNDS {
            let took = terapi.run("github-issues", "bench");
            let (changes, _) = ran(&took);
            ours.nothing_new.push(took, &changes, &nothing);
            if let Some(script) = script {
                let took = script.run("incremental", dir.path(), &url, "bench");
                let changes = serde_json::from_slice(&took.output).unwrap();
                theirs.nothing_new.push(took, &changes, &nothing);
            }
        }
    }
    let theirs = script.map(|_| theirs);
    print(records, record_bytes, &ours, theirs.as_ref());
    Page { records: 100, record_bytes: u32::try_from(record_bytes).unwrap() }
}

/// What a `terapi run --json` says: its changes, and how many bytes it saved.
fn ran(took: &Took) -> (Changes, u64) {
    #[derive(Deserialize)]
    struct Run {
        changes: Changes,
        usage: Usage,
    }
    #[derive(Deserialize)]
    struct Usage {
        record_bytes: u64,
    }
    let run: Run = serde_json::from_slice(&took.output).unwrap();
    (run.changes, run.usage.record_bytes)
}

fn print(records: u64, record_bytes: u64, ours: &Side, theirs: Option<&Side>) {
    figure("records", records as f64, "records").print();
    figure("JSON of a saved record", record_bytes as f64, "bytes").print();
    print_sync("first full sync", records, &ours.first, theirs.map(|side| &side.first), FIRST_GOAL);
    let name = "full refresh with 1.5 % changed and 0.5 % deleted";
    print_sync(name, records, &ours.refresh, theirs.map(|side| &side.refresh), REFRESH_GOAL);

    let (ours, theirs) = (&ours.nothing_new, theirs.map(|side| &side.nothing_new));
    let name = "run with nothing new";
    beside(name, "CPU", "ms", ours, theirs, |took| took.cpu * 1_000.0).at_most(NOTHING_NEW_GOAL).print();
    beside(name, "wall", "ms", ours, theirs, |took| took.wall * 1_000.0).at_most(NOTHING_NEW_GOAL).print();
}

fn print_sync(name: &str, records: u64, ours: &Rounds, theirs: Option<&Rounds>, goal: f64) {
    let cpu = beside(name, "CPU", "s", ours, theirs, |took| took.cpu);
    if theirs.is_some() { cpu.ratio_at_most(goal) } else { cpu }.print();
    beside(name, "rate", "records/CPU-s", ours, theirs, |took| records as f64 / took.cpu).print();
    beside(name, "wall", "s", ours, theirs, |took| took.wall).print();
    beside(name, "peak memory", "MiB", ours, theirs, |took| took.peak_rss as f64 / f64::from(1 << 20)).print();
}

/// The median of the rounds, beside the script's if there is one.
fn beside(
    sync: &str,
    what: &str,
    unit: &'static str,
    ours: &Rounds,
    theirs: Option<&Rounds>,
    of: impl Fn(&Took) -> f64,
) -> Figure {
    let line = figure(format!("{sync}, {what}"), ours.median(&of), unit);
    match theirs {
        Some(theirs) => line.against("Python script", theirs.median(&of)),
        None => line,
    }
}
