//! The log: every commit, in order, in append-only files. It is the truth; the index can be rebuilt from it.
//!
//! Format, version 2, integers little-endian:
//!
//! ```text
//! file   = header frame*                          log/0000000001.tlog, …; a new file after 64 MiB
//! header = "TERAPLOG" version:u32 number:u32 epoch:[8] seed:[8] sum:[8]    seed: the chain value the first frame goes on from
//! frame  = "TFRM" length:u32 sum:[8] chain:[8] payload
//! sum    = blake3(payload)[..8]                   chain = blake3(previous chain ‖ length ‖ sum)[..8]
//! ```
//!
//! The chain ties each frame to all before it, so bytes left over from an earlier life of the file never pass for a
//! frame; the sum alone lets a salvage take up again behind damage.
//!
//! Files are numbered without gaps. The oldest go when their live content was written again at the end; from which
//! number on they must be there is in the MARK ([`super::mark`]), and so is up to where they were durable: an end before
//! that place is damage, an end after it is what a crash cut off.
//!
//! Durability: [`Log::append`] writes, [`Log::sync`] makes durable by `fdatasync`. If that fails nobody can know what
//! reached the disk, and asking again may lie (the kernel marks the pages clean), so the process ends with status 74.
//! A failed append leaves the end of the log where it was; its half-written bytes are cut off or overwritten.
//!
//! A little over 500 lines: what writes the format and what reads it stand together.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::lock;
use super::mark::Mark;
use crate::store::StoreError;

const MAGIC: &[u8; 8] = b"TERAPLOG";
/// The version of the files this code writes and reads.
const VERSION: u32 = 2;
/// Bytes of a file's header.
pub(super) const HEADER_BYTES: usize = 40;
const FRAME_MAGIC: &[u8; 4] = b"TFRM";
/// Bytes before a frame's payload.
pub(super) const FRAME_HEADER_BYTES: usize = 24;
/// A longer frame is damage, not data: a group is some MiB, and a batch in it at most 8.
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
    pub(super) fn encode(self) -> [u8; 20] {
        let mut out = [0; 20];
        out[..4].copy_from_slice(&self.file.to_le_bytes());
        out[4..12].copy_from_slice(&self.offset.to_le_bytes());
        out[12..].copy_from_slice(&self.chain);
        out
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

/// The end of the log.
struct Tail {
    position: Position,
    file: Arc<File>,
}

pub(super) struct Log {
    dir: PathBuf,
    epoch: [u8; 8],
    /// Past this size the next frame starts a new file.
    roll_bytes: u64,
    files: RwLock<BTreeMap<u32, Arc<File>>>,
    tail: Mutex<Tail>,
}

impl Log {
    /// Opens the log in `dir`, creating it if there is none, and hands the payload of every frame after `from` to
    /// `replay`, with the place of its first byte and the position of its end. What follows the last whole frame is set
    /// aside, unless `mark` knows better.
    pub(super) fn open(
        dir: &Path,
        epoch: [u8; 8],
        roll_bytes: u64,
        from: Option<Position>,
        mark: Option<&Mark>,
        mut replay: impl FnMut(&[u8], Position, Position) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        super::create_folder(dir).map_err(StoreError::io("create the log's folder"))?;
        let mut files = list(dir, true)?;
        let first = mark.map_or(1, |mark| mark.first);
        // Left over from a reclaim that was cut short: everything live in them stands further on.
        for number in files.keys().copied().filter(|number| *number < first).collect::<Vec<_>>() {
            files.remove(&number);
            std::fs::remove_file(dir.join(file_name(number))).map_err(StoreError::io("remove a reclaimed file"))?;
        }
        let durable = mark.map(|mark| mark.position);
        remove_unfinished(dir, epoch, durable, &mut files)?;
        let mut expected = first;
        for number in files.keys() {
            if *number != expected {
                return Err(corrupt(format!("file {} of the log is missing", file_name(expected))));
            }
            expected += 1;
        }
        if let Some(durable) = durable.filter(|durable| durable.file >= expected) {
            return Err(corrupt(format!("file {} of the log is missing", file_name(durable.file))));
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
            // What a killed process wrote can be read, but may be in no more than the page cache; the index must never be
            // ahead of what is on the disk.
            sync_or_exit(file);
            let start = position;
            position = scan(file, position, &mut replay)?;
            let length = file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
            if length < position.offset {
                return Err(corrupt(format!(
                    "{} ends at byte {length}, but what was written up to byte {} was made durable",
                    file_name(position.file),
                    position.offset
                )));
            }
            if let Some(durable) = durable
                && durable.file == position.file
                && position.offset < durable.offset
            {
                return Err(corrupt(format!(
                    "{} is unreadable from byte {} on, but was durable up to byte {}",
                    file_name(position.file),
                    position.offset,
                    durable.offset
                )));
            }
            let Some((next, next_file)) = files.range(position.file + 1..).next() else {
                if length > position.offset {
                    if position == start {
                        ends_a_frame(file, start, epoch)?;
                    }
                    set_aside(dir, file, position, length)?;
                }
                break;
            };
            let start = start_of(*next, next_file, epoch)?;
            if start.chain != position.chain {
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
        let tail = Mutex::new(Tail { position, file });
        Ok(Self { dir: dir.to_owned(), epoch, roll_bytes, files: RwLock::new(files), tail })
    }

    /// Where the log ends.
    pub(super) fn end(&self) -> Position {
        lock(&self.tail).position
    }

    /// Appends one frame. Returns the place of its payload's first byte, and the new end.
    pub(super) fn append(&self, payload: &[u8]) -> Result<(Position, Position), StoreError> {
        let mut tail = lock(&self.tail);
        if tail.position.offset >= self.roll_bytes {
            super::failpoint("store::roll");
            self.roll(&mut tail)?;
        }
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|l| *l <= MAX_FRAME_BYTES)
            .ok_or_else(|| StoreError::BatchTooLarge(format!("a commit of {} bytes", payload.len())))?;
        let (frame, chain) = frame(tail.position.chain, length, payload);
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

    /// Makes everything appended so far durable.
    pub(super) fn sync(&self) {
        let file = Arc::clone(&lock(&self.tail).file);
        sync_or_exit(&file);
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

    /// The number of the oldest file.
    pub(super) fn first(&self) -> u32 {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.first_key_value().map_or(1, |(number, _)| *number)
    }

    /// The oldest file, unless it is the last one, and its length.
    pub(super) fn oldest(&self) -> Result<Option<(u32, u64)>, StoreError> {
        let last = self.end().file;
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let Some((number, file)) = files.first_key_value().filter(|(number, _)| **number < last) else {
            return Ok(None);
        };
        Ok(Some((*number, file.metadata().map_err(StoreError::io("read a file of the log"))?.len())))
    }

    /// All bytes of the log.
    pub(super) fn bytes(&self) -> Result<u64, StoreError> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let mut total = 0;
        for file in files.values() {
            total += file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
        }
        Ok(total)
    }

    /// Hands every frame of a file to `visit`.
    pub(super) fn visit(
        &self,
        number: u32,
        mut visit: impl FnMut(&[u8], Position, Position) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let file = self.files.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        let file = file.ok_or_else(|| corrupt(format!("file {} of the log is missing", file_name(number))))?;
        let end = scan(&file, start_of(number, &file, self.epoch)?, &mut visit)?;
        let length = file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
        if end.offset < length {
            return Err(corrupt(format!("{} is unreadable from byte {} on", file_name(number), end.offset)));
        }
        Ok(())
    }

    /// Removes the oldest file. The MARK must not ask for it any more.
    pub(super) fn remove(&self, number: u32) -> Result<(), StoreError> {
        self.files.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        std::fs::remove_file(self.dir.join(file_name(number))).map_err(StoreError::io("remove a reclaimed file"))
    }
}

/// The files of a log by number.
pub(super) fn list(dir: &Path, write: bool) -> Result<BTreeMap<u32, Arc<File>>, StoreError> {
    let mut files = BTreeMap::new();
    for item in std::fs::read_dir(dir).map_err(StoreError::io("list the log's folder"))? {
        let item = item.map_err(StoreError::io("list the log's folder"))?;
        let name = item.file_name();
        let Some(number) = name.to_str().and_then(|n| n.strip_suffix(".tlog")).and_then(|n| n.parse().ok()) else {
            continue;
        };
        let file = OpenOptions::new().read(true).write(write).open(item.path());
        files.insert(number, Arc::new(file.map_err(StoreError::io("open a file of the log"))?));
    }
    Ok(files)
}

/// A file of no more than a header, and that not whole, is one whose creation was cut short: nothing was ever in it,
/// unless the mark knows better.
fn remove_unfinished(
    dir: &Path,
    epoch: [u8; 8],
    durable: Option<Position>,
    files: &mut BTreeMap<u32, Arc<File>>,
) -> Result<(), StoreError> {
    while let Some(last) = files.last_entry() {
        let length = last.get().metadata().map_err(StoreError::io("read a file of the log"))?.len();
        let header = HEADER_BYTES as u64;
        let whole = length > header || (length == header && start_of(*last.key(), last.get(), epoch).is_ok());
        if whole || durable.is_some_and(|durable| durable.file >= *last.key()) {
            break;
        }
        std::fs::remove_file(dir.join(file_name(*last.key()))).map_err(StoreError::io("remove an empty file"))?;
        last.remove();
    }
    Ok(())
}

/// Applies `replay` to the frames after `position` and returns the end of the last whole one.
pub(super) fn scan(
    file: &File,
    mut position: Position,
    replay: &mut impl FnMut(&[u8], Position, Position) -> Result<(), StoreError>,
) -> Result<Position, StoreError> {
    let length = file.metadata().map_err(StoreError::io("read a file of the log"))?.len();
    let mut payload = Vec::new();
    while let Some((begin, end)) = read_frame(file, position, length, &mut payload)? {
        replay(&payload, begin, end)?;
        position = end;
    }
    Ok(position)
}

/// Reads the frame at `position`, if a whole one that goes on from there is in the file's first `length` bytes.
pub(super) fn read_frame(
    file: &File,
    position: Position,
    length: u64,
    payload: &mut Vec<u8>,
) -> Result<Option<(Position, Position)>, StoreError> {
    let mut header = [0; FRAME_HEADER_BYTES];
    if length < position.offset + header.len() as u64 || !read_whole(file, &mut header, position.offset)? {
        return Ok(None);
    }
    let Some(head) = FrameHead::decode(&header) else { return Ok(None) };
    let begin = Position { offset: position.offset + FRAME_HEADER_BYTES as u64, ..position };
    let end = begin.offset + u64::from(head.length);
    if end > length || chain(position.chain, head.length, head.sum) != head.chain {
        return Ok(None);
    }
    payload.resize(head.length as usize, 0);
    if !read_whole(file, payload, begin.offset)? || sum(payload) != head.sum {
        return Ok(None);
    }
    Ok(Some((begin, Position { offset: end, chain: head.chain, ..position })))
}

/// What is before a frame's payload.
pub(super) struct FrameHead {
    pub(super) length: u32,
    pub(super) sum: [u8; 8],
    pub(super) chain: [u8; 8],
}

impl FrameHead {
    /// If `bytes` look like one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(FRAME_MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (sum, rest) = rest.split_first_chunk::<8>()?;
        let (chain, _) = rest.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes(*length);
        (length <= MAX_FRAME_BYTES).then_some(Self { length, sum: *sum, chain: *chain })
    }
}

/// A frame that goes on from the chain value `before`, and the chain value after it.
pub(super) fn frame(before: [u8; 8], length: u32, payload: &[u8]) -> (Vec<u8>, [u8; 8]) {
    let sum = sum(payload);
    let chain = chain(before, length, sum);
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + payload.len());
    frame.extend_from_slice(FRAME_MAGIC);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&sum);
    frame.extend_from_slice(&chain);
    frame.extend_from_slice(payload);
    (frame, chain)
}

/// Checks that a frame of the file ends at `position`. If none does, the index is not of this log, and what it knows
/// nothing of must not be taken for a torn end.
fn ends_a_frame(file: &File, position: Position, epoch: [u8; 8]) -> Result<(), StoreError> {
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

/// Cuts off what follows the last whole frame, and keeps it: it is nothing that was acknowledged.
fn set_aside(dir: &Path, file: &File, end: Position, length: u64) -> Result<(), StoreError> {
    let doing = "set the log's torn end aside; free space on the disk if it is full";
    let aside = || -> io::Result<()> {
        let mut torn = file.try_clone()?;
        torn.seek(io::SeekFrom::Start(end.offset))?;
        let mut kept = File::create(dir.join("torn-end"))?;
        io::copy(&mut torn.take(length - end.offset), &mut kept).map(drop)
    };
    aside().map_err(StoreError::io(doing))?;
    let (file_name, bytes) = (file_name(end.file), length - end.offset);
    tracing::warn!(file_name, bytes, "cut off what followed the last whole commit; it is kept as log/torn-end");
    file.set_len(end.offset).map_err(StoreError::io("cut off the log's torn end"))?;
    sync_or_exit(file);
    Ok(())
}

fn read_whole(file: &File, bytes: &mut [u8], offset: u64) -> Result<bool, StoreError> {
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(StoreError::io("read its log")(error)),
    }
}

/// The position after the header of a file that must belong to this store.
pub(super) fn start_of(number: u32, file: &File, epoch: [u8; 8]) -> Result<Position, StoreError> {
    let mut header = [0; HEADER_BYTES];
    if !read_whole(file, &mut header, 0)? {
        return Err(corrupt(format!("{} is shorter than a header", file_name(number))));
    }
    let seed = header.get(24..32).and_then(|seed| seed.try_into().ok()).unwrap_or_default();
    if header_bytes(number, epoch, seed) != header {
        return Err(corrupt(format!("{} has a header that is not ours", file_name(number))));
    }
    Ok(Position { file: number, offset: HEADER_BYTES as u64, chain: seed })
}

/// The header of a file.
pub(super) fn header_bytes(number: u32, epoch: [u8; 8], seed: [u8; 8]) -> Vec<u8> {
    let mut header = [&MAGIC[..], &VERSION.to_le_bytes(), &number.to_le_bytes(), &epoch, &seed].concat();
    let sum = sum(&header);
    header.extend_from_slice(&sum);
    header
}

/// Creates a file with its header, durable together with its name.
pub(super) fn create(
    dir: &Path,
    number: u32,
    epoch: [u8; 8],
    seed: [u8; 8],
) -> Result<(Arc<File>, Position), StoreError> {
    let doing = "start a new file of its log; free space on the disk if it is full";
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(dir.join(file_name(number)));
    let file = file.map_err(StoreError::io(doing))?;
    file.write_all_at(&header_bytes(number, epoch, seed), 0).map_err(StoreError::io(doing))?;
    sync_or_exit(&file);
    let folder = File::open(dir).map_err(StoreError::io(doing))?;
    sync_or_exit(&folder);
    Ok((Arc::new(file), Position { file: number, offset: HEADER_BYTES as u64, chain: seed }))
}

pub(super) fn file_name(number: u32) -> String {
    format!("{number:010}.tlog")
}

/// The first eight bytes of a hash: plenty against damage, which does not aim.
pub(super) fn sum(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut sum);
    sum
}

pub(super) fn chain(before: [u8; 8], length: u32, sum_of_payload: [u8; 8]) -> [u8; 8] {
    sum(&[&before[..], &length.to_le_bytes(), &sum_of_payload].concat())
}

fn corrupt(what: String) -> StoreError {
    StoreError::Corrupt { what, next: super::SALVAGE }
}

/// After a failed fsync the page cache may claim that lost pages are clean, so trying again proves nothing
/// (<https://wiki.postgresql.org/wiki/Fsync_Errors>): the only safe thing is to start over from what is on the disk.
pub(super) fn sync_or_exit(file: &File) {
    if let Err(error) = file.sync_data() {
        tracing::error!(%error, "fsync failed; stopping, so that nothing is acknowledged that may be lost");
        std::process::exit(EXIT_IO_ERROR);
    }
}
