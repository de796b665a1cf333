//! Copies of a store: a backup, also of one that is in use, and the way back from it.
//!
//! What is copied is the log up to a whole frame, each checked on the way; the index is derived and is made anew by the
//! first start. A copy is a store like any other. META.json is written last, so a copy that was cut short is none.
//!
//! **While the store is in use** the log grows at its end and loses files at its begin. So: open every file of it, then
//! read the mark. If what the mark asks for is among them, they are a whole history, whatever becomes of their names;
//! if not, a reclaim came in between, and it is tried again. The mark also says up to where the log must be whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::log::{self, Position};
use super::mark::{self, Mark, MarkFile};
use super::meta::Meta;
use super::survey::refuse_older;
use super::verify::script_files;
use super::{SALVAGE, create_folder, take_lock, write_durably};
use crate::ids::ScriptHash;
use crate::store::StoreError;

/// A reclaim removes a file at a time and takes longer for it than it takes to open all of them.
const MAX_TRIES: usize = 100;
const WRITING: &str = "write the copy; free space on the disk if it is full";

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// Files of the log.
    pub files: u64,
    /// Frames in them: groups of commits.
    pub frames: u64,
    /// The size of the log, in bytes.
    pub log_bytes: u64,
    /// Files with bytes of scripts.
    pub scripts: u64,
}

/// Copies the store in `from`, also while this or another process has it open, to `to`, which must not exist or be
/// empty. `progress` is told how many bytes of how many were copied.
pub fn backup(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Copied, StoreError> {
    let meta = read_meta(from)?;
    copy(from, to, &meta, &meta, progress)
}

/// Makes `to`, which must not exist or be empty, a store with everything that is in `from`: a backup, or the directory
/// of any store that is closed. It has a history of its own, so cursors of the old one are refused.
pub fn restore(from: &Path, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Copied, StoreError> {
    let meta = read_meta(from)?;
    let _from = lock_to_read(from, Duration::ZERO)?;
    copy(from, to, &meta, &Meta::new(Some(meta.secret)), progress)
}

fn read_meta(from: &Path) -> Result<Meta, StoreError> {
    let nothing = || std::io::Error::other(format!("there is none in {}", from.display()));
    let meta = Meta::read(from)?.ok_or_else(|| StoreError::io("copy a store")(nothing()))?;
    refuse_older(&meta)?;
    Ok(meta)
}

/// Keeps others out of a directory that is read, unless nobody can write to it anyway.
pub(super) fn lock_to_read(dir: &Path, patience: Duration) -> Result<Option<File>, StoreError> {
    use std::io::ErrorKind;
    match take_lock(dir, patience) {
        Err(StoreError::Storage { source, .. })
            if matches!(source.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) =>
        {
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// A directory that is being made a store.
pub(super) struct NewStore<'a> {
    dir: &'a Path,
    _lock: File,
    done: bool,
}

impl<'a> NewStore<'a> {
    /// Takes an empty directory, which is made if there is none.
    pub(super) fn begin(dir: &'a Path) -> Result<Self, StoreError> {
        create_folder(dir).map_err(StoreError::io(WRITING))?;
        let mut items = fs::read_dir(dir).map_err(StoreError::io(WRITING))?;
        let mut occupied = items.next().is_some();
        let mut held = None;
        if occupied && dir.join("LOCK").exists() {
            held = Some(take_lock(dir, Duration::ZERO)?);
            let items = fs::read_dir(dir).map_err(StoreError::io(WRITING))?;
            occupied = items.filter_map(Result::ok).any(|item| item.file_name() != "LOCK");
        }
        if occupied {
            let what = format!("{} is not empty; move it away, or name another directory", dir.display());
            let source = std::io::Error::new(std::io::ErrorKind::DirectoryNotEmpty, what);
            return Err(StoreError::Storage { doing: "make a new store", source });
        }
        let lock = held.map_or_else(|| take_lock(dir, Duration::ZERO), Ok)?;
        Ok(Self { dir, _lock: lock, done: false })
    }

    /// Copies bytes of a script if they are what was uploaded. Says whether they are; nothing if there are none.
    pub(super) fn put_script(&self, from: &Path) -> Result<Option<bool>, StoreError> {
        let folder = self.dir.join("scripts");
        if from.file_name().is_some_and(|name| folder.join(name).exists()) {
            return Ok(Some(true));
        }
        let bytes = match fs::read(from) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(StoreError::io("read a script"))?,
        };
        let name = format!("{}.wasm", ScriptHash::of(&bytes));
        if from.file_name().is_none_or(|found| found != name.as_str()) {
            return Ok(Some(false));
        }
        create_folder(&folder).map_err(StoreError::io(WRITING))?;
        write_durably(&folder.join(name), &bytes).map_err(StoreError::io(WRITING))?;
        Ok(Some(true))
    }

    /// With everything else in place and durable, makes it a store.
    pub(super) fn finish(mut self, meta: &Meta, mark: Mark) -> Result<(), StoreError> {
        let path = self.dir.join("MARK");
        MarkFile::open(&path)?.set(mark)?;
        // Not by the mark itself: a disk that fails here is no reason to end a process that serves another directory.
        for path in [&path, &self.dir.join("log"), self.dir] {
            File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io(WRITING))?;
        }
        meta.write(self.dir)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for NewStore<'_> {
    fn drop(&mut self) {
        // Nothing was in it before, and half a store is of no use.
        if !self.done {
            for name in ["log", "scripts"] {
                let _ = fs::remove_dir_all(self.dir.join(name));
            }
            for name in ["MARK", "META.new", "LOCK"] {
                let _ = fs::remove_file(self.dir.join(name));
            }
        }
    }
}

fn copy(
    from: &Path,
    to: &Path,
    old: &Meta,
    new: &Meta,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Copied, StoreError> {
    let target = NewStore::begin(to)?;
    // What a row in the copied log names is there before the row is written, and goes after it: so before and after.
    let mut scripts = copy_scripts(from, &target)?;
    let (files, mark) = open_files(from)?;
    let mut lengths = BTreeMap::new();
    for (number, file) in &files {
        lengths.insert(*number, file.metadata().map_err(StoreError::io("read a file of the log"))?.len());
    }
    let total = lengths.values().sum();
    let folder = to.join("log");
    create_folder(&folder).map_err(StoreError::io(WRITING))?;
    let (mut copied, mut end, mut before) = (Copied::default(), None, 0);
    for (number, file) in &files {
        let length = lengths.get(number).copied().unwrap_or_default();
        // Being created just now; nothing is in it.
        if *number > mark.position.file && length < log::HEADER_BYTES as u64 {
            break;
        }
        let start = log::start_of(*number, file, old.epoch)?;
        if let Some(end) = end.filter(|end: &Position| end.chain != start.chain) {
            return Err(unreadable(end));
        }
        let path = folder.join(log::file_name(*number));
        let at =
            copy_file(file, start, length, &path, new.epoch, &mut copied, &mut |done| progress(before + done, total))?;
        if mark.position.file == *number && at.offset < mark.position.offset {
            return Err(unreadable(at));
        }
        copied.files += 1;
        copied.log_bytes += at.offset;
        before += length;
        end = Some(at);
    }
    scripts.extend(copy_scripts(from, &target)?);
    copied.scripts = scripts.len() as u64;
    let position = end.ok_or_else(|| no_log(from))?;
    target.finish(new, Mark { first: mark.first, position })?;
    progress(total, total);
    Ok(copied)
}

/// Opens all files of the log of which the mark knows, and those after them.
fn open_files(from: &Path) -> Result<(BTreeMap<u32, Arc<File>>, Mark), StoreError> {
    let gone = |error: &StoreError| match error {
        StoreError::Storage { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    for _ in 0..MAX_TRIES {
        let mut files = match log::list(&from.join("log"), false) {
            Err(error) if gone(&error) => continue,
            files => files?,
        };
        let Some(mark) = mark::read(&from.join("MARK")) else {
            return Err(StoreError::Corrupt {
                what: "its high-water mark is missing or unreadable, so whether the log is whole cannot be known"
                    .to_owned(),
                next: SALVAGE,
            });
        };
        files.retain(|number, _| *number >= mark.first);
        if (mark.first..=mark.position.file).all(|number| files.contains_key(&number)) {
            return Ok((files, mark));
        }
    }
    Err(no_log(from))
}

/// Copies the whole frames of a file, and returns where they end.
fn copy_file(
    file: &File,
    start: Position,
    length: u64,
    path: &Path,
    epoch: [u8; 8],
    copied: &mut Copied,
    progress: &mut dyn FnMut(u64),
) -> Result<Position, StoreError> {
    let mut out = File::create_new(path).map_err(StoreError::io(WRITING))?;
    out.write_all(&log::header_bytes(start.file, epoch, start.chain)).map_err(StoreError::io(WRITING))?;
    let (mut position, mut payload) = (start, Vec::new());
    while let Some((_, end)) = log::read_frame(file, position, length, &mut payload)? {
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let (frame, _) = log::frame(position.chain, size, &payload);
        out.write_all(&frame).map_err(StoreError::io(WRITING))?;
        position = end;
        copied.frames += 1;
        progress(position.offset);
    }
    out.sync_all().map_err(StoreError::io(WRITING))?;
    Ok(position)
}

fn copy_scripts(
    from: &Path,
    target: &NewStore<'_>,
) -> Result<std::collections::BTreeSet<std::path::PathBuf>, StoreError> {
    let mut copied = std::collections::BTreeSet::new();
    for path in script_files(from)? {
        match target.put_script(&path)? {
            Some(true) => drop(copied.insert(path)),
            // Taken away meanwhile.
            None => {}
            Some(false) => {
                return Err(StoreError::Corrupt {
                    what: format!("the bytes of a script are not what was uploaded ({})", path.display()),
                    next: "Upload the script again, or take it away; then copy",
                });
            }
        }
    }
    Ok(copied)
}

fn unreadable(at: Position) -> StoreError {
    StoreError::Corrupt {
        what: format!(
            "{} is unreadable from byte {} on, so it cannot be copied whole",
            log::file_name(at.file),
            at.offset
        ),
        next: SALVAGE,
    }
}

fn no_log(from: &Path) -> StoreError {
    StoreError::Corrupt { what: format!("files of the log in {} are missing", from.display()), next: SALVAGE }
}
