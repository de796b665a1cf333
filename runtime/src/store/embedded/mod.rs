//! The embedded engine: one directory, one process, nothing beside it.
//!
//! ```text
//! LOCK                 held while open; contains the holder's process id
//! META.json            format, the secret that seals cursors, the epoch of the history
//! log/*.tlog           every commit in order, records in compressed blocks: the truth          (log, block)
//! index/               sled: id → digest and place, block rows, states, runs: derived from it   (kv, keys)
//! scripts/HASH.wasm    the bytes of deployed scripts
//! ```
//!
//! **A commit** is one frame of the log. Its rows go to the layer over sled at once, so the next batch sees it; a
//! flusher makes groups of commits durable together (every 50 ms, or when somebody waits), shows them to readers, and
//! only then gives the rows to sled. After a crash the log replays what sled missed; a sled that does not open is set
//! aside and rebuilt from the log. Why not a row a record in sled: sled rewrites leaves of up to 16 values whole, so
//! values of a kilobyte cost it several times their size in writes, on disk and in CPU; rows of 50 bytes do not.
//!
//! Locks are taken in this order, and never the other way: active run, stream, log's tail, layers.

mod block;
mod commit;
mod feed;
mod fsync;
mod keys;
mod kv;
mod log;
mod rows;
mod syncs;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::kv::{Kv, Rows};
use self::log::{Log, Position};
use super::StoreError;
use super::cursor::CursorKey;
use crate::ids::{StreamKey, SyncKey};

/// The format this code writes and the newest it reads.
const FORMAT: u32 = 1;
/// How long a commit waits for others to be made durable together with it, unless somebody asks for it: short enough
/// that an app never notices, long enough that a disk of 100 fsyncs a second does it with a fifth of its time.
const GROUP_INTERVAL: Duration = Duration::from_millis(50);
/// When rows waiting in memory reach this, writers wait for the flusher. It bounds what a start replays, and memory: sled
/// frees nothing that a batch replaces before the batch ends, some 40 bytes for each byte here (measured).
const MAX_WAITING_BYTES: usize = 4 << 20;
/// A start that replays the log gives rows to sled in groups of this size: of 16 MiB, rebuilding an index of 60 MB took
/// 650 MB of memory; of this, 90, in the same time.
const REPLAYED_AT_ONCE: usize = 1 << 20;
/// sled itself is flushed after so many groups; until then a start replays the log for it.
const GROUPS_PER_INDEX_FLUSH: u32 = 64;
/// How long to wait before giving rows to sled is tried again after it failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A file of this name says that the index was found damaged while it was in use.
const DAMAGE_MARK: &str = "index.is-damaged";

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Memory for sled's page cache, in bytes.
    pub cache_bytes: u64,
    /// How long to wait for another process to let go of the directory.
    pub patience: Duration,
}

impl Default for StoreOptions {
    /// 24 MiB of cache (sled takes about four times as much for what it counts), and 5 seconds of patience: a killed
    /// process needs a moment to let go of its lock.
    fn default() -> Self {
        Self { cache_bytes: 24 << 20, patience: Duration::from_secs(5) }
    }
}

#[derive(Serialize, Deserialize)]
struct Meta {
    format: u32,
    epoch: [u8; 8],
    secret: [u8; 32],
}

/// The store in one directory. Dropping it makes everything durable and lets go of the directory.
pub struct EmbeddedStore {
    engine: Arc<Engine>,
    flusher: Option<JoinHandle<()>>,
    /// Last, so that the directory is free only when all else is done.
    _lock: File,
}

/// What the calls of the store and the flusher share.
struct Engine {
    dir: PathBuf,
    log: Log,
    kv: Kv,
    cursors: CursorKey,
    spelling_key: [u8; 32],
    streams: Mutex<HashMap<StreamKey, Arc<commit::StreamCell>>>,
    active: Mutex<HashMap<SyncKey, Arc<Mutex<syncs::ActiveRun>>>>,
    /// Serializes read-modify-write of small rows: metadata, scripts, log chunks.
    small_rows: Mutex<()>,
    flush: Mutex<Flush>,
    wake_flusher: Condvar,
    flushed: Condvar,
}

struct Flush {
    dirty: bool,
    /// Somebody waits for this place to be durable.
    wanted: Option<Position>,
    durable: Position,
    /// Why the last flush could not end; commits are refused until one can.
    failed: Option<String>,
    stop: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EmbeddedStore {
    /// Opens the store in `dir`, creating it if there is none.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        match Self::open_once(dir, options) {
            // The log was replayed onto an index that turned out damaged: once more, onto a new one.
            Err(StoreError::Corrupt { .. }) if dir.join(DAMAGE_MARK).exists() => Self::open_once(dir, options),
            result => result,
        }
    }

    fn open_once(dir: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        create_folder(dir).map_err(StoreError::io("create its directory"))?;
        let lock_file = take_lock(dir, options.patience)?;
        let meta = read_or_create_meta(dir)?;
        let kv = Kv::new(open_index(&dir.join("index"), options)?, dir.join(DAMAGE_MARK));

        let spelling_key = blake3::derive_key("terapi 2026 spelling of a record", &meta.secret);
        let mut end = None;
        let from = kv.position()?;
        if from.is_none() {
            // Rows without a place are not of one history; on top of them nothing may be replayed.
            kv.clear()?;
        }
        let log = Log::open(&dir.join("log"), meta.epoch, from, |payload, begin, position| {
            commit::replay(&kv, &spelling_key, payload, begin)?;
            end = Some(position);
            if kv.waiting_bytes() > REPLAYED_AT_ONCE {
                kv.freeze();
                kv.reveal();
                kv.hand_over(position)?;
            }
            Ok(())
        })?;
        let durable = log.sync(|| kv.freeze());
        kv.reveal();
        kv.hand_over(durable)?;
        let before = fsync::calls();
        kv.flush_index()?;
        if end.is_some() && fsync::calls() == before {
            return Err(StoreError::Storage {
                doing: "make its index durable",
                source: std::io::Error::other("this build links the C library's sync_file_range instead of its own"),
            });
        }

        let engine = Arc::new(Engine {
            dir: dir.to_owned(),
            log,
            kv,
            cursors: CursorKey { secret: meta.secret, epoch: meta.epoch },
            spelling_key,
            streams: Mutex::default(),
            active: Mutex::default(),
            small_rows: Mutex::default(),
            flush: Mutex::new(Flush { dirty: false, wanted: None, durable, failed: None, stop: false }),
            wake_flusher: Condvar::new(),
            flushed: Condvar::new(),
        });
        let flusher = std::thread::Builder::new().name("terapi-flush".to_owned()).spawn({
            let engine = Arc::clone(&engine);
            move || engine.flush_until_stopped()
        });
        let flusher = flusher.map_err(StoreError::io("start its flusher"))?;
        let store = Self { engine, flusher: Some(flusher), _lock: lock_file };
        store.engine.note_interrupted_runs()?;
        Ok(store)
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        lock(&self.engine.flush).stop = true;
        self.engine.wake_flusher.notify_all();
        if let Some(flusher) = self.flusher.take() {
            let _ = flusher.join();
        }
    }
}

impl Engine {
    /// Called after each commit: the flusher has something to do.
    fn note_commit(&self) {
        let mut flush = lock(&self.flush);
        if !flush.dirty {
            flush.dirty = true;
            self.wake_flusher.notify_all();
        }
    }

    /// Refuses a commit while the index cannot be written, and holds it back while too much waits in memory.
    fn admit_commit(&self) -> Result<(), StoreError> {
        while self.kv.waiting_bytes() > MAX_WAITING_BYTES {
            let position = self.log.tail().position();
            self.wait_durable(position)?;
        }
        refuse_if_failed(&lock(&self.flush))
    }

    /// Returns when the log is durable up to `position`.
    fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        let mut flush = lock(&self.flush);
        while flush.durable.place() < position.place() {
            refuse_if_failed(&flush)?;
            if flush.wanted.is_none_or(|wanted| wanted.place() < position.place()) {
                flush.wanted = Some(position);
                flush.dirty = true;
                self.wake_flusher.notify_all();
            }
            flush = self.flushed.wait(flush).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn flush_until_stopped(&self) {
        let mut groups = 0;
        let mut last_flush = Instant::now();
        loop {
            let stop = {
                let mut flush = lock(&self.flush);
                loop {
                    let since = last_flush.elapsed();
                    let asked = flush.wanted.is_some() && flush.failed.is_none();
                    let interval = if flush.failed.is_some() { RETRY_INTERVAL } else { GROUP_INTERVAL };
                    if flush.stop || (flush.dirty && (asked || since >= interval)) {
                        break;
                    }
                    flush = if flush.dirty {
                        let (flush, _) = self
                            .wake_flusher
                            .wait_timeout(flush, interval.saturating_sub(since))
                            .unwrap_or_else(PoisonError::into_inner);
                        flush
                    } else {
                        self.wake_flusher.wait(flush).unwrap_or_else(PoisonError::into_inner)
                    };
                }
                flush.dirty = false;
                flush.wanted = None;
                flush.stop
            };
            let result = self.flush_group();
            last_flush = Instant::now();
            groups += 1;
            if result.is_ok()
                && (stop || groups % GROUPS_PER_INDEX_FLUSH == 0)
                && let Err(error) = self.kv.flush_index()
            {
                tracing::error!(%error, "the index could not be flushed; the log has everything");
            }
            {
                let mut flush = lock(&self.flush);
                flush.failed = result.err().map(|error| error.to_string());
                if let Some(error) = &flush.failed {
                    tracing::error!(error, "the store refuses writes until its index can be written");
                    flush.dirty = true;
                }
            }
            self.flushed.notify_all();
            if stop {
                return;
            }
        }
    }

    fn flush_group(&self) -> Result<(), StoreError> {
        if self.kv.owes() {
            let durable = lock(&self.flush).durable;
            self.kv.hand_over(durable)?;
        }
        let position = self.log.sync(|| self.kv.freeze());
        self.kv.reveal();
        lock(&self.flush).durable = position;
        self.flushed.notify_all();
        self.kv.hand_over(position)
    }

    /// Appends a commit and lays its rows over the index; returns where it ends. `rows` gets the place of the
    /// payload's first byte.
    fn commit(&self, payload: &[u8], rows: impl FnOnce(Position) -> Rows) -> Result<Position, StoreError> {
        self.admit_commit()?;
        let end = {
            let mut tail = self.log.tail();
            let (begin, end) = self.log.append(&mut tail, payload)?;
            self.kv.lay(rows(begin));
            end
        };
        self.note_commit();
        Ok(end)
    }
}

fn refuse_if_failed(flush: &Flush) -> Result<(), StoreError> {
    match &flush.failed {
        Some(error) => Err(StoreError::Storage { doing: "write", source: std::io::Error::other(error.clone()) }),
        None => Ok(()),
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

fn read_or_create_meta(dir: &Path) -> Result<Meta, StoreError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = || StoreError::Corrupt {
        what: "META.json is not what was written".to_owned(),
        next: "Restore the data directory from a backup",
    };
    let path = dir.join("META.json");
    match std::fs::read(&path) {
        Ok(bytes) => {
            let Format { format } = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
            if format > FORMAT {
                let path = dir.display().to_string();
                return Err(StoreError::NewerFormat { path, found: format, supported: FORMAT });
            }
            serde_json::from_slice(&bytes).map_err(|_| damaged())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let log = dir.join("log");
            if log.exists() && std::fs::read_dir(&log).is_ok_and(|mut items| items.next().is_some()) {
                return Err(damaged());
            }
            let [epoch, low, high] = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
            // Version and variant bits of the UUIDs are no entropy; hashing them together spreads what is.
            let seed = [low.as_bytes().as_slice(), high.as_bytes(), epoch.as_bytes()].concat();
            let secret = blake3::derive_key("terapi 2026 store secret", &seed);
            let mut short = [0; 8];
            blake3::Hasher::new_derive_key("terapi 2026 store epoch")
                .update(epoch.as_bytes())
                .finalize_xof()
                .fill(&mut short);
            let meta = Meta { format: FORMAT, epoch: short, secret };
            let text = serde_json::to_vec_pretty(&meta).map_err(|_| damaged())?;
            write_durably(&path, &text).map_err(StoreError::io("write META.json"))?;
            Ok(meta)
        }
        Err(error) => Err(StoreError::io("read META.json")(error)),
    }
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

/// Opens sled. One that does not open, or that panics on what it reads, is set aside: the log rebuilds it.
fn open_index(path: &Path, options: &StoreOptions) -> Result<sled::Db, StoreError> {
    let mark = path.with_file_name(DAMAGE_MARK);
    if mark.exists() {
        tracing::warn!("the index was found damaged; rebuilding it from the log");
        set_index_aside(path)?;
        std::fs::remove_file(mark).map_err(StoreError::io("forget its damaged index"))?;
    }
    let start = Instant::now();
    let open = || loop {
        let config = sled::Config::default().path(path).cache_capacity(options.cache_bytes).flush_every_ms(None);
        // sled asserts on damage; a store that cannot open must be a message, not a crash.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open())) {
            // The directory is ours, but a sled that was closed in this process lets go of its file a moment later, from a
            // thread of its own. Its error does not tell that from others.
            Ok(Err(sled::Error::Io(_))) if start.elapsed() < options.patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => break result,
        }
    };
    match open() {
        Ok(Ok(db)) => return Ok(db),
        Ok(Err(sled::Error::Io(error))) => return Err(StoreError::io("open its index")(error)),
        Ok(Err(error)) => tracing::warn!(%error, "the index is damaged; rebuilding it from the log"),
        Err(_) => tracing::warn!("the index is damaged; rebuilding it from the log"),
    }
    set_index_aside(path)?;
    match open() {
        Ok(result) => result.map_err(StoreError::index("open its index")),
        Err(_) => Err(StoreError::Corrupt {
            what: "sled cannot make a new index".to_owned(),
            next: "Look whether the disk is full or read-only",
        }),
    }
}

fn set_index_aside(path: &Path) -> Result<(), StoreError> {
    let mut number = 1;
    let aside = loop {
        let aside = path.with_extension(format!("damaged-{number}"));
        if !aside.exists() {
            break aside;
        }
        number += 1;
    };
    match std::fs::rename(path, aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("set its damaged index aside")(error))
        }
        _ => Ok(()),
    }
}
