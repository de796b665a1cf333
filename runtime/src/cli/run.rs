//! `terapi run`

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::args::{LimitArgs, json_or_file, looks_like_file, read_script};
use super::{Context, Failed, output};
use crate::egress::HostPattern;
use crate::ids::{ConnectionName, Variant};
use crate::run::{Outcome, RunKind};
use crate::runtime::Execution;
use crate::sandbox::{LimitOverrides, Limits, Progress};
use crate::store::Reset;

/// Run one sync (or action) now, from a file or a deployed script
#[derive(Debug, Args)]
#[command(after_help = "Nothing leaves the sandbox unless you allow it. Example:
  terapi run github-issues.wasm --connection acme --config '{\"repository\": \"rust-lang/cargo\"}' \\
      --allow-host api.github.com")]
pub(super) struct RunArgs {
    /// A component file, or the name of a deployed script
    script: String,
    /// The connection: whose account this is
    #[arg(long, default_value = "default", value_name = "NAME")]
    connection: ConnectionName,
    /// Which of several syncs of this script on this connection
    #[arg(long, default_value = "base", value_name = "NAME")]
    variant: Variant,
    /// The script's configuration: a JSON object, or a file with one
    #[arg(long, default_value = "{}", value_name = "JSON|FILE")]
    config: String,
    /// An action's input: JSON, or a file with it
    #[arg(long, value_name = "JSON|FILE")]
    input: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
    /// A host that the script may reach: `api.github.com`, `*.example.com`, `http://127.0.0.1:8080`
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<HostPattern>,
    /// A network that is not public and may be reached all the same, such as 10.0.0.0/8
    #[arg(long, value_name = "CIDR")]
    allow_network: Vec<ipnet::IpNet>,
    /// The API's base URL, instead of the script's own
    #[arg(long, value_name = "URL")]
    base_url: Option<url::Url>,
    /// Let this run delete as much as it finds to delete
    #[arg(long)]
    allow_deletes: bool,
    /// Forget last sync date and checkpoint first, and fetch everything
    #[arg(long)]
    reset: bool,
    /// With --reset: collect the records anew, beside the old ones, which take their place when a run succeeds
    #[arg(long, requires = "reset")]
    empty: bool,
}

impl RunArgs {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        let file = if looks_like_file(&self.script) { Some(read_script(&self.script)?) } else { None };
        let config = json_or_file("the configuration", &self.config)?;
        let runtime = context.open()?;
        let (script, name, own) = if let Some(bytes) = file {
            let script = runtime.load(bytes).await?;
            let name = script.manifest.name.clone();
            (script, name, LimitOverrides::default())
        } else {
            let name = self.script.parse().map_err(|error| Failed::new(format!("{error}")))?;
            let (script, own) = runtime.deployed(&name).await?;
            (script, name, own)
        };
        let kind = script.manifest.kind;
        let mut execution = Execution::new(script, self.connection);
        execution.name = name;
        execution.variant = self.variant;
        execution.config = config;
        execution.limits = Limits::default().with(&self.limits.over(&own));
        execution.policy.allowed_hosts = self.allow_host;
        execution.policy.private_networks = self.allow_network;
        if self.base_url.is_some() {
            execution.policy.base_url = self.base_url;
        }
        execution.guard.allow = self.allow_deletes;

        let cancel = execution.cancel.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                cancel.cancel();
            }
        });
        let (run, output) = if kind == RunKind::Action {
            let input = json_or_file("the input", self.input.as_deref().unwrap_or("{}"))?;
            runtime.action(execution, input).await?
        } else {
            if self.input.is_some() {
                return Err(Failed::new("--input is for actions; a sync is configured with --config"));
            }
            if self.reset {
                let sync = crate::ids::SyncKey {
                    script: execution.name.clone(),
                    connection: execution.connection.clone(),
                    variant: execution.variant.clone(),
                };
                let models = execution.script.manifest.models.iter().map(|model| model.name.clone());
                let mode = if self.empty { Reset::Empty { models: models.collect() } } else { Reset::Refetch };
                runtime.reset(sync, mode).await?;
            }
            let bar = watch_progress(execution.progress.subscribe());
            let run = runtime.sync(execution).await;
            bar.abort();
            (run?, None)
        };
        match (context.json, &output) {
            (true, _) => {
                let mut value = serde_json::to_value(&run).map_err(|error| Failed::new(error.to_string()))?;
                if let (Some(output), Some(fields)) = (&output, value.as_object_mut()) {
                    fields.insert("output".to_owned(), serde_json::from_str(output).unwrap_or_default());
                }
                output::json(&value)?;
            }
            (false, Some(output)) => {
                anstream::println!("{output}");
            }
            (false, None) => {
                output::run_summary(&run);
                if run.outcome == Some(Outcome::Succeeded) && kind == RunKind::Sync {
                    let dim = output::DIM;
                    anstream::println!("  {dim}read      terapi records{dim:#}");
                }
            }
        }
        Ok(if run.outcome == Some(Outcome::Succeeded) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// A line that shows how far the run is, on a terminal.
fn watch_progress(mut progress: watch::Receiver<Progress>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let bar = Hidden(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise}  {msg}") {
            bar.0.set_style(style);
        }
        bar.0.enable_steady_tick(Duration::from_millis(100));
        let start = std::time::Instant::now();
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            let changes = now.changes;
            let records = changes.added + changes.updated + changes.unchanged + changes.deleted;
            let rate = u128::from(records) * 1_000 / start.elapsed().as_millis().max(1);
            bar.0.set_message(format!(
                "{} pages, {} records, {} a second: {} added, {} updated, {} deleted",
                output::count(now.pages),
                output::count(records),
                output::count(u64::try_from(rate).unwrap_or(u64::MAX)),
                output::count(changes.added),
                output::count(changes.updated),
                output::count(changes.deleted)
            ));
        }
    })
}

/// A bar that leaves no line behind, also when its task is aborted.
pub(super) struct Hidden(pub(super) ProgressBar);

impl Drop for Hidden {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
