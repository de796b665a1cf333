//! Deployed scripts: their bytes in files named by content, their versions in rows.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::layers::{Rows, View};
use super::syncs::{json, parse};
use super::{Engine, keys, lock, write_durably};
use crate::ids::{ScriptHash, ScriptName};
use crate::store::{MAX_SCRIPT_VERSIONS, Script, StoreError};

impl Engine {
    pub(super) fn scripts(&self) -> Result<Vec<Script>, StoreError> {
        let (from, to) = keys::ALL_SCRIPTS;
        let rows = self.index.range(View::Applied, from, to, usize::MAX)?;
        rows.iter().map(|(_, value)| parse(value, "a script")).collect()
    }

    pub(super) fn script(&self, name: &ScriptName) -> Result<Option<Script>, StoreError> {
        let row = self.index.get(View::Applied, &keys::script(name))?;
        row.map(|bytes| parse(&bytes, "a script")).transpose()
    }

    /// The newest first. A store that did not count yet has the active one alone.
    pub(super) fn script_versions(&self, name: &ScriptName) -> Result<Vec<Script>, StoreError> {
        let (from, to) = keys::versions(name);
        let rows = self.index.range_back(View::Applied, &from, &to, usize::MAX)?;
        let versions: Result<Vec<Script>, _> = rows.iter().map(|(_, value)| parse(value, "a script")).collect();
        let mut versions = versions?;
        if let Some(active) = self.script(name)?.filter(|active| active.version == 0)
            && versions.iter().all(|known| known.version != 0)
        {
            versions.push(active);
        }
        Ok(versions)
    }

    /// The name is our own hexadecimal hash, never a text from outside.
    fn script_path(&self, hash: &ScriptHash) -> PathBuf {
        self.dir.join("scripts").join(format!("{hash}.wasm"))
    }

    pub(super) fn script_bytes(&self, hash: &ScriptHash) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(self.script_path(hash)) {
            Ok(bytes) if ScriptHash::of(&bytes) == *hash => Ok(Some(bytes)),
            Ok(_) => Err(StoreError::Corrupt {
                what: format!("the bytes of script {} are not what was uploaded", hash.short()),
                next: "Upload the script again",
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read a script")(error)),
        }
    }

    pub(super) fn put_script(&self, script: &Script, bytes: &[u8]) -> Result<Script, StoreError> {
        let _guard = lock(&self.small_rows);
        let path = self.script_path(&script.hash);
        let doing = "write a script; free space on the disk if it is full";
        super::create_folder(&self.dir.join("scripts")).map_err(StoreError::io(doing))?;
        if self.script_bytes(&script.hash).ok().flatten().is_none() {
            write_durably(&path, bytes).map_err(StoreError::io(doing))?;
        }
        let active = self.script(&script.name)?;
        let versions = self.script_versions(&script.name)?;
        let (version, added_at) = match &active {
            Some(active) if active.hash == script.hash => (active.version, active.added_at),
            _ => (versions.iter().map(|known| known.version).max().unwrap_or(0) + 1, script.added_at),
        };
        let script = Script { version, added_at, ..script.clone() };
        let mut rows = activation(&script)?;
        // What comes from before versions were counted stays the one to go back to.
        if let Some(active) = active.filter(|active| active.version == 0 && version > 0) {
            rows.insert(keys::version(&active.name, 0), Some(json(&active)?));
        }
        let old = versions.into_iter().filter(|known| known.version != version).skip(MAX_SCRIPT_VERSIONS);
        let old: Vec<_> = old.collect();
        for old in &old {
            rows.insert(keys::version(&old.name, old.version), None);
        }
        self.put_rows_durably(rows)?;
        self.forget_bytes(old.into_iter().map(|old| old.hash))?;
        Ok(script)
    }

    pub(super) fn activate_script(&self, name: &ScriptName, version: u32) -> Result<Option<Script>, StoreError> {
        let _guard = lock(&self.small_rows);
        let Some(script) = self.script_versions(name)?.into_iter().find(|known| known.version == version) else {
            return Ok(None);
        };
        self.put_rows_durably(activation(&script)?)?;
        Ok(Some(script))
    }

    pub(super) fn remove_script(&self, name: &ScriptName) -> Result<bool, StoreError> {
        let _guard = lock(&self.small_rows);
        let versions = self.script_versions(name)?;
        if versions.is_empty() {
            return Ok(false);
        }
        let mut rows = Rows::from([(keys::script(name), None)]);
        rows.extend(versions.iter().map(|version| (keys::version(name, version.version), None)));
        self.put_rows_durably(rows)?;
        self.forget_bytes(versions.into_iter().map(|version| version.hash))?;
        Ok(true)
    }

    /// Removes bytes that no version of a script has any more.
    fn forget_bytes(&self, hashes: impl Iterator<Item = ScriptHash>) -> Result<(), StoreError> {
        let mut hashes: BTreeSet<_> = hashes.collect();
        if hashes.is_empty() {
            return Ok(());
        }
        for script in self.scripts()? {
            hashes.remove(&script.hash);
            for version in self.script_versions(&script.name)? {
                hashes.remove(&version.hash);
            }
        }
        for hash in hashes {
            match fs::remove_file(self.script_path(&hash)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove a script")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The rows of a version that is the active one.
fn activation(script: &Script) -> Result<Rows, StoreError> {
    let row = json(script)?;
    Ok(Rows::from([
        (keys::script(&script.name), Some(row.clone())),
        (keys::version(&script.name, script.version), Some(row)),
    ]))
}
