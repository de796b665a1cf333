//! From format 1 to the present one.
//!
//! The log is written anew beside the old one, frame by frame, and takes its place; META.json, written last, says that it
//! is done. A crash before that begins again from the old log, which stays until then. The index is derived and is made
//! anew by the start that follows.
//!
//! Format 1, as far as it differs: files have a header of 32 bytes without a sum; a frame is `length:u32 sum:[8] payload`
//! with sum = blake3(previous sum ‖ length ‖ payload)[..8]; a payload is `ops:varint op* blocks:varint block*`; a block's entries
//! begin with their count, without the stream's name, and carry 16 bytes of digest.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::block::{BlockEntry, EXTENT_TARGET_BYTES, Reader, damaged, pack};
use super::commit::{Hashes, Head};
use super::frame::{self, ExtentKind};
use super::keys;
use super::layers::Rows;
use super::log::{self, Log};
use super::meta::{FORMAT, Meta};
use super::streams::StreamRow;
use crate::ids::{StreamKey, Timestamp};
use crate::store::canonical::Digest;
use crate::store::{Action, StoreError};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 12;

/// Migrates the store in `dir`, of which the caller holds the lock, and returns its META.
pub(super) fn migrate(dir: &Path, old: &Meta) -> Result<Meta, StoreError> {
    let doing = "migrate the store; free space on the disk if it is full";
    let (log, kept, new) = (dir.join("log"), dir.join("log.format-1"), dir.join("log.new"));
    let source = if kept.exists() { &kept } else { &log };
    tracing::info!("the store is of format {}; writing it anew as format {FORMAT}", old.format);
    remove(&new).map_err(StoreError::io(doing))?;
    remove(&dir.join("MARK")).map_err(StoreError::io(doing))?;
    let meta = Meta::with(FORMAT, old.epoch, old.secret);
    write_anew(source, &new, &meta)?;
    if source == &log {
        fs::rename(&log, &kept).map_err(StoreError::io(doing))?;
    }
    remove(&log).map_err(StoreError::io(doing))?;
    fs::rename(&new, &log).map_err(StoreError::io(doing))?;
    remove(&dir.join("index")).map_err(StoreError::io(doing))?;
    super::create_folder(&log).map_err(StoreError::io(doing))?;
    meta.write(dir)?;
    remove(&kept).map_err(StoreError::io(doing))?;
    Ok(meta)
}

/// Removes a file or folder that may be there.
fn remove(path: &Path) -> std::io::Result<()> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_anew(from: &Path, to: &Path, meta: &Meta) -> Result<(), StoreError> {
    let new = Log::open(to, meta.epoch, super::Limits::default().roll_bytes, None, None, |_, _, _| Ok(()))?;
    let mut migration = Migration { hashes: Hashes::new(&meta.secret), streams: HashMap::new(), live: HashMap::new() };
    let mut files: Vec<_> = log::list(from, false)?.into_iter().collect();
    files.sort_by_key(|(number, _)| *number);
    let last = files.last().map(|(number, _)| *number);
    for (number, file) in files {
        let whole = frames(&file, |payload| {
            let (rows, extents) = migration.payload(payload)?;
            new.append(&frame::encode(&rows, &extents).0).map(drop)
        })?;
        if !whole && last != Some(number) {
            return Err(StoreError::Corrupt {
                what: format!("{} cannot be read to its end", log::file_name(number)),
                next: "Restore the data directory from a backup, or open it with the Terapi that wrote it",
            });
        }
    }
    new.sync();
    Ok(())
}

/// Hands the payload of each whole frame to `visit`; says whether nothing follows the last one.
fn frames(file: &File, mut visit: impl FnMut(&[u8]) -> Result<(), StoreError>) -> Result<bool, StoreError> {
    let doing = "read the log of format 1";
    let length = file.metadata().map_err(StoreError::io(doing))?.len();
    let mut header = [0; HEADER_BYTES];
    if file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(b"TERAPLOG\x01\0\0\0") {
        return Ok(false);
    }
    let mut before: [u8; 8] = header.last_chunk().copied().unwrap_or_default();
    let mut offset = HEADER_BYTES as u64;
    while offset < length {
        let mut head = [0; FRAME_HEADER_BYTES];
        if file.read_exact_at(&mut head, offset).is_err() {
            return Ok(false);
        }
        let (size, sum) = head.split_at(4);
        let size = size.try_into().map_or(u32::MAX, u32::from_le_bytes);
        let end = offset + FRAME_HEADER_BYTES as u64 + u64::from(size);
        if end > length {
            return Ok(false);
        }
        let mut payload = vec![0; size as usize];
        let begin = offset + FRAME_HEADER_BYTES as u64;
        file.read_exact_at(&mut payload, begin).map_err(StoreError::io(doing))?;
        let expected = log::sum(&[&before[..], &size.to_le_bytes(), &payload].concat());
        if expected[..] != *sum {
            return Ok(false);
        }
        before = expected;
        visit(&payload)?;
        offset = end;
    }
    Ok(true)
}

struct Migration {
    hashes: Hashes,
    streams: HashMap<u32, (StreamKey, Head)>,
    /// Which records of a stream exist, by number.
    live: HashMap<u32, roaring::RoaringBitmap>,
}

impl Migration {
    fn payload(&mut self, payload: &[u8]) -> Result<(Rows, Vec<(ExtentKind, super::block::PackedExtent)>), StoreError> {
        let mut reader = Reader::new(payload);
        let mut rows = Rows::new();
        for _ in 0..reader.varint()? {
            let key = reader.bytes()?.to_vec();
            let value = match reader.array()? {
                [0] => None,
                [_] => Some(reader.bytes()?.to_vec()),
            };
            if let (Some(stream), Some(value)) = (keys::parse_stream(&key), &value) {
                self.streams.insert(StreamRow::decode(value)?.number, (stream, Head::default()));
            }
            rows.insert(key, value);
        }
        let mut extents = Vec::new();
        for _ in 0..reader.varint()? {
            let stream = u32::from_le_bytes(reader.array()?);
            let first = u64::from_le_bytes(reader.array()?);
            let _span: [u8; 4] = reader.array()?;
            let raw = u32::from_le_bytes(reader.array()?) as usize;
            let packed = u32::from_le_bytes(reader.array()?) as usize;
            let _sum: [u8; 8] = reader.array()?;
            let raw = zstd::bulk::decompress(reader.take(packed)?, raw.min(64 << 20)).map_err(|_| damaged())?;
            let entries = self.entries(first, &raw)?;
            let (key, head) = self.streams.get_mut(&stream).ok_or_else(damaged)?;
            let live = self.live.entry(stream).or_default();
            for entry in &entries {
                head.last = head.last.max(entry.sequence);
                head.next_number = head.next_number.max(entry.number.saturating_add(1));
                if entry.action == Action::Deleted {
                    live.remove(entry.number);
                } else {
                    live.insert(entry.number);
                }
            }
            head.live = live.len();
            rows.insert(keys::head(stream), Some(head.encode()));
            let packed = pack(stream, key, entries.iter(), EXTENT_TARGET_BYTES)?;
            extents.extend(packed.into_iter().map(|extent| (ExtentKind::New, extent)));
        }
        Ok((rows, extents))
    }

    fn entries(&self, first: u64, raw: &[u8]) -> Result<Vec<BlockEntry>, StoreError> {
        let mut reader = Reader::new(raw);
        let mut entries = Vec::new();
        for _ in 0..reader.varint()? {
            let sequence = first.checked_add(reader.varint()?).ok_or_else(damaged)?;
            let action = reader.action()?;
            let number = reader.int()?;
            let (first_seen, modified) = (Timestamp(reader.varint()?), Timestamp(reader.varint()?));
            let digest = self.hashes.digest(&Digest(reader.array()?));
            let id = std::str::from_utf8(reader.bytes()?).map_err(|_| damaged())?.to_owned();
            let length = usize::try_from(reader.varint()?).map_err(|_| damaged())?;
            let entry = BlockEntry { sequence, action, number, first_seen, modified, digest, id, data: String::new() };
            entries.push((entry, length));
        }
        entries
            .into_iter()
            .map(|(entry, length)| {
                let data = std::str::from_utf8(reader.take(length)?).map_err(|_| damaged())?.to_owned();
                Ok(BlockEntry { data, ..entry })
            })
            .collect()
    }
}
