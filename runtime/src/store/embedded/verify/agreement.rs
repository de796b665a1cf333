//! Whether index and log say the same, in both directions.
//!
//! For each extent that the index knows: the blocks are there, and of each entry that is not dead the index has exactly
//! this sequence, number, action and digest. For each stream: the index has no more than those, and its head counts
//! them.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;

use super::{Check, MADE_ANEW, Verification};
use crate::store::embedded::block::{Block, blocks};
use crate::store::embedded::commit::{Hashes, Head};
use crate::store::embedded::frame::ExtentRow;
use crate::store::embedded::keys;
use crate::store::embedded::layers::{Index, View};
use crate::store::embedded::retention::Horizons;
use crate::store::embedded::survey::{Files, place};
use crate::store::{Action, StoreError};

/// Rows of the index looked at together.
const ROWS_AT_ONCE: usize = 1_000;

/// The entries of a stream that are not superseded.
#[derive(Default)]
struct Totals {
    live: u64,
    kept: u64,
    last: u64,
    /// Some of its blocks are damaged, so counts say nothing.
    damaged: bool,
}

impl Check<'_> {
    /// Compares the index with the log, both ways.
    pub(super) fn agreement(&mut self, index: &Index, hashes: &Hashes, files: &Files) -> Result<(), StoreError> {
        let mut totals: BTreeMap<u32, Totals> = BTreeMap::new();
        let (mut from, to) = (keys::ALL_EXTENTS.0.to_vec(), keys::ALL_EXTENTS.1);
        loop {
            let rows = index.range(View::Durable, &from, to, ROWS_AT_ONCE)?;
            let Some((last, _)) = rows.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in rows {
                let (Some(stream), Some(first)) = (keys::number(&key), keys::extent_first(&key)) else { continue };
                let row = ExtentRow::decode(&value)?;
                self.progress.done += u64::from(row.length);
                self.progress.at(self.progress.done);
                self.extent(index, hashes, files, (stream, first, &row), totals.entry(stream).or_default())?;
            }
        }
        for (key, value) in index.range(View::Durable, b"h", b"i", usize::MAX)? {
            let Some(stream) = keys::number(&key) else { continue };
            self.head(index, stream, Head::decode(&value)?, &totals.remove(&stream).unwrap_or_default())?;
        }
        for stream in totals.keys() {
            let what = format!("{} has records and no head; {MADE_ANEW}", self.stream(*stream));
            self.found.problems.add("index", what);
        }
        Ok(())
    }

    fn extent(
        &mut self,
        index: &Index,
        hashes: &Hashes,
        files: &Files,
        (stream, first, row): (u32, u64, &ExtentRow),
        totals: &mut Totals,
    ) -> Result<(), StoreError> {
        let end = row.offset + u64::from(row.length);
        if self.damaged.iter().any(|(file, from, to)| *file == row.file && *from < end && row.offset < *to) {
            // Told already, from the log.
            totals.damaged = true;
            totals.last = totals.last.max(first + u64::from(row.span.max(1)) - 1);
            return Ok(());
        }
        let at = place(row.file, row.offset);
        let wrong = |found: &mut Verification, what: &str| {
            found.problems.add(at.as_str(), format!("the index points here, where {what}; {MADE_ANEW}"));
        };
        if first <= totals.last {
            wrong(&mut self.found, "an extent begins within another one");
        }
        let mut bytes = vec![0; row.length as usize];
        let file = files.found.get(&row.file);
        if file.is_none_or(|file| file.read_exact_at(&mut bytes, row.offset).is_err()) {
            wrong(&mut self.found, "there is nothing");
            totals.damaged = true;
            return Ok(());
        }
        let horizon = Horizons::read(index, stream)?.tombstones;
        let mut kept = 0;
        for block in blocks(&bytes) {
            let Ok(block) = block.and_then(Block::unpack) else {
                wrong(&mut self.found, "there is no block");
                totals.damaged = true;
                return Ok(());
            };
            let (_, entries) = block.entries()?;
            let entries: Vec<_> =
                entries.into_iter().filter(|entry| !row.is_dead(entry.sequence.saturating_sub(first))).collect();
            let keys: Vec<_> = entries.iter().map(|entry| hashes.place(stream, entry.id)).collect();
            for (entry, found) in entries.iter().zip(index.places(&keys)?) {
                let agrees = found.is_some_and(|found| {
                    (found.sequence, found.number, found.action, found.digest)
                        == (entry.sequence, entry.number, entry.action, entry.digest)
                });
                if !agrees {
                    let what = format!("{} has sequence {} and it has another", self.stream(stream), entry.sequence);
                    wrong(&mut self.found, &what);
                }
                kept += 1;
                totals.live += u64::from(entry.action != Action::Deleted);
                totals.kept += u64::from(entry.action != Action::Deleted || entry.sequence > horizon);
                totals.last = totals.last.max(entry.sequence);
            }
        }
        if kept != u64::from(row.span.saturating_sub(row.dead)) {
            wrong(&mut self.found, "there are more or fewer entries than it counts");
        }
        totals.last = totals.last.max(first + u64::from(row.span.max(1)) - 1);
        Ok(())
    }

    fn head(&mut self, index: &Index, stream: u32, head: Head, totals: &Totals) -> Result<(), StoreError> {
        let horizon = Horizons::read(index, stream)?.tombstones;
        let (mut places, mut beyond) = (0, false);
        index.visit_places(stream, |_, place| {
            // What was pruned may be gone from the log, and is kept here only to be compared with.
            places += u64::from(place.action != Action::Deleted || place.sequence > horizon);
            beyond |= place.sequence > head.last || place.number >= head.next_number;
            Ok(())
        })?;
        let of = self.stream(stream);
        let mut wrong = |what: String| self.found.problems.add("index", format!("{of}: {what}; {MADE_ANEW}"));
        if beyond || (!totals.damaged && totals.last > head.last) {
            wrong(format!("it has sequences or numbers beyond its end, {}", head.last));
        }
        if totals.damaged {
            return Ok(());
        }
        if places != totals.kept {
            wrong(format!("the log has {} records that are not superseded, the index {places}", totals.kept));
        }
        if totals.live != head.live {
            wrong(format!("the log has {} records that exist, the stream counts {}", totals.live, head.live));
        }
        self.found.records += totals.live;
        Ok(())
    }
}
