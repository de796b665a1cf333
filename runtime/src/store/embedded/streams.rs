//! Streams: numbers, generations, and the cell in memory that whoever writes holds.
//!
//! A stream's records have a generation, known by a number that is never given out twice; cursors are bound to it. `reset`
//! with *empty* makes the sync write to a new generation that readers do not see; its next success swaps.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use super::block::damaged;
use super::commit::Head;
use super::layers::{Group, View};
use super::{Engine, keys, lock};
use crate::ids::{StreamKey, SyncKey};
use crate::store::StoreError;

/// A generation of a stream in memory; there is one for each, and who writes to it holds its head.
pub(super) struct StreamCell {
    pub(super) number: u32,
    pub(super) key: StreamKey,
    /// `None` once the generation was replaced.
    pub(super) head: Mutex<Option<Head>>,
}

/// What is known of streams in memory.
#[derive(Default)]
pub(super) struct Streams {
    pub(super) rows: HashMap<StreamKey, StreamRow>,
    pub(super) cells: HashMap<u32, Arc<StreamCell>>,
    /// The last number given out.
    pub(super) last_number: u32,
}

impl Streams {
    pub(super) fn next_number(&mut self) -> Result<u32, StoreError> {
        let next = self.last_number.checked_add(1);
        self.last_number = next.ok_or_else(|| StoreError::BatchTooLarge("4 billion streams".to_owned()))?;
        Ok(self.last_number)
    }
}

/// Which generations a stream has, the value of its `S` row: the number of the one that is read, 0 if there is none yet;
/// and if one is being built its number, and by which sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StreamRow {
    pub(super) number: u32,
    pub(super) building: Option<(u32, SyncKey)>,
}

impl StreamRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = self.number.to_be_bytes().to_vec();
        if let Some((number, sync)) = &self.building {
            out.extend_from_slice(&number.to_be_bytes());
            let name = [sync.connection.as_str(), sync.script.as_str(), sync.variant.as_str()].join("\0");
            out.extend_from_slice(name.as_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (number, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let number = u32::from_be_bytes(*number);
        let building = match rest.split_first_chunk::<4>() {
            None => None,
            Some((building, name)) => {
                let mut parts = std::str::from_utf8(name).map_err(|_| damaged())?.split('\0');
                let mut part = || parts.next().ok_or_else(damaged);
                let sync = SyncKey {
                    connection: part()?.parse().map_err(|_| damaged())?,
                    script: part()?.parse().map_err(|_| damaged())?,
                    variant: part()?.parse().map_err(|_| damaged())?,
                };
                Some((u32::from_be_bytes(*building), sync))
            }
        };
        Ok(Self { number, building })
    }
}

impl Engine {
    /// A stream's row, if there is such a stream.
    pub(super) fn stream_row(&self, view: View, key: &StreamKey) -> Result<Option<StreamRow>, StoreError> {
        self.index.get(view, &keys::stream(key))?.map(|bytes| StreamRow::decode(&bytes)).transpose()
    }

    /// The generation that a sync works on, if there is such a stream; `None` stands for any reader.
    pub(super) fn stream(
        &self,
        key: &StreamKey,
        sync: Option<&SyncKey>,
    ) -> Result<Option<Arc<StreamCell>>, StoreError> {
        let cached = |streams: &Streams| {
            let row = streams.rows.get(key)?;
            streams.cells.get(&number_for(row, sync)?).cloned()
        };
        let mut streams = lock(&self.streams);
        if let Some(cell) = cached(&streams) {
            return Ok(Some(cell));
        }
        let Some(row) = self.stream_row(View::Applied, key)? else { return Ok(None) };
        let Some(number) = number_for(&row, sync) else { return Ok(None) };
        let head = Head::read(&self.index, View::Applied, number)?;
        let cell = streams
            .cells
            .entry(number)
            .or_insert_with(|| Arc::new(StreamCell { number, key: key.clone(), head: Mutex::new(Some(head)) }));
        let cell = Arc::clone(cell);
        streams.rows.insert(key.clone(), row);
        Ok(Some(cell))
    }

    /// The same, created if there is none.
    pub(super) fn stream_to_write(&self, key: &StreamKey, sync: &SyncKey) -> Result<Arc<StreamCell>, StoreError> {
        if let Some(cell) = self.stream(key, Some(sync))? {
            return Ok(cell);
        }
        {
            let mut streams = lock(&self.streams);
            let row = self.stream_row(View::Applied, key)?.unwrap_or_default();
            if row.number == 0 {
                let number = streams.next_number()?;
                let row = StreamRow { number, ..row };
                self.commit(|group| put_stream(group, key, &row, number))?;
                streams.rows.insert(key.clone(), row);
            }
        }
        self.stream(key, Some(sync))?.ok_or_else(damaged)
    }

    /// The streams of which a sync is building a generation.
    pub(super) fn building(&self, sync: &SyncKey) -> Result<Vec<(StreamKey, StreamRow)>, StoreError> {
        let (from, to) = keys::streams_of(&sync.connection);
        let mut found = Vec::new();
        for (key, value) in self.index.range(View::Applied, &from, &to, usize::MAX)? {
            let row = StreamRow::decode(&value)?;
            if row.building.as_ref().is_some_and(|(_, by)| by == sync) {
                found.push((keys::parse_stream(&key).ok_or_else(damaged)?, row));
            }
        }
        Ok(found)
    }

    /// The greatest stream number that was ever given out.
    pub(super) fn last_stream_number(&self) -> Result<u32, StoreError> {
        let counter = self.index.get(View::Applied, keys::STREAM_COUNTER)?;
        let mut last = counter.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        // A store of format 1 has no counter.
        let (from, to) = keys::ALL_STREAMS;
        for (_, value) in self.index.range(View::Applied, from, to, usize::MAX)? {
            let row = StreamRow::decode(&value)?;
            last = last.max(row.number).max(row.building.map_or(0, |(number, _)| number));
        }
        Ok(last)
    }

    /// Says of a generation whether it is gone for good, and never so of one that comes after this call.
    pub(super) fn gone_streams(&self) -> Result<impl Fn(u32) -> bool, StoreError> {
        // Held, so that every number up to the last has its row.
        let last = lock(&self.streams).last_number;
        let (from, to) = keys::ALL_STREAMS;
        let mut living = BTreeSet::new();
        // One that is replaced may come back as long as that is not durable.
        for view in [View::Applied, View::Durable] {
            for (_, value) in self.index.range(view, from, to, usize::MAX)? {
                let row = StreamRow::decode(&value)?;
                living.insert(row.number);
                living.extend(row.building.map(|(number, _)| number));
            }
        }
        Ok(move |number| number <= last && !living.contains(&number))
    }
}

fn number_for(row: &StreamRow, sync: Option<&SyncKey>) -> Option<u32> {
    let number = match (&row.building, sync) {
        (Some((number, by)), Some(sync)) if by == sync => *number,
        _ => row.number,
    };
    (number != 0).then_some(number)
}

/// The rows of a stream, and of a generation that it has now, which is empty.
pub(super) fn put_stream(group: &mut Group, key: &StreamKey, row: &StreamRow, new: u32) {
    group.put_row(keys::stream(key), Some(row.encode()));
    group.put_row(keys::head(new), Some(Head::default().encode()));
    group.put_row(keys::STREAM_COUNTER.to_vec(), Some(new.to_be_bytes().to_vec()));
}
