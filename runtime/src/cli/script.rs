//! `terapi script`

use std::process::ExitCode;

use clap::Subcommand;

use super::args::{LimitArgs, read_script};
use super::{Context, Failed, output};
use crate::ids::{ScriptName, Timestamp};
use crate::run::RunKind;
use crate::runtime::RuntimeError;
use crate::sandbox::{LimitOverrides, bytes};
use crate::script::{Manifest, SyncMode};

/// Deploy scripts
#[derive(Debug, Subcommand)]
pub(super) enum ScriptCommand {
    /// Deploy a component, or replace the one of the same name
    Add {
        /// The component file
        file: String,
        /// Deploy it under another name than its own
        #[arg(long)]
        name: Option<ScriptName>,
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
    /// Take a script away; its records stay
    Remove {
        /// Its name
        name: ScriptName,
    },
}

impl ScriptCommand {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, Failed> {
        match self {
            Self::Add { file, name, limits } => {
                let bytes = read_script(&file)?;
                let runtime = context.open()?;
                let script = runtime.deploy(bytes, name, &limits.over(&LimitOverrides::default())).await?;
                if context.json {
                    output::json(&script_json(&script))?;
                } else {
                    let (green, dim) = (output::GREEN.bold(), output::DIM);
                    anstream::println!(
                        "{green}deployed{green:#}  {} ({}, {})",
                        script.name,
                        script.hash.short(),
                        self::bytes(script.size)
                    );
                    let manifest = manifest(&script)?;
                    if !manifest.hosts.is_empty() {
                        let hosts: Vec<_> = manifest.hosts.iter().map(|host| format!("--allow-host {host}")).collect();
                        anstream::println!(
                            "  {dim}it wants to reach: terapi run {} {}{dim:#}",
                            script.name,
                            hosts.join(" ")
                        );
                    }
                }
            }
            Self::List => {
                let runtime = context.open()?;
                let scripts = runtime.store().scripts()?;
                if context.json {
                    output::json(&scripts.iter().map(script_json).collect::<Vec<_>>())?;
                } else if scripts.is_empty() {
                    anstream::println!("no scripts yet: terapi script add FILE");
                } else {
                    let mut rows = Vec::new();
                    for script in &scripts {
                        let manifest = manifest(script)?;
                        rows.push(vec![
                            script.name.to_string(),
                            kind_words(&manifest).to_owned(),
                            models(&manifest),
                            manifest.version,
                            bytes(script.size),
                            script.hash.short().to_owned(),
                            day(script.added_at),
                        ]);
                    }
                    output::table(&["name", "kind", "models", "version", ">size", "content", "added"], rows);
                }
            }
            Self::Show { name } => {
                let runtime = context.open()?;
                let script = runtime.store().script(&name)?.ok_or(RuntimeError::UnknownScript(name))?;
                if context.json {
                    output::json(&script_json(&script))?;
                } else {
                    show_manifest(&manifest(&script)?)?;
                    anstream::println!("content      {} ({})", script.hash, bytes(script.size));
                    anstream::println!("limits       {}", script.limits);
                    anstream::println!("added        {}", script.added_at);
                }
            }
            Self::Remove { name } => {
                let runtime = context.open()?;
                if !runtime.store().remove_script(&name)? {
                    return Err(RuntimeError::UnknownScript(name).into());
                }
                if !context.json {
                    anstream::println!("removed  {name}; its records stay");
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn manifest(script: &crate::store::Script) -> Result<Manifest, Failed> {
    serde_json::from_str(&script.manifest)
        .map_err(|error| Failed::new(format!("the stored manifest is unreadable: {error}")))
}

fn script_json(script: &crate::store::Script) -> serde_json::Value {
    serde_json::json!({
        "name": script.name,
        "hash": script.hash,
        "size": script.size,
        "added_at": script.added_at.to_string(),
        "manifest": serde_json::from_str::<serde_json::Value>(&script.manifest).unwrap_or_default(),
        "limits": serde_json::from_str::<serde_json::Value>(&script.limits).unwrap_or_default(),
    })
}

fn day(time: Timestamp) -> String {
    time.to_string().replace('T', " ").chars().take(16).collect()
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
    anstream::println!("{bold}{}{bold:#} {}", manifest.name, manifest.version);
    if !manifest.description.is_empty() {
        anstream::println!("  {}", manifest.description);
    }
    anstream::println!("kind         {}", kind_words(manifest));
    let lines = [
        ("models", Some(models(manifest)).filter(|text| !text.is_empty())),
        ("frequency", manifest.frequency.clone()),
        ("base URL", manifest.base_url.clone()),
        ("hosts", Some(manifest.hosts.join(", ")).filter(|text| !text.is_empty())),
    ];
    for (name, text) in lines {
        if let Some(text) = text {
            anstream::println!("{name:<12} {text}");
        }
    }
    let schemas = [
        ("config", &manifest.config_schema),
        ("metadata", &manifest.metadata_schema),
        ("input", &manifest.input_schema),
        ("output", &manifest.output_schema),
    ];
    for (name, schema) in schemas {
        if let Some(schema) = schema {
            anstream::println!("{name:<12} {schema}");
        }
    }
    for model in &manifest.models {
        let schema = serde_json::to_string(&model.schema).map_err(|error| Failed::new(error.to_string()))?;
        anstream::println!("model        {} {schema}", model.name);
    }
    Ok(())
}
