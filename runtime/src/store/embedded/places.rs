//! The index of records: from a record's key to the place of its last change. A log-structured merge tree, specialised
//! to entries of one fixed width.
//!
//! The log is the truth and this is derived from it. Damage is answered by [`StoreError::Corrupt`] and a rebuild by the
//! caller, never by a wrong place and never by "there is none".
//!
//! # Why not rows of sled
//!
//! One million rows of about 50 bytes in sled 0.34 cost about 250 bytes each on disk and 11 µs of CPU (a get and an
//! insert), measured here. An entry of a run costs 51 bytes on disk, a get of a page in memory a fraction of a
//! microsecond, an insert a tenth for each time it is written, and it is written about once a tier ([`merge`]).
//!
//! # Shape
//!
//! A *run* is an immutable file of ascending entries, each key once ([`run_file`] has its format). The *manifest* is
//! the list of runs by age, oldest first; the caller keeps it, in the same transaction as everything else that belongs
//! to a checkpoint. A checkpoint [writes](Places::write) one new run. Neighbors in age of about the same size are
//! [merged](Places::merge) into one. Of a key that is in several runs the newest run is right.
//!
//! ```text
//! write or merge ─► file durable ─► caller stores manifest_with(new) ─► publish ─► remove_unused
//! ```
//!
//! A stop at any point leaves either manifest with all its files; what neither names is removed by the next
//! [`Places::open`].
//!
//! # Invariants
//!
//! 1. A file in the manifest is complete and durable, and never changes. While the index is open, no number is used
//!    twice.
//! 2. Manifest order is age. Only neighbors are merged, and the result takes their place.
//! 3. Each byte of a file is under a checksum, each page is bound to its run and its place in it, and nothing is served
//!    from a page that was not checked when it was read.
//! 4. An entry is dropped only by a merge with the oldest run, where nothing older can come to light.
//!
//! Any number of threads may read. One at a time writes, merges, publishes and removes.

mod cache;
mod merge;
mod page;
mod run_file;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::ids::Timestamp;
use crate::store::{Action, StoreError};

use cache::Cache;
pub(super) use merge::Range;
use run_file::Run;

/// Stream number (u32, big-endian) followed by 12 bytes of a keyed hash of the record's id. The filters and the search
/// rely on the hash being uniform, for speed only.
pub(super) type Key = [u8; KEY_BYTES];

const KEY_BYTES: usize = 16;
const PLACE_BYTES: usize = 33;
/// For [`StoreError::Corrupt`].
const REBUILD: &str = "Start Terapi again: it makes the index anew from the log";

/// Where the last change of a record is, and what it takes to compare the record with another version of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Of the change in its stream; less than 2^48.
    pub(super) sequence: u64,
    /// Of the record in its stream.
    pub(super) number: u32,
    /// What happened.
    pub(super) action: Action,
    /// When the record came; less than 2^48.
    pub(super) first_seen: Timestamp,
    /// Of the canonical JSON.
    pub(super) digest: [u8; 8],
    /// Of the text as it was spelled.
    pub(super) spelling: [u8; 8],
}

impl Place {
    /// Little-endian: sequence 6, number 4, action 1 (from 1 on, so that zeros are no place), first seen 6, digest 8,
    /// spelling 8. `None` if a number does not fit.
    fn encode(&self) -> Option<[u8; PLACE_BYTES]> {
        let [sequence @ .., 0, 0] = self.sequence.to_le_bytes() else { return None };
        let [first_seen @ .., 0, 0] = self.first_seen.0.to_le_bytes() else { return None };
        let action = match self.action {
            Action::Added => 1,
            Action::Updated => 2,
            Action::Deleted => 3,
        };
        let mut bytes = [0; PLACE_BYTES];
        bytes[..6].copy_from_slice(&sequence);
        bytes[6..10].copy_from_slice(&self.number.to_le_bytes());
        bytes[10] = action;
        bytes[11..17].copy_from_slice(&first_seen);
        bytes[17..25].copy_from_slice(&self.digest);
        bytes[25..].copy_from_slice(&self.spelling);
        Some(bytes)
    }

    /// The inverse; `None` if it is not one.
    fn decode(bytes: &[u8; PLACE_BYTES]) -> Option<Self> {
        let (sequence, rest) = bytes.split_first_chunk::<6>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (action, rest) = rest.split_first()?;
        let (first_seen, rest) = rest.split_first_chunk::<6>()?;
        let (digest, spelling) = rest.split_first_chunk::<8>()?;
        Some(Self {
            sequence: wide(*sequence),
            number: u32::from_le_bytes(*number),
            action: match action {
                1 => Action::Added,
                2 => Action::Updated,
                3 => Action::Deleted,
                _ => return None,
            },
            first_seen: Timestamp(wide(*first_seen)),
            digest: *digest,
            spelling: *spelling.first_chunk()?,
        })
    }
}

fn wide(bytes: [u8; 6]) -> u64 {
    let mut wide = [0; 8];
    wide[..6].copy_from_slice(&bytes);
    u64::from_le_bytes(wide)
}

/// The index. See the module's text.
pub(super) struct Places {
    dir: PathBuf,
    cache: Cache,
    /// By age, oldest first.
    runs: RwLock<Vec<Arc<Run>>>,
    /// The number of the next run.
    next: AtomicU64,
    /// Files of runs that a merge has replaced, until [`Places::remove_unused`].
    unused: Mutex<Vec<PathBuf>>,
}

/// A run that is durable and that nobody sees yet, or the result of a merge that left nothing. Dropped unpublished, its
/// file stays until the next [`Places::open`], since only the caller knows whether a stored manifest names it;
/// [`NewRun::discard`] removes it at once.
#[must_use = "a run is in use once it is published"]
pub(super) struct NewRun {
    run: Option<Arc<Run>>,
    /// The numbers of the runs it is made of and comes in place of; none for a newest one.
    replaces: Vec<u64>,
}

impl Places {
    /// Opens the runs that `manifest` names, oldest first. Every other run and temporary file in `dir` is left over
    /// from a stop and removed. Makes the folder if there is none. `cache_bytes` bounds the pages in memory; besides
    /// them are 20 bytes for each page that exists.
    pub(super) fn open(dir: &Path, manifest: &[u64], cache_bytes: u64) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("make the folder of the index of records"))?;
        let numbers: BTreeSet<u64> = manifest.iter().copied().collect();
        if numbers.len() < manifest.len() {
            return Err(corrupt(format!("the list of runs names one twice: {manifest:?}")));
        }
        let runs = manifest
            .iter()
            .map(|&number| Run::open(&run_path(dir, number), number).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let listing = "list the folder of the index of records";
        for entry in fs::read_dir(dir).map_err(StoreError::io(listing))? {
            let path = entry.map_err(StoreError::io(listing))?.path();
            let ours = path.extension().is_some_and(|extension| extension == "run" || extension == "tmp");
            if ours && !runs.iter().any(|run| run.path() == path) {
                remove(&path)?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            cache: Cache::new(cache_bytes),
            next: AtomicU64::new(numbers.last().map_or(1, |last| last.saturating_add(1))),
            runs: RwLock::new(runs),
            unused: Mutex::default(),
        })
    }

    /// The newest place of a key.
    pub(super) fn get(&self, key: &Key) -> Result<Option<Place>, StoreError> {
        let key = u128::from_be_bytes(*key);
        // Held over reads from disk: only `publish` ever waits for it, and it is rare.
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        for run in runs.iter().rev() {
            if let Some(place) = run.get(&self.cache, key)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// All keys from `from` on and before `to`, ascending, each once with its newest place, as of now. Reads pages in
    /// order and leaves the cache alone. Ends after an error.
    pub(super) fn range(&self, from: &Key, to: Option<&Key>) -> Range {
        Range::new(self.snapshot(), u128::from_be_bytes(*from), to.map(|to| u128::from_be_bytes(*to)))
    }

    /// Writes strictly ascending entries as a new run. It is durable when this returns, and not seen before
    /// [`Places::publish`]. No entries make no run. On an error nothing has changed and no file is left.
    pub(super) fn write(
        &self,
        entries: impl Iterator<Item = Result<(Key, Place), StoreError>>,
    ) -> Result<Option<NewRun>, StoreError> {
        let run = self.write_run(entries)?;
        Ok(run.map(|run| NewRun { run: Some(run), replaces: Vec::new() }))
    }

    /// Merges runs if there are some to be merged. Drops entries of which `keep` says no, as far as the oldest run
    /// takes part. The result is durable and not seen before [`Places::publish`], as with [`Places::write`]; it must be
    /// published or discarded before the next merge. There may be more to merge then.
    pub(super) fn merge(&self, keep: impl Fn(&Key, &Place) -> bool) -> Result<Option<NewRun>, StoreError> {
        let mut runs = self.snapshot();
        let sizes: Vec<u64> = runs.iter().map(|run| run.entries()).collect();
        let Some(which) = merge::which(&sizes) else { return Ok(None) };
        let oldest = which.start == 0;
        runs.truncate(which.end);
        let sources = runs.split_off(which.start);
        let replaces = sources.iter().map(|run| run.number()).collect();
        let entries = Range::new(sources, 0, None)
            .filter(|entry| !oldest || entry.as_ref().map_or(true, |(key, place)| keep(key, place)));
        Ok(Some(NewRun { run: self.write_run(entries)?, replaces }))
    }

    fn write_run(
        &self,
        entries: impl Iterator<Item = Result<(Key, Place), StoreError>>,
    ) -> Result<Option<Arc<Run>>, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(writer::write(&run_path(&self.dir, number), number, entries)?.map(Arc::new))
    }

    /// The manifest as it will be when `new` is published.
    pub(super) fn manifest_with(&self, new: &NewRun) -> Vec<u64> {
        new.applied_to(&self.snapshot()).iter().map(|run| run.number()).collect()
    }

    /// Shows a new run to readers, as the newest or in place of the runs it was merged from. Their files stay until
    /// [`Places::remove_unused`].
    pub(super) fn publish(&self, new: NewRun) {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let after = new.applied_to(&runs);
        let before = std::mem::replace(&mut *runs, after);
        drop(runs);
        let NewRun { replaces, .. } = new;
        let replaced = before.iter().filter(|run| replaces.contains(&run.number()));
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        unused.extend(replaced.map(|run| run.path().to_owned()));
    }

    /// Removes the files of replaced runs. To be called when the manifest without them is durable. Readers that still
    /// use them go on undisturbed.
    pub(super) fn remove_unused(&self) -> Result<(), StoreError> {
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(path) = unused.last() {
            remove(path)?;
            unused.pop();
        }
        Ok(())
    }

    /// The size of all runs on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.snapshot().iter().map(|run| run.bytes()).sum()
    }

    /// The entries of all runs. A key counts once for each run it is in.
    pub(super) fn entries(&self) -> u64 {
        self.snapshot().iter().map(|run| run.entries()).sum()
    }

    /// Reads every byte of every run from disk and says what is wrong: file, page, what.
    pub(super) fn verify(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for run in self.snapshot() {
            // Opened anew, since head and fences were read only when the run was opened.
            match Run::open(run.path(), run.number()) {
                Ok(run) => run.verify(&mut problems),
                Err(StoreError::Corrupt { what, .. }) => problems.push(what),
                Err(error) => problems.push(format!("{}: {error}", run.path().display())),
            }
        }
        problems
    }

    fn snapshot(&self) -> Vec<Arc<Run>> {
        self.runs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl NewRun {
    /// Removes the file. For a run that will not be published and that no stored manifest names.
    pub(super) fn discard(self) -> Result<(), StoreError> {
        self.run.map_or(Ok(()), |run| remove(run.path()))
    }

    fn applied_to(&self, runs: &[Arc<Run>]) -> Vec<Arc<Run>> {
        let replaced = |run: &Arc<Run>| self.replaces.contains(&run.number());
        let place = runs.iter().position(replaced).unwrap_or(runs.len());
        let (older, rest) = runs.split_at_checked(place).unwrap_or((runs, &[]));
        let newer = rest.iter().filter(|run| !replaced(run));
        older.iter().chain(&self.run).chain(newer).cloned().collect()
    }
}

fn run_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.run"))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove an unused file of the index of records")(error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in the folder durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what, next: REBUILD }
}
