//! What a script says of itself, and why one is refused.

pub(crate) mod javascript;
mod scan;

use serde::{Deserialize, Serialize};

pub use self::javascript::{Finding, SourceError};
pub use self::scan::ScanLimits;
pub(crate) use self::scan::{MAX_MEMORIES, scan};
use crate::ids::{ModelName, ScriptName};
use crate::run::RunKind;
use crate::store::ModelRule;

/// The largest script. `CPython` as a component has 22 MB.
pub const MAX_SCRIPT_BYTES: usize = 32 << 20;

/// How a sync brings its records up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncMode {
    /// Every run saves everything; what it did not save is deleted.
    FullRefresh,
    /// A run saves what changed.
    Incremental,
}

impl SyncMode {
    /// `full refresh` or `incremental`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::FullRefresh => "full refresh",
            Self::Incremental => "incremental",
        }
    }
}

/// A kind of record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Its name.
    pub name: ModelName,
    /// A JSON Schema of one record.
    pub schema: serde_json::Value,
    /// Top-level fields whose change alone is no change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
}

impl Model {
    /// What the store must know of it.
    #[must_use]
    pub fn rule(&self) -> ModelRule {
        ModelRule { name: self.name.clone(), ignore: self.ignore.clone() }
    }
}

/// What a script says of itself. Requests, not rights: the operator grants or refuses what it asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Sync or action.
    pub kind: RunKind,
    /// The name it wants to be deployed under.
    pub name: ScriptName,
    /// Its own version.
    pub version: String,
    /// For who decides to deploy it.
    pub description: String,
    /// Of a sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<SyncMode>,
    /// What it saves, or reads.
    pub models: Vec<Model>,
    /// How often it wants to run, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency: Option<String>,
    /// Whether a sync is created by itself for each connection of the integration that the script is deployed for.
    #[serde(default)]
    pub auto_start: bool,
    /// The API's base URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Hosts it wants to reach.
    pub hosts: Vec<String>,
    /// A JSON Schema of the sync's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<serde_json::Value>,
    /// A JSON Schema of the connection's metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_schema: Option<serde_json::Value>,
    /// A JSON Schema of an action's input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<serde_json::Value>,
    /// A JSON Schema of an action's output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<serde_json::Value>,
}

/// Why a script is refused. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The bytes are something else.
    #[error("this is not a WebAssembly component, nor a script in TypeScript or JavaScript: {0}")]
    NotAComponent(String),
    /// A module without the component layer.
    #[error(
        "this is a core WebAssembly module, not a component: build it for wasm32-wasip2, or wrap it with `wasm-tools \
         component new`"
    )]
    CoreModule,
    /// Too many bytes.
    #[error(
        "the script has {size} bytes, over the limit of {MAX_SCRIPT_BYTES}: strip debug information, or leave out what it does not use"
    )]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// Damaged, or of a feature that is off.
    #[error("the component does not validate: {0}")]
    InvalidBinary(String),
    /// Valid, but of a feature of WebAssembly that no script gets.
    #[error("the component needs a feature of WebAssembly that is switched off here: {0}")]
    FeatureOff(String),
    /// It would take too much to compile or to start.
    #[error(
        "the script is too complex to be compiled safely: {what}={count} limit={limit} (at offset {offset:#x}); split it, or \
         build it smaller: optimize for size, leave out what it does not use"
    )]
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// How much, as far as it was counted.
        count: u64,
        /// How much there may be.
        limit: u64,
        /// Where it became too much, in the file.
        offset: usize,
    },
    /// It hands modules or components around as values.
    #[error(
        "the script imports, exports or aliases {what} as values (at offset {offset:#x}): link them inside it instead"
    )]
    PassesAlong {
        /// Of what.
        what: &'static str,
        /// Where.
        offset: usize,
    },
    /// Its memories are too large before it does anything.
    #[error(
        "the script's memories have {} at the start, over the limit of {}: start with less and grow, or build it with a smaller stack",
        crate::sandbox::bytes(*.bytes), crate::sandbox::bytes(*.limit)
    )]
    StartMemory {
        /// All of them together.
        bytes: u64,
        /// How much they may have.
        limit: u64,
    },
    /// The compiler used up what it may for one script.
    #[error(
        "compiling the script took more than {limit}: build it smaller (optimize for size, leave out what it does not use), \
         or split its largest functions"
    )]
    CompileLimit {
        /// Of what, and how much.
        limit: String,
    },
    /// The compiler was killed from outside.
    #[error(
        "the compiler of the script was ended from outside ({0}); nothing is wrong with the script: upload it again"
    )]
    CompileInterrupted(String),
    /// Others are being compiled.
    #[error("{waiting} scripts wait to be compiled already; try again in some seconds")]
    CompileBusy {
        /// How many.
        waiting: usize,
    },
    /// It imports what no script gets.
    #[error(
        "the script imports what Terapi does not give: {}. A script gets terapi:sync/{{http,records,state,log}}@0.1 \
         and, empty, wasi:{{cli,io,clocks,random,filesystem}}@0.2",
        listed(.0)
    )]
    ForbiddenImport(Vec<String>),
    /// It was built against a contract that this Terapi does not speak.
    #[error("the script was built for {0}; this Terapi speaks terapi:sync@0.1")]
    UnsupportedVersion(String),
    /// Neither a sync nor an action.
    #[error(
        "the script exports neither terapi:sync/sync-script nor terapi:sync/action-script (functions describe and \
         run); it exports {}", if .0.is_empty() { "nothing".to_owned() } else { listed(.0) }
    )]
    MissingExport(Vec<String>),
    /// An import or export has another type than the contract says.
    #[error("the script does not fit the contract: {0}")]
    TypeMismatch(String),
    /// Its own memory is over the limit before it runs.
    #[error("the script cannot start within the limits of `describe`: {0}")]
    Limit(String),
    /// `describe` failed.
    #[error("the script's describe failed: {0}")]
    Describe(String),
    /// `describe` returned something unusable.
    #[error("the script's manifest is not acceptable: {0}")]
    Manifest(String),
    /// It is text, and no script.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Names that a stranger chose, as many as a person reads.
fn listed(names: &[String]) -> String {
    const MAX_NAMES: usize = 50;
    const MAX_CHARS: usize = 100;
    let shown = names.iter().take(MAX_NAMES).map(|name| name.chars().take(MAX_CHARS).collect());
    let mut shown: Vec<String> = shown.collect();
    if names.len() > MAX_NAMES {
        shown.push(format!("and {} more", names.len() - MAX_NAMES));
    }
    shown.join(", ")
}

impl ScriptError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAComponent(_) => "not-a-component",
            Self::CoreModule => "core-module",
            Self::TooLarge { .. } => "script-too-large",
            Self::InvalidBinary(_) => "invalid-binary",
            Self::FeatureOff(_) => "feature-off",
            Self::TooComplex { .. } | Self::PassesAlong { .. } => "too-complex",
            Self::StartMemory { .. } => "memory-limit",
            Self::CompileLimit { .. } => "compile-limit",
            Self::CompileInterrupted(_) => "compile-interrupted",
            Self::CompileBusy { .. } => "compile-busy",
            Self::ForbiddenImport(_) => "forbidden-import",
            Self::UnsupportedVersion(_) => "unsupported-version",
            Self::MissingExport(_) => "missing-export",
            Self::TypeMismatch(_) => "type-mismatch",
            Self::Limit(_) => "describe-limit",
            Self::Describe(_) => "describe-failed",
            Self::Manifest(_) => "bad-manifest",
            Self::Source(error) => error.code(),
        }
    }
}

/// The first checks, on the first eight bytes and the length: magic `\0asm`, then version and layer
/// (<https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>).
pub(crate) fn check_header(bytes: &[u8]) -> Result<(), ScriptError> {
    if bytes.len() > MAX_SCRIPT_BYTES {
        return Err(ScriptError::TooLarge { size: bytes.len() });
    }
    let Some((magic, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(ScriptError::NotAComponent(format!("it has only {} bytes", bytes.len())));
    };
    if magic != b"\0asm" {
        let text = "it begins neither with \\0asm nor is it text of a script (WebAssembly text must be compiled first)";
        return Err(ScriptError::NotAComponent(text.to_owned()));
    }
    match rest.split_first_chunk::<4>() {
        Some(([1, 0, 0, 0], _)) => Err(ScriptError::CoreModule),
        Some(([_, _, 1, 0], _)) => Ok(()),
        Some((version, _)) => {
            Err(ScriptError::InvalidBinary(format!("unknown version and layer {version:?} at byte 4")))
        }
        None => Err(ScriptError::InvalidBinary("it ends within its header, at byte 4".to_owned())),
    }
}
