//! What is committed and not in the log yet, as far as the kernel has it: a process that is killed loses no batch that was
//! saved, though its group was not written yet.
//!
//! Two files take turns, a group each. They are never synced: against a power cut only what is durable counts, and nobody
//! was told that this is. A group's number stands in its frame of the log too, so a start knows which of them the log lacks.
//!
//! ```text
//! PENDING.0, PENDING.1 = header commit*
//! header = "TPND" number:u64 previous:u64 sum:[8]       previous: the length of the file of the group before
//! commit = length:u32 sum:[8] bytes                      sum = blake3(number ‖ place in the file ‖ bytes)[..8]
//! bytes  = (0 key:bytes (0 | 1 value:bytes) | 1 stream:varint name:bytes entry)*
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;

use super::block::{BlockEntry, Reader, action_code, damaged, parse_stream_name, put_bytes, put_varint, stream_name};
use super::commit::Hashes;
use super::layers::{Group, Index};
use super::lock;
use super::log::sum;
use super::places::Place;
use crate::ids::{StreamKey, Timestamp};
use crate::store::StoreError;

const MAGIC: &[u8; 4] = b"TPND";
const HEADER_BYTES: usize = 28;
const COMMIT_HEADER_BYTES: usize = 12;

/// The two files.
pub(super) struct Pending {
    files: [File; 2],
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    number: u64,
    offset: u64,
    /// Something could not be written: what follows it would not be found.
    broken: bool,
}

impl Pending {
    /// Opens the files, whatever is in them.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let open = |name| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(name));
        let files = open("PENDING.0").and_then(|zero| Ok([zero, open("PENDING.1")?]));
        let files = files.map_err(StoreError::io("open the files of what is pending"))?;
        Ok(Self { files, now: Mutex::default() })
    }

    /// The commits that a log whose last group is `last` lacks, in order.
    pub(super) fn missing(&self, last: u64) -> Vec<Vec<u8>> {
        let [zero, one] = &self.files;
        let read: Vec<_> = [zero, one].into_iter().filter_map(read).collect();
        let mut commits = Vec::new();
        let mut length = None;
        for number in [last + 1, last + 2] {
            let Some(found) = read.iter().find(|file| file.number == number) else { break };
            if length.is_some_and(|length| length != found.previous) {
                break;
            }
            commits.extend(found.commits.iter().cloned());
            length = Some(found.length);
        }
        commits
    }

    /// From now on commits are of group `number`.
    pub(super) fn begin(&self, number: u64) {
        let mut now = lock(&self.now);
        let mut header = [&MAGIC[..], &number.to_le_bytes(), &now.offset.to_le_bytes()].concat();
        let check = sum(&header);
        header.extend_from_slice(&check);
        // What an older group left behind the header stays: its sums are of another number, and pages that are there
        // already take half the time to write.
        let written = self.file(number).write_all_at(&header, 0);
        *now = Now { number, offset: HEADER_BYTES as u64, broken: written.is_err() };
    }

    /// Adds a commit. Where that fails, the disk is full or broken, and who waits for the log is told.
    pub(super) fn add(&self, bytes: &[u8]) {
        let mut now = lock(&self.now);
        let Some(length) = u32::try_from(bytes.len()).ok().filter(|length| *length > 0 && !now.broken) else { return };
        let check = check(now.number, now.offset, bytes);
        let header = [&length.to_le_bytes()[..], &check].concat();
        let file = self.file(now.number);
        let at = now.offset + COMMIT_HEADER_BYTES as u64;
        let written = file.write_all_at(bytes, at).and_then(|()| file.write_all_at(&header, now.offset));
        now.broken = written.is_err();
        now.offset = at + u64::from(length);
    }

    fn file(&self, number: u64) -> &File {
        let [zero, one] = &self.files;
        if number.is_multiple_of(2) { zero } else { one }
    }
}

struct Found {
    number: u64,
    previous: u64,
    length: u64,
    commits: Vec<Vec<u8>>,
}

fn read(file: &File) -> Option<Found> {
    let length = usize::try_from(file.metadata().ok()?.len()).ok()?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let (body, found) = header.split_at(HEADER_BYTES - 8);
    if sum(body)[..] != *found {
        return None;
    }
    let (number, previous) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    let previous = u64::from_le_bytes(previous.try_into().ok()?);
    let mut commits = Vec::new();
    let mut offset = HEADER_BYTES as u64;
    while let Some((header, after)) = rest.split_at_checked(COMMIT_HEADER_BYTES) {
        let (size, found) = header.split_at(4);
        let size = u32::from_le_bytes(size.try_into().ok()?) as usize;
        let Some((commit, after)) = after.split_at_checked(size).filter(|_| size > 0) else { break };
        if check(number, offset, commit)[..] != *found {
            break;
        }
        commits.push(commit.to_vec());
        offset += (COMMIT_HEADER_BYTES + size) as u64;
        rest = after;
    }
    Some(Found { number, previous, length: offset, commits })
}

fn check(number: u64, offset: u64, bytes: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    let hasher = &mut blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).update(&offset.to_le_bytes()).update(bytes).finalize_xof().fill(&mut check);
    check
}

/// Notes that a row was put.
pub(super) fn note_row(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    out.push(0);
    put_bytes(out, key);
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put_bytes(out, value);
    }
}

/// Notes that an entry was put.
pub(super) fn note_entry(out: &mut Vec<u8>, stream: u32, name: &StreamKey, entry: &BlockEntry) {
    out.push(1);
    put_varint(out, u64::from(stream));
    put_bytes(out, &stream_name(name));
    put_varint(out, entry.sequence);
    out.push(action_code(entry.action));
    put_varint(out, u64::from(entry.number));
    put_varint(out, entry.first_seen.0);
    put_varint(out, entry.modified.0);
    out.extend_from_slice(&entry.digest);
    put_bytes(out, entry.id.as_bytes());
    put_bytes(out, entry.data.as_bytes());
}

/// Commits what a pending commit did, again.
pub(super) fn commit_again(index: &Index, hashes: &Hashes, commit: &[u8]) -> Result<u64, StoreError> {
    let mut reader = Reader::new(commit);
    let (mut rows, mut entries) = (Vec::new(), Vec::new());
    while !reader.rest().is_empty() {
        if reader.array()? == [0] {
            let key = reader.bytes()?.to_vec();
            let value = if reader.array()? == [0] { None } else { Some(reader.bytes()?.to_vec()) };
            rows.push((key, value));
            continue;
        }
        let stream = reader.int()?;
        let name = parse_stream_name(reader.bytes()?).ok_or_else(damaged)?;
        let entry = BlockEntry {
            sequence: reader.varint()?,
            action: reader.action()?,
            number: reader.int()?,
            first_seen: Timestamp(reader.varint()?),
            modified: Timestamp(reader.varint()?),
            digest: reader.array()?,
            id: reader.text()?,
            data: reader.text()?,
        };
        let key = hashes.place(stream, &entry.id);
        let supersedes = index.places(&[key])?.into_iter().flatten().next().map(|place| place.sequence);
        entries.push((stream, name, key, supersedes, entry));
    }
    Ok(index.commit(|group: &mut Group| {
        for (stream, name, key, supersedes, entry) in entries {
            let place = Place {
                sequence: entry.sequence,
                number: entry.number,
                action: entry.action,
                first_seen: entry.first_seen,
                digest: entry.digest,
                spelling: hashes.spelling(&entry.data),
            };
            group.put_entry((stream, &name), (key, place), entry, supersedes);
        }
        for (key, value) in rows {
            group.put_row(key, value);
        }
    }))
}
