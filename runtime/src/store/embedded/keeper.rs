//! The keeper: brings the index up to date with the log, and gives space back. It works beside the flusher, so that neither a
//! checkpoint nor a merge holds up what wants to be durable.
//!
//! **Checkpoint.** Freeze the settled layer → its places to a new run file, durable → one sled batch: its rows, the list of
//! runs, the position in the log; flushed → thaw. A crash in between leaves the old list and position, and the log replays.
//!
//! **Reclaim.** While dead bytes exceed the live ones by more than [`super::Limits::slack_bytes`]: everything live in the
//! oldest file is committed again (rows as they are now, entries with their old sequences), then a checkpoint, then the
//! MARK no longer asks for the file, then it goes. Oldest first, so that what superseded an entry never goes before the entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::block::{Block, BlockEntry, EXTENT_TARGET_BYTES, blocks, damaged, parse_stream_name};
use super::flush::RETRY_INTERVAL;
use super::frame::{ExtentRow, Payload};
use super::layers::{Index, Moved, Rows, View};
use super::log::file_name;
use super::mark::Mark;
use super::retention::Horizons;
use super::{Engine, keys, lock};
use crate::store::{Action, StoreError};

/// Rows looked at together.
const ROWS_AT_ONCE: usize = 1_000;
/// Content that is moved by one commit.
const MOVED_AT_ONCE_BYTES: usize = 4 << 20;
/// Extents are not joined past this, or the bits of their rows would outweigh them.
const MAX_JOINED_SPAN: u64 = 1 << 16;
/// What is left of a record without its content, as a share of it.
const PRUNED_SHARE: u64 = 8;

/// What the keeper is told.
#[derive(Default)]
pub(super) struct Keep {
    pub(super) stop: bool,
}

impl Index {
    /// Brings catalog and places up to what is settled. One at a time.
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        let Some((frozen, position)) = self.freeze() else { return Ok(()) };
        super::failpoint("store::checkpoint-frozen");
        let mut run = lock(&self.written);
        if run.is_none() {
            let mut places: Vec<_> = frozen.places.iter().map(|(key, place)| (*key, *place)).collect();
            places.sort_unstable_by_key(|(key, _)| *key);
            *run = self.places.write(places.into_iter().map(Ok))?;
        }
        super::failpoint("store::checkpoint-places");
        let runs = match &*run {
            Some(run) => self.places.manifest_with(run),
            None => self.catalog.standing().runs,
        };
        self.catalog.write(&frozen.rows, position, runs)?;
        super::failpoint("store::checkpointed");
        self.thaw(run.take());
        self.places.remove_unused()
    }
}

impl Engine {
    /// Wakes the keeper if it has something to do.
    pub(super) fn wake_keeper(&self) {
        if self.checkpoint_is_due() {
            // Held, so that it is either waiting or has not looked yet.
            let _keep = lock(&self.keep);
            self.wake_keeper.notify_all();
        }
    }

    fn checkpoint_is_due(&self) -> bool {
        let (_, settled) = self.index.waiting_bytes();
        let unwritten = || {
            let Some(from) = self.index.catalog.standing().position else { return u64::MAX };
            let end = self.log.end();
            let files = u64::from(end.file.saturating_sub(from.file));
            (files * self.limits.roll_bytes + end.offset).saturating_sub(from.offset)
        };
        settled > self.limits.checkpoint_bytes || (settled > 0 && unwritten() > self.limits.checkpoint_log_bytes)
    }

    pub(super) fn keep_until_stopped(&self) {
        let mut failed = false;
        loop {
            let stop = {
                let mut keep = lock(&self.keep);
                while !keep.stop && (failed || !self.checkpoint_is_due()) {
                    if failed {
                        let wait = self.wake_keeper.wait_timeout_while(keep, RETRY_INTERVAL, |keep| !keep.stop);
                        keep = wait.unwrap_or_else(PoisonError::into_inner).0;
                        break;
                    }
                    keep = self.wake_keeper.wait(keep).unwrap_or_else(PoisonError::into_inner);
                }
                keep.stop
            };
            if stop {
                return;
            }
            let result = self.checkpoint().and_then(|()| self.tidy());
            failed = result.is_err();
            if let Err(error) = result {
                tracing::error!(%error, "the index could not be brought up to date; the log has everything");
            }
        }
    }

    /// Brings catalog and places up to what is settled.
    pub(super) fn checkpoint(&self) -> Result<(), StoreError> {
        let _one = lock(&self.checkpointing);
        self.index.checkpoint()?;
        self.mark.sync();
        Ok(())
    }

    /// Merges runs of places and reclaims space, as far as either is due.
    fn tidy(&self) -> Result<(), StoreError> {
        self.merge_places()?;
        self.reclaim()
    }

    fn merge_places(&self) -> Result<(), StoreError> {
        loop {
            let gone = self.gone_streams()?;
            let merged = self.index.places.merge(|key, _| {
                let stream = key.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                !gone(stream)
            })?;
            let Some(merged) = merged else { return Ok(()) };
            super::failpoint("store::merged");
            let _one = lock(&self.checkpointing);
            let standing = self.index.catalog.standing();
            let Some(position) = standing.position else { return merged.discard() };
            let written = self.index.catalog.write(&Rows::new(), position, self.index.places.manifest_with(&merged));
            if let Err(error) = written {
                // Tried again, it would leave a file each time. If the list with it was written after all, the next start
                // misses the file and builds the index anew.
                merged.discard()?;
                return Err(error);
            }
            self.index.places.publish(merged);
            super::failpoint("store::merge-published");
            self.index.places.remove_unused()?;
        }
    }

    /// Gives back files of the log while too much of it is dead.
    pub(super) fn reclaim(&self) -> Result<(), StoreError> {
        let last = self.log.end().file;
        while let Some((number, _)) = self.log.oldest()?.filter(|(number, _)| *number < last) {
            let (total, live) = (self.log.bytes()?, self.live_bytes()?);
            let bounded = total.saturating_sub(live) <= live.saturating_add(self.limits.slack_bytes);
            if bounded || lock(&self.keep).stop {
                break;
            }
            self.reclaim_file(number)?;
        }
        Ok(())
    }

    /// About how many bytes of the log are still needed.
    pub(super) fn live_bytes(&self) -> Result<u64, StoreError> {
        let mut horizons = BTreeMap::new();
        let mut live = 0;
        self.visit_extents(|stream, first, row| {
            let horizon: &Horizons = match horizons.entry(stream) {
                std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
                std::collections::btree_map::Entry::Vacant(slot) => slot.insert(Horizons::read(&self.index, stream)?),
            };
            let pruned = first + u64::from(row.span) <= horizon.payloads && row.file <= horizon.file;
            live += if pruned { row.live_bytes() / PRUNED_SHARE } else { row.live_bytes() };
            Ok(())
        })?;
        Ok(live)
    }

    /// Hands the row of every extent to `visit`: stream, first sequence, row.
    pub(super) fn visit_extents(
        &self,
        mut visit: impl FnMut(u32, u64, ExtentRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (mut from, to) = (keys::ALL_EXTENTS.0.to_vec(), keys::ALL_EXTENTS.1);
        loop {
            let rows = self.index.range(View::Durable, &from, to, ROWS_AT_ONCE)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in rows {
                let (Some(stream), Some(first)) = (keys::number(&key), keys::extent_first(&key)) else { continue };
                visit(stream, first, ExtentRow::decode(&value)?)?;
            }
        }
    }

    fn reclaim_file(&self, number: u32) -> Result<(), StoreError> {
        self.write_rows_again(number)?;
        super::failpoint("store::reclaim-rows");
        self.move_extents(number)?;
        self.wait_durable(self.index.last_ticket())?;
        super::failpoint("store::reclaim-moved");
        self.checkpoint()?;
        let mut left = 0;
        self.visit_extents(|_, _, row| {
            left += u32::from(row.file == number);
            Ok(())
        })?;
        if left > 0 || self.index.catalog.standing().position.is_none_or(|position| position.file <= number) {
            return Err(StoreError::Corrupt {
                what: format!("{left} extents of {} could not be moved", file_name(number)),
                next: super::SALVAGE,
            });
        }
        if let Some(mark) = self.mark.get() {
            self.mark.set(Mark { first: number + 1, ..mark })?;
            self.mark.sync();
        }
        super::failpoint("store::reclaim-marked");
        // Whoever reads has rows that point into the file; whoever comes after has not.
        let nobody = self.files_in_use.write().unwrap_or_else(PoisonError::into_inner);
        let result = self.log.remove(number);
        drop(nobody);
        super::failpoint("store::reclaimed");
        result
    }

    /// Commits the rows that stand in a file again, as they are now.
    fn write_rows_again(&self, number: u32) -> Result<(), StoreError> {
        let mut stale = BTreeSet::new();
        self.log.visit(number, |payload, _, _| {
            stale.extend(Payload::decode(payload)?.rows.into_keys());
            Ok(())
        })?;
        let stale: Vec<_> = stale.into_iter().collect();
        for some in stale.chunks(ROWS_AT_ONCE) {
            self.admit_commit()?;
            self.index.commit_again(some)?;
            self.note_commit();
        }
        Ok(())
    }

    /// Commits the live entries of a file again, extent by extent; neighbors that became small are joined.
    fn move_extents(&self, number: u32) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        let mut previous = None;
        self.visit_extents(|stream, first, row| {
            let here = row.file == number;
            if here {
                // Only extents without another one between them may be joined.
                rows.push((stream, first, row, previous == Some(stream)));
            }
            previous = here.then_some(stream);
            Ok(())
        })?;
        let mut open: Option<(Moved, usize)> = None;
        let mut full: Vec<Moved> = Vec::new();
        let mut bytes = 0;
        for (stream, first, row, follows) in rows {
            let (key, entries) = self.live_entries(stream, first, &row)?;
            let json: usize = entries.iter().map(|entry| entry.data.len() + entry.id.len()).sum();
            let end = first + u64::from(row.span);
            if let Some((moved, held)) = &mut open
                && follows
                && *held + json <= EXTENT_TARGET_BYTES
                && end - moved.first <= MAX_JOINED_SPAN
            {
                moved.span = u32::try_from(end - moved.first).map_err(|_| damaged())?;
                moved.entries.extend(entries);
                *held += json;
            } else {
                full.extend(open.take().map(|(moved, _)| moved));
                open = Some((Moved { stream, key, first, span: row.span, entries }, json));
            }
            bytes += json;
            if bytes >= MOVED_AT_ONCE_BYTES {
                full.extend(open.take().map(|(moved, _)| moved));
                self.commit_moved(std::mem::take(&mut full))?;
                bytes = 0;
            }
        }
        full.extend(open.take().map(|(moved, _)| moved));
        self.commit_moved(full)
    }

    fn commit_moved(&self, moved: Vec<Moved>) -> Result<(), StoreError> {
        if moved.is_empty() {
            return Ok(());
        }
        self.commit(|group| {
            let bytes = |moved: &Moved| moved.entries.iter().map(|entry| entry.data.len() + 64).sum::<usize>();
            group.bytes += moved.iter().map(bytes).sum::<usize>() + 1;
            group.moved.extend(moved);
        })
        .map(drop)
    }

    /// What of an extent is to be kept. A pruned record loses its content, a pruned tombstone is left out.
    fn live_entries(
        &self,
        stream: u32,
        first: u64,
        row: &ExtentRow,
    ) -> Result<(crate::ids::StreamKey, Vec<BlockEntry>), StoreError> {
        let horizons = Horizons::read(&self.index, stream)?;
        let bytes = self.log.read(row.file, row.offset, row.length)?;
        let mut key = None;
        let mut entries = Vec::new();
        for block in blocks(&bytes) {
            let block = Block::unpack(block?)?;
            let (name, found) = block.entries()?;
            key = key.or_else(|| parse_stream_name(name));
            for entry in found.into_iter().filter(|entry| !row.is_dead(entry.sequence.saturating_sub(first))) {
                let forgotten = entry.action == Action::Deleted && horizons.hide(&entry);
                if !forgotten {
                    entries.push(horizons.strip(entry.to_entry()));
                }
            }
        }
        Ok((key.ok_or_else(damaged)?, entries))
    }
}
