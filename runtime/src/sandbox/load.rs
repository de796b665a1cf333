//! From bytes to a script that can run: check, compile, link once, describe.
//!
//! Order of checks: header and size → what it would cost to compile and start, by a scan → validation and compilation, in a
//! process of their own → imports → exports → their types → `describe` under small limits → the manifest. Of a script that is text: its package → its syntax and imports → the engine loads it →
//! `describe` → the manifest.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{Component, InstancePre, Linker};

use super::bindings::{Action, ActionPre, Sync, SyncPre, TextKind, TextScript, types};
use super::host::HostState;
use super::limits::Limits;
use super::manifest::{from_action, from_sync};
use super::tape::{Doors, door};
use super::{Artifacts, Patience, Sandbox, Stop, text};
use crate::ids::ScriptHash;
use crate::run::{RunKind, StopReason};
use crate::script::javascript::{Built, is_text};
use crate::script::{Manifest, ScriptError, SourceError, check_header, scan};

/// A script that is ready to run. Cheap to share.
pub struct Script {
    /// Its content.
    pub hash: ScriptHash,
    /// Its size in bytes.
    pub size: usize,
    /// What it says of itself.
    pub manifest: Manifest,
    pub(super) pre: Pre,
    /// Its modules, if it is text.
    pub(super) text: Option<Arc<Built>>,
}

impl Script {
    /// The modules of a script that is text, itself first.
    #[must_use]
    pub fn modules(&self) -> Vec<&str> {
        self.text.iter().flat_map(|built| built.modules()).map(|(name, _)| name).collect()
    }
}

/// Checked and linked once; instantiated for every run.
pub(super) enum Pre {
    Sync(SyncPre<HostState>),
    Action(ActionPre<HostState>),
}

impl Pre {
    fn new(kind: RunKind, linked: InstancePre<HostState>) -> Result<Self, ScriptError> {
        Ok(match kind {
            RunKind::Sync => Self::Sync(SyncPre::new(linked).map_err(mismatch)?),
            RunKind::Action => Self::Action(ActionPre::new(linked).map_err(mismatch)?),
        })
    }

    pub(super) fn has_one_memory(&self) -> bool {
        has_one_memory(match self {
            Self::Sync(pre) => pre.instance_pre(),
            Self::Action(pre) => pre.instance_pre(),
        })
    }
}

/// Whether all of a script works in one memory, so that it is one component inside too.
fn has_one_memory(linked: &InstancePre<HostState>) -> bool {
    linked.component().resources_required().is_some_and(|needed| needed.num_memories <= 1)
}

/// What a component asks for and offers, as `terapi inspect` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Surface {
    /// Interfaces it imports.
    pub imports: Vec<String>,
    /// Interfaces and functions it exports.
    pub exports: Vec<String>,
    /// The modules of a script that is text, itself first.
    pub modules: Vec<String>,
}

/// `describe` computes nothing: this is a thousand times what the Rust SDK's needs.
const DESCRIBE_LIMITS: (u64, u64, Duration) = (100_000_000, 64 << 20, Duration::from_secs(5));
/// Fuel besides for each byte of a script's text, which the engine reads and compiles first: it takes 90 to 100 a byte.
const TEXT_FUEL: u64 = 200;
/// WASI that language runtimes need to start. All of it is linked with nothing behind it. Not among them: `wasi:http`,
/// which would be another door.
const WASI: [&str; 5] = ["wasi:cli/", "wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:filesystem/"];
/// What a runtime with a whole C library in it imports, such as `CPython`'s, whether the script dials or not. Who imports
/// all of it gets it, and every socket that it asks for is refused. Who imports some of it means to dial, and is told at
/// upload that it cannot.
const SOCKETS: [&str; 7] =
    ["network", "instance-network", "udp", "udp-create-socket", "tcp", "tcp-create-socket", "ip-name-lookup"];
const CONTRACT: [&str; 5] = ["types", "http", "records", "state", "log"];

impl Sandbox {
    /// Makes a script of a component's bytes, or of a text, or says why not. A component is compiled, unless what was
    /// compiled of it is kept, so it takes a fifth of a CPU second for 100 KB. A text is translated, in milliseconds.
    pub async fn load(&self, bytes: impl Into<Bytes>, patience: Patience) -> Result<Arc<Script>, ScriptError> {
        self.prepare(bytes.into(), patience).await?.script(self).await
    }

    /// What a component imports and exports, also if it is none that could run here, and the script it makes or why not.
    pub async fn inspect(&self, bytes: Bytes) -> Result<(Surface, Result<Arc<Script>, ScriptError>), ScriptError> {
        let prepared = self.prepare(bytes, Patience::Upload).await?;
        let surface = prepared.surface();
        let script = prepared.script(self).await;
        Ok((surface, script))
    }

    /// Order: header and size → what kind of script it is → text is built; a component is scanned and compiled.
    async fn prepare(&self, bytes: Bytes, patience: Patience) -> Result<Prepared, ScriptError> {
        let size = bytes.len();
        if !bytes.starts_with(b"\0asm") && is_text(&bytes) {
            let hash = ScriptHash::of(&bytes);
            let text = std::str::from_utf8(&bytes).map_err(|error| ScriptError::NotAComponent(error.to_string()))?;
            let text = text::built(text.to_owned()).await?;
            return Ok(Prepared { hash, size, kind: PreparedKind::Text, text: Some(text.into()) });
        }
        check_header(&bytes)?;
        let (compiled, hash) = self.component(bytes.clone(), patience).await?;
        let text = match text::carried(&bytes).and_then(|carried| bytes.get(carried)) {
            Some(text) => {
                let text = std::str::from_utf8(text);
                let text = text.map_err(|error| SourceError::BadPackage(error.to_string()))?.to_owned();
                Some(text::built(text).await?.into())
            }
            None => None,
        };
        let kind = compiled.map_or(PreparedKind::Text, PreparedKind::Component);
        Ok(Prepared { hash, size, kind, text })
    }

    /// The component of these bytes; none if that is the engine of scripts that are text, with a text.
    async fn component(
        &self,
        bytes: Bytes,
        patience: Patience,
    ) -> Result<(Option<Component>, ScriptHash), ScriptError> {
        let hashed =
            tokio::task::spawn_blocking(move || (ScriptHash::of(&bytes), text::is_engine_with_text(&bytes), bytes));
        let (hash, is_engine, bytes) = hashed.await.map_err(gave_up)?;
        if is_engine {
            return Ok((None, hash));
        }
        let limits = self.scan_limits;
        let scanned = move || scan(&bytes, &limits).map(|()| bytes);
        let component = self.compiled(&hash, patience, scanned).await?;
        Ok((Some(component), hash))
    }

    /// A component by its hash: as it was kept, or compiled of its bytes, which are asked for only then.
    pub(super) async fn compiled<B: AsRef<[u8]> + Send + 'static>(
        &self,
        hash: &ScriptHash,
        patience: Patience,
        bytes: impl FnOnce() -> Result<B, ScriptError> + Send + 'static,
    ) -> Result<Component, ScriptError> {
        if let Some(Ok(component)) = self.kept(hash).await? {
            return Ok(component);
        }
        let bytes = tokio::task::spawn_blocking(bytes).await.map_err(gave_up)??;
        let _turn = self.compiler.turn(patience).await?;
        // Somebody else may have compiled it meanwhile.
        if let Some(Ok(component)) = self.kept(hash).await? {
            return Ok(component);
        }
        if let Some(artifacts) = self.artifacts.as_ref().filter(|_| self.compiler.is_apart()) {
            let broke = |error: std::io::Error| {
                ScriptError::CompileInterrupted(format!("its file could not be written: {error}"))
            };
            let file = artifacts.create(hash).map_err(broke)?;
            self.compiler.compile(bytes.as_ref(), file.file().map_err(broke)?).await?;
            let (artifacts, hash_too) = (Arc::clone(artifacts), hash.clone());
            let kept = tokio::task::spawn_blocking(move || artifacts.keep(&hash_too, file)).await;
            kept.map_err(gave_up)?.map_err(broke)?;
            return match self.kept(hash).await? {
                // It compiles, and there is no place for it among instances.
                Some(component) => component.map_err(|error| ScriptError::InvalidBinary(format!("{error:#}"))),
                None => Err(ScriptError::CompileInterrupted("its file is gone".to_owned())),
            };
        }
        let (engine, artifacts, hash) = (self.engine.clone(), self.artifacts.clone(), hash.clone());
        let compiled = tokio::task::spawn_blocking(move || {
            let bytes = bytes.as_ref();
            let component =
                Component::from_binary(&engine, bytes).map_err(|error| super::compiler::refusal(bytes, &error))?;
            if let Some(artifacts) = artifacts
                && let Err(error) = keep(&artifacts, &hash, &component)
            {
                tracing::debug!(%error, "a compiled script could not be kept");
            }
            Ok(component)
        });
        compiled.await.map_err(gave_up)?
    }

    /// What was kept of a compiled script, if the engine takes it.
    async fn kept(&self, hash: &ScriptHash) -> Result<Option<wasmtime::Result<Component>>, ScriptError> {
        let Some(artifacts) = self.artifacts.clone() else { return Ok(None) };
        let (engine, hash) = (self.engine.clone(), hash.clone());
        tokio::task::spawn_blocking(move || artifacts.load(&engine, &hash)).await.map_err(gave_up)
    }
}

fn keep(artifacts: &Artifacts, hash: &ScriptHash, component: &Component) -> std::io::Result<()> {
    let code = component.serialize().map_err(std::io::Error::other)?;
    let file = artifacts.create(hash)?;
    std::io::Write::write_all(&mut file.file()?, &code)?;
    artifacts.keep(hash, file)
}

fn gave_up(_: tokio::task::JoinError) -> ScriptError {
    ScriptError::InvalidBinary("the compiler gave up on it".to_owned())
}

/// A script that was built or compiled, and not asked yet what it is.
struct Prepared {
    hash: ScriptHash,
    size: usize,
    kind: PreparedKind,
    text: Option<Arc<Built>>,
}

enum PreparedKind {
    /// It runs in the engine that all such scripts share.
    Text,
    Component(Component),
}

impl Prepared {
    fn surface(&self) -> Surface {
        let mut surface = match &self.kind {
            PreparedKind::Text => Surface::default(),
            PreparedKind::Component(component) => surface(component),
        };
        surface.modules = self.text.iter().flat_map(|built| built.modules()).map(|(name, _)| name.to_owned()).collect();
        surface
    }

    /// Links it and asks it to describe itself.
    async fn script(self, sandbox: &Sandbox) -> Result<Arc<Script>, ScriptError> {
        let (kind, linked) = match &self.kind {
            PreparedKind::Text => (Kind::Loaded, sandbox.text_engine().await?.clone()),
            PreparedKind::Component(component) => {
                let kind = check_surface(&self.surface())?;
                (kind, sandbox.linker.instantiate_pre(component).map_err(mismatch)?)
            }
        };
        let known = match kind {
            Kind::Known(kind) => Some(Pre::new(kind, linked.clone())?),
            Kind::Loaded => None,
        };
        let (kind, manifest) = sandbox.describe(&linked, kind, self.text.clone()).await?;
        let pre = match known {
            Some(pre) => pre,
            None => Pre::new(kind, linked)?,
        };
        let Self { hash, size, text, .. } = self;
        Ok(Arc::new(Script { hash, size, manifest, pre, text }))
    }
}

/// How it is known whether a script is a sync or an action.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Known(RunKind),
    /// The engine of text scripts is both; it says so of a script when it has loaded it.
    Loaded,
}

impl Sandbox {
    async fn describe(
        &self,
        linked: &InstancePre<HostState>,
        kind: Kind,
        text: Option<Arc<Built>>,
    ) -> Result<(RunKind, Manifest), ScriptError> {
        let (fuel, memory, timeout) = DESCRIBE_LIMITS;
        let text_bytes: usize = text.iter().flat_map(|built| built.modules()).map(|(_, code)| code.len()).sum();
        let fuel = fuel.saturating_add(TEXT_FUEL.saturating_mul(text_bytes as u64));
        let limits = Limits { fuel, memory, timeout, ..Limits::default() };
        let _slot = self.describing.acquire().await;
        let mut guest = self.guest(limits, None, has_one_memory(linked), text.clone(), None);
        let work = async {
            let store = &mut guest.store;
            let instance = linked.instantiate_async(&mut *store).await?;
            let other_type = |error: wasmtime::Error| {
                Ok::<_, wasmtime::Error>(Err(mismatch(error.context("its describe or run has another type"))))
            };
            let kind = match kind {
                Kind::Known(kind) => kind,
                Kind::Loaded => {
                    let script = match TextScript::new(&mut *store, &instance) {
                        Ok(script) => script,
                        Err(error) => return other_type(error),
                    };
                    match script.terapi_engine_script().call_load(&mut *store).await? {
                        Ok(TextKind::Sync) => RunKind::Sync,
                        Ok(TextKind::Action) => RunKind::Action,
                        Err(message) => return Ok(Err(SourceError::Load(message).into())),
                    }
                }
            };
            let manifest = match kind {
                RunKind::Sync => match Sync::new(&mut *store, &instance) {
                    Ok(sync) => from_sync(sync.terapi_sync_sync_script().call_describe(&mut *store).await?),
                    Err(error) => return other_type(error),
                },
                RunKind::Action => match Action::new(&mut *store, &instance) {
                    Ok(action) => from_action(action.terapi_sync_action_script().call_describe(&mut *store).await?),
                    Err(error) => return other_type(error),
                },
            };
            Ok(manifest.map(|manifest| (kind, manifest)))
        };
        match super::guarded(work, &guest.turns, timeout, &tokio_util::sync::CancellationToken::new()).await {
            Ok(Err(ScriptError::Source(SourceError::Load(message)))) => {
                let message = super::outcome::cut(message);
                let explained = text.as_deref().map(|built| built.explain_load(&message));
                Err(SourceError::Load(explained.unwrap_or(message)).into())
            }
            Ok(described) => described,
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
pub(super) fn mismatch(error: wasmtime::Error) -> ScriptError {
    ScriptError::TypeMismatch(super::outcome::cut(format!("{error:#}")))
}

/// Adds everything a script may import.
pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    use wasmtime::component::HasSelf;

    use super::bindings::{http, log, records, source, state};
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    http::add_to_linker::<_, Doors>(linker, door)?;
    records::add_to_linker::<_, Doors>(linker, door)?;
    state::add_to_linker::<_, Doors>(linker, door)?;
    log::add_to_linker::<_, Doors>(linker, door)?;
    source::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

fn surface(component: &Component) -> Surface {
    let engine = component.engine();
    let ty = component.component_type();
    Surface {
        imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
        exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
        modules: Vec::new(),
    }
}

/// The interface of `wasi:sockets` that an import names.
fn socket(import: &str) -> Option<&str> {
    Some(import.strip_prefix("wasi:sockets/")?.split_once("@0.2.")?.0)
}

/// Whether a versioned name such as `terapi:sync/http@0.1.3` is of our contract's version.
fn is_ours(version: &str) -> bool {
    semver::Version::parse(version).is_ok_and(|version| (version.major, version.minor) == (0, 1))
}

fn check_surface(surface: &Surface) -> Result<Kind, ScriptError> {
    let mut forbidden = Vec::new();
    let whole_library = SOCKETS.iter().all(|name| surface.imports.iter().any(|import| socket(import) == Some(name)));
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
        if name == "terapi:engine/source" && is_ours(version) {
            continue;
        }
        let dead_socket = whole_library && socket(import).is_some_and(|name| SOCKETS.contains(&name));
        let wasi = version.starts_with("0.2.") && WASI.iter().any(|prefix| name.starts_with(prefix));
        if !dead_socket && !wasi {
            forbidden.push(import.clone());
        }
    }
    if !forbidden.is_empty() {
        return Err(ScriptError::ForbiddenImport(forbidden));
    }
    if surface.exports.iter().any(|export| export.starts_with("terapi:engine/script@")) {
        return Ok(Kind::Loaded);
    }
    for export in &surface.exports {
        let (name, version) = export.split_once('@').unwrap_or((export, ""));
        let kind = match name {
            "terapi:sync/sync-script" => RunKind::Sync,
            "terapi:sync/action-script" => RunKind::Action,
            _ => continue,
        };
        return if is_ours(version) {
            Ok(Kind::Known(kind))
        } else {
            Err(ScriptError::UnsupportedVersion(export.clone()))
        };
    }
    Err(ScriptError::MissingExport(surface.exports.clone()))
}
