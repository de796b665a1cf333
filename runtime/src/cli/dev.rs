//! `terapi dev`: a server in this process that deploys script files whenever they change.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use reqwest::Method;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Content, Page, parse};
use super::{Context, Failed, apply, output, runs, script, serve, source};
use crate::api::views::{RunView, ScriptView};
use crate::ids::{ConnectionName, IntegrationName, RunId, ScriptHash};

/// How often files and runs are looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How many of the newest runs are looked at.
const RUNS: usize = 100;

/// Serve, and deploy script files whenever they change
#[derive(Debug, Args)]
#[command(after_help = "With --connection, syncs of the scripts are created there and run after each change. Example:
  terapi dev github-issues.ts --connection acme")]
pub(super) struct Dev {
    /// The script files; those that a TypeScript file imports are watched with it
    #[arg(required = true)]
    files: Vec<String>,
    /// Run the syncs of these scripts on this connection
    #[arg(long, value_name = "NAME")]
    connection: Option<ConnectionName>,
    /// The integration that the scripts are for
    #[arg(long, value_name = "NAME")]
    integration: Option<IntegrationName>,
    #[command(flatten)]
    pub(super) at: serve::ListenArgs,
}

impl Dev {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        context.only_here("`terapi dev`")?;
        let stop = CancellationToken::new();
        tokio::spawn(serve::stop_on_signal(stop.clone()));
        let service = context.service()?;
        let client = Client::here(service.clone(), context.environment.clone());
        let desk =
            Desk { context, client, connection: self.connection, integration: self.integration, shown: HashSet::new() };
        let files = self
            .files
            .into_iter()
            .map(|path| File { parts: source::files(&path), path, known: false, seen: Vec::new(), hash: None })
            .collect();
        serve::up(context, service, stop.clone(), desk.watch(files, stop)).await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A file that is watched.
struct File {
    path: String,
    /// Whether it was looked at.
    known: bool,
    /// It, and the files that it imports.
    parts: Vec<PathBuf>,
    /// When each was changed last, and how long it is, if it is there.
    seen: Vec<Option<(SystemTime, u64)>>,
    hash: Option<ScriptHash>,
}

struct Desk<'a> {
    context: &'a Context,
    client: Client,
    connection: Option<ConnectionName>,
    integration: Option<IntegrationName>,
    /// Runs whose end was shown, or was before all this.
    shown: HashSet<RunId>,
}

impl Desk<'_> {
    async fn watch(mut self, mut files: Vec<File>, stop: CancellationToken) {
        match self.ended().await {
            Ok(ended) => self.shown.extend(ended.iter().map(|run| run.id)),
            Err(failed) => self.complain(None, &failed),
        }
        loop {
            for file in &mut files {
                if let Err(failed) = self.look(file).await {
                    self.complain(Some(&file.path), &failed);
                }
            }
            if let Err(failed) = self.show_runs().await {
                self.complain(None, &failed);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Says what is wrong, and goes on.
    fn complain(&self, file: Option<&str>, failed: &Failed) {
        if self.context.json {
            let _ = output::json(&json!({ "error": { "code": failed.code, "message": failed.message, "file": file } }));
            return;
        }
        let message = file.map_or_else(|| failed.message.clone(), |file| format!("{file}: {}", failed.message));
        output::error(failed.code.as_deref(), &message);
    }

    /// Deploys a file if it is another than before.
    async fn look(&self, file: &mut File) -> Result<(), Failed> {
        let look = |parts: &[PathBuf]| -> Vec<_> {
            let parts = parts.iter().map(|part| std::fs::metadata(part).ok());
            parts.map(|it| it.and_then(|it| Some((it.modified().ok()?, it.len())))).collect()
        };
        if std::mem::replace(&mut file.known, true) && file.seen == look(&file.parts) {
            return Ok(());
        }
        // Which files belong to it may have changed with it.
        let read = source::read(&file.path);
        file.parts = read.as_ref().map_or_else(|_| source::files(&file.path), |read| read.files.clone());
        file.seen = look(&file.parts);
        let bytes = read?.bytes;
        let hash = ScriptHash::of(&bytes);
        if file.hash.replace(hash.clone()) == Some(hash) {
            return Ok(());
        }
        let described: Value = self.client.ask(Method::POST, "/v1/scripts/describe", Content::script(&bytes)).await?;
        let name = described.get("name").and_then(Value::as_str).unwrap_or_default();
        let before: Option<ScriptView> = self.client.find(&format!("/v1/scripts/{name}")).await?;
        let text = script::upload(&self.client, &bytes, None, self.integration.clone(), None).await?;
        let now: ScriptView = parse(&text)?;
        self.say(before.as_ref(), &now)?;
        let is_new = before.is_none_or(|before| before.hash != now.hash);
        if now.manifest.get("kind").and_then(Value::as_str) == Some("sync")
            && let Some(connection) = &self.connection
        {
            self.start(connection, &now, is_new).await?;
        }
        Ok(())
    }

    fn say(&self, before: Option<&ScriptView>, now: &ScriptView) -> Result<(), Failed> {
        let changed: Vec<String> = match before {
            Some(before) => {
                let fields = apply::differences(&before.manifest, &now.manifest);
                let tops = fields.iter().filter_map(|it| it.field.split('.').next());
                tops.fold(Vec::new(), |mut all, top| {
                    if all.last().is_none_or(|last| last != top) {
                        all.push(top.to_owned());
                    }
                    all
                })
            }
            None => Vec::new(),
        };
        if self.context.json {
            return output::json(&json!({ "deployed": now, "changed": changed }));
        }
        let word = match before {
            Some(before) if before.hash == now.hash => "unchanged",
            _ => "deployed",
        };
        let fields = if changed.is_empty() { String::new() } else { format!(": {}", changed.join(", ")) };
        let hash = script::short(&now.hash);
        output::done(self.context, word, format_args!("{} (version {}, {hash}){fields}", now.name, now.version));
        Ok(())
    }

    /// Makes sure that there is a sync, and that a new version runs.
    async fn start(&self, connection: &ConnectionName, script: &ScriptView, is_new: bool) -> Result<(), Failed> {
        let path = format!("/v1/syncs/{connection}/{}/base", script.name);
        let there = self.client.find::<IgnoredAny>(&path).await?.is_some();
        if !there {
            let spec = json!({ "connection": connection, "script": script.name });
            self.client.text(Method::POST, "/v1/syncs", Content::json(&spec)?).await?;
        }
        if is_new || !there {
            self.client.text(Method::POST, &format!("{path}/trigger"), Content::None).await?;
        }
        Ok(())
    }

    async fn ended(&self) -> Result<Vec<RunView>, Failed> {
        let page: Page = runs::list(&self.client, Vec::new(), RUNS).await?;
        let runs = page.items.iter().map(|run| parse(run.get())).collect::<Result<Vec<RunView>, _>>()?;
        Ok(runs.into_iter().filter(|run| run.ended_at.is_some()).collect())
    }

    async fn show_runs(&mut self) -> Result<(), Failed> {
        for run in self.ended().await?.into_iter().rev() {
            if self.shown.insert(run.id) {
                if self.context.json {
                    output::json(&json!({ "run": run }))?;
                } else {
                    output::run_summary(&run);
                }
            }
        }
        Ok(())
    }
}
