//! The flusher: makes groups of commits durable together, and then shows them to readers.
//!
//! Close the group → pack it into one frame → append → `fdatasync` → MARK → settle. If the append fails, or an extent row
//! cannot be read, the group stays where it is: writes are refused, reads go on, and it is tried again until there is room.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::block::{PackedExtent, pack};
use super::frame::{self, ExtentKind, ExtentRow};
use super::layers::{Group, Index, Rows, View};
use super::log::Position;
use super::mark::Mark;
use super::{Engine, keys, lock};
use crate::store::StoreError;

/// How long a commit waits for others to be made durable together with it, unless somebody asks for it: short enough
/// that an app never notices, long enough that a disk of 100 fsyncs a second does it with a fifth of its time.
const GROUP_INTERVAL: Duration = Duration::from_millis(50);
/// How long to wait before a write that failed is tried again.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// When this much waits to be written, writers wait for the flusher: it bounds memory and the size of a frame.
const MAX_OPEN_BYTES: usize = 8 << 20;

/// What writers and the flusher tell each other.
#[derive(Default)]
pub(super) struct Flush {
    dirty: bool,
    /// Somebody waits for this commit to be durable.
    wanted: u64,
    durable: u64,
    /// Why nothing can be written now.
    failed: Option<String>,
    pub(super) stop: bool,
}

/// A group's frame was appended; what is left is to settle.
struct Appended {
    group: Arc<Group>,
    extents: Vec<PlacedExtent>,
    end: Position,
}

impl Engine {
    /// Called after each commit: the flusher has something to do.
    pub(super) fn note_commit(&self) {
        let mut flush = lock(&self.flush);
        if !flush.dirty {
            flush.dirty = true;
            self.wake_flusher.notify_all();
        }
    }

    /// Refuses a commit while nothing can be written, and holds it back while too much waits.
    pub(super) fn admit_commit(&self) -> Result<(), StoreError> {
        loop {
            let (open, settled) = self.index.waiting_bytes();
            if open > MAX_OPEN_BYTES {
                self.wait_durable(self.index.last_ticket())?;
            } else if settled > self.limits.checkpoint_bytes * 2 {
                // The keeper did not come round to it.
                self.checkpoint()?;
            } else {
                return refuse_if_failed(&lock(&self.flush));
            }
        }
    }

    /// Returns when a commit, and so everything before it, is durable.
    pub(super) fn wait_durable(&self, ticket: u64) -> Result<(), StoreError> {
        let mut flush = lock(&self.flush);
        while flush.durable < ticket {
            refuse_if_failed(&flush)?;
            if flush.wanted < ticket {
                flush.wanted = ticket;
                flush.dirty = true;
                self.wake_flusher.notify_all();
            }
            flush = self.flushed.wait(flush).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    pub(super) fn flush_until_stopped(&self) {
        let mut last_flush = Instant::now();
        let mut appended = None;
        loop {
            let stop = self.wait_for_work(last_flush);
            let result = self.flush_group(&mut appended);
            last_flush = Instant::now();
            {
                let mut flush = lock(&self.flush);
                flush.failed = result.err().map(|error| error.to_string());
                if let Some(error) = &flush.failed {
                    tracing::error!(error, "the store refuses writes until it can write again");
                    flush.dirty = true;
                }
            }
            self.flushed.notify_all();
            self.wake_keeper();
            if stop {
                return;
            }
        }
    }

    /// Returns when a group is due; says whether it is the last.
    fn wait_for_work(&self, last_flush: Instant) -> bool {
        let mut flush = lock(&self.flush);
        loop {
            let since = last_flush.elapsed();
            let asked = flush.wanted > flush.durable && flush.failed.is_none();
            let interval = if flush.failed.is_some() { RETRY_INTERVAL } else { GROUP_INTERVAL };
            if flush.stop || (flush.dirty && (asked || since >= interval)) {
                break;
            }
            flush = if flush.dirty {
                let wait = self.wake_flusher.wait_timeout(flush, interval.saturating_sub(since));
                wait.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.wake_flusher.wait(flush).unwrap_or_else(PoisonError::into_inner)
            };
        }
        flush.dirty = false;
        flush.stop
    }

    fn flush_group(&self, appended: &mut Option<Appended>) -> Result<(), StoreError> {
        if appended.is_none() {
            let group = match self.index.close() {
                Ok(group) => group,
                Err(ticket) => {
                    lock(&self.flush).durable = ticket;
                    return Ok(());
                }
            };
            *appended = Some(self.append_group(group)?);
        }
        let Some(Appended { group, extents, end }) = appended.as_ref() else { return Ok(()) };
        self.log.sync();
        super::failpoint("store::group-durable");
        let first = self.mark.get().map_or(end.file, |mark| mark.first);
        self.mark.set(Mark { first, position: *end })?;
        super::failpoint("store::group-marked");
        let buried = |stream| group.streams.get(&stream).map_or(&[][..], |stream| stream.buried.as_slice());
        let rows = settling_rows(&self.index, &group.rows, extents, Moves::May, buried)?;
        let ticket = group.ticket;
        self.index.settle(rows, *end);
        let replaced: Vec<_> = group.rows.keys().filter_map(|key| keys::parse_stream(key)).collect();
        self.watched.tell(group.streams.values().map(|stream| &stream.key).chain(&replaced));
        *appended = None;
        lock(&self.flush).durable = ticket;
        super::failpoint("store::group-settled");
        Ok(())
    }

    fn append_group(&self, group: Arc<Group>) -> Result<Appended, StoreError> {
        let mut extents = Vec::new();
        for moved in &group.moved {
            let entries = moved.entries.iter();
            let mut packed = pack(moved.stream, &moved.key, entries, usize::MAX)?;
            let (stream, first, span) = (moved.stream, moved.first, moved.span);
            let nothing = PackedExtent { stream, first, span, sequences: Vec::new(), bytes: Vec::new() };
            let extent = packed.pop().unwrap_or(nothing);
            extents.push((ExtentKind::Moved, PackedExtent { first, span, ..extent }));
        }
        for (stream, changes) in &group.streams {
            let packed = pack(*stream, &changes.key, changes.entries.values(), super::block::EXTENT_TARGET_BYTES)?;
            extents.extend(packed.into_iter().map(|extent| (ExtentKind::New, extent)));
        }
        let (payload, places) = frame::encode(&group.rows, &extents);
        super::failpoint("store::append");
        let (begin, end) = self.log.append(&payload)?;
        super::failpoint("store::appended");
        let extents = extents.iter().zip(places).map(|((kind, extent), at)| {
            let length = u32::try_from(extent.bytes.len()).unwrap_or(u32::MAX);
            let (file, offset) = (begin.file, begin.offset + at as u64);
            let row = ExtentRow::new(file, offset, length, extent.first, extent.span, &extent.sequences);
            PlacedExtent { kind: *kind, stream: extent.stream, first: extent.first, row }
        });
        Ok(Appended { group, extents: extents.collect(), end })
    }
}

fn refuse_if_failed(flush: &Flush) -> Result<(), StoreError> {
    match &flush.failed {
        Some(error) => Err(StoreError::Storage { doing: "write", source: std::io::Error::other(error.clone()) }),
        None => Ok(()),
    }
}

/// An extent that is in the log.
pub(super) struct PlacedExtent {
    pub(super) kind: ExtentKind,
    pub(super) stream: u32,
    pub(super) first: u64,
    pub(super) row: ExtentRow,
}

/// Whether a moved extent may have entries that died since it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moves {
    /// Yes: what stands in its place says which.
    May,
    /// No: that was found out already, and nothing may stand in its place any more.
    Checked,
}

/// The extent rows that a frame brings. `buried` are the sequences of a stream that it supersedes.
pub(super) fn settling_rows<'a>(
    index: &Index,
    rows: &Rows,
    placed: &[PlacedExtent],
    moves: Moves,
    buried: impl Fn(u32) -> &'a [u64],
) -> Result<Rows, StoreError> {
    let mut changed = Changed { index, rows: BTreeMap::new() };
    for extent in placed.iter().filter(|extent| extent.kind == ExtentKind::Moved) {
        changed.move_to(extent, moves)?;
    }
    let mut streams = std::collections::BTreeSet::new();
    for extent in placed {
        streams.insert(extent.stream);
        if extent.kind == ExtentKind::New {
            changed.rows.insert((extent.stream, extent.first), Some(extent.row.clone()));
        }
    }
    for stream in streams {
        for sequence in buried(stream) {
            changed.bury(stream, *sequence)?;
        }
    }
    for stream in rows.keys().filter_map(|key| keys::parse_dead_stream(key)) {
        changed.drop_stream(stream)?;
    }
    Ok(changed.into_rows())
}

/// Extent rows as they will be.
struct Changed<'a> {
    index: &'a Index,
    rows: BTreeMap<(u32, u64), Option<ExtentRow>>,
}

impl Changed<'_> {
    /// Puts a moved extent in the place of those that began within it. What has died since it was read stays dead.
    fn move_to(&mut self, extent: &PlacedExtent, moves: Moves) -> Result<(), StoreError> {
        let PlacedExtent { stream, first, row, .. } = extent;
        let end = first.saturating_add(u64::from(row.span));
        let (from, to) = (keys::extent(*stream, *first), keys::extent(*stream, end));
        let mut alive = Vec::new();
        for (key, value) in self.index.range(View::Durable, &from, &to, usize::MAX)? {
            let Some(old_first) = keys::extent_first(&key) else { continue };
            let old = ExtentRow::decode(&value)?;
            let live = (0..u64::from(old.span)).filter(|index| !old.is_dead(*index)).map(|index| old_first + index);
            alive.extend(live.filter(|sequence| !row.is_dead(sequence - first)));
            self.rows.insert((*stream, old_first), None);
        }
        let row = match moves {
            Moves::May => ExtentRow::new(row.file, row.offset, row.length, *first, row.span, &alive),
            Moves::Checked => row.clone(),
        };
        self.rows.insert((*stream, *first), Some(row));
        Ok(())
    }

    /// Notes that what stands at a sequence was superseded.
    fn bury(&mut self, stream: u32, sequence: u64) -> Result<(), StoreError> {
        let mut near = self.rows.range_mut((stream, 0)..=(stream, sequence)).rev();
        if let Some((first, row)) = near.find_map(|((_, first), row)| Some((*first, row.as_mut()?)))
            && sequence - first < u64::from(row.span)
        {
            row.bury(sequence - first);
            return Ok(());
        }
        let (lowest, _) = keys::extent_range(stream);
        let end = keys::extent(stream, sequence.saturating_add(1));
        let rows = self.index.range_back(View::Durable, &lowest, &end, 1)?;
        let Some((first, value)) = rows.first().and_then(|(key, value)| Some((keys::extent_first(key)?, value))) else {
            return Ok(());
        };
        let mut row = ExtentRow::decode(value)?;
        if sequence - first < u64::from(row.span) && !self.rows.contains_key(&(stream, first)) {
            row.bury(sequence - first);
            self.rows.insert((stream, first), Some(row));
        }
        Ok(())
    }

    fn drop_stream(&mut self, stream: u32) -> Result<(), StoreError> {
        let (from, to) = keys::extent_range(stream);
        for (key, _) in self.index.range(View::Durable, &from, &to, usize::MAX)? {
            let Some(first) = keys::extent_first(&key) else { continue };
            self.rows.insert((stream, first), None);
        }
        self.rows.range_mut((stream, 0)..=(stream, u64::MAX)).for_each(|(_, row)| *row = None);
        Ok(())
    }

    /// An extent of nothing but dead entries is forgotten; its bytes in the log are dead space.
    fn into_rows(self) -> Rows {
        let rows = self.rows.into_iter();
        rows.map(|((stream, first), row)| {
            (keys::extent(stream, first), row.filter(|row| !row.all_dead()).map(|row| row.encode()))
        })
        .collect()
    }
}
