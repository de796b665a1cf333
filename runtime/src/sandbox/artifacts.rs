//! Compiled scripts, kept beside the store so that the next process need not compile them again.
//!
//! ```text
//! HASH.cwasm = mac:[32] what wasmtime serialized        mac = blake3(key of this store; script's hash ‖ serialized)
//! ```
//!
//! Machine code is taken from nowhere but from here, and only if its MAC is right: whoever can write the folder without the
//! store's key can make us compile again, nothing else. wasmtime refuses what another version or configuration of it made;
//! then, too, it is compiled again. Nothing here is needed: whatever cannot be read or written is as if it were not there.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::ids::ScriptHash;

const MAC_BYTES: usize = 32;
/// The scripts of a busy account, and some that an author tried. The oldest go first.
const MAX_FILES: usize = 256;

/// The folder of compiled scripts.
pub struct Artifacts {
    dir: PathBuf,
    key: [u8; 32],
}

impl Artifacts {
    /// Compiled scripts in `dir`, sealed with `key`, which nobody else must know.
    #[must_use]
    pub fn new(dir: PathBuf, key: [u8; 32]) -> Self {
        Self { dir, key }
    }

    /// The compiled script, if it is kept and whole and of this engine.
    pub(super) fn load(&self, engine: &Engine, hash: &ScriptHash) -> Option<Component> {
        let bytes = fs::read(self.path(hash)).ok()?;
        let (mac, code) = bytes.split_first_chunk::<MAC_BYTES>()?;
        if self.mac(hash, code) != blake3::Hash::from_bytes(*mac) {
            tracing::warn!(
                script = hash.short(),
                "what was compiled of a script is not what was kept; compiling it again"
            );
            return None;
        }
        #[expect(
            unsafe_code,
            reason = "wasmtime trusts machine code that it is given; the MAC says that it is its own"
        )]
        // SAFETY: these bytes are what `Component::serialize` returned in a process that knew this store's secret: the MAC,
        // compared in constant time, is over all of them and the script's hash. They are in memory of ours, so nobody changes
        // them between check and use. wasmtime itself refuses those of another version or configuration.
        let component = unsafe { Component::deserialize(engine, code) };
        // Those that are used stay: one of them may be the engine that all scripts of a kind share.
        let _ = fs::File::open(self.path(hash)).and_then(|file| file.set_modified(std::time::SystemTime::now()));
        component.ok()
    }

    /// Keeps a compiled script.
    pub(super) fn keep(&self, hash: &ScriptHash, component: &Component) {
        let Ok(code) = component.serialize() else { return };
        if let Err(error) = self.write(hash, &code) {
            tracing::debug!(%error, "a compiled script could not be kept");
        }
    }

    fn write(&self, hash: &ScriptHash, code: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        self.make_room()?;
        // Another process may write the same.
        let temporary = self.dir.join(format!("{hash}.{}", std::process::id()));
        let mut file = fs::File::create(&temporary)?;
        file.write_all(self.mac(hash, code).as_bytes())?;
        file.write_all(code)?;
        fs::rename(temporary, self.path(hash))
    }

    fn make_room(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for item in fs::read_dir(&self.dir)? {
            let item = item?;
            files.push((item.metadata()?.modified()?, item.path()));
        }
        files.sort_unstable();
        let surplus = (files.len() + 1).saturating_sub(MAX_FILES);
        files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn mac(&self, hash: &ScriptHash, code: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(hash.as_str().as_bytes()).update(code).finalize()
    }

    fn path(&self, hash: &ScriptHash) -> PathBuf {
        self.dir.join(format!("{hash}.cwasm"))
    }
}
