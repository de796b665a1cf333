//! The embedded engine: one directory, one process, nothing beside it.
//!
//! ```text
//! LOCK                 held while open; contains the holder's process id
//! META.json            format, the secret that seals cursors, the epoch of the history                (meta)
//! MARK                 up to where the log was durable, and its first file                            (mark)
//! PENDING.0, .1        what is committed and not in the log yet, should the process be killed          (pending)
//! log/N.tlog           every commit in order, records in compressed blocks: the truth     (log, frame, block)
//! index/catalog/       sled: small rows, and one for each extent of the log             (catalog, keys)
//! index/places/N.run   record id → sequence, number, digests                                           (places)
//! scripts/HASH.wasm    the bytes of deployed scripts                                                   (rows)
//! artifacts/           not the store's: what was compiled of scripts, for the next process      (crate::sandbox)
//! ```
//!
//! **A commit** is applied in memory, over the index, so the next batch sees it. Every 50 ms, or when somebody waits, the
//! flusher packs what was committed since into one frame of the log, makes it durable, and shows it to readers. In the
//! background the keeper brings the index on disk up to date, and gives back files of the log that are mostly dead. After
//! a crash the log replays what the index missed; an index that does not open is set aside and rebuilt from the log.
//!
//! Why not a row a record in sled: sled 0.34 rewrites leaves of up to 16 values whole, so values of a kilobyte cost it
//! several times their size in writes, on disk and in CPU. Even rows of 50 bytes took more than half of the time of a load
//! and 250 bytes each on disk (measured), so what is kept for each record lies in sorted files; what there is little
//! of lies in sled.
//!
//! Locks are taken in this order, and never the other way: active runs, streams, a stream's head, files in use, layers.

mod backup;
mod block;
mod catalog;
mod commit;
mod feed;
mod flush;
mod forget;
mod frame;
mod fsync;
mod keeper;
mod keys;
mod layers;
mod log;
mod mark;
mod meta;
mod migrate;
mod pending;
mod places;
mod refresh;
mod replay;
mod retention;
mod rows;
mod runs;
mod salvage;
mod scripts;
mod stats;
mod streams;
mod survey;
mod syncs;
mod unseen;
mod verify;
mod watch;

pub(super) use self::commit::{digest, last_of_each};
pub(super) use self::refresh::check_guard;
pub(super) use self::syncs::check_state;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::backup::{Copied, backup, restore};
pub use self::salvage::{Salvaged, salvage};
pub use self::stats::StoreStats;
pub use self::survey::{Problem, Problems};
pub use self::verify::{Verification, verify};

use self::catalog::Catalog;
use self::commit::Hashes;
use self::layers::{Group, Index, Rows};
use self::log::Log;
use self::mark::{Mark, MarkFile};
use self::meta::Meta;
use self::pending::Pending;
use self::places::Places;
use super::StoreError;
use super::cursor::CursorKey;
use crate::ids::SyncKey;

/// A file of this name says that the index was found damaged while it was in use.
const DAMAGE_MARK: &str = "index.is-damaged";
/// What to do about damage that the log cannot mend.
const SALVAGE: &str =
    "Restore a backup (`terapi store restore`), or rescue what is readable with `terapi store salvage`";

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Memory for pages of the index, in bytes.
    pub cache_bytes: u64,
    /// How long to wait for another process to let go of the directory.
    pub patience: Duration,
    /// When the store does its housekeeping.
    pub limits: Limits,
}

impl Default for StoreOptions {
    /// 24 MiB of cache, which holds the index of half a million records, and 5 seconds of patience: a killed process
    /// needs a moment to let go of its lock.
    fn default() -> Self {
        Self { cache_bytes: 24 << 20, patience: Duration::from_secs(5), limits: Limits::default() }
    }
}

/// When the store does its housekeeping. The defaults are for everybody; small ones make it happen in tests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Past this size, in bytes, the log goes on in a new file: small enough to drop or copy whole, large enough to be few.
    pub roll_bytes: u64,
    /// When this much waits in memory for it, in bytes, the index on disk is brought up to date. At twice as much writers
    /// wait.
    pub checkpoint_bytes: usize,
    /// The same when the log has grown by so many bytes: it bounds what a start replays.
    pub checkpoint_log_bytes: u64,
    /// The log may have so many dead bytes more than live ones.
    pub slack_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { roll_bytes: 64 << 20, checkpoint_bytes: 8 << 20, checkpoint_log_bytes: 64 << 20, slack_bytes: 128 << 20 }
    }
}

/// The store in one directory. Dropping it makes everything durable and lets go of the directory.
pub struct EmbeddedStore {
    engine: Arc<Engine>,
    flusher: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    /// Last, so that the directory is free only when all else is done.
    _lock: File,
}

/// What the calls of the store, the flusher and the keeper share.
struct Engine {
    dir: PathBuf,
    limits: Limits,
    log: Log,
    mark: MarkFile,
    index: Index,
    cursors: CursorKey,
    hashes: Hashes,
    streams: Mutex<streams::Streams>,
    active: Mutex<HashMap<SyncKey, Arc<Mutex<syncs::ActiveRun>>>>,
    /// Serializes read-modify-write of small rows: metadata, scripts, log chunks.
    small_rows: Mutex<()>,
    flush: Mutex<flush::Flush>,
    wake_flusher: Condvar,
    flushed: Condvar,
    keep: Mutex<keeper::Keep>,
    wake_keeper: Condvar,
    /// Serializes what writes the index on disk.
    checkpointing: Mutex<()>,
    /// Read by who reads extents, written by who removes a file of the log.
    files_in_use: RwLock<()>,
    watched: watch::Watched,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EmbeddedStore {
    /// Opens the store in `dir`, creating it if there is none.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        create_folder(dir).map_err(StoreError::io("create its directory"))?;
        let lock_file = take_lock(dir, options.patience)?;
        let meta = Meta::read_or_create(dir)?;
        let mark_of_damage = dir.join(DAMAGE_MARK);
        let (index, log, mark) = match open_index_and_log(dir, &meta, options) {
            // The log was replayed onto an index that turned out damaged: once more, onto a new one.
            Err(StoreError::Corrupt { .. }) if mark_of_damage.exists() => open_index_and_log(dir, &meta, options)?,
            result => result?,
        };
        let hashes = Hashes::new(&meta.secret);
        let engine = Arc::new(Engine {
            dir: dir.to_owned(),
            limits: options.limits.clone(),
            log,
            mark,
            index,
            cursors: CursorKey { secret: meta.secret, epoch: meta.epoch },
            hashes,
            streams: Mutex::default(),
            active: Mutex::default(),
            small_rows: Mutex::default(),
            flush: Mutex::default(),
            wake_flusher: Condvar::new(),
            flushed: Condvar::new(),
            keep: Mutex::default(),
            wake_keeper: Condvar::new(),
            checkpointing: Mutex::default(),
            files_in_use: RwLock::default(),
            watched: watch::Watched::default(),
        });
        // What the replay left in memory, so that the next start does not replay it again, and to see that sled syncs.
        let before = fsync::calls();
        let replayed = engine.index.waiting_bytes().1 > 0;
        engine.checkpoint()?;
        if replayed && fsync::calls() == before {
            return Err(StoreError::Storage {
                doing: "make its index durable",
                source: std::io::Error::other("this build links the C library's sync_file_range instead of its own"),
            });
        }
        // What a killed process had committed and not written comes first.
        let pending = Pending::open(dir)?;
        let last = engine.index.last_group()?;
        // Past what the files have, so that they count no more once this is durable.
        engine.index.number_groups_from(last + 3);
        for commit in pending.missing(last) {
            pending::commit_again(&engine.index, &engine.hashes, &commit)?;
        }
        lock(&engine.streams).last_number = engine.last_stream_number()?;
        let start = |name: &str, work: fn(&Engine)| {
            let engine = Arc::clone(&engine);
            std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&engine))
        };
        let mut store = Self { engine: Arc::clone(&engine), flusher: None, keeper: None, _lock: lock_file };
        let doing = "start its threads";
        store.flusher = Some(start("terapi-flush", Engine::flush_until_stopped).map_err(StoreError::io(doing))?);
        store.keeper = Some(start("terapi-keep", Engine::keep_until_stopped).map_err(StoreError::io(doing))?);
        store.engine.note_commit();
        store.engine.wait_durable(store.engine.index.last_ticket())?;
        store.engine.index.keep_pending(pending);
        store.engine.note_interrupted_runs()?;
        Ok(store)
    }
}

impl EmbeddedStore {
    /// A secret of this store, always the same for a purpose, and of no use for another.
    #[must_use]
    pub fn key(&self, purpose: &'static str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.engine.cursors.secret)
    }

    /// The same of the store in a directory, whoever has it open; `None` if there is none, or none that this code knows.
    #[must_use]
    pub fn key_in(dir: &Path, purpose: &'static str) -> Option<[u8; 32]> {
        let meta = Meta::read(dir).ok().flatten()?;
        Some(blake3::derive_key(purpose, &meta.secret))
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The keeper first: it may wait for the flusher.
        lock(&self.engine.keep).stop = true;
        self.engine.wake_keeper.notify_all();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        lock(&self.engine.flush).stop = true;
        self.engine.wake_flusher.notify_all();
        if let Some(flusher) = self.flusher.take() {
            let _ = flusher.join();
        }
        // What was settled last: else the next start replays it.
        if let Err(error) = self.engine.checkpoint() {
            tracing::warn!(%error, "the index was not brought up to date; the next start does it");
        }
        self.engine.mark.sync();
    }
}

impl Engine {
    /// Commits: applies `change` to the open group. Returns the commit's number.
    fn commit(&self, change: impl FnOnce(&mut Group)) -> Result<u64, StoreError> {
        self.admit_commit()?;
        let ticket = self.index.commit(change);
        self.note_commit();
        Ok(ticket)
    }

    /// Commits rows alone.
    fn commit_rows(&self, rows: Rows) -> Result<u64, StoreError> {
        self.commit(|group| group.put_rows(rows))
    }

    /// Held while extents are read, so that no file of the log goes away below.
    fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.files_in_use.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the index, made anew if it is damaged, and lays over it what the log has more.
fn open_index_and_log(dir: &Path, meta: &Meta, options: &StoreOptions) -> Result<(Index, Log, MarkFile), StoreError> {
    let path = dir.join("index");
    let damage_mark = dir.join(DAMAGE_MARK);
    if damage_mark.exists() {
        set_index_aside(&path, "it was found damaged while in use")?;
        std::fs::remove_file(&damage_mark).map_err(StoreError::io("forget its damaged index"))?;
    }
    let index = match open_index(dir, options)? {
        Ok(index) => index,
        Err(damage) => {
            set_index_aside(&path, &damage)?;
            open_index(dir, options)?.map_err(|damage| StoreError::Corrupt {
                what: format!("a new index cannot be made: {damage}"),
                next: "Look whether the disk is full or read-only",
            })?
        }
    };
    let hashes = Hashes::new(&meta.secret);
    let mark = MarkFile::open(&dir.join("MARK"))?;
    let from = index.catalog.standing().position;
    if mark.get().is_none() && from.is_some() {
        tracing::warn!("the high-water mark is unreadable; going by the index alone");
    }
    let log = {
        let known = mark.get();
        let limits = &options.limits;
        let replay = |payload: &[u8], begin, end| {
            replay::replay(&index, &hashes, payload, begin, end)?;
            if index.waiting_bytes().1 > limits.checkpoint_bytes {
                index.checkpoint()?;
            }
            Ok(())
        };
        Log::open(&dir.join("log"), meta.epoch, limits.roll_bytes, from, known.as_ref(), replay)?
    };
    let first = log.first();
    mark.set(Mark { first, position: log.end() })?;
    mark.sync();
    Ok((index, log, mark))
}

/// Opens catalog and places; says why if they are damaged.
fn open_index(dir: &Path, options: &StoreOptions) -> Result<Result<Index, String>, StoreError> {
    let path = dir.join("index");
    create_folder(&path).map_err(StoreError::io("create the index's folder"))?;
    let catalog = match Catalog::open(&path.join("catalog"), dir.join(DAMAGE_MARK), options.patience)? {
        Ok(catalog) => catalog,
        Err(damage) => return Ok(Err(damage)),
    };
    match Places::open(&path.join("places"), &catalog.standing().runs, options.cache_bytes) {
        Ok(places) => Ok(Ok(Index::new(catalog, places))),
        Err(StoreError::Corrupt { what, .. }) => Ok(Err(what)),
        Err(error) => Err(error),
    }
}

/// Keeps a damaged index for who wants to look, in place of one that was kept before: all it had is in the log.
fn set_index_aside(path: &Path, why: &str) -> Result<(), StoreError> {
    tracing::warn!(why, "the index is damaged; building it anew from the log, the old one is kept as index.damaged");
    let aside = path.with_extension("damaged");
    let doing = "set its damaged index aside";
    match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(StoreError::io(doing)(error)),
        _ => {}
    }
    match std::fs::rename(path, aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(doing)(error)),
        _ => Ok(()),
    }
}

fn take_lock(dir: &Path, patience: Duration) -> Result<File, StoreError> {
    let doing = "lock its directory";
    let path = dir.join("LOCK");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = file.map_err(StoreError::io(doing))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(std::fs::TryLockError::WouldBlock) if start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
                return Err(StoreError::Locked { path: dir.display().to_string(), holder });
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(StoreError::io(doing)(error)),
        }
    }
    file.set_len(0).map_err(StoreError::io(doing))?;
    file.rewind().map_err(StoreError::io(doing))?;
    writeln!(file, "{}", std::process::id()).map_err(StoreError::io(doing))?;
    Ok(file)
}

/// Creates a folder, durable together with its name.
fn create_folder(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// A place where a test may stop the process.
#[cfg(feature = "failpoints")]
fn failpoint(name: &'static str) {
    fail::fail_point!(name);
}

#[cfg(not(feature = "failpoints"))]
fn failpoint(_: &'static str) {}

/// The places where a test may stop the process, each between two steps that a crash must not tear apart.
#[cfg(feature = "failpoints")]
pub const FAILPOINTS: &[&str] = &[
    "store::append",
    "store::appended",
    "store::group-durable",
    "store::group-marked",
    "store::group-settled",
    "store::roll",
    "store::checkpoint-frozen",
    "store::checkpoint-places",
    "store::checkpoint-applied",
    "store::checkpointed",
    "store::merged",
    "store::merge-published",
    "store::reclaim-rows",
    "store::reclaim-moved",
    "store::reclaim-marked",
    "store::reclaimed",
];
