//! The log: every commit, in order, in append-only files. It is the truth; the sled index can be rebuilt from it.
//!
//! Format, version 1, integers little-endian:
//!
//! ```text
//! file   = header frame*                          log/0000000001.tlog, …; a new file after 64 MiB
//! header = "TERAPLOG" version:u32 number:u32 epoch:[8] seed:[8]      seed: the chain value the first frame goes on from
//! frame  = length:u32 checksum:[8] payload        checksum = blake3(chain ‖ length ‖ payload)[..8], the next chain value
//! ```
//!
//! The checksums form a chain, so that bytes left over from an earlier life of the file never pass for a frame.
//!
//! Durability: [`Log::append`] writes, [`Log::sync`] makes durable by `fdatasync`. If that fails nobody can know what
//! reached the disk, and asking again may lie (the kernel marks the pages clean), so the process ends with status 74.
//! A failed append leaves the end of the log where it was; its half-written bytes are cut off or overwritten.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::store::StoreError;

const MAGIC: &[u8; 8] = b"TERAPLOG";
const VERSION: u32 = 1;
const HEADER_LENGTH: usize = 32;
const HEADER_BYTES: u64 = HEADER_LENGTH as u64;
const FRAME_HEADER_BYTES: usize = 12;
/// Past this size the next commit starts a new file: small enough to drop or copy whole, large enough to be few.
const ROLL_BYTES: u64 = 64 << 20;
/// A longer frame is damage, not data: a batch is at most 8 MiB and its checkpoint 64 KiB.
const MAX_FRAME_BYTES: u32 = 256 << 20;
/// `EX_IOERR` of sysexits.h.
const EXIT_IO_ERROR: i32 = 74;

/// A place in the log: the end of some frame, with the chain value there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) chain: [u8; 8],
}

impl Position {
    /// Twenty bytes: file, offset, chain.
    pub(super) fn encode(self) -> Vec<u8> {
        [&self.file.to_le_bytes()[..], &self.offset.to_le_bytes(), &self.chain].concat()
    }

    /// For comparing: positions of one log are ordered by file and offset.
    pub(super) fn place(self) -> (u32, u64) {
        (self.file, self.offset)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (file, rest) = bytes.split_first_chunk::<4>()?;
        let (offset, chain) = rest.split_first_chunk::<8>()?;
        Some(Self {
            file: u32::from_le_bytes(*file),
            offset: u64::from_le_bytes(*offset),
            chain: chain.try_into().ok()?,
        })
    }
}

/// The end of the log, which only the one who holds it may move.
pub(super) struct Tail {
    position: Position,
    file: Arc<File>,
}

pub(super) struct Log {
    dir: PathBuf,
    epoch: [u8; 8],
    files: RwLock<BTreeMap<u32, Arc<File>>>,
    tail: Mutex<Tail>,
}

impl Tail {
    /// Where the log ends.
    pub(super) fn position(&self) -> Position {
        self.position
    }
}

impl Log {
    /// Opens the log in `dir`, creating it if there is none, and hands every frame after `from` to `replay` with the
    /// position of its payload. What follows the last whole frame is cut off and set aside.
    pub(super) fn open(
        dir: &Path,
        epoch: [u8; 8],
        from: Option<Position>,
        mut replay: impl FnMut(&[u8], Position, Position) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        super::create_folder(dir).map_err(StoreError::io("create the log's folder"))?;
        let mut files = BTreeMap::new();
        for item in std::fs::read_dir(dir).map_err(StoreError::io("list the log's folder"))? {
            let item = item.map_err(StoreError::io("list the log's folder"))?;
            let name = item.file_name();
            let Some(number) = name.to_str().and_then(|n| n.strip_suffix(".tlog")).and_then(|n| n.parse().ok()) else {
                continue;
            };
            let file = OpenOptions::new().read(true).write(true).open(item.path());
            files.insert(number, Arc::new(file.map_err(StoreError::io("open a file of the log"))?));
        }
        // A file of no more than a header, and that not whole, is one whose creation was cut short: nothing was ever in it.
        while let Some(last) = files.last_entry() {
            let length = last.get().metadata().map_err(StoreError::io("read a file of the log"))?.len();
            let whole = match length.cmp(&HEADER_BYTES) {
                Ordering::Less => false,
                Ordering::Equal => match start_of(*last.key(), last.get(), epoch) {
                    Err(StoreError::Corrupt { .. }) => false,
                    start => start.map(|_| true)?,
                },
                Ordering::Greater => true,
            };
            if whole {
                break;
            }
            std::fs::remove_file(dir.join(file_name(*last.key()))).map_err(StoreError::io("remove an empty file"))?;
            last.remove();
        }
        if let Some((missing, _)) = (1..).zip(files.keys()).find(|(expected, number)| expected != *number) {
            return Err(corrupt(format!("file {} of the log is missing", file_name(missing))));
        }

        let mut position = match (from, files.first_key_value()) {
            (Some(from), _) => from,
            (None, Some((first, file))) => start_of(*first, file, epoch)?,
            (None, None) => {
                let (file, position) = create(dir, 1, epoch, [0; 8])?;
                files.insert(1, file);
                position
            }
        };
        loop {
            let Some(file) = files.get(&position.file) else {
                return Err(corrupt(format!("file {} of the log is missing", file_name(position.file))));
            };
            let length = file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
            if length < position.offset {
                return Err(corrupt(format!(
                    "{} ends at byte {length}, but what was written up to byte {} was made durable",
                    file_name(position.file),
                    position.offset
                )));
            }
            // What a killed process wrote can be read, but may be in no more than the page cache; the index must never be
            // ahead of what is on the disk.
            sync_or_exit(file);
            let start = position;
            position = scan(file, position, &mut replay)?;
            let Some((next, next_file)) = files.range(position.file + 1..).next() else {
                if length > position.offset {
                    if position == start {
                        verify(file, start, epoch)?;
                    }
                    set_aside(dir, file, position.offset, length).map_err(StoreError::io(
                        "set the log's torn end aside; free space on the disk if it is full",
                    ))?;
                    tracing::warn!(
                        file = file_name(position.file),
                        bytes = length - position.offset,
                        "cut off what followed the last whole commit"
                    );
                    file.set_len(position.offset).map_err(StoreError::io("cut off the log's torn end"))?;
                    sync_or_exit(file);
                }
                break;
            };
            let start = start_of(*next, next_file, epoch)?;
            if *next != position.file + 1 || start.chain != position.chain {
                return Err(corrupt(format!(
                    "{} is unreadable from byte {} on, and {} goes on after it",
                    file_name(position.file),
                    position.offset,
                    file_name(*next)
                )));
            }
            position = start;
        }
        let file = files.get(&position.file).cloned().ok_or_else(|| corrupt("the log has no last file".to_owned()))?;
        let tail = Tail { position, file };
        Ok(Self { dir: dir.to_owned(), epoch, files: RwLock::new(files), tail: Mutex::new(tail) })
    }

    /// Takes the end of the log, to append.
    pub(super) fn tail(&self) -> std::sync::MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one frame. Returns the place of its payload's first byte, and the new end.
    pub(super) fn append(&self, tail: &mut Tail, payload: &[u8]) -> Result<(Position, Position), StoreError> {
        if tail.position.offset >= ROLL_BYTES {
            self.roll(tail)?;
        }
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|l| *l <= MAX_FRAME_BYTES)
            .ok_or_else(|| StoreError::BatchTooLarge(format!("a commit of {} bytes", payload.len())))?;
        let chain = checksum(tail.position.chain, length, payload);
        let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&chain);
        frame.extend_from_slice(payload);
        if let Err(error) = tail.file.write_all_at(&frame, tail.position.offset) {
            // Best effort: gives the space back. The chain makes the leftovers harmless anyway.
            let _ = tail.file.set_len(tail.position.offset);
            return Err(StoreError::io("append to its log; free space on the disk if it is full")(error));
        }
        let begin = Position { offset: tail.position.offset + FRAME_HEADER_BYTES as u64, ..tail.position };
        tail.position = Position { offset: tail.position.offset + frame.len() as u64, chain, ..tail.position };
        Ok((begin, tail.position))
    }

    fn roll(&self, tail: &mut Tail) -> Result<(), StoreError> {
        // A file must not be there before the end of the one it goes on from: after a power cut that would be damage.
        sync_or_exit(&tail.file);
        let (file, position) = create(&self.dir, tail.position.file + 1, self.epoch, tail.position.chain)?;
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(position.file, Arc::clone(&file));
        *tail = Tail { position, file };
        Ok(())
    }

    /// Makes everything appended before this call durable, and returns the end it had then. `freeze` runs while
    /// nobody can append.
    pub(super) fn sync(&self, freeze: impl FnOnce()) -> Position {
        let (position, file) = {
            let tail = self.tail();
            freeze();
            (tail.position, Arc::clone(&tail.file))
        };
        sync_or_exit(&file);
        position
    }

    /// Reads `length` bytes of a file.
    pub(super) fn read(&self, file: u32, offset: u64, length: u32) -> Result<Vec<u8>, StoreError> {
        let handle = self.files.read().unwrap_or_else(PoisonError::into_inner).get(&file).cloned();
        let Some(handle) = handle else {
            return Err(corrupt(format!("file {} of the log is missing", file_name(file))));
        };
        let mut bytes = vec![0; length as usize];
        match handle.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(corrupt(format!("{} ends before byte {}", file_name(file), offset + u64::from(length))))
            }
            Err(error) => Err(StoreError::io("read its log")(error)),
        }
    }
}

/// Applies `replay` to the frames after `position` and returns the end of the last whole one.
fn scan(
    file: &File,
    mut position: Position,
    replay: &mut impl FnMut(&[u8], Position, Position) -> Result<(), StoreError>,
) -> Result<Position, StoreError> {
    let mut payload = Vec::new();
    loop {
        let mut header = [0; FRAME_HEADER_BYTES];
        if !read_whole(file, &mut header, position.offset)? {
            return Ok(position);
        }
        let Some((length, sum)) = header.split_first_chunk::<4>() else { return Ok(position) };
        let length = u32::from_le_bytes(*length);
        let remaining = file.metadata().map_err(StoreError::io("read a file of the log"))?.len() - position.offset;
        if length > MAX_FRAME_BYTES || u64::from(length) > remaining {
            return Ok(position);
        }
        payload.resize(length as usize, 0);
        let begin = Position { offset: position.offset + FRAME_HEADER_BYTES as u64, ..position };
        if !read_whole(file, &mut payload, begin.offset)? {
            return Ok(position);
        }
        let chain = checksum(position.chain, length, &payload);
        if chain[..] != *sum {
            return Ok(position);
        }
        let end = Position { offset: begin.offset + u64::from(length), chain, ..position };
        replay(&payload, begin, end)?;
        position = end;
    }
}

/// Checks that a frame of the file ends at `position`. If none does, the index is not of this log, and what it knows
/// nothing of must not be taken for a torn end.
fn verify(file: &File, position: Position, epoch: [u8; 8]) -> Result<(), StoreError> {
    let mut place = start_of(position.file, file, epoch)?;
    let mut found = place == position;
    scan(file, place, &mut |_, _, end| {
        place = end;
        found |= end == position;
        Ok(())
    })?;
    if found {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        what: format!(
            "the index goes on from byte {} of {}, where no commit ends; whole commits end at byte {}",
            position.offset,
            file_name(position.file),
            place.offset
        ),
        next: "If the log is the right one, move the folder `index` away: it is then made anew from the log. Otherwise \
               restore the data directory from a backup",
    })
}

/// Keeps what is about to be cut off: it is nothing that was acknowledged, unless the disk damaged what it had.
fn set_aside(dir: &Path, file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut torn = file.try_clone()?;
    torn.seek(io::SeekFrom::Start(from))?;
    let name = format!("torn-{}-{from}", dir.read_dir()?.count());
    io::copy(&mut torn.take(to.saturating_sub(from)), &mut File::create_new(dir.join(name))?).map(drop)
}

fn read_whole(file: &File, bytes: &mut [u8], offset: u64) -> Result<bool, StoreError> {
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(StoreError::io("read its log")(error)),
    }
}

/// The position after the header of a file that must belong to this store.
fn start_of(number: u32, file: &File, epoch: [u8; 8]) -> Result<Position, StoreError> {
    let mut header = [0; HEADER_LENGTH];
    file.read_exact_at(&mut header, 0).map_err(StoreError::io("read the header of a file of the log"))?;
    let expected = header_bytes(number, epoch, [0; 8]);
    let (found, chain) = header.split_at(24);
    if expected.get(..24) != Some(found) {
        return Err(corrupt(format!("{} has a header that is not ours", file_name(number))));
    }
    Ok(Position { file: number, offset: HEADER_BYTES, chain: chain.try_into().unwrap_or_default() })
}

fn header_bytes(number: u32, epoch: [u8; 8], chain: [u8; 8]) -> Vec<u8> {
    [&MAGIC[..], &VERSION.to_le_bytes(), &number.to_le_bytes(), &epoch, &chain].concat()
}

/// Creates a file with its header, durable together with its name.
fn create(dir: &Path, number: u32, epoch: [u8; 8], chain: [u8; 8]) -> Result<(Arc<File>, Position), StoreError> {
    let doing = "start a new file of its log; free space on the disk if it is full";
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(dir.join(file_name(number)));
    let file = file.map_err(StoreError::io(doing))?;
    file.write_all_at(&header_bytes(number, epoch, chain), 0).map_err(StoreError::io(doing))?;
    sync_or_exit(&file);
    let folder = File::open(dir).map_err(StoreError::io(doing))?;
    sync_or_exit(&folder);
    Ok((Arc::new(file), Position { file: number, offset: HEADER_BYTES, chain }))
}

fn file_name(number: u32) -> String {
    format!("{number:010}.tlog")
}

fn checksum(chain: [u8; 8], length: u32, payload: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&chain).update(&length.to_le_bytes()).update(payload);
    let mut sum = [0; 8];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what, next: "Restore the data directory from a backup" }
}

/// After a failed fsync the page cache may claim that lost pages are clean, so trying again proves nothing
/// (<https://wiki.postgresql.org/wiki/Fsync_Errors>): the only safe thing is to start over from what is on the disk.
pub(super) fn sync_or_exit(file: &File) {
    if let Err(error) = file.sync_data() {
        tracing::error!(%error, "fsync failed; stopping, so that nothing is acknowledged that may be lost");
        std::process::exit(EXIT_IO_ERROR);
    }
}
