//! Reading: changes since a cursor, records by id, records in order.
//!
//! The feed is the stream's blocks in sequence order, with the superseded entries left out. Readers use the durable
//! view: an entry is left out only if what superseded it is durable and stands further on in the feed, so a reader
//! never passes a version that a power cut could bring back.

use super::block::{BlockEntry, BlockRow};
use super::commit::{Head, decode_number};
use super::kv::View;
use super::{Engine, keys};
use crate::ids::StreamKey;
use crate::store::{Action, Change, ChangePage, ChangesQuery, Entry, Listing, StoreError, StreamInfo};

/// Block rows fetched at a time.
const ROWS_AT_ONCE: usize = 16;
/// A filter that nothing passes must not make one page read a whole stream.
const MAX_BLOCKS_A_PAGE: usize = 256;

/// What to do after an entry was handed over.
enum Next {
    GoOn,
    Stop,
}

impl Engine {
    pub(super) fn changes(&self, stream: &StreamKey, query: &ChangesQuery) -> Result<ChangePage, StoreError> {
        let number = self.kv.get(View::Durable, &keys::stream(stream))?.as_deref().and_then(decode_number);
        let head = match number {
            Some(number) => Head::read(&self.kv, View::Durable, number)?,
            None => Head::default(),
        };
        let number = number.unwrap_or(0);
        let after = match &query.cursor {
            Some(cursor) => self.cursors.open(cursor, stream, number, head.last)?,
            None => 0,
        };
        let limit = query.limit.max(1);
        let mut changes = Vec::new();
        let mut bytes = 0;
        let read_up_to = self.walk(View::Durable, number, after, head.last, |entry| {
            if query.filter.passes(entry.action) {
                if bytes + entry.data.len() > query.max_bytes && !changes.is_empty() {
                    return None;
                }
                bytes += entry.data.len();
                changes.push(Change {
                    sequence: entry.sequence,
                    id: entry.id,
                    action: entry.action,
                    data: entry.data,
                    first_seen_at: entry.first_seen,
                    last_modified_at: entry.modified,
                });
            }
            Some(if changes.len() >= limit { Next::Stop } else { Next::GoOn })
        })?;
        let cursor = self.cursors.seal(stream, number, read_up_to);
        Ok(ChangePage { changes, cursor, more: read_up_to < head.last })
    }

    pub(super) fn list(
        &self,
        stream: &StreamKey,
        after: Option<&str>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Listing, StoreError> {
        let Some(cell) = self.stream(stream)? else { return Ok(Listing { entries: Vec::new(), next: None }) };
        // The end is fixed by the first call: a script that updates what it lists moves records behind it, and would
        // meet them again and again.
        let (after, end) = match after {
            None => (0, Head::read(&self.kv, View::Applied, cell.number)?.last),
            Some(token) => token
                .split_once('-')
                .and_then(|(after, end)| Some((after.parse().ok()?, end.parse().ok()?)))
                .ok_or_else(|| StoreError::BadCursor(Box::new(stream.clone())))?,
        };
        let limit = limit.max(1);
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let read_up_to = self.walk(View::Applied, cell.number, after, end, |entry| {
            if entry.action != Action::Deleted {
                if bytes + entry.data.len() > max_bytes && !entries.is_empty() {
                    return None;
                }
                bytes += entry.data.len();
                entries.push(Entry { id: entry.id, data: entry.data });
            }
            Some(if entries.len() >= limit { Next::Stop } else { Next::GoOn })
        })?;
        let next = (read_up_to < end).then(|| format!("{read_up_to}-{end}"));
        Ok(Listing { entries, next })
    }

    pub(super) fn get(&self, stream: &StreamKey, ids: &[String]) -> Result<Vec<Entry>, StoreError> {
        let Some(cell) = self.stream(stream)? else { return Ok(Vec::new()) };
        // Held, so that no block is superseded and forgotten between finding a place and reading it.
        let _head = super::lock(&cell.head);
        let mut found = Vec::new();
        let mut places = Vec::new();
        for id in ids {
            if let Some(place) = self.index_entry(cell.number, id)?
                && place.is_live()
            {
                found.push(id.clone());
                places.push(place);
            }
        }
        let contents = self.contents(cell.number, &places, usize::MAX)?;
        Ok(found.into_iter().zip(contents).map(|(id, data)| Entry { id, data }).collect())
    }

    pub(super) fn streams(&self) -> Result<Vec<StreamInfo>, StoreError> {
        let (from, to) = keys::ALL_STREAMS;
        let mut streams = Vec::new();
        for (key, value) in self.kv.range(View::Durable, from, to, usize::MAX)? {
            let (Some(stream), Some(number)) = (keys::parse_stream(&key), decode_number(&value)) else { continue };
            let head = Head::read(&self.kv, View::Durable, number)?;
            // Made for a batch that was refused, or is not durable yet: nobody ever saw it.
            if head.last == 0 {
                continue;
            }
            streams.push(StreamInfo { stream, live: head.live, changes: head.last });
        }
        Ok(streams)
    }

    /// Hands the entries after `after` and up to `last` that are not superseded to `take`, in order, until it stops or
    /// refuses one with `None`. Returns the sequence up to which everything was handed over.
    fn walk(
        &self,
        view: View,
        stream: u32,
        after: u64,
        last: u64,
        mut take: impl FnMut(BlockEntry) -> Option<Next>,
    ) -> Result<u64, StoreError> {
        let (lowest, end) = keys::block_range(stream);
        // The block that contains the next sequence may begin before it.
        let from = keys::block(stream, after.saturating_add(1));
        let mut rows = self.kv.range_back(view, &lowest, &keys::block(stream, after.saturating_add(2)), 1)?;
        let mut from = rows.first().map_or(from, |(key, _)| next_key(key));
        let mut reached = after;
        let mut blocks = 0;
        loop {
            if rows.is_empty() {
                rows = self.kv.range(view, &from, &end, ROWS_AT_ONCE)?;
                let Some((key, _)) = rows.last() else { return Ok(last.max(reached)) };
                from = next_key(key);
            }
            for (key, value) in std::mem::take(&mut rows) {
                let Some(first) = keys::block_first(&key) else { continue };
                if first > last {
                    return Ok(last.max(reached));
                }
                let row = BlockRow::decode(&value)?;
                let block_last = first + u64::from(row.span) - u64::from(row.span > 0);
                if block_last <= after || row.dead >= row.span {
                    reached = reached.max(block_last.min(last));
                    continue;
                }
                if blocks == MAX_BLOCKS_A_PAGE {
                    return Ok(reached);
                }
                blocks += 1;
                for entry in self.read_block(stream, first, &row)?.entries {
                    let sequence = entry.sequence;
                    if sequence > last {
                        return Ok(last.max(reached));
                    }
                    if sequence <= after || row.is_dead(sequence - first) {
                        continue;
                    }
                    match take(entry) {
                        None => return Ok(sequence - 1),
                        Some(Next::Stop) => return Ok(sequence),
                        Some(Next::GoOn) => {}
                    }
                }
                reached = reached.max(block_last.min(last));
            }
        }
    }
}

fn next_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
