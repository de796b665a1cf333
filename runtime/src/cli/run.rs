//! `terapi run`

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use reqwest::Method;

use super::args::{LimitArgs, SyncArgs, json_or_file, looks_like_file, read_script};
use super::client::Content;
use super::progress::watch_run;
use super::{Context, Failed, call, output, trigger};
use crate::api::views::{RunView, ScriptView};
use crate::egress::HostPattern;
use crate::ids::{ConnectionName, ScriptName, SyncKey, Variant};
use crate::run::RunKind;
use crate::runtime::{Execution, Runtime, RuntimeError};
use crate::sandbox::{LimitOverrides, Recorder};
use crate::store::Reset;

/// What to run, and how.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// A script file (TypeScript, JavaScript, a component), or the name of a deployed script
    script: String,
    /// The connection: whose account this is
    #[arg(long, default_value = "default", value_name = "NAME")]
    connection: ConnectionName,
    /// Which of several syncs of this script on this connection
    #[arg(long, default_value = "base", value_name = "NAME")]
    variant: Variant,
    /// The script's configuration: a JSON object, or a file with one [default: the sync's, if there is one]
    #[arg(long, value_name = "JSON|FILE")]
    config: Option<String>,
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
    /// The API's base URL, instead of the connection's or the script's own
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

const INPUT_OF_A_SYNC: &str = "--input is for actions; a sync is configured with --config";

impl RunArgs {
    /// Runs, and records into a file if one is given.
    pub(super) async fn run(self, context: &Context, record: Option<&Path>) -> Result<ExitCode, Failed> {
        if context.server.is_some() {
            if record.is_some() {
                return Err(Failed::usage("a run is recorded where it runs: on a data directory, without --server"));
            }
            return self.run_there(context).await;
        }
        let file = self.file()?;
        let runtime = context.open()?;
        let mut execution = self.execution(context, &runtime, file).await?;
        let recorder = record.map(Recorder::create).transpose()?;
        execution.recorder.clone_from(&recorder);
        let kind = execution.script.manifest.kind;
        cancel_on_signal(&execution);
        let (run, output) = if kind == RunKind::Action {
            runtime.action(execution, self.input(kind)?).await?
        } else {
            self.input(kind)?;
            if let Some(mode) = self.reset(&execution) {
                runtime.reset(self.key(&execution.name), mode).await?;
            }
            let bar = watch_run(execution.progress.subscribe());
            let run = runtime.sync(execution).await;
            bar.abort();
            (run?, None)
        };
        let recorded = recorder.map(|recorder| recorder.finish()).transpose()?;
        let run = RunView::from(run);
        let code = trigger::exit_code(&run);
        match (context.json, &output) {
            (true, _) => {
                let mut value = serde_json::to_value(&run).map_err(|error| Failed::new(error.to_string()))?;
                if let (Some(output), Some(fields)) = (&output, value.as_object_mut()) {
                    fields.insert("output".to_owned(), serde_json::from_str(output).unwrap_or_default());
                }
                output::json(&value)?;
            }
            (false, Some(output)) => {
                anstream::println!("{}", output::printable(output));
            }
            (false, None) => {
                output::run_summary(&run);
                if code == ExitCode::SUCCESS && kind == RunKind::Sync {
                    let dim = output::DIM;
                    anstream::println!("  {dim}read      terapi records{dim:#}");
                }
            }
        }
        if let (Some(calls), Some(file), false) = (recorded, record, context.json) {
            let (dim, calls) = (output::DIM, output::count(calls));
            anstream::eprintln!("  {dim}recorded  {calls} host calls in {}{dim:#}", file.display());
        }
        Ok(code)
    }

    /// The script's bytes, where it is a file.
    pub(super) fn file(&self) -> Result<Option<Vec<u8>>, Failed> {
        if looks_like_file(&self.script) { read_script(&self.script).map(Some) } else { Ok(None) }
    }

    /// An action's input.
    pub(super) fn input(&self, kind: RunKind) -> Result<String, Failed> {
        if kind == RunKind::Sync && self.input.is_some() {
            return Err(Failed::usage(INPUT_OF_A_SYNC));
        }
        json_or_file("the input", self.input.as_deref().unwrap_or("{}"))
    }

    /// What a sync is to forget first.
    pub(super) fn reset(&self, execution: &Execution) -> Option<Reset> {
        let models = execution.script.manifest.models.iter().map(|model| model.name.clone());
        match (self.reset, self.empty) {
            (false, _) => None,
            (true, true) => Some(Reset::Empty { models: models.collect() }),
            (true, false) => Some(Reset::Refetch),
        }
    }

    pub(super) fn limits(&self) -> &LimitArgs {
        &self.limits
    }

    pub(super) fn script(&self) -> &str {
        &self.script
    }

    fn key(&self, script: &ScriptName) -> SyncKey {
        SyncKey { script: script.clone(), connection: self.connection.clone(), variant: self.variant.clone() }
    }

    /// The run as the flags say, and where they say nothing, as script, sync and connection do.
    pub(super) async fn execution(
        &self,
        context: &Context,
        runtime: &Runtime,
        file: Option<Vec<u8>>,
    ) -> Result<Execution, Failed> {
        let (script, name, mut own) = if let Some(bytes) = file {
            let script = runtime.load(bytes).await?;
            let name = script.manifest.name.clone();
            (script, name, LimitOverrides::default())
        } else {
            let name = self.script.parse::<ScriptName>()?;
            let (script, row) = runtime.deployed(&name).await?;
            (script, name, serde_json::from_str(&row.limits).unwrap_or_default())
        };
        let mut config = "{}".to_owned();
        match runtime.sync_status(&self.key(&name)).await {
            Ok(status) => {
                let limits = status.sync.limits;
                config = status.sync.config;
                own = LimitOverrides {
                    fuel: limits.fuel.or(own.fuel),
                    memory: limits.memory.or(own.memory),
                    timeout_ms: limits.timeout_ms.or(own.timeout_ms),
                };
            }
            Err(RuntimeError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(given) = &self.config {
            config = json_or_file("the configuration", given)?;
        }
        let mut execution = Execution::new(script, self.connection.clone());
        match runtime.policy(&self.connection).await {
            Ok(policy) => {
                let own_base = execution.policy.base_url.take();
                execution.policy = (*policy).clone();
                execution.policy.base_url = execution.policy.base_url.or(own_base);
            }
            Err(RuntimeError::Unknown { what: "connection", .. }) => {}
            Err(error) => return Err(error.into()),
        }
        execution.name = name;
        execution.connection_facts = Some(runtime.connection_facts(&self.connection).await?);
        execution.variant = self.variant.clone();
        execution.config = config;
        execution.limits = context.config.runs.limits().with(&self.limits.over(&own));
        execution.policy.allowed_hosts.extend(self.allow_host.iter().cloned());
        execution.policy.private_networks.extend(&self.allow_network);
        if let Some(base_url) = &self.base_url {
            execution.policy.base_url = Some(base_url.clone());
        }
        execution.guard.allow = self.allow_deletes;
        Ok(execution)
    }

    /// On a server: a sync that is there, or an action.
    async fn run_there(self, context: &Context) -> Result<ExitCode, Failed> {
        if looks_like_file(&self.script) {
            let script = &self.script;
            return Err(Failed::usage(format!(
                "a server runs what is deployed: `terapi script add {script}` first, and then run it by its name"
            )));
        }
        let own = self.config.is_some()
            || self.limits.given().is_some()
            || !self.allow_host.is_empty()
            || !self.allow_network.is_empty()
            || self.base_url.is_some();
        if own {
            return Err(Failed::usage(
                "--config, limits, --allow-host, --allow-network and --base-url are for runs on a data directory: on a \
                 server set them with `terapi sync change` and `terapi integration put`",
            ));
        }
        let client = context.client()?;
        let name: ScriptName = self.script.parse()?;
        let script: ScriptView = client.get(&format!("/v1/scripts/{name}")).await?;
        if script.manifest.get("kind").and_then(|kind| kind.as_str()) == Some("action") {
            let input = json_or_file("the input", self.input.as_deref().unwrap_or("{}"))?;
            return call::call(context, &client, &self.connection, &name, input, &[]).await;
        }
        if self.input.is_some() {
            return Err(Failed::usage(INPUT_OF_A_SYNC));
        }
        let sync = SyncArgs { connection: self.connection, script: name, variant: self.variant };
        if self.reset {
            let body = Content::json(&serde_json::json!({ "empty": self.empty }))?;
            client.text(Method::POST, &format!("{}/reset", sync.path()), body).await?;
        }
        let triggered = trigger::trigger(&client, &sync, self.allow_deletes, true).await?;
        match (&triggered.run, context.json) {
            // As a run on a data directory is answered.
            (Some(run), true) => output::json(run).map(|()| trigger::exit_code(run)),
            _ => trigger::show(context, &sync, &triggered),
        }
    }
}

/// A run that is interrupted comes to a clean end.
pub(super) fn cancel_on_signal(execution: &Execution) {
    let cancel = execution.cancel.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancel.cancel();
        }
    });
}
