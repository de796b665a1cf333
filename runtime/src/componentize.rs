//! From the core module that a C compiler emits to a component.
//!
//! The contract's text is compiled in, so nobody needs its files; which of the two worlds a module is for shows in what it exports.
//! WASI preview 1, which `wasi-libc` speaks, is translated by wasmtime's own adapter.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap, WorldId};

/// The contract, by file.
pub const WIT: [(&str, &str); 6] = [
    ("http.wit", include_str!("../../wit/http.wit")),
    ("log.wit", include_str!("../../wit/log.wit")),
    ("records.wit", include_str!("../../wit/records.wit")),
    ("state.wit", include_str!("../../wit/state.wit")),
    ("types.wit", include_str!("../../wit/types.wit")),
    ("worlds.wit", include_str!("../../wit/worlds.wit")),
];

/// The bytes of a core module.
#[derive(Debug, Clone)]
pub struct CoreModule(pub Vec<u8>);

/// Why a module makes no component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    /// It is something else: a component, or no Wasm at all.
    #[error("this is no core Wasm module (a component needs no `terapi componentize`)")]
    NotAModule,
    /// It is for neither world.
    #[error(
        "it exports neither `terapi:sync/sync-script@0.1.0#run` nor `terapi:sync/action-script@0.1.0#run`: compile the bindings \
         of guest-sdk/c/bindings along with the script"
    )]
    NoScript,
    /// The contract could not be read; cannot happen in a binary that was tested.
    #[error("the contract cannot be read: {0}")]
    Contract(String),
    /// What it imports or exports is not the contract's, and which.
    #[error("its imports or exports do not fit the contract: {0}")]
    Mismatch(String),
}

impl ComponentizeError {
    /// A stable name, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAModule => "not-a-module",
            Self::NoScript => "missing-export",
            Self::Contract(_) => "contract",
            Self::Mismatch(_) => "type-mismatch",
        }
    }
}

/// The first eight bytes of a core module: the magic number and version 1. A component has another version.
const MODULE_HEADER: &[u8] = b"\0asm\x01\0\0\0";

/// Makes a component of a module. The same module makes the same component.
///
/// # Errors
/// What is wrong with the module.
pub fn componentize(module: CoreModule) -> Result<Vec<u8>, ComponentizeError> {
    let CoreModule(mut module) = module;
    if !module.starts_with(MODULE_HEADER) {
        return Err(ComponentizeError::NotAModule);
    }
    // The names of exports stand in the module as they are.
    let exports = |name: &str| module.windows(name.len()).any(|window| window == name.as_bytes());
    let world = if exports("terapi:sync/sync-script@0.1.0#run") {
        "sync"
    } else if exports("terapi:sync/action-script@0.1.0#run") {
        "action"
    } else {
        return Err(ComponentizeError::NoScript);
    };
    let (resolve, world) = contract(world)?;
    let mismatch = |error: &dyn std::fmt::Display| ComponentizeError::Mismatch(error.to_string());
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(|error| mismatch(&error))?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        })
        .and_then(wit_component::ComponentEncoder::encode)
        .map_err(|error| mismatch(&format_args!("{error:#}")))
}

fn contract(world: &str) -> Result<(Resolve, WorldId), ComponentizeError> {
    let broken = |error: &dyn std::fmt::Display| ComponentizeError::Contract(error.to_string());
    let mut sources = SourceMap::default();
    for (name, text) in WIT {
        sources.push_str(name, text);
    }
    let package = sources.parse().map_err(|(_, error)| broken(&error))?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(package).map_err(|error| broken(&error))?;
    let world = resolve.select_world(&[package], Some(world)).map_err(|error| broken(&error))?;
    Ok((resolve, world))
}
