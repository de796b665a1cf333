//! META.json: what kind of store this is. It is written once, and whole or not at all.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::log::sum;
use super::{migrate, write_durably};
use crate::store::StoreError;

/// The format this code writes and the newest it reads.
///
/// 1: an index entry a record in sled, a frame a batch. 2: places in files of their own, a frame a group.
pub(super) const FORMAT: u32 = 2;

/// What a store must know before it reads anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) format: u32,
    /// Of the history: another one after a restore or a salvage.
    pub(super) epoch: [u8; 8],
    /// Seals cursors and keys hashes.
    pub(super) secret: [u8; 32],
    /// Over the three, so that a damaged secret does not make every record look new. Format 1 has none.
    #[serde(default)]
    sum: [u8; 8],
}

impl Meta {
    /// A store with this secret, or a new one, and a history of its own.
    pub(super) fn new(secret: Option<[u8; 32]>) -> Self {
        let [epoch, low, high] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        // Version and variant bits of the UUIDs are no entropy; hashing them together spreads what is.
        let seed = [low.as_bytes().as_slice(), high.as_bytes(), epoch.as_bytes()].concat();
        let secret = secret.unwrap_or_else(|| blake3::derive_key("terapi 2026 store secret", &seed));
        let mut short = [0; 8];
        blake3::Hasher::new_derive_key("terapi 2026 store epoch")
            .update(epoch.as_bytes())
            .finalize_xof()
            .fill(&mut short);
        Self::with(FORMAT, short, secret)
    }

    pub(super) fn with(format: u32, epoch: [u8; 8], secret: [u8; 32]) -> Self {
        let sum = sum(&[&format.to_le_bytes()[..], &epoch, &secret].concat());
        Self { format, epoch, secret, sum }
    }

    /// The META of a store, migrated if it is of an older format, made if there is none.
    pub(super) fn read_or_create(dir: &Path) -> Result<Self, StoreError> {
        match Self::read(dir)? {
            Some(meta) if meta.format == FORMAT => Ok(meta),
            Some(older) => migrate::migrate(dir, &older),
            None => {
                let log = dir.join("log");
                if log.exists() && std::fs::read_dir(&log).is_ok_and(|mut items| items.next().is_some()) {
                    return Err(damaged());
                }
                let meta = Self::new(None);
                meta.write(dir)?;
                Ok(meta)
            }
        }
    }

    /// The META of a store, if there is one.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let bytes = match std::fs::read(dir.join("META.json")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read META.json")(error)),
        };
        let Format { format } = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if format > FORMAT {
            let path = dir.display().to_string();
            return Err(StoreError::NewerFormat { path, found: format, supported: FORMAT });
        }
        let meta: Self = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        let whole = format == 1 || meta == Self::with(format, meta.epoch, meta.secret);
        if whole && format > 0 { Ok(Some(meta)) } else { Err(damaged()) }
    }

    /// Writes it, whole or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let text = serde_json::to_vec_pretty(self).map_err(|_| damaged())?;
        write_durably(&dir.join("META.json"), &text).map_err(StoreError::io("write META.json"))
    }
}

fn damaged() -> StoreError {
    StoreError::Corrupt { what: "META.json is not what was written".to_owned(), next: super::SALVAGE }
}
