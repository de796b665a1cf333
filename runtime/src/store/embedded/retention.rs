//! Retention: only where the operator set one. Content of records that did not change for long goes, tombstones go.
//!
//! What is pruned is a prefix of each stream, so two sequences a stream, its *horizons*, say all of it: readers leave out
//! what lies before them, a reclaim drops the bytes, and a cursor from before them is refused, since it would miss
//! what it has not read. A record without content still exists: the same content saved again is unchanged.

use super::block::{BlockEntry, EntryRef, Reader, put_varint};
use super::commit::Head;
use super::feed::{Next, Walk};
use super::layers::{Index, View};
use super::streams::StreamRow;
use super::syncs::{json, parse};
use super::{Engine, keys};
use crate::ids::{StreamKey, Timestamp};
use crate::store::{Action, Pruned, Retention, StoreError};

/// Up to which sequences a stream was pruned. The value of its `x` row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Horizons {
    /// Records that exist have no content up to here.
    pub(super) payloads: u64,
    /// Tombstones are gone up to here.
    pub(super) tombstones: u64,
    /// The last file of the log when that was decided: extents in later files have been pruned already.
    pub(super) file: u32,
}

impl Horizons {
    pub(super) fn read(index: &Index, stream: u32) -> Result<Self, StoreError> {
        let row = index.get(View::Durable, &keys::horizons(stream))?;
        row.map_or(Ok(Self::default()), |bytes| Self::decode(&bytes))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(bytes);
        Ok(Self { payloads: reader.varint()?, tombstones: reader.varint()?, file: reader.int()? })
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        for value in [self.payloads, self.tombstones, u64::from(self.file)] {
            put_varint(&mut out, value);
        }
        out
    }

    /// Whether readers do not see an entry any more.
    pub(super) fn hide(&self, entry: &EntryRef<'_>) -> bool {
        let horizon = if entry.action == Action::Deleted { self.tombstones } else { self.payloads };
        entry.sequence <= horizon
    }

    /// An entry as far as it is kept.
    pub(super) fn strip(&self, entry: BlockEntry) -> BlockEntry {
        let pruned = entry.action != Action::Deleted && entry.sequence <= self.payloads;
        BlockEntry { data: if pruned { String::new() } else { entry.data }, ..entry }
    }

    /// Refuses a reader who has not read everything that was pruned.
    pub(super) fn admit(&self, after: u64, stream: &StreamKey) -> Result<(), StoreError> {
        if after < self.payloads.max(self.tombstones) {
            return Err(StoreError::PastRetention(Box::new(stream.clone())));
        }
        Ok(())
    }
}

impl Engine {
    pub(super) fn retention(&self) -> Result<Retention, StoreError> {
        let row = self.index.get(View::Applied, keys::RETENTION)?;
        row.map_or(Ok(Retention::default()), |bytes| parse(&bytes, "the retention"))
    }

    pub(super) fn set_retention(&self, retention: &Retention) -> Result<(), StoreError> {
        self.put_durably(keys::RETENTION.to_vec(), Some(json(retention)?))
    }

    /// Applies the retention to every stream.
    pub(super) fn prune(&self, now: Timestamp) -> Result<Pruned, StoreError> {
        let retention = self.retention()?;
        let before = |age: Option<u64>| age.and_then(|age| now.0.checked_sub(age));
        let (payloads, tombstones) = (before(retention.payloads_ms), before(retention.tombstones_ms));
        let mut pruned = Pruned::default();
        if let Some(cutoff) = before(retention.runs_ms) {
            pruned.runs = self.forget_runs_before(Timestamp(cutoff))?;
        }
        if payloads.is_none() && tombstones.is_none() {
            return Ok(pruned);
        }
        let (from, to) = keys::ALL_STREAMS;
        for (_, value) in self.index.range(View::Durable, from, to, usize::MAX)? {
            let stream = StreamRow::decode(&value)?.number;
            let old = Horizons::read(&self.index, stream)?;
            let mut new = Horizons { file: self.log.end().file, ..old };
            if let Some(cutoff) = payloads {
                let (horizon, count) =
                    self.horizon(stream, old.payloads, cutoff, |action| action != Action::Deleted)?;
                new.payloads = horizon;
                pruned.records += count;
            }
            if let Some(cutoff) = tombstones {
                let (horizon, count) =
                    self.horizon(stream, old.tombstones, cutoff, |action| action == Action::Deleted)?;
                new.tombstones = horizon;
                pruned.tombstones += count;
            }
            if (new.payloads, new.tombstones) != (old.payloads, old.tombstones) {
                self.put_durably(keys::horizons(stream), Some(new.encode()))?;
            }
        }
        Ok(pruned)
    }

    /// Up to where entries of a kind are from `cutoff` or before, going on from `horizon`, and how many those are.
    fn horizon(
        &self,
        stream: u32,
        horizon: u64,
        cutoff: u64,
        counts: impl Fn(Action) -> bool,
    ) -> Result<(u64, u64), StoreError> {
        let last = Head::read(&self.index, View::Durable, stream)?.last;
        let (mut reached, mut count) = (horizon, 0);
        self.walk(stream, Walk::all(horizon, last), |entry| {
            if entry.modified.0 > cutoff {
                return Some(Next::Stop);
            }
            if counts(entry.action) {
                reached = entry.sequence;
                count += 1;
            }
            Some(Next::GoOn)
        })?;
        Ok((reached, count))
    }
}
