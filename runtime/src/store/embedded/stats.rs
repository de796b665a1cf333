//! What takes how much space.

use std::path::Path;

use serde::Serialize;

use super::EmbeddedStore;
use crate::store::{Store as _, StoreError, StreamInfo};

/// A store in figures. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreStats {
    /// Files of the log.
    pub log_files: u64,
    /// Their size.
    pub log_bytes: u64,
    /// About how much of that is still needed; the rest is given back when it becomes too much.
    pub live_bytes: u64,
    /// The small rows of the index.
    pub catalog_bytes: u64,
    /// The places of records in the index.
    pub places_bytes: u64,
    /// Their number; one that changed since the last merge counts more than once.
    pub places: u64,
    /// The bytes of scripts.
    pub script_bytes: u64,
    /// By name.
    pub streams: Vec<StreamInfo>,
}

impl EmbeddedStore {
    /// What takes how much space.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let engine = &self.engine;
        Ok(StoreStats {
            log_files: u64::from(engine.log.end().file - engine.log.first()) + 1,
            log_bytes: engine.log.bytes()?,
            live_bytes: engine.live_bytes()?,
            catalog_bytes: size(&engine.dir.join("index/catalog")),
            places_bytes: engine.index.places.bytes(),
            places: engine.index.places.entries(),
            script_bytes: size(&engine.dir.join("scripts")),
            streams: self.streams()?,
        })
    }
}

/// The size of all files below a folder. One that goes away meanwhile counts nothing.
fn size(folder: &Path) -> u64 {
    let Ok(items) = std::fs::read_dir(folder) else { return 0 };
    let sizes = items.flatten().map(|item| match item.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&item.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
