//! From bytes to a script that can run: check, compile, link once, describe.
//!
//! Order of checks: header and size → validation and compilation → imports → exports → their types → `describe` under
//! small limits → the manifest.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, Linker};

use super::bindings::{Action, ActionPre, Sync, SyncPre, types};
use super::host::HostState;
use super::limits::Limits;
use super::{Sandbox, Stop};
use crate::ids::ScriptHash;
use crate::run::{RunKind, StopReason};
use crate::script::{Manifest, Model, ScriptError, SyncMode, check_header};
use crate::store::canonical;

/// A script that is ready to run. Cheap to share.
pub struct Script {
    /// Its content.
    pub hash: ScriptHash,
    /// Its size in bytes.
    pub size: usize,
    /// What it says of itself.
    pub manifest: Manifest,
    pub(super) pre: Pre,
}

/// Checked and linked once; instantiated for every run.
pub(super) enum Pre {
    Sync(SyncPre<HostState>),
    Action(ActionPre<HostState>),
}

impl Pre {
    /// Whether all of the script works in one memory, so that it is one component inside too.
    pub(super) fn has_one_memory(&self) -> bool {
        let component = match self {
            Self::Sync(pre) => pre.instance_pre().component(),
            Self::Action(pre) => pre.instance_pre().component(),
        };
        component.resources_required().is_some_and(|needed| needed.num_memories <= 1)
    }
}

/// What a component asks for and offers, as `terapi inspect` shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Surface {
    /// Interfaces it imports.
    pub imports: Vec<String>,
    /// Interfaces and functions it exports.
    pub exports: Vec<String>,
}

/// `describe` computes nothing: this is a thousand times what the Rust SDK's needs.
const DESCRIBE_LIMITS: (u64, u64, Duration) = (100_000_000, 64 << 20, Duration::from_secs(5));
/// A manifest is read by people.
const MAX_MANIFEST_BYTES: usize = 1 << 20;
/// WASI that language runtimes need to start. All of it is linked with nothing behind it. Not among them: sockets and
/// `wasi:http`, which would be another door.
const WASI: [&str; 5] = ["wasi:cli/", "wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:filesystem/"];
const CONTRACT: [&str; 5] = ["types", "http", "records", "state", "log"];

impl Sandbox {
    /// Makes a script of a component's bytes, or says why not. Compiles, unless what was compiled of it is kept, so it
    /// takes a fifth of a CPU second for 100 KB.
    pub async fn load(&self, bytes: Vec<u8>) -> Result<Arc<Script>, ScriptError> {
        let compiled = self.compile(bytes).await?;
        let surface = surface(&compiled.0);
        self.link(compiled, &surface).await
    }

    /// What a component imports and exports, also if it is none that could run here, and the script it makes or why not.
    pub async fn inspect(&self, bytes: Vec<u8>) -> Result<(Surface, Result<Arc<Script>, ScriptError>), ScriptError> {
        let compiled = self.compile(bytes).await?;
        let surface = surface(&compiled.0);
        let script = self.link(compiled, &surface).await;
        Ok((surface, script))
    }

    async fn link(
        &self,
        (component, hash, size): (Component, ScriptHash, usize),
        surface: &Surface,
    ) -> Result<Arc<Script>, ScriptError> {
        let kind = check_surface(surface)?;
        let linked = self.linker.instantiate_pre(&component).map_err(mismatch)?;
        let pre = match kind {
            RunKind::Sync => Pre::Sync(SyncPre::new(linked).map_err(mismatch)?),
            RunKind::Action => Pre::Action(ActionPre::new(linked).map_err(mismatch)?),
        };
        let manifest = self.describe(&pre).await?;
        Ok(Arc::new(Script { hash, size, manifest, pre }))
    }

    async fn compile(&self, bytes: Vec<u8>) -> Result<(Component, ScriptHash, usize), ScriptError> {
        check_header(&bytes)?;
        let (engine, artifacts) = (self.engine.clone(), self.artifacts.clone());
        let compiled = tokio::task::spawn_blocking(move || {
            let (hash, size) = (ScriptHash::of(&bytes), bytes.len());
            if let Some(component) = artifacts.as_ref().and_then(|kept| kept.load(&engine, &hash)) {
                return Ok((component, hash, size));
            }
            let component = Component::from_binary(&engine, &bytes)?;
            if let Some(artifacts) = artifacts {
                artifacts.keep(&hash, &component);
            }
            Ok::<_, wasmtime::Error>((component, hash, size))
        });
        match compiled.await {
            Ok(result) => result.map_err(|error| ScriptError::InvalidBinary(format!("{error:#}"))),
            Err(_) => Err(ScriptError::InvalidBinary("the compiler gave up on it".to_owned())),
        }
    }

    async fn describe(&self, pre: &Pre) -> Result<Manifest, ScriptError> {
        let (fuel, memory, timeout) = DESCRIBE_LIMITS;
        let limits = Limits { fuel, memory, timeout, ..Limits::default() };
        let mut guest = self.guest(limits, None, pre.has_one_memory());
        let work = async {
            match pre {
                Pre::Sync(pre) => {
                    let instance = pre.instance_pre().instantiate_async(&mut guest.store).await?;
                    match Sync::new(&mut guest.store, &instance) {
                        Ok(sync) => Ok::<_, wasmtime::Error>(from_sync(
                            sync.terapi_sync_sync_script().call_describe(&mut guest.store).await?,
                        )),
                        Err(error) => Ok(Err(mismatch(error.context("its describe or run has another type")))),
                    }
                }
                Pre::Action(pre) => {
                    let instance = pre.instance_pre().instantiate_async(&mut guest.store).await?;
                    match Action::new(&mut guest.store, &instance) {
                        Ok(action) => {
                            Ok(from_action(action.terapi_sync_action_script().call_describe(&mut guest.store).await?))
                        }
                        Err(error) => Ok(Err(mismatch(error.context("its describe or run has another type")))),
                    }
                }
            }
        };
        match super::guarded(work, &guest.turns, timeout, &tokio_util::sync::CancellationToken::new()).await {
            Ok(manifest) => manifest,
            Err(stop) => {
                let stopped = match stop {
                    Stop::Error(error) => super::outcome::stopped_by(&error, &guest.meter),
                    other => super::outcome::stopped(&other, &guest.meter),
                };
                Err(match stopped.reason {
                    StopReason::OutOfFuel | StopReason::OutOfMemory | StopReason::TimedOut => {
                        ScriptError::Limit(stopped.message)
                    }
                    _ => ScriptError::Describe(stopped.message),
                })
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn mismatch(error: wasmtime::Error) -> ScriptError {
    ScriptError::TypeMismatch(format!("{error:#}"))
}

/// Adds everything a script may import.
pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    use wasmtime::component::HasSelf;

    use super::bindings::{http, log, records, state};
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    http::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    records::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    state::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

fn surface(component: &Component) -> Surface {
    let engine = component.engine();
    let ty = component.component_type();
    Surface {
        imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
        exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
    }
}

/// Whether a versioned name such as `terapi:sync/http@0.1.3` is of our contract's version.
fn is_ours(version: &str) -> bool {
    semver::Version::parse(version).is_ok_and(|version| (version.major, version.minor) == (0, 1))
}

fn check_surface(surface: &Surface) -> Result<RunKind, ScriptError> {
    let mut forbidden = Vec::new();
    for import in &surface.imports {
        let (name, version) = import.split_once('@').unwrap_or((import, ""));
        if let Some(interface) = name.strip_prefix("terapi:sync/") {
            if !is_ours(version) {
                return Err(ScriptError::UnsupportedVersion(import.clone()));
            }
            if CONTRACT.contains(&interface) {
                continue;
            }
        }
        if !(WASI.iter().any(|prefix| name.starts_with(prefix)) && version.starts_with("0.2.")) {
            forbidden.push(import.clone());
        }
    }
    if !forbidden.is_empty() {
        return Err(ScriptError::ForbiddenImport(forbidden));
    }
    for export in &surface.exports {
        let (name, version) = export.split_once('@').unwrap_or((export, ""));
        let kind = match name {
            "terapi:sync/sync-script" => RunKind::Sync,
            "terapi:sync/action-script" => RunKind::Action,
            _ => continue,
        };
        return if is_ours(version) { Ok(kind) } else { Err(ScriptError::UnsupportedVersion(export.clone())) };
    }
    Err(ScriptError::MissingExport(surface.exports.clone()))
}

fn from_sync(manifest: types::SyncManifest) -> Result<Manifest, ScriptError> {
    let mode = match manifest.mode {
        types::SyncMode::FullRefresh => SyncMode::FullRefresh,
        types::SyncMode::Incremental => SyncMode::Incremental,
    };
    if manifest.models.is_empty() {
        return Err(ScriptError::Manifest("a sync needs at least one model to save".to_owned()));
    }
    check(Manifest {
        kind: RunKind::Sync,
        name: name(&manifest.name)?,
        version: manifest.version,
        description: manifest.description,
        mode: Some(mode),
        models: models(manifest.models)?,
        frequency: manifest.frequency,
        auto_start: manifest.auto_start,
        base_url: base_url(manifest.base_url)?,
        hosts: hosts(manifest.hosts)?,
        config_schema: schema("config-schema", manifest.config_schema)?,
        metadata_schema: schema("metadata-schema", manifest.metadata_schema)?,
        input_schema: None,
        output_schema: None,
    })
}

fn from_action(manifest: types::ActionManifest) -> Result<Manifest, ScriptError> {
    check(Manifest {
        kind: RunKind::Action,
        name: name(&manifest.name)?,
        version: manifest.version,
        description: manifest.description,
        mode: None,
        models: models(manifest.models)?,
        frequency: None,
        auto_start: false,
        base_url: base_url(manifest.base_url)?,
        hosts: hosts(manifest.hosts)?,
        config_schema: schema("config-schema", manifest.config_schema)?,
        metadata_schema: schema("metadata-schema", manifest.metadata_schema)?,
        input_schema: schema("input-schema", manifest.input_schema)?,
        output_schema: schema("output-schema", manifest.output_schema)?,
    })
}

fn check(manifest: Manifest) -> Result<Manifest, ScriptError> {
    let size = serde_json::to_vec(&manifest).map_or(usize::MAX, |bytes| bytes.len());
    if size > MAX_MANIFEST_BYTES {
        return Err(ScriptError::Manifest(format!("it has {size} bytes, over {MAX_MANIFEST_BYTES}")));
    }
    Ok(manifest)
}

fn name(text: &str) -> Result<crate::ids::ScriptName, ScriptError> {
    text.parse().map_err(|error| ScriptError::Manifest(format!("{error}")))
}

fn models(given: Vec<types::Model>) -> Result<Vec<Model>, ScriptError> {
    let mut models: Vec<Model> = Vec::with_capacity(given.len());
    let mut names = HashSet::with_capacity(given.len());
    for model in given {
        let name: crate::ids::ModelName =
            model.name.parse().map_err(|error| ScriptError::Manifest(format!("{error}")))?;
        if !names.insert(name.clone()) {
            return Err(ScriptError::Manifest(format!("model {name} is there twice")));
        }
        let schema = parse_schema(&format!("the schema of model {name}"), &model.schema)?;
        models.push(Model { name, schema, ignore: model.ignore });
    }
    Ok(models)
}

fn hosts(given: Vec<String>) -> Result<Vec<String>, ScriptError> {
    for host in &given {
        if let Err(error) = host.parse::<crate::egress::HostPattern>() {
            return Err(ScriptError::Manifest(format!("hosts: {error}")));
        }
    }
    Ok(given)
}

fn base_url(given: Option<String>) -> Result<Option<String>, ScriptError> {
    if let Some(text) = &given
        && !url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    {
        return Err(ScriptError::Manifest(format!("base-url {text:?} is not an http or https URL")));
    }
    Ok(given)
}

fn schema(what: &str, given: Option<String>) -> Result<Option<serde_json::Value>, ScriptError> {
    given.map(|text| parse_schema(what, &text)).transpose()
}

fn parse_schema(what: &str, text: &str) -> Result<serde_json::Value, ScriptError> {
    let refuse = |reason: String| ScriptError::Manifest(format!("{what}: {reason}"));
    canonical::validate_object(text).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_str(text).map_err(|error| refuse(error.to_string()))
}
