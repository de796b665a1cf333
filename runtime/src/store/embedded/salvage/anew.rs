//! Writing what survived as a log that is whole.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;

use super::{Generation, Newest, Source, Survivors};
use crate::ids::StreamKey;
use crate::store::embedded::block::{Block, BlockEntry, EXTENT_TARGET_BYTES, damaged, pack};
use crate::store::embedded::frame::{self, ExtentKind, Payload};
use crate::store::embedded::keys;
use crate::store::embedded::layers::Rows;
use crate::store::embedded::log::Log;
use crate::store::embedded::retention::Horizons;
use crate::store::embedded::survey::{Files, Found};
use crate::store::{Action, StoreError};

/// Rows and records that are written as one frame, in bytes of JSON.
const FRAME_BYTES: usize = 4 << 20;
/// Sequences that an extent spans at most: its row has a bit for each.
const MAX_SPAN: u64 = 1 << 16;

/// The new log.
pub(super) struct Out<'a> {
    log: &'a Log,
    rows: Rows,
    /// Of the rows.
    bytes: usize,
}

impl<'a> Out<'a> {
    pub(super) fn new(log: &'a Log) -> Self {
        Self { log, rows: Rows::new(), bytes: 0 }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        self.bytes += key.len() + value.len();
        self.rows.insert(key, Some(value));
        if self.bytes >= FRAME_BYTES { self.close() } else { Ok(()) }
    }

    /// Writes the rows that wait.
    fn close(&mut self) -> Result<(), StoreError> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() { Ok(()) } else { self.log.append(&frame::encode(&rows, &[]).0).map(drop) }
    }

    fn records(&mut self, number: u32, key: &StreamKey, entries: &[BlockEntry]) -> Result<(), StoreError> {
        let packed = pack(number, key, entries.iter(), EXTENT_TARGET_BYTES)?;
        if packed.is_empty() {
            return Ok(());
        }
        let extents: Vec<_> = packed.into_iter().map(|extent| (ExtentKind::New, extent)).collect();
        self.log.append(&frame::encode(&Rows::new(), &extents).0).map(drop)
    }
}

impl Survivors {
    /// Rows of streams come first: a start places records only where there is a head.
    pub(super) fn write_streams(
        &self,
        out: &mut Out<'_>,
        generations: &BTreeMap<u32, Generation>,
    ) -> Result<(), StoreError> {
        for (key, row) in &self.streams {
            out.put(keys::stream(key), row.encode())?;
        }
        for number in generations.keys() {
            let head = self.heads.get(number).copied().unwrap_or_default();
            out.put(keys::head(*number), head.encode())?;
            if let Some(horizons) = self.horizons.get(number) {
                // What they hide is left out here, so in no file there is any of it to be given back.
                out.put(keys::horizons(*number), Horizons { file: 0, ..*horizons }.encode())?;
            }
        }
        out.put(keys::STREAM_COUNTER.to_vec(), self.last_number.to_be_bytes().to_vec())?;
        out.close()
    }

    /// Writes the records of a generation in the order of their sequences.
    pub(super) fn write_records(
        &self,
        out: &mut Out<'_>,
        files: &Files,
        number: u32,
        generation: Generation,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let Generation { key, newest } = generation;
        let horizons = self.horizons.get(&number).copied().unwrap_or_default();
        let mut newest: Vec<_> = newest.into_values().collect();
        newest.sort_unstable_by_key(|newest| newest.sequence);
        let mut open: Vec<BlockEntry> = Vec::new();
        let mut bytes = 0;
        // Neighbors are mostly in the same block.
        for group in newest.chunk_by(|a, b| a.block == b.block) {
            let Some(place) = group.first().and_then(|first| self.blocks.get(first.block as usize)) else { continue };
            let file = files.found.get(&place.file).ok_or_else(damaged)?;
            let mut block = vec![0; place.length];
            file.read_exact_at(&mut block, place.offset).map_err(StoreError::io("read its log"))?;
            progress(place.length as u64);
            let block = Block::decode(&block)?;
            let (_, entries) = block.entries()?;
            for Newest { sequence, .. } in group {
                let at = entries.binary_search_by_key(sequence, |entry| entry.sequence).map_err(|_| damaged())?;
                let Some(entry) = entries.get(at) else { continue };
                let mut copy = entry.to_entry();
                if horizons.hide(entry) {
                    if entry.action == Action::Deleted {
                        continue;
                    }
                    copy.data = String::new();
                }
                if open.first().is_some_and(|first| sequence - first.sequence >= MAX_SPAN) || bytes >= FRAME_BYTES {
                    out.records(number, &key, &open)?;
                    open.clear();
                    bytes = 0;
                }
                bytes += copy.data.len() + copy.id.len();
                open.push(copy);
            }
        }
        out.records(number, &key, &open)
    }

    /// Writes all other rows, each from the frame in which it stands last.
    pub(super) fn write_rows(
        &mut self,
        out: &mut Out<'_>,
        source: &Source<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let mut runs = 0;
        source.walk(&mut |_, found, done| {
            progress(done);
            let Found::Frame { payload, begin, .. } = found else { return Ok(()) };
            let Ok(payload) = Payload::decode(payload) else { return Ok(()) };
            for (key, value) in payload.rows {
                let Some(value) = value else { continue };
                if self.rows.get(&key) == Some(&(begin.file, begin.offset)) {
                    runs += u64::from(key.first() == Some(&b'r'));
                    out.put(key, value)?;
                }
            }
            Ok(())
        })?;
        self.report.runs = runs;
        out.close()
    }
}
