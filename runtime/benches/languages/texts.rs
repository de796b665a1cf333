//! What it costs to have a script that is text, the engine compiled already.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use terapi::clock::SystemClock;
use terapi::runtime::{Runtime, Upload};
use terapi::store::embedded::{EmbeddedStore, StoreOptions};

use super::measure::{cpu, disk, figure, median, progress, wait};
use super::server::Server;
use super::{TYPESCRIPT, millis};

/// Scripts that are deployed.
const SCRIPTS: u64 = 1_000;
/// Runs of the command.
const RUNS: usize = 11;
/// What the issue asks for: milliseconds of an upload, megabytes of all scripts, milliseconds of CPU to the first record.
const UPLOAD: f64 = 50.0;
const DISK: f64 = 20.0;
const COMMAND: f64 = 100.0;

pub(crate) async fn bench(server: &Server) {
    uploads().await;
    commands(server);
}

async fn uploads() {
    progress("uploads");
    let dir = tempfile::tempdir().unwrap();
    let deploy = async |from: u64, to: u64| {
        let store = EmbeddedStore::open(dir.path(), &StoreOptions::default()).unwrap();
        let runtime = Runtime::with(Arc::new(store), Arc::new(SystemClock));
        let (mut took, mut used) = (Vec::new(), Vec::new());
        for n in from..to {
            // Each is another text, and another script.
            let text = String::from_utf8(super::typescript()).unwrap().replace("Keeps", &format!("{n} keeps"));
            let upload = Upload { name: Some(format!("issues-{n}").parse().unwrap()), ..Upload::default() };
            let (start, before) = (Instant::now(), cpu());
            runtime.deploy(text.into_bytes(), upload).await.unwrap();
            took.push(millis(start.elapsed()));
            used.push(millis(cpu().saturating_sub(before)));
        }
        (took, used)
    };
    deploy(0, 1).await;
    let before = disk(dir.path());
    let (took, used) = deploy(1, SCRIPTS + 1).await;
    let (took, used) = (median(&took[1..]), median(&used[1..]));
    figure("languages, typescript, an upload", took, "ms").at_most(UPLOAD).print();
    figure("languages, typescript, an upload, CPU", used, "ms").print();
    let grown = (disk(dir.path()) - before) as f64 / 1e6;
    figure("languages, typescript, 1,000 scripts on disk", grown, "MB").at_most(DISK).print();
}

/// `terapi run issues.ts` with one page, on a new connection each time.
fn commands(server: &Server) {
    progress("terapi run issues.ts");
    let dir = tempfile::tempdir().unwrap();
    for (name, source) in TYPESCRIPT {
        std::fs::write(dir.path().join(name), source).unwrap();
    }
    let mut used: Vec<f64> = (0..=RUNS).map(|n| run(server, dir.path(), n)).collect();
    // The first one compiles the engine.
    used.remove(0);
    let name = "languages, terapi run issues.ts, one page, CPU of the process";
    figure(name, median(&used), "ms").at_most(COMMAND).print();
}

fn run(server: &Server, dir: &Path, n: usize) -> f64 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terapi"));
    command.args(["run", "issues.ts", "--data-dir", "data", "--connection", &format!("account-{n}")]).current_dir(dir);
    command.args(["--base-url", &format!("{}/one", server.url()), "--allow-host", server.url()]);
    command.args(["--allow-network", "127.0.0.0/8"]).stdout(Stdio::null());
    let ended = wait(command.spawn().unwrap());
    assert!(ended.status.success());
    millis(ended.cpu)
}
