//! `terapi script`

use std::process::ExitCode;

use clap::Subcommand;
use reqwest::Method;

use super::args::{LimitArgs, read_script, with_query};
use super::client::{Client, Content};
use super::{Context, Failed, output};
use crate::api::views::{ScriptView, SuspicionView};
use crate::ids::{IntegrationName, ScriptName};
use crate::run::RunKind;
use crate::sandbox::{LimitOverrides, bytes};
use crate::script::{Manifest, SyncMode};

/// Deploy scripts
#[derive(Debug, Subcommand)]
pub(super) enum ScriptCommand {
    /// Deploy a script, or a new version of the one of the same name
    #[command(
        after_help = "TypeScript and JavaScript need no build; the files that such a script imports come along. \
Examples:
  terapi script add github-issues.ts --integration github
  terapi script add github-issues.wasm --integration github"
    )]
    Add {
        /// The script file: TypeScript, JavaScript, or a component
        file: String,
        /// Deploy it under another name than its own
        #[arg(long)]
        name: Option<ScriptName>,
        /// The integration that it is for; if it says so, a sync is created for each of its connections
        #[arg(long, value_name = "NAME")]
        integration: Option<IntegrationName>,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// List deployed scripts
    List,
    /// Show one: what it describes, its limits
    Show {
        /// Its name
        name: ScriptName,
    },
    /// List the versions of a script that are kept, the newest first
    Versions {
        /// Its name
        name: ScriptName,
    },
    /// Make a version the active one
    Activate {
        /// The script
        name: ScriptName,
        /// Which version, as `terapi script versions` lists them
        version: u32,
    },
    /// Make the version before the active one the active one
    RollBack {
        /// The script
        name: ScriptName,
    },
    /// Let a script run again that is quarantined since it took the process down
    Release {
        /// The script
        name: ScriptName,
    },
    /// Take a script away that no sync has; its records stay
    Remove {
        /// Its name
        name: ScriptName,
    },
}

impl ScriptCommand {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        // A file that is not there is told before anything is opened.
        let file = match &self {
            Self::Add { file, .. } => read_script(file)?,
            _ => Vec::new(),
        };
        let client = context.client()?;
        match self {
            Self::Add { name, integration, limits, .. } => {
                let text = upload(&client, &file, name, integration, limits.given()).await?;
                output::answer(context, &text, |it| deployed(context, &it))?;
            }
            Self::List => {
                let items = client.all("/v1/scripts").await?;
                let columns = ["name", "kind", "models", "version", ">size", "content", "added"];
                output::list(context, items, "no scripts yet: terapi script add FILE", &columns, |it| row(&it))?;
            }
            Self::Show { name } => {
                let text = client.text(Method::GET, &format!("/v1/scripts/{name}"), Content::None).await?;
                output::answer(context, &text, |it| show(&it))?;
            }
            Self::Versions { name } => {
                let items = client.all(&format!("/v1/scripts/{name}/versions")).await?;
                let columns = [">version", "says", ">size", "content", "added"];
                output::list(context, items, "no versions", &columns, |it: ScriptView| {
                    vec![
                        it.version.to_string(),
                        it.manifest.get("version").and_then(|it| it.as_str()).unwrap_or_default().to_owned(),
                        bytes(it.size),
                        short(&it.hash).to_owned(),
                        output::time(it.added_at),
                    ]
                })?;
            }
            Self::Activate { name, version } => {
                let path = format!("/v1/scripts/{name}/versions/{version}/activate");
                activated(context, &client.text(Method::POST, &path, Content::None).await?)?;
            }
            Self::RollBack { name } => {
                let path = format!("/v1/scripts/{name}/roll-back");
                activated(context, &client.text(Method::POST, &path, Content::None).await?)?;
            }
            Self::Release { name } => {
                let text = client.text(Method::POST, &format!("/v1/scripts/{name}/release"), Content::None).await?;
                output::answer(context, &text, |it: ScriptView| {
                    let what = format_args!("{} version {}; it is run alone until it succeeds", it.name, it.version);
                    output::done(context, "released", what);
                    Ok(())
                })?;
            }
            Self::Remove { name } => {
                client.text(Method::DELETE, &format!("/v1/scripts/{name}"), Content::None).await?;
                output::done(context, "removed", format_args!("{name}; its records stay"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Uploads a script. The answer is a [`ScriptView`].
pub(super) async fn upload(
    client: &Client,
    file: &[u8],
    name: Option<ScriptName>,
    integration: Option<IntegrationName>,
    limits: Option<LimitOverrides>,
) -> Result<String, Failed> {
    let limits = limits.unwrap_or_default();
    let given = [
        ("name", name.map(|it| it.to_string())),
        ("integration", integration.map(|it| it.to_string())),
        ("memory", limits.memory.map(|it| it.to_string())),
        ("fuel", limits.fuel.map(|it| it.to_string())),
        ("timeout_ms", limits.timeout_ms.map(|it| it.to_string())),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value?)));
    client.text(Method::POST, &with_query("/v1/scripts", given), Content::script(file)).await
}

fn deployed(context: &Context, it: &ScriptView) -> Result<(), Failed> {
    let what = format!("{} (version {}, {}, {})", it.name, it.version, short(&it.hash), bytes(it.size));
    output::done(context, "deployed", what);
    let dim = output::DIM;
    let manifest = manifest(it)?;
    if it.integration.is_none() && !manifest.hosts.is_empty() {
        let hosts: Vec<_> = manifest.hosts.iter().map(|host| format!("--allow-host {host}")).collect();
        let hosts = output::printable(&hosts.join(" "));
        anstream::println!("  {dim}it wants to reach: terapi run {} {hosts}{dim:#}", it.name);
    }
    Ok(())
}

fn activated(context: &Context, text: &str) -> Result<(), Failed> {
    output::answer(context, text, |it: ScriptView| {
        output::done(context, "active", format_args!("{} version {} ({})", it.name, it.version, short(&it.hash)));
        Ok(())
    })
}

fn manifest(script: &ScriptView) -> Result<Manifest, Failed> {
    serde_json::from_value(script.manifest.clone())
        .map_err(|error| Failed::new(format!("the manifest of {} is unreadable: {error}", script.name)))
}

fn row(it: &ScriptView) -> Vec<String> {
    let manifest = manifest(it).ok();
    let text = |text: Option<String>| output::printable(&text.unwrap_or_default());
    vec![
        it.name.to_string(),
        text(manifest.as_ref().map(|it| kind_words(it).to_owned())),
        text(manifest.as_ref().map(models)),
        format!("{} ({})", it.version, text(manifest.map(|it| it.version))),
        bytes(it.size),
        short(&it.hash).to_owned(),
        output::time(it.added_at),
    ]
}

fn show(it: &ScriptView) -> Result<(), Failed> {
    show_manifest(&manifest(it)?)?;
    let limits = serde_json::to_string(&it.limits).map_err(|error| Failed::new(error.to_string()))?;
    output::facts([
        ("integration", it.integration.as_ref().map(ToString::to_string)),
        ("active", Some(format!("version {}", it.version))),
        ("content", Some(format!("{} ({})", it.hash, bytes(it.size)))),
        ("limits", Some(limits)),
        ("added", Some(output::time(it.added_at))),
        ("suspicion", it.suspicion.as_ref().map(|suspicion| suspected(it, suspicion))),
    ]);
    Ok(())
}

/// What is held against a script, and what to do.
pub(super) fn suspected(it: &ScriptView, suspicion: &SuspicionView) -> String {
    let SuspicionView { strikes, quarantined, run, offense } = suspicion;
    let runs = if *strikes == 1 { "run".to_owned() } else { format!("{strikes} runs in a row, the last") };
    let what = format!("{runs} {} ({run})", offense.words());
    if *quarantined {
        format!("quarantined: {what}; deploy a corrected version, or: terapi script release {}", it.name)
    } else {
        format!("run alone until it succeeds: {what}")
    }
}

/// The first 12 digits of a hash, enough for people.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

fn kind_words(manifest: &Manifest) -> &'static str {
    match (manifest.kind, manifest.mode) {
        (RunKind::Action, _) => "action",
        (RunKind::Sync, mode) => mode.map_or("sync", SyncMode::words),
    }
}

fn models(manifest: &Manifest) -> String {
    let names: Vec<&str> = manifest.models.iter().map(|model| model.name.as_str()).collect();
    names.join(", ")
}

/// What a script says of itself, for people.
pub(super) fn show_manifest(manifest: &Manifest) -> Result<(), Failed> {
    let bold = output::BOLD;
    anstream::println!("{bold}{}{bold:#} {}", manifest.name, output::printable(&manifest.version));
    if !manifest.description.is_empty() {
        anstream::println!("  {}", output::printable(&manifest.description));
    }
    let schema = |schema: &Option<serde_json::Value>| schema.as_ref().map(ToString::to_string);
    output::facts([
        ("kind", Some(kind_words(manifest).to_owned())),
        ("models", Some(models(manifest))),
        ("frequency", manifest.frequency.clone()),
        ("base URL", manifest.base_url.clone()),
        ("hosts", Some(manifest.hosts.join(", "))),
        ("config", schema(&manifest.config_schema)),
        ("metadata", schema(&manifest.metadata_schema)),
        ("input", schema(&manifest.input_schema)),
        ("output", schema(&manifest.output_schema)),
    ]);
    for model in &manifest.models {
        let schema = serde_json::to_string(&model.schema).map_err(|error| Failed::new(error.to_string()))?;
        anstream::println!("model        {} {}", model.name, output::printable(&schema));
    }
    Ok(())
}
