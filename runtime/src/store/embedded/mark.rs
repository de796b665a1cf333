//! The high-water mark: up to where the log was durable when that was last known, and from which file on it must be there.
//!
//! It is a file of its own, so that neither a damaged log nor a damaged index can hide that something is missing. It is
//! written after each group, once the log is durable, without a sync of its own: kill -9 does not lose it, a power cut
//! may set it back to an older state, which is never ahead of the log. Before a file of the log is removed, and when the
//! store is closed, it is synced.
//!
//! ```text
//! MARK = slot padding slot          each in 512 bytes, written in turn
//! slot = "TMRK" counter:u64 first:u32 position:[20] sum:[8]
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Mutex;

use super::lock;
use super::log::{Position, sum, sync_or_exit};
use crate::store::StoreError;

const MAGIC: &[u8; 4] = b"TMRK";
/// The smallest unit that a disk writes whole.
pub(super) const SLOT_BYTES: u64 = 512;
const BODY_BYTES: usize = 36;

/// What the mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The first file of the log that must be there.
    pub(super) first: u32,
    /// Up to where the log was durable.
    pub(super) position: Position,
}

/// The open file.
pub(super) struct MarkFile {
    file: File,
    state: Mutex<(u64, Option<Mark>)>,
}

impl MarkFile {
    /// Opens the mark in `path`, creating an empty one if there is none.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(StoreError::io("open its high-water mark"))?;
        let (counter, mark) = newest(&file).map_or((0, None), |(counter, mark)| (counter, Some(mark)));
        Ok(Self { file, state: Mutex::new((counter, mark)) })
    }

    pub(super) fn get(&self) -> Option<Mark> {
        lock(&self.state).1
    }

    /// Replaces what the mark says.
    pub(super) fn set(&self, mark: Mark) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        let counter = state.0 + 1;
        let mut slot =
            [&MAGIC[..], &counter.to_le_bytes(), &mark.first.to_le_bytes(), &mark.position.encode()].concat();
        let sum = sum(&slot);
        slot.extend_from_slice(&sum);
        self.file
            .write_all_at(&slot, counter % 2 * SLOT_BYTES)
            .map_err(StoreError::io("write its high-water mark; free space on the disk if it is full"))?;
        *state = (counter, Some(mark));
        Ok(())
    }

    pub(super) fn sync(&self) {
        sync_or_exit(&self.file);
    }
}

/// What the mark in `path` says, if it can be read.
pub(super) fn read(path: &Path) -> Option<Mark> {
    newest(&File::open(path).ok()?).map(|(_, mark)| mark)
}

fn newest(file: &File) -> Option<(u64, Mark)> {
    [0, SLOT_BYTES].iter().filter_map(|offset| slot(file, *offset)).max_by_key(|(counter, _)| *counter)
}

/// What the slot at `offset` says, if it is whole.
pub(super) fn slot(file: &File, offset: u64) -> Option<(u64, Mark)> {
    let mut bytes = [0; BODY_BYTES + 8];
    file.read_exact_at(&mut bytes, offset).ok()?;
    let (body, found) = bytes.split_at(BODY_BYTES);
    if sum(body)[..] != *found {
        return None;
    }
    let (counter, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    let (first, position) = rest.split_first_chunk::<4>()?;
    let mark = Mark { first: u32::from_le_bytes(*first), position: Position::decode(position)? };
    Some((u64::from_le_bytes(*counter), mark))
}
