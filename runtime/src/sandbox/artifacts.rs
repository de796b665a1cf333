//! Compiled scripts, kept beside the store so that the next process need not compile them again.
//!
//! ```text
//! HASH.cwasm = what wasmtime serialized ‖ mac:[32]      mac = blake3(key of this store; script's hash ‖ serialized)
//! ```
//!
//! Machine code is taken from nowhere but from here, and only if its MAC is right: whoever puts files into the folder without the
//! store's key can make us compile again, nothing else. wasmtime refuses what another version or configuration of it made;
//! then, too, it is compiled again. Nothing here is needed: whatever cannot be read or written is as if it were not there.
//!
//! A file is mapped, not read, so that a thousand scripts take the memory of those that run. It is written once, under
//! another name, and never changed afterwards.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::ids::ScriptHash;

const MAC_BYTES: usize = 32;
/// The scripts of a busy account, and some that an author tried. The oldest go first.
const MAX_FILES: usize = 256;
/// All of them together. `CPython` has 39 MB.
const MAX_BYTES: u64 = 4 << 30;
/// After so long a file that is being written was left by a process that died.
const ABANDONED: Duration = Duration::from_hours(1);
/// What is read at a time to check a file.
const STEP: usize = 64 << 10;

/// The folder of compiled scripts.
pub struct Artifacts {
    dir: PathBuf,
    key: [u8; 32],
}

/// A file that machine code is written to. Gone when dropped, unless it was sealed.
pub(super) struct Unsealed {
    path: PathBuf,
    file: File,
}

impl Unsealed {
    /// For who writes.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for Unsealed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Artifacts {
    /// Compiled scripts in `dir`, sealed with `key`, which nobody else must know.
    #[must_use]
    pub fn new(dir: PathBuf, key: [u8; 32]) -> Self {
        Self { dir, key }
    }

    /// The compiled script, if it is kept and whole; an error if it is, and the engine does not take it.
    pub(super) fn load(&self, engine: &Engine, hash: &ScriptHash) -> Option<wasmtime::Result<Component>> {
        let mut file = File::open(self.path(hash)).ok()?;
        let meta = file.metadata().ok()?;
        // Nobody but us may write to it: what is mapped must stay what was checked.
        let ours = meta.is_file() && meta.mode() & 0o222 == 0 && meta.uid() == rustix::process::geteuid().as_raw();
        if !ours || !self.is_sealed(&mut file, meta.len(), hash).unwrap_or(false) {
            tracing::warn!(
                script = hash.short(),
                "what was compiled of a script is not what was kept; compiling it again"
            );
            return None;
        }
        // By the descriptor that was checked, whatever has the name by now.
        let checked = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        #[expect(
            unsafe_code,
            reason = "wasmtime trusts machine code that it is given; the MAC says that it is its own"
        )]
        // SAFETY: these bytes are what wasmtime serialized for a process that knew this store's secret: the MAC, compared in
        // constant time, is over all of them and the script's hash. They are mapped from the very file that was checked. Nobody
        // changes it between check and use or later: we write files under other names, seal them read-only, and never open
        // one for writing again; the file is ours and writable for nobody, in a folder that is ours. Who can still write to it
        // acts with our own rights and could as well write into this process. wasmtime itself refuses what another version or
        // configuration made.
        let component = unsafe { Component::deserialize_file(engine, checked) };
        // Those that are used stay: one of them may be the engine that all scripts of a kind share.
        let _ = file.set_modified(SystemTime::now());
        Some(component)
    }

    /// A new file for the machine code of a script.
    pub(super) fn create(&self, hash: &ScriptHash) -> io::Result<Unsealed> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        self.make_room()?;
        // Another process, or another task of this one, may write the same.
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{hash}.{}.{nth}.tmp", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Unsealed { path, file })
    }

    /// Seals what was written, and keeps it as the script's.
    pub(super) fn keep(&self, hash: &ScriptHash, mut written: Unsealed) -> io::Result<()> {
        let length = written.file.metadata()?.len();
        written.file.rewind()?;
        let mac = self.mac(hash, &mut (&written.file).take(length))?;
        written.file.seek(io::SeekFrom::End(0))?;
        written.file.write_all(mac.as_bytes())?;
        written.file.set_permissions(fs::Permissions::from_mode(0o400))?;
        fs::rename(&written.path, self.path(hash))
    }

    fn is_sealed(&self, file: &mut File, length: u64, hash: &ScriptHash) -> io::Result<bool> {
        let Some(code) = length.checked_sub(MAC_BYTES as u64) else { return Ok(false) };
        let computed = self.mac(hash, &mut (&mut *file).take(code))?;
        let mut kept = [0; MAC_BYTES];
        file.read_exact(&mut kept)?;
        Ok(computed == blake3::Hash::from_bytes(kept))
    }

    fn mac(&self, hash: &ScriptHash, code: &mut dyn io::Read) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(hash.as_str().as_bytes());
        let mut step = vec![0; STEP];
        loop {
            match code.read(&mut step)? {
                0 => return Ok(hasher.finalize()),
                count => hasher.update(step.get(..count).unwrap_or_default()),
            };
        }
    }

    fn make_room(&self) -> io::Result<()> {
        let (mut files, mut total) = (Vec::new(), 0);
        for item in fs::read_dir(&self.dir)? {
            let item = item?;
            // Another one who makes room was there before.
            let Ok(meta) = item.metadata() else { continue };
            let (modified, path) = (meta.modified()?, item.path());
            if is_unsealed(&path) {
                // One that is being written is not of those that can go.
                if modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                    let _ = fs::remove_file(path);
                }
                continue;
            }
            total += meta.len();
            files.push((modified, meta.len(), path));
        }
        files.sort_unstable();
        let mut count = files.len();
        for (_, bytes, path) in files {
            if count < MAX_FILES && total < MAX_BYTES {
                break;
            }
            // What is mapped stays mapped.
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "a compiled script could not be removed to make room");
                continue;
            }
            (count, total) = (count - 1, total - bytes);
        }
        Ok(())
    }

    fn path(&self, hash: &ScriptHash) -> PathBuf {
        self.dir.join(format!("{hash}.cwasm"))
    }
}

fn is_unsealed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "tmp")
}
