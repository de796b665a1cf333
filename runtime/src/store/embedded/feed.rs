//! Reading: changes since a cursor, records by id, records in order.
//!
//! The feed is the stream's extents in sequence order, with the dead entries left out. Readers use the durable view: an
//! entry is left out only if what superseded it is durable and stands further on in the feed, so a reader never passes
//! a version that a power cut could bring back.

use super::block::{Block, BlockEntry, BlockHead, EntryRef, PackedBlock, blocks};
use super::commit::{Head, missing};
use super::frame::ExtentRow;
use super::layers::View;
use super::places::Place;
use super::retention::Horizons;
use super::streams::StreamCell;
use super::{Engine, keys};
use crate::ids::{StreamKey, SyncKey};
use crate::store::{Action, Change, ChangePage, ChangesQuery, Entry, Listing, StoreError, StreamInfo};

/// Extent rows fetched at a time.
const ROWS_AT_ONCE: usize = 32;
/// A filter that nothing passes must not make one page read a whole stream: this is some 50 MB of JSON.
const MAX_EXTENTS_A_PAGE: usize = 192;

/// What to do after an entry was handed over.
pub(super) enum Next {
    GoOn,
    Stop,
}

/// Which part of a stream to walk.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    /// From behind this sequence.
    pub(super) after: u64,
    /// Up to and including this one.
    pub(super) last: u64,
    /// Reading at most so many extents.
    pub(super) max_extents: usize,
    /// Whether anything is wanted between two sequences: what need not be read is passed over.
    pub(super) wanted: &'a dyn Fn(u64, u64) -> bool,
}

impl Walk<'_> {
    /// Everything from behind `after` up to `last`.
    pub(super) fn all(after: u64, last: u64) -> Self {
        Self { after, last, max_extents: usize::MAX, wanted: &|_, _| true }
    }

    /// As much of it as one page may read.
    fn page(after: u64, last: u64) -> Self {
        Self { max_extents: MAX_EXTENTS_A_PAGE, ..Self::all(after, last) }
    }
}

impl Engine {
    pub(super) fn changes(&self, stream: &StreamKey, query: &ChangesQuery) -> Result<ChangePage, StoreError> {
        let number = self.stream_row(View::Durable, stream)?.map_or(0, |row| row.number);
        let head = Head::read(&self.index, View::Durable, number)?;
        let horizons = Horizons::read(&self.index, number)?;
        let after = match &query.cursor {
            Some(cursor) => {
                let after = self.cursors.open(cursor, stream, number, head.last)?;
                horizons.admit(after, stream)?;
                after
            }
            None => 0,
        };
        let limit = query.limit.max(1);
        let mut changes: Vec<Change> = Vec::new();
        let mut bytes = 0;
        let walk = Walk::page(after, head.last);
        let read_up_to = self.walk(number, walk, |entry| {
            let wanted =
                query.filter.passes(entry.action) && query.modified_after.is_none_or(|date| entry.modified > date);
            if wanted && !horizons.hide(&entry) {
                if bytes + entry.data.len() > query.max_bytes && !changes.is_empty() {
                    return None;
                }
                bytes += entry.data.len();
                changes.push(Change {
                    sequence: entry.sequence,
                    id: entry.id.to_owned(),
                    action: entry.action,
                    data: entry.data.to_owned(),
                    first_seen_at: entry.first_seen,
                    last_modified_at: entry.modified,
                    cursor: self.cursors.seal(stream, number, entry.sequence),
                });
            }
            Some(if changes.len() >= limit { Next::Stop } else { Next::GoOn })
        })?;
        // What was pruned meanwhile is not passed over in silence, unless the reader begins and never saw it.
        if query.cursor.is_some() {
            Horizons::read(&self.index, number)?.admit(after, stream)?;
        }
        // What was left out since it had just been superseded stands behind the end as it was: then there is more.
        let end = Head::read(&self.index, View::Durable, number)?.last;
        let cursor = self.cursors.seal(stream, number, read_up_to);
        Ok(ChangePage { changes, cursor, more: read_up_to < end })
    }

    pub(super) fn list(
        &self,
        stream: &StreamKey,
        sync: Option<&SyncKey>,
        after: Option<&str>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Listing, StoreError> {
        let listed = super::commit::locked(
            self,
            |engine| engine.stream(stream, sync),
            |cell, head| self.list_generation(cell, head.last, after, limit.max(1), max_bytes),
        )?;
        Ok(listed.unwrap_or(Listing { entries: Vec::new(), next: None }))
    }

    /// Nobody writes meanwhile; what was written is in extents, or in groups that have not settled, or half and half.
    fn list_generation(
        &self,
        cell: &StreamCell,
        last: u64,
        after: Option<&str>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Listing, StoreError> {
        // The end is fixed by the first call: a script that updates what it lists moves records behind it, and would
        // meet them again and again.
        let (after, end) = match after {
            None => (0, last),
            Some(token) => token
                .split_once('-')
                .and_then(|(after, end)| Some((after.parse().ok()?, end.parse().ok()?)))
                .ok_or_else(|| StoreError::BadCursor(Box::new(cell.key.clone())))?,
        };
        let horizons = Horizons::read(&self.index, cell.number)?;
        let unsettled = self.index.unsettled_changes(cell.number, after, end, limit);
        let settled_end = unsettled.first.map_or(end, |first| end.min(first - 1));
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut take = |entry: EntryRef<'_>| {
            if entries.len() >= limit {
                return None;
            }
            if entry.action != Action::Deleted && !horizons.hide(&entry) && !unsettled.buried.contains(&entry.sequence)
            {
                if bytes + entry.data.len() > max_bytes && !entries.is_empty() {
                    return None;
                }
                bytes += entry.data.len();
                entries.push(Entry { id: entry.id.to_owned(), data: entry.data.to_owned() });
            }
            Some(if entries.len() >= limit { Next::Stop } else { Next::GoOn })
        };
        let mut reached = after;
        if after < settled_end {
            let walk = Walk::page(after, settled_end);
            reached = self.walk(cell.number, walk, &mut take)?;
        }
        if reached >= settled_end {
            reached = unsettled.end;
            for entry in &unsettled.entries {
                match take(entry.as_ref()) {
                    None => reached = entry.sequence - 1,
                    Some(Next::Stop) => reached = entry.sequence,
                    Some(Next::GoOn) => continue,
                }
                break;
            }
        }
        let next = (reached < end).then(|| format!("{reached}-{end}"));
        Ok(Listing { entries, next })
    }

    pub(super) fn get(
        &self,
        stream: &StreamKey,
        sync: Option<&SyncKey>,
        ids: &[String],
    ) -> Result<Vec<Entry>, StoreError> {
        let wanted =
            |place: &Place, horizons: &Horizons| place.action != Action::Deleted && place.sequence > horizons.payloads;
        let (_, found) = self.by_id(stream, sync, ids, wanted)?;
        Ok(found.into_iter().map(|entry| Entry { id: entry.id, data: entry.data }).collect())
    }

    pub(super) fn changes_of(&self, stream: &StreamKey, ids: &[String]) -> Result<Vec<Change>, StoreError> {
        let wanted = |place: &Place, horizons: &Horizons| {
            let deleted = place.action == Action::Deleted;
            place.sequence > if deleted { horizons.tombstones } else { horizons.payloads }
        };
        let (number, found) = self.by_id(stream, None, ids, wanted)?;
        // What is not durable yet is not shown.
        self.wait_durable(self.index.last_ticket())?;
        let change = |entry: BlockEntry| Change {
            cursor: self.cursors.seal(stream, number, entry.sequence),
            sequence: entry.sequence,
            id: entry.id,
            action: entry.action,
            data: entry.data,
            first_seen_at: entry.first_seen,
            last_modified_at: entry.modified,
        };
        Ok(found.into_iter().map(change).collect())
    }

    /// The entries of those ids whose place is wanted, in the order asked, and the number of the stream.
    fn by_id(
        &self,
        stream: &StreamKey,
        sync: Option<&SyncKey>,
        ids: &[String],
        wanted: impl Fn(&Place, &Horizons) -> bool,
    ) -> Result<(u32, Vec<BlockEntry>), StoreError> {
        let found = super::commit::locked(
            self,
            |engine| engine.stream(stream, sync),
            |cell, _| {
                let horizons = Horizons::read(&self.index, cell.number)?;
                let keys: Vec<_> = ids.iter().map(|id| self.hashes.place(cell.number, id)).collect();
                let mut places: Vec<Place> = self.index.places(&keys)?.into_iter().flatten().collect();
                places.retain(|place| wanted(place, &horizons));
                Ok((cell.number, self.contents(cell.number, &places)?))
            },
        )?;
        Ok(found.unwrap_or_default())
    }

    pub(super) fn streams(&self) -> Result<Vec<StreamInfo>, StoreError> {
        let (from, to) = keys::ALL_STREAMS;
        let mut streams = Vec::new();
        for (key, value) in self.index.range(View::Durable, from, to, usize::MAX)? {
            let Some(stream) = keys::parse_stream(&key) else { continue };
            let number = super::streams::StreamRow::decode(&value)?.number;
            let head = Head::read(&self.index, View::Durable, number)?;
            // Made for a batch that was refused, or is not durable yet: nobody ever saw it.
            if head.last == 0 {
                continue;
            }
            streams.push(StreamInfo { stream, live: head.live, changes: head.last });
        }
        Ok(streams)
    }

    /// The entries at these places, in their order; pruned ones have no content. Whoever may supersede them must wait.
    pub(super) fn contents(&self, stream: u32, places: &[Place]) -> Result<Vec<BlockEntry>, StoreError> {
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_unstable_by_key(|at| places.get(*at).map(|place| place.sequence));
        let mut contents: Vec<Option<BlockEntry>> = places.iter().map(|_| None).collect();
        // The extent and the block of the place before: those that follow are often in the same.
        let mut extent: Option<(u64, ExtentRow, Vec<u8>)> = None;
        let mut block: Option<Block> = None;
        let horizons = Horizons::read(&self.index, stream)?;
        let _files = self.reading();
        for at in order {
            let (Some(place), Some(content)) = (places.get(at), contents.get_mut(at)) else { continue };
            let sequence = place.sequence;
            if let Some(entry) = self.index.unsettled(stream, sequence) {
                *content = Some(entry);
                continue;
            }
            if !block.as_ref().is_some_and(|block| (block.head.first..=block.head.last()).contains(&sequence)) {
                let covers = |first: u64, row: &ExtentRow| sequence - first < u64::from(row.span);
                if !extent.as_ref().is_some_and(|(first, row, _)| *first <= sequence && covers(*first, row)) {
                    let (first, row) = self.extent_of(stream, sequence)?.ok_or_else(|| missing(stream, sequence))?;
                    let bytes = self.log.read(row.file, row.offset, row.length)?;
                    extent = Some((first, row, bytes));
                }
                let Some((_, _, bytes)) = &extent else { continue };
                let covers = |head: &BlockHead| (head.first..=head.last()).contains(&sequence);
                let found = blocks(bytes).find(|found| found.as_ref().map_or(true, |block| covers(&block.head)));
                block = Some(open(stream, found.ok_or_else(|| missing(stream, sequence))??)?);
            }
            let entries = block.as_ref().map(Block::entries).transpose()?.unwrap_or_default().1;
            let found = entries.binary_search_by_key(&sequence, |entry| entry.sequence);
            let found = found.ok().and_then(|at| entries.get(at)).ok_or_else(|| missing(stream, sequence))?;
            *content = Some(horizons.strip(found.to_entry()));
        }
        contents.into_iter().map(|content| content.ok_or_else(|| missing(stream, 0))).collect()
    }

    /// The extent that covers a sequence, and its first one.
    pub(super) fn extent_of(&self, stream: u32, sequence: u64) -> Result<Option<(u64, ExtentRow)>, StoreError> {
        let (lowest, _) = keys::extent_range(stream);
        let end = keys::extent(stream, sequence.saturating_add(1));
        let rows = self.index.range_back(View::Durable, &lowest, &end, 1)?;
        let Some((key, value)) = rows.first() else { return Ok(None) };
        let Some(first) = keys::extent_first(key) else { return Ok(None) };
        let row = ExtentRow::decode(value)?;
        Ok((sequence - first < u64::from(row.span)).then_some((first, row)))
    }

    /// Hands the entries that are not dead to `take`, in order, until it stops or refuses one with `None`. Returns the
    /// sequence up to which everything was handed over.
    pub(super) fn walk(
        &self,
        stream: u32,
        walk: Walk<'_>,
        mut take: impl FnMut(EntryRef<'_>) -> Option<Next>,
    ) -> Result<u64, StoreError> {
        let Walk { after, last, max_extents, wanted } = walk;
        let (lowest, end) = keys::extent_range(stream);
        // The extent that has the next sequence may begin before it.
        let start =
            self.extent_of(stream, after.saturating_add(1))?.map_or(after.saturating_add(1), |(first, _)| first);
        let mut from = if start == 0 { lowest } else { keys::extent(stream, start) };
        let (mut reached, mut read) = (after, 0);
        loop {
            // Rows and the files they point into belong together: a reclaim waits until nobody is in here.
            let _files = self.reading();
            let rows = self.index.range(View::Durable, &from, &end, ROWS_AT_ONCE)?;
            let Some((key, _)) = rows.last() else { return Ok(last.max(reached)) };
            from = [key.as_slice(), &[0]].concat();
            for (key, value) in rows {
                let Some(first) = keys::extent_first(&key) else { continue };
                if first > last {
                    return Ok(last.max(reached));
                }
                let row = ExtentRow::decode(&value)?;
                let extent_last = first + u64::from(row.span.max(1)) - 1;
                if extent_last <= reached || row.all_dead() || !wanted(first, extent_last) {
                    reached = reached.max(extent_last.min(last));
                    continue;
                }
                if read == max_extents {
                    return Ok(reached);
                }
                read += 1;
                let bytes = self.log.read(row.file, row.offset, row.length)?;
                for block in blocks(&bytes) {
                    let block = block?;
                    let (first_here, last_here) = (block.head.first, block.head.last());
                    if last_here <= reached || first_here > last || !wanted(first_here, last_here) {
                        continue;
                    }
                    let block = open(stream, block)?;
                    for entry in block.entries()?.1 {
                        let sequence = entry.sequence;
                        if sequence > last {
                            return Ok(last.max(reached));
                        }
                        if sequence <= reached || row.is_dead(sequence - first) {
                            continue;
                        }
                        match take(entry) {
                            None => return Ok(sequence - 1),
                            Some(Next::Stop) => return Ok(sequence),
                            Some(Next::GoOn) => {}
                        }
                    }
                }
                reached = reached.max(extent_last.min(last));
            }
        }
    }
}

/// Unpacks a block, which must be of this stream.
fn open(stream: u32, block: PackedBlock<'_>) -> Result<Block, StoreError> {
    if block.head.stream == stream { Block::unpack(block) } else { Err(missing(stream, block.head.first)) }
}
