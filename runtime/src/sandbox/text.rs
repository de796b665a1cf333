//! Scripts that are text: the one engine that they all run in, and the modules that it is given.
//!
//! The engine is a component like any other, and to the rest of the sandbox such a script is one as well: same world, limits,
//! outcome. It comes compressed in the binary, is unpacked and compiled when it is first needed, and kept under its own
//! hash: a script adds its text and no machine code.

use std::ops::Range;

use wasmtime::component::InstancePre;

use super::bindings::source;
use super::host::HostState;
use super::{Patience, Sandbox};
use crate::ids::ScriptHash;
use crate::script::javascript::{Built, SECTION, Source, build};
use crate::script::{ScriptError, SourceError};

/// The engine, and what it has to be.
const ENGINE: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/typescript/engine/terapi-js.wasm.zst"));
const ENGINE_SHA256: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/typescript/engine/terapi-js.sha256"));
/// More than it has unpacked.
const MAX_ENGINE_BYTES: usize = 32 << 20;

/// The engine's component, unpacked.
pub fn engine_component() -> Result<Vec<u8>, ScriptError> {
    zstd::bulk::decompress(ENGINE, MAX_ENGINE_BYTES)
        .map_err(|error| ScriptError::InvalidBinary(format!("the engine of text scripts cannot be unpacked: {error}")))
}

/// The SHA-256 that the engine's component was checked in with, in hexadecimal.
#[must_use]
pub fn engine_hash() -> &'static str {
    ENGINE_SHA256.split_ascii_whitespace().next().unwrap_or_default()
}

/// A component that is a script by itself: the engine with the script's text in a custom section.
pub fn stand_alone(text: &str) -> Result<Vec<u8>, ScriptError> {
    // What does not build here would not run there.
    build(&Source::read(text)?)?;
    let mut bytes = engine_component()?;
    let size = 1 + SECTION.len() + text.len();
    bytes.push(0);
    leb128(&mut bytes, size);
    leb128(&mut bytes, SECTION.len());
    bytes.extend_from_slice(SECTION.as_bytes());
    bytes.extend_from_slice(text.as_bytes());
    Ok(bytes)
}

fn leb128(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let seven = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            return out.push(seven);
        }
        out.push(seven | 0x80);
    }
}

/// The text that a component carries along, of its outermost sections. Only of one that was found valid.
pub(super) fn carried(component: &[u8]) -> Option<Range<usize>> {
    // Magic, version and layer.
    let mut at = 8;
    while let Some(id) = component.get(at) {
        let (size, start) = read_leb128(component, at + 1)?;
        let end = start.checked_add(size).filter(|end| *end <= component.len())?;
        if *id == 0 {
            let (length, name) = read_leb128(component, start)?;
            let behind = name.checked_add(length).filter(|behind| *behind <= end)?;
            if component.get(name..behind)? == SECTION.as_bytes() {
                return Some(behind..end);
            }
        }
        at = end;
    }
    None
}

/// Whether a component is the engine with a text behind it, so that what was compiled of the engine serves.
pub(super) fn is_engine_with_text(component: &[u8]) -> bool {
    let Some(text) = carried(component).filter(|text| text.end == component.len()) else { return false };
    let header = SECTION.len() + 1;
    // Id and length of the section stand before its name: one byte and at most five.
    (2..=6).any(|before| {
        let engine = text.start.checked_sub(header + before).and_then(|end| component.get(..end));
        let starts = engine.is_some_and(|engine| component.get(engine.len()) == Some(&0));
        starts && engine.is_some_and(|engine| ScriptHash::of(engine).as_str() == engine_hash())
    })
}

/// A number of at most 32 bits, and where it ends.
fn read_leb128(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0_u64;
    for nth in 0..5 {
        let byte = *bytes.get(at + nth)?;
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, at + nth + 1));
        }
    }
    None
}

/// Builds a script's text on a thread that may block.
pub(super) async fn built(text: String) -> Result<Built, ScriptError> {
    let work = tokio::task::spawn_blocking(move || build(&Source::read(&text)?));
    match work.await {
        Ok(built) => Ok(built?),
        Err(_) => Err(SourceError::Broke("the script".to_owned()).into()),
    }
}

impl Sandbox {
    /// The engine, compiled and linked when it is first asked for.
    pub(super) async fn text_engine(&self) -> Result<&InstancePre<HostState>, ScriptError> {
        let make = async {
            let hash = ScriptHash::known(engine_hash());
            let hash = hash.ok_or_else(|| ScriptError::InvalidBinary("the engine's digest is none".to_owned()))?;
            let component = self.compiled(&hash, Patience::Deployed, engine_component).await?;
            self.linker.instantiate_pre(&component).map_err(super::load::mismatch)
        };
        self.text_engine.get_or_try_init(|| make).await
    }
}

impl source::Host for HostState {
    async fn modules(&mut self) -> wasmtime::Result<Vec<source::Module>> {
        self.meter.check_memory()?;
        let modules = || self.text.iter().flat_map(|built| built.modules());
        // It is to be asked once: who asks again pays for the copy.
        let bytes: usize = modules().map(|(name, code)| name.len() + code.len()).sum();
        self.fees.charge(1 + (bytes >> 10) as u64);
        Ok(modules().map(|(name, code)| source::Module { name: name.to_owned(), code: code.to_owned() }).collect())
    }
}
