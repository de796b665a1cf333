//! The catalog: the small rows of the index, in sled.
//!
//! A few rows a stream, a sync, a run, and one for each extent of the log; what an id's record is has files of its own
//! ([`super::places`]). Everything in here is derived from the log. It is written by checkpoints only: one sled batch takes
//! rows, the list of the runs of places and the position of the log that all of it stands for, and is flushed before
//! anything relies on it. So catalog, places and position always belong together.
//!
//! sled 0.34 notices damage late, by a panic, or not at all (of 200 flipped bits 171 panic and 10 lose rows in silence). So
//! every call is guarded, and the standing row carries the sum of a hash of every row: opening adds up again what is
//! there, and a catalog that is not exactly what was written is set aside and made anew.

use std::fs::File;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::block::Reader;
use super::layers::{Row, Rows};
use super::lock;
use super::log::{Position, sum};
use crate::store::StoreError;

/// Memory for sled's page cache. Its rows are few; sled takes about four times as much for what it counts.
const CACHE_BYTES: u64 = 8 << 20;
/// What must be free before sled writes, besides some times the rows: its log grows by half a MiB at a time.
const ROOM_BYTES: usize = 1 << 20;
/// A flush of some MiB takes longer than this on no disk that works, however busy it is.
const FLUSH_PATIENCE: Duration = Duration::from_mins(1);
/// When a flush that has not ended is asked for once more, the next time after twice as long.
const FLUSH_AGAIN: Duration = Duration::from_millis(100);
/// What was being done when a flush failed, and what to do.
const FLUSHING: &str = "make its index durable; restart Terapi if this lasts though the disk has room";
/// The row that says what the others stand for.
const STANDING_KEY: &[u8] = b"p";

/// sled has one lock for all that it has open in a process, and batches of one wait for flushes of another anyway. Were one
/// to wait, a flush that hangs could not be woken (see [`Catalog::flush`]).
static ONE_WRITES: Mutex<()> = Mutex::new(());

/// What the index stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Up to where it has the log; `None` if it has nothing.
    pub(super) position: Option<Position>,
    /// The runs of places, oldest first.
    pub(super) runs: Vec<u64>,
    /// The sum over all rows of a hash of each.
    sum: u128,
}

impl Standing {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.runs.len() * 8);
        if let Some(position) = self.position {
            out.extend_from_slice(&position.encode());
        }
        out.extend_from_slice(&self.sum.to_le_bytes());
        self.runs.iter().for_each(|run| out.extend_from_slice(&run.to_le_bytes()));
        let check = sum(&out);
        out.extend_from_slice(&check);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.split_last_chunk::<8>()?;
        if sum(body) != *check {
            return None;
        }
        let mut reader = Reader::new(body);
        let position = Position::decode(reader.take(20).ok()?);
        let total = u128::from_le_bytes(reader.array().ok()?);
        let runs = reader.rest().chunks_exact(8).filter_map(|run| Some(u64::from_le_bytes(run.try_into().ok()?)));
        Some(Self { position, runs: runs.collect(), sum: total })
    }
}

pub(super) struct Catalog {
    dir: PathBuf,
    /// The file that tells the next start that the index is damaged.
    damage_mark: PathBuf,
    patience: Duration,
    /// `None` only where opening it again failed.
    db: RwLock<Option<sled::Db>>,
    standing: Mutex<Standing>,
    /// Whether a write failed, after which sled takes no other.
    refuses: AtomicBool,
    /// How many flushes are under way. Until they end sled keeps its lock.
    flushing: Arc<AtomicUsize>,
}

impl Catalog {
    /// Opens the catalog in `dir`, creating an empty one if there is none. Says why if it is damaged.
    pub(super) fn open(
        dir: &Path,
        damage_mark: PathBuf,
        patience: Duration,
    ) -> Result<Result<Self, String>, StoreError> {
        let db = match open_sled(dir, patience) {
            Ok(Ok(db)) => db,
            Ok(Err(sled::Error::Io(error))) => return Err(StoreError::io("open its index")(error)),
            Ok(Err(error)) => return Ok(Err(error.to_string())),
            Err(()) => return Ok(Err("sled panicked".to_owned())),
        };
        let standing = match catch_unwind(AssertUnwindSafe(|| read_standing(&db))) {
            Ok(Ok(Some(standing))) => standing,
            Ok(Ok(None)) => return Ok(Err("its rows are not what was written".to_owned())),
            Ok(Err(sled::Error::Io(error))) => return Err(StoreError::io("read its index")(error)),
            Ok(Err(error)) => return Ok(Err(error.to_string())),
            Err(_) => return Ok(Err("sled panicked".to_owned())),
        };
        Ok(Ok(Self {
            dir: dir.to_owned(),
            damage_mark,
            patience,
            db: RwLock::new(Some(db)),
            standing: Mutex::new(standing),
            refuses: AtomicBool::new(false),
            flushing: Arc::default(),
        }))
    }

    pub(super) fn standing(&self) -> Standing {
        lock(&self.standing).clone()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.ask("read its index", |db| db.get(key))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    /// Lets `work` take the rows with keys in `from..to`, one after the other.
    pub(super) fn rows<T>(
        &self,
        (from, to): (&[u8], &[u8]),
        back: bool,
        work: impl FnOnce(&mut dyn FnMut() -> Result<Option<Row>, StoreError>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let mut rows = opened(&db)?.range(from..to);
        work(&mut || {
            let row =
                self.guarded("read its index", || if back { rows.next_back() } else { rows.next() }.transpose())?;
            Ok(row.map(|(key, value)| (key.to_vec(), value.to_vec())))
        })
    }

    /// Takes rows and what the index stands for with them, all or nothing, and returns when that is durable.
    pub(super) fn write(&self, rows: &Rows, position: Position, runs: Vec<u64>) -> Result<(), StoreError> {
        // sled does not take a full disk well: better that it does not meet one.
        self.make_sure_of_room(rows)?;
        let _writing = lock(&ONE_WRITES);
        if self.refuses.load(Ordering::Relaxed) {
            // Without its lock a new sled does not open, and there would be none to read.
            if self.flushing.load(Ordering::Acquire) > 0 {
                return Err(no_answer());
            }
            self.open_again()?;
        }
        let result = self.try_write(rows, position, runs);
        // sled refuses all writes after its first one that failed, but can still be read.
        self.refuses.store(matches!(result, Err(StoreError::Storage { .. })), Ordering::Relaxed);
        result
    }

    fn try_write(&self, rows: &Rows, position: Position, runs: Vec<u64>) -> Result<(), StoreError> {
        let doing = "write its index; free space on the disk if it is full";
        let mut total = self.standing().sum;
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            if let Some(old) = self.ask("read its index", |db| db.get(key))? {
                total = total.wrapping_sub(hash(key, &old));
            }
            match value {
                Some(value) => {
                    total = total.wrapping_add(hash(key, value));
                    batch.insert(key.as_slice(), value.as_slice());
                }
                None => batch.remove(key.as_slice()),
            }
        }
        let standing = Standing { position: Some(position), runs, sum: total };
        batch.insert(STANDING_KEY, standing.encode());
        self.ask(doing, |db| db.apply_batch(batch))?;
        super::failpoint("store::checkpoint-applied");
        self.flush()?;
        *lock(&self.standing) = standing;
        Ok(())
    }

    /// Makes sled durable.
    ///
    /// If the write that a flush of sled 0.34 waits for fails, nothing may wake it (`Log::exit_reservation` notes the error and
    /// tells nobody). Another flush does: it finds the error and tells all that wait. So one that takes long is asked for
    /// again, on threads of their own, and the store goes on to be read whatever becomes of them.
    fn flush(&self) -> Result<(), StoreError> {
        let (done, wait) = std::sync::mpsc::channel();
        let (begun, mut again) = (Instant::now(), FLUSH_AGAIN);
        while begun.elapsed() < FLUSH_PATIENCE {
            self.begin_flush(done.clone())?;
            match wait.recv_timeout(again) {
                Ok(Ok(result)) => return self.guarded(FLUSHING, || result),
                Ok(Err(_)) => return Err(self.damaged("while it was made durable: it panicked")),
                Err(_) => again *= 2,
            }
        }
        Err(no_answer())
    }

    fn begin_flush(&self, done: Sender<std::thread::Result<sled::Result<()>>>) -> Result<(), StoreError> {
        let db = opened(&self.db.read().unwrap_or_else(PoisonError::into_inner))?.clone();
        let flushing = Arc::clone(&self.flushing);
        self.flushing.fetch_add(1, Ordering::AcqRel);
        let flush = move || {
            let result = catch_unwind(AssertUnwindSafe(|| db.flush().map(drop)));
            drop(db);
            flushing.fetch_sub(1, Ordering::AcqRel);
            // Another may have answered already.
            let _ = done.send(result);
        };
        match std::thread::Builder::new().name("terapi-sled".to_owned()).spawn(flush) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.flushing.fetch_sub(1, Ordering::AcqRel);
                Err(StoreError::io(FLUSHING)(error))
            }
        }
    }

    /// Checks that what a write of these rows may take is free, and what opening sled again would take.
    fn make_sure_of_room(&self, rows: &Rows) -> Result<(), StoreError> {
        let bytes: usize = rows.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 64).sum();
        let probe = self.dir.join("room");
        let written = File::create(&probe).and_then(|mut file| file.write_all(&vec![0; ROOM_BYTES + 4 * bytes]));
        let removed = std::fs::remove_file(&probe);
        written.and(removed).map_err(StoreError::io("write its index; free space on the disk if it is full"))
    }

    /// Puts a new sled, which reads what is on the disk, in the place of one that refuses writes.
    fn open_again(&self) -> Result<(), StoreError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        drop(db.take());
        let Ok(Ok(new)) = open_sled(&self.dir, self.patience) else { return Err(not_open()) };
        let Ok(Ok(Some(standing))) = catch_unwind(AssertUnwindSafe(|| read_standing(&new))) else {
            return Err(self.damaged("after a failed write: its rows are not what was written"));
        };
        *lock(&self.standing) = standing;
        *db = Some(new);
        Ok(())
    }

    /// Asks sled. It opens without looking at every page, so damage may show much later, as an error or as a panic; all
    /// that helps is to make the index anew from the log, which the next start does.
    fn ask<T>(&self, doing: &'static str, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = opened(&db)?;
        self.guarded(doing, || work(db))
    }

    fn guarded<T>(&self, doing: &'static str, work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        let reason = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error @ (sled::Error::Corruption { .. } | sled::Error::ReportableBug(_)))) => error.to_string(),
            Ok(Err(error)) => return Err(StoreError::index(doing)(error)),
            Err(_) => "it panicked".to_owned(),
        };
        Err(self.damaged(&format!("while asked to {doing}: {reason}")))
    }

    /// Leaves the mark that makes the next start build the index anew; the error says so.
    pub(super) fn damaged(&self, what: &str) -> StoreError {
        if let Err(error) = File::create(&self.damage_mark) {
            tracing::error!(%error, "the damaged index could not be marked; move the folder `index` away by hand");
        }
        StoreError::Corrupt {
            what: format!("its index, {what}"),
            next: "Start Terapi again: it makes the index anew from the log",
        }
    }
}

fn opened<'a>(db: &'a RwLockReadGuard<'_, Option<sled::Db>>) -> Result<&'a sled::Db, StoreError> {
    db.as_ref().ok_or_else(not_open)
}

fn no_answer() -> StoreError {
    let source = std::io::Error::new(std::io::ErrorKind::TimedOut, "sled does not answer");
    StoreError::Storage { doing: FLUSHING, source }
}

fn not_open() -> StoreError {
    StoreError::Storage {
        doing: "open its index again after a failed write; free space on the disk if it is full",
        source: std::io::Error::other("sled does not open"),
    }
}

/// The standing, if the rows add up to it.
fn read_standing(db: &sled::Db) -> sled::Result<Option<Standing>> {
    let mut total = 0_u128;
    let mut standing = None;
    for row in db.iter() {
        let (key, value) = row?;
        if key.as_ref() == STANDING_KEY {
            standing = Some(Standing::decode(&value));
        } else {
            total = total.wrapping_add(hash(&key, &value));
        }
    }
    let standing = match standing {
        None => Some(Standing::default()),
        Some(standing) => standing,
    };
    Ok(standing.filter(|standing| standing.sum == total))
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let length = (key.len() as u64).to_le_bytes();
    blake3::Hasher::new().update(&length).update(key).update(value).finalize_xof().fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

/// sled asserts on damage; a store that cannot open must be a message, not a crash.
fn open_sled(dir: &Path, patience: Duration) -> Result<sled::Result<sled::Db>, ()> {
    let start = Instant::now();
    loop {
        let config = sled::Config::default().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            // The directory is ours, but a sled that was closed in this process lets go of its file a moment later, from a
            // thread of its own. Its error does not tell that from others.
            Ok(Err(sled::Error::Io(_))) if start.elapsed() < patience => std::thread::sleep(Duration::from_millis(5)),
            Ok(result) => return Ok(result),
            Err(_) => return Err(()),
        }
    }
}
