//! `terapi demo`: the product in two minutes, with words a newcomer understands.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Failed, output};
use crate::demo::api::{DemoApi, DemoApiOptions};
use crate::demo::{SCRIPTS, script};
use crate::ids::{ConnectionName, StreamKey, Variant};
use crate::run::Outcome;
use crate::runtime::{Execution, Runtime};
use crate::sandbox::{self, Limits};
use crate::store::embedded::StoreOptions;
use crate::store::{Action, ChangesQuery};

/// Show what Terapi does, with a local API and scripts that it brings along
#[derive(Debug, Args)]
#[command(after_help = "Its parts alone, to try the service with:
  terapi demo --write-scripts scripts
  terapi demo --serve-api 127.0.0.1:9911")]
pub(super) struct Demo {
    /// Only write the example scripts, compiled, to this folder
    #[arg(long, value_name = "DIR", conflicts_with = "serve_api")]
    write_scripts: Option<PathBuf>,
    /// Only serve the demo's API at this address, until it is stopped
    #[arg(long, value_name = "ADDRESS")]
    serve_api: Option<SocketAddr>,
}

const REPOSITORY: &str = r#"{"repository": "terapi/demo"}"#;

/// Who shows it: the runtime, the API, and how far the app has read.
struct Stage {
    runtime: Runtime,
    api: DemoApi,
    connection: ConnectionName,
    steps: u32,
}

impl Demo {
    pub(super) async fn run(self) -> Result<ExitCode, Failed> {
        if let Some(dir) = self.write_scripts {
            return write_scripts(&dir);
        }
        if let Some(address) = self.serve_api {
            return serve_api(address).await;
        }
        let dir = std::env::temp_dir().join(format!("terapi-demo-{}", std::process::id()));
        let shown = show(&dir).await;
        // The demo's data is of no use to anybody later.
        let _ = std::fs::remove_dir_all(&dir);
        shown.map(|()| ExitCode::SUCCESS)
    }
}

fn write_scripts(dir: &Path) -> Result<ExitCode, Failed> {
    std::fs::create_dir_all(dir).map_err(Failed::io(format_args!("create the folder {}", dir.display())))?;
    for (name, bytes) in SCRIPTS {
        let path = dir.join(format!("{name}.wasm"));
        std::fs::write(&path, bytes).map_err(Failed::io(format_args!("write {}", path.display())))?;
        anstream::println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve_api(address: SocketAddr) -> Result<ExitCode, Failed> {
    let options = DemoApiOptions { issues: 1_000, members: 60, ..DemoApiOptions::default() };
    let api = DemoApi::start_at(address, options).await;
    let api = api.map_err(Failed::io(format_args!("start the demo's API at {address}")))?;
    anstream::println!("{}", api.url());
    let stop = CancellationToken::new();
    super::serve::stop_on_signal(stop).await;
    Ok(ExitCode::SUCCESS)
}

async fn show(dir: &Path) -> Result<(), Failed> {
    let options =
        DemoApiOptions { issues: 1_000, members: 60, refuse_every: NonZeroU64::new(9), ..DemoApiOptions::default() };
    let api = DemoApi::start(options).await.map_err(Failed::io("start the demo's API"))?;
    let runtime = Runtime::open(dir, &StoreOptions::default())?;
    let connection = "acme".parse().map_err(|error| Failed::new(format!("{error}")))?;
    let mut stage = Stage { runtime, api, connection, steps: 0 };

    say("Terapi keeps data that lives in somebody else's system in sync.");
    say("For this demo that system is a small API on this machine, shaped like GitHub's and Slack's:");
    say(&format!("  {}   (1,000 issues, 60 members; it refuses every 9th request with 429)", stage.api.url()));
    say("The scripts that pull from it are WebAssembly components. They run in a sandbox: no files, no network");
    say("but the hosts you allow, so much CPU and memory and no more.");

    let members = stage.load("slack-members").await?;
    let issues = stage.load("github-issues").await?;

    stage.step("The first sync: a script saves everything it finds, page by page");
    stage.sync(&members, "{}").await?;
    say("The app reads the changes since its cursor. It has none yet, so it gets everything:");
    let cursor = stage.read("Member", None)?;

    stage.step("Full refresh: the same script saves all members again. Meanwhile one was renamed, one left");
    let ids = stage.api.member_ids();
    if let (Some(renamed), Some(gone)) = (ids.get(3), ids.get(7)) {
        stage.api.rename_member(renamed, "Ada Lovelace");
        stage.api.remove_member(gone);
    }
    stage.sync(&members, "{}").await?;
    say("Everything was saved again, but Terapi compares. The app sees only what really changed, the deletion too:");
    let cursor = stage.read("Member", Some(cursor))?;

    stage.step("Nothing changed at all: the app has nothing to do");
    stage.sync(&members, "{}").await?;
    stage.read("Member", Some(cursor))?;

    stage.step("Incremental: for large data a script asks only for what is new. The first run fetches all history");
    stage.sync(&issues, REPOSITORY).await?;
    let cursor = stage.read("Issue", None)?;

    stage.step("Two issues change, and the app opens one through an action: writing back is a script too");
    stage.api.update_issue(17, |issue| "Sync is slow on Mondays".clone_into(&mut issue.title));
    stage.api.update_issue(42, |issue| issue.labels.push("urgent".to_owned()));
    let create = stage.load("create-issue").await?;
    let input = r#"{"repository": "terapi/demo", "title": "Please add dark mode", "labels": ["idea"]}"#;
    let (run, answer) = stage.runtime.action(stage.execution(&create, "{}")?, input.to_owned()).await?;
    output::run_summary(&run.clone().into());
    say(&format!("  it answered {}", answer.unwrap_or_default()));
    stage.api.forget_requests();
    stage.sync(&issues, REPOSITORY).await?;
    say("The script asked the API for what changed since the last sync, which is one page instead of ten:");
    for request in stage.api.last_requests() {
        let dim = output::DIM;
        say(&format!("  {dim}{} {} → {}{dim:#}", request.method, request.target, request.status));
    }
    stage.read("Issue", Some(cursor))?;

    let misbehaving = stage.load("misbehaving").await?;
    stage.step("A script that keeps every page in memory, with a limit of 2 MiB");
    let mut execution = stage.execution(&misbehaving, r#"{"repository": "terapi/demo", "mistake": "hoards"}"#)?;
    execution.limits = Limits { memory: 2 << 20, ..Limits::default() };
    execution.variant = "hoards".parse().map_err(|error| Failed::new(format!("{error}")))?;
    output::run_summary(&stage.runtime.sync(execution).await?.into());
    say("What it had saved before is kept; nothing was deleted, and nothing else noticed.");

    stage.step("A script that never ends, with 100 million units of fuel");
    let mut execution = stage.execution(&misbehaving, r#"{"repository": "terapi/demo", "mistake": "loops"}"#)?;
    execution.limits = Limits { fuel: 100_000_000, ..Limits::default() };
    execution.variant = "loops".parse().map_err(|error| Failed::new(format!("{error}")))?;
    output::run_summary(&stage.runtime.sync(execution).await?.into());

    stage.step("A script that wants to go where nobody allowed it to");
    let mut execution = stage.execution(&members, "{}")?;
    execution.policy.allowed_hosts.clear();
    output::run_summary(&stage.runtime.sync(execution).await?.into());

    let bold = output::BOLD;
    say("");
    say(&format!(
        "{bold}That was it.{bold:#} A script of your own takes twenty lines: see README.md and example-scripts/."
    ));
    Ok(())
}

impl Stage {
    fn step(&mut self, title: &str) {
        self.steps += 1;
        let bold = output::BOLD;
        say("");
        say(&format!("{bold}{}. {title}{bold:#}", self.steps));
    }

    async fn load(&self, name: &str) -> Result<Arc<sandbox::Script>, Failed> {
        let bytes = script(name).ok_or_else(|| Failed::new(format!("the example script {name} is not compiled in")))?;
        Ok(self.runtime.load(bytes.to_vec()).await?)
    }

    /// A run that may go to the demo's API and nowhere else.
    fn execution(&self, script: &Arc<sandbox::Script>, config: &str) -> Result<Execution, Failed> {
        let url = self.api.url();
        let bad = |error: &dyn std::fmt::Display| Failed::new(format!("{url}: {error}"));
        let mut execution = Execution::new(Arc::clone(script), self.connection.clone());
        config.clone_into(&mut execution.config);
        execution.policy.base_url = Some(url.parse().map_err(|error: url::ParseError| bad(&error))?);
        execution.policy.allowed_hosts.push(url.parse().map_err(|error: crate::egress::HostPatternError| bad(&error))?);
        execution.policy.private_networks.push(std::net::IpAddr::from([127, 0, 0, 1]).into());
        Ok(execution)
    }

    async fn sync(&self, script: &Arc<sandbox::Script>, config: &str) -> Result<(), Failed> {
        let run = self.runtime.sync(self.execution(script, config)?).await?;
        output::run_summary(&run.clone().into());
        match run.outcome {
            Some(Outcome::Succeeded) => Ok(()),
            _ => Err(Failed::new("a run of the demo failed")),
        }
    }

    /// What the app does: reads the changes since its cursor, and keeps the new one.
    fn read(&self, model: &str, cursor: Option<String>) -> Result<String, Failed> {
        let model = model.parse().map_err(|error| Failed::new(format!("{error}")))?;
        let stream = StreamKey { connection: self.connection.clone(), model, variant: Variant::default() };
        let mut query = ChangesQuery { cursor, limit: 1_000, ..ChangesQuery::default() };
        let mut all = Vec::new();
        loop {
            let page = self.runtime.store().changes(&stream, &query)?;
            all.extend(page.changes);
            query.cursor = Some(page.cursor.clone());
            if page.more {
                continue;
            }
            let of = |action| all.iter().filter(|change| change.action == action).count() as u64;
            let (green, yellow, red) = (output::GREEN, output::YELLOW, output::RED);
            say(&format!(
                "  app read  {green}{} added{green:#}, {yellow}{} updated{yellow:#}, {red}{} deleted{red:#}",
                of(Action::Added),
                of(Action::Updated),
                of(Action::Deleted)
            ));
            for change in all.iter().take(3) {
                let style = output::action_style(change.action.word());
                let data: String = change.data.chars().take(88).collect();
                let dim = output::DIM;
                say(&format!("            {style}{:<7}{style:#} {dim}{data} …{dim:#}", change.action.word()));
            }
            if all.len() > 3 {
                say(&format!("            … and {} more", output::count(all.len() as u64 - 3)));
            }
            return Ok(page.cursor);
        }
    }
}

fn say(text: &str) {
    anstream::println!("{text}");
}
