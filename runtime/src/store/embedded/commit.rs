//! Change detection and commits of records.
//!
//! A batch: check every entry → keep the last of each id → compare with the index → give numbers and sequences to what
//! changed → blocks → one frame of the log → rows. Nothing is written before the last entry was found acceptable.
//!
//! A little over 500 lines, since commit and replay must do exactly the same and are read side by side.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use super::block::{BLOCK_TARGET_BYTES, Block, BlockEntry, BlockRow, IndexEntry, Reader, put_bytes, put_varint};
use super::kv::{Kv, Rows, View};
use super::log::Position;
use super::{Engine, keys, lock};
use crate::ids::{StreamKey, Timestamp};
use crate::store::canonical::{self, Digest, Scratch};
use crate::store::{
    Action, Entry, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, MAX_ID_BYTES, MAX_RECORD_BYTES, ModelRule, SaveSummary,
    StoreError,
};

/// The largest content that one commit deletes. A tombstone carries it, so deleting what many batches saved takes as much
/// memory as saving it all at once would.
const MAX_DELETE_BYTES: usize = 64 << 20;

/// A stream in memory; there is one for each, and who writes to it holds its head.
pub(super) struct StreamCell {
    pub(super) number: u32,
    pub(super) head: Mutex<Head>,
}

/// What a stream will give out next. The value of its `h` row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The last sequence given out.
    pub(super) last: u64,
    /// The next record number.
    pub(super) next_number: u32,
    /// Records that exist.
    pub(super) live: u64,
}

impl Head {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        for value in [self.last, u64::from(self.next_number), self.live] {
            put_varint(&mut out, value);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(bytes);
        Ok(Self { last: reader.varint()?, next_number: reader.int()?, live: reader.varint()? })
    }

    /// The head of a stream as its row has it.
    pub(super) fn read(kv: &Kv, view: View, stream: u32) -> Result<Self, StoreError> {
        let row = kv.get(view, &keys::head(stream))?;
        Ok(row.map(|bytes| Self::decode(&bytes)).transpose()?.unwrap_or_default())
    }

    fn count(&mut self, entry: &BlockEntry, old: Option<&IndexEntry>) {
        self.last = self.last.max(entry.sequence);
        self.next_number = self.next_number.max(entry.number.saturating_add(1));
        let before = old.is_some_and(IndexEntry::is_live);
        match (before, entry.action != Action::Deleted) {
            (false, true) => self.live += 1,
            (true, false) => self.live = self.live.saturating_sub(1),
            _ => {}
        }
    }
}

/// A change that is about to be committed.
struct Staged {
    entry: BlockEntry,
    before: Before,
}

/// What is known of a change besides its entry.
struct Before {
    /// What it supersedes.
    old: Option<IndexEntry>,
    /// Of its JSON.
    spelling: [u8; 8],
}

/// What a batch did, and which record numbers it saw.
pub(super) struct BatchOutcome {
    pub(super) summary: SaveSummary,
    pub(super) seen: Vec<u32>,
}

impl Engine {
    /// The stream's cell, created with the stream if there is none.
    pub(super) fn stream_to_write(&self, key: &StreamKey) -> Result<Arc<StreamCell>, StoreError> {
        if let Some(cell) = self.stream(key)? {
            return Ok(cell);
        }
        let mut streams = lock(&self.streams);
        if let Some(cell) = streams.get(key) {
            return Ok(Arc::clone(cell));
        }
        let (from, to) = keys::ALL_STREAMS;
        let known = self.kv.range(View::Applied, from, to, usize::MAX)?;
        let last = known.iter().filter_map(|(_, value)| decode_number(value)).max().unwrap_or(0);
        let number = last.checked_add(1).ok_or_else(|| StoreError::BatchTooLarge("4 billion streams".to_owned()))?;
        let rows = Rows::from([
            (keys::stream(key), Some(number.to_be_bytes().to_vec())),
            (keys::head(number), Some(Head::default().encode())),
        ]);
        self.commit_rows(rows)?;
        let cell = Arc::new(StreamCell { number, head: Mutex::default() });
        streams.insert(key.clone(), Arc::clone(&cell));
        Ok(cell)
    }

    /// The stream's cell, if there is such a stream.
    pub(super) fn stream(&self, key: &StreamKey) -> Result<Option<Arc<StreamCell>>, StoreError> {
        let mut streams = lock(&self.streams);
        if let Some(cell) = streams.get(key) {
            return Ok(Some(Arc::clone(cell)));
        }
        let Some(number) = self.kv.get(View::Applied, &keys::stream(key))?.as_deref().and_then(decode_number) else {
            return Ok(None);
        };
        let head = Head::read(&self.kv, View::Applied, number)?;
        let cell = Arc::new(StreamCell { number, head: Mutex::new(head) });
        streams.insert(key.clone(), Arc::clone(&cell));
        Ok(Some(cell))
    }

    /// Commits rows alone.
    pub(super) fn commit_rows(&self, rows: Rows) -> Result<Position, StoreError> {
        let payload = encode_payload(&rows, &[]);
        self.commit(&payload, |_| rows)
    }

    /// Saves or merges a batch.
    pub(super) fn write_batch(
        &self,
        cell: &StreamCell,
        model: &ModelRule,
        entries: &[Entry],
        merge: bool,
        now: Timestamp,
    ) -> Result<BatchOutcome, StoreError> {
        check_batch(entries)?;
        let mut last = HashMap::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            last.insert(entry.id.as_str(), index);
        }
        let mut outcome = BatchOutcome { summary: SaveSummary::default(), seen: Vec::with_capacity(last.len()) };
        outcome.summary.repeated = u32::try_from(entries.len() - last.len()).unwrap_or(u32::MAX);

        let mut head = lock(&cell.head);
        let mut next = *head;
        let mut staged = Vec::new();
        let mut scratch = Scratch::default();
        for (index, entry) in entries.iter().enumerate() {
            let counts = last.get(entry.id.as_str()) == Some(&index);
            if !counts {
                // It will not be stored, but a batch with an unacceptable entry is refused whole.
                digest(index, &entry.data, &model.ignore, &mut scratch)?;
                continue;
            }
            let old = self.index_entry(cell.number, &entry.id)?;
            let merged = match &old {
                Some(old) if merge && old.is_live() => Some(self.merged(cell.number, old, index, entry)?),
                _ => None,
            };
            let data = merged.as_deref().unwrap_or(&entry.data);
            let live = old.filter(IndexEntry::is_live);
            let spelling = spelling(&self.spelling_key, data);
            if let Some(live) = &live
                && live.spelling == spelling
            {
                outcome.summary.unchanged += 1;
                outcome.seen.push(live.number);
                continue;
            }
            let digest = digest(index, data, &model.ignore, &mut scratch)?;
            if let Some(live) = &live
                && live.digest == digest
            {
                outcome.summary.unchanged += 1;
                outcome.seen.push(live.number);
                continue;
            }
            next.last += 1;
            let number = old.map_or(next.next_number, |old| old.number);
            if old.is_none() {
                next.next_number = next
                    .next_number
                    .checked_add(1)
                    .ok_or_else(|| StoreError::BatchTooLarge("a stream of more than 4 billion records".to_owned()))?;
            }
            let action = if live.is_some() { Action::Updated } else { Action::Added };
            match action {
                Action::Updated => outcome.summary.updated += 1,
                _ => outcome.summary.added += 1,
            }
            outcome.seen.push(number);
            staged.push(Staged {
                entry: BlockEntry {
                    sequence: next.last,
                    action,
                    number,
                    first_seen: live.map_or(now, |live| live.first_seen),
                    modified: now,
                    digest,
                    id: entry.id.clone(),
                    data: data.to_owned(),
                },
                before: Before { old, spelling },
            });
        }
        self.commit_changes(cell.number, &mut head, staged)?;
        Ok(outcome)
    }

    /// Marks live entries as deleted, with their last content. Refused if together that is too much for one commit.
    pub(super) fn delete_entries(
        &self,
        stream: u32,
        head: &mut Head,
        doomed: &[(String, IndexEntry)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let places: Vec<IndexEntry> = doomed.iter().map(|(_, old)| *old).collect();
        let contents = self.contents(stream, &places, MAX_DELETE_BYTES)?;
        let mut last = head.last;
        let staged = doomed.iter().zip(contents).map(|((id, old), data)| {
            last += 1;
            let entry = BlockEntry {
                sequence: last,
                action: Action::Deleted,
                number: old.number,
                first_seen: old.first_seen,
                modified: now,
                digest: old.digest,
                id: id.clone(),
                data,
            };
            // The content is the one that the index knows, and so is its spelling.
            Staged { entry, before: Before { old: Some(*old), spelling: old.spelling } }
        });
        let staged = staged.collect();
        self.commit_changes(stream, head, staged)
    }

    /// Commits changes in the order of their sequences, as one frame.
    fn commit_changes(&self, stream: u32, head: &mut Head, staged: Vec<Staged>) -> Result<(), StoreError> {
        if staged.is_empty() {
            return Ok(());
        }
        let mut befores = Vec::with_capacity(staged.len());
        let mut blocks: Vec<Block> = Vec::new();
        let mut bytes = 0;
        for Staged { entry, before } in staged {
            befores.push(before);
            if bytes == 0 {
                blocks.push(Block { stream, first: entry.sequence, span: 0, entries: Vec::new() });
            }
            bytes += entry.data.len() + entry.id.len() + 1;
            if let Some(block) = blocks.last_mut() {
                block.span += 1;
                block.entries.push(entry);
            }
            if bytes >= BLOCK_TARGET_BYTES {
                bytes = 0;
            }
        }
        let mut packed = Vec::with_capacity(blocks.len());
        for block in &blocks {
            let mut bytes = Vec::new();
            block.encode(&mut bytes)?;
            packed.push(bytes);
        }
        let payload = encode_payload(&Rows::new(), &packed);
        // Everything that can fail is done before the log moves.
        let mut after = *head;
        let mut laid = Rows::new();
        let mut buried = BTreeMap::new();
        let mut befores = befores.into_iter();
        for block in &blocks {
            let befores: Vec<_> = befores.by_ref().take(block.entries.len()).collect();
            lay_block(&self.kv, block, &befores, &mut after, &mut buried, &mut laid)?;
        }
        let lengths: Vec<usize> = packed.iter().map(Vec::len).collect();
        let total: usize = lengths.iter().sum();
        self.commit(&payload, |begin| {
            let mut offset = begin.offset + (payload.len() - total) as u64;
            for (block, length) in blocks.iter().zip(lengths) {
                let row = BlockRow::new(begin.file, offset, u32::try_from(length).unwrap_or(u32::MAX), block.span);
                laid.insert(keys::block(stream, block.first), Some(row.encode()));
                offset += length as u64;
            }
            laid
        })?;
        *head = after;
        Ok(())
    }

    /// The index entry of an id.
    pub(super) fn index_entry(&self, stream: u32, id: &str) -> Result<Option<IndexEntry>, StoreError> {
        index_entry(&self.kv, stream, id)
    }

    fn merged(&self, stream: u32, old: &IndexEntry, index: usize, entry: &Entry) -> Result<String, StoreError> {
        let base = self.contents(stream, &[*old], usize::MAX)?.pop().unwrap_or_default();
        let merged = canonical::merge(&base, &entry.data)
            .map_err(|error| StoreError::InvalidRecord { index, reason: error.to_string() })?;
        if merged.len() > MAX_RECORD_BYTES {
            let reason = format!("merged with what is stored it has {} bytes, over {MAX_RECORD_BYTES}", merged.len());
            return Err(StoreError::InvalidRecord { index, reason });
        }
        Ok(merged)
    }

    /// The JSON at these places, in their order, if together it is no more than `max_bytes`; each block is read once.
    pub(super) fn contents(
        &self,
        stream: u32,
        places: &[IndexEntry],
        max_bytes: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut by_block: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (at, place) in places.iter().enumerate() {
            by_block.entry(place.block).or_default().push(at);
        }
        let mut contents = vec![String::new(); places.len()];
        let mut bytes = 0;
        for (first, wanted) in by_block {
            let row = self.kv.get(View::Applied, &keys::block(stream, first))?;
            let row = row.ok_or_else(|| missing(stream, first))?;
            let block = self.read_block(stream, first, &BlockRow::decode(&row)?)?;
            for at in wanted {
                let (Some(place), Some(content)) = (places.get(at), contents.get_mut(at)) else { continue };
                let found = block.entries.binary_search_by_key(&place.sequence, |entry| entry.sequence);
                let entry = found.ok().and_then(|found| block.entries.get(found));
                *content = entry.map(|entry| entry.data.clone()).ok_or_else(|| missing(stream, first))?;
                bytes += content.len();
                if bytes > max_bytes {
                    return Err(StoreError::BatchTooLarge(format!("records of more than {max_bytes} bytes")));
                }
            }
        }
        Ok(contents)
    }

    /// Reads and verifies a block.
    pub(super) fn read_block(&self, stream: u32, first: u64, row: &BlockRow) -> Result<Block, StoreError> {
        let bytes = self.log.read(row.file, row.offset, row.length)?;
        let (block, _) = Block::decode(&bytes)?;
        if block.stream != stream || block.first != first {
            return Err(missing(stream, first));
        }
        Ok(block)
    }
}

fn missing(stream: u32, first: u64) -> StoreError {
    StoreError::Corrupt {
        what: format!("the block of stream {stream} from sequence {first} on is not where the index says"),
        next: "Restore the data directory from a backup",
    }
}

pub(super) fn decode_number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// Sizes and ids; the JSON is checked when it is compared.
fn check_batch(entries: &[Entry]) -> Result<(), StoreError> {
    if entries.len() > MAX_BATCH_ENTRIES {
        return Err(StoreError::BatchTooLarge(format!("{} entries, over {MAX_BATCH_ENTRIES}", entries.len())));
    }
    let bytes: usize = entries.iter().map(|entry| entry.id.len() + entry.data.len()).sum();
    if bytes > MAX_BATCH_BYTES {
        return Err(StoreError::BatchTooLarge(format!("{bytes} bytes, over {MAX_BATCH_BYTES}")));
    }
    for (index, entry) in entries.iter().enumerate() {
        let refuse = |reason| Err(StoreError::InvalidRecord { index, reason });
        if entry.id.is_empty() {
            return refuse("its id is empty".to_owned());
        }
        if entry.id.len() > MAX_ID_BYTES {
            return refuse(format!("its id has {} bytes, over {MAX_ID_BYTES}", entry.id.len()));
        }
        if entry.data.len() > MAX_RECORD_BYTES {
            return refuse(format!("its JSON has {} bytes, over {MAX_RECORD_BYTES}", entry.data.len()));
        }
    }
    Ok(())
}

fn digest(index: usize, data: &str, ignore: &[String], scratch: &mut Scratch) -> Result<Digest, StoreError> {
    canonical::digest(data, ignore, scratch)
        .map_err(|error| StoreError::InvalidRecord { index, reason: error.to_string() })
}

/// Keyed, so that nobody outside can aim for two spellings with the same eight bytes.
fn spelling(key: &[u8; 32], data: &str) -> [u8; 8] {
    let mut sum = [0; 8];
    blake3::Hasher::new_keyed(key).update(data.as_bytes()).finalize_xof().fill(&mut sum);
    sum
}

fn index_entry(kv: &Kv, stream: u32, id: &str) -> Result<Option<IndexEntry>, StoreError> {
    let row = kv.get(View::Applied, &keys::index(stream, id))?;
    row.map(|bytes| IndexEntry::decode(&bytes)).transpose()
}

/// The rows of a block but for its own: index entries, the places it supersedes, the stream's head.
fn lay_block(
    kv: &Kv,
    block: &Block,
    befores: &[Before],
    head: &mut Head,
    buried: &mut BTreeMap<u64, BlockRow>,
    rows: &mut Rows,
) -> Result<(), StoreError> {
    for (entry, Before { old, spelling }) in block.entries.iter().zip(befores) {
        head.count(entry, old.as_ref());
        let place = IndexEntry {
            sequence: entry.sequence,
            block: block.first,
            number: entry.number,
            action: entry.action,
            first_seen: entry.first_seen,
            digest: entry.digest,
            spelling: *spelling,
        };
        rows.insert(keys::index(block.stream, &entry.id), Some(place.encode()));
        let Some(old) = old else { continue };
        let row = match buried.entry(old.block) {
            std::collections::btree_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => {
                let bytes = kv.get(View::Applied, &keys::block(block.stream, old.block))?;
                let Some(bytes) = bytes else { continue };
                slot.insert(BlockRow::decode(&bytes)?)
            }
        };
        row.bury(old.sequence.saturating_sub(old.block));
    }
    for (first, row) in buried.iter() {
        // A block of nothing but superseded entries is forgotten; its bytes in the log are dead space.
        let value = (row.dead < row.span).then(|| row.encode());
        rows.insert(keys::block(block.stream, *first), value);
    }
    rows.insert(keys::head(block.stream), Some(head.encode()));
    Ok(())
}

fn encode_payload(rows: &Rows, blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + blocks.iter().map(Vec::len).sum::<usize>());
    put_varint(&mut out, rows.len() as u64);
    for (key, value) in rows {
        put_bytes(&mut out, key);
        match value {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                put_bytes(&mut out, value);
            }
        }
    }
    put_varint(&mut out, blocks.len() as u64);
    for block in blocks {
        out.extend_from_slice(block);
    }
    out
}

/// Lays a frame of the log over the index again, exactly as its commit did.
pub(super) fn replay(kv: &Kv, spelling_key: &[u8; 32], payload: &[u8], begin: Position) -> Result<(), StoreError> {
    let mut reader = Reader::new(payload);
    let mut rows = Rows::new();
    for _ in 0..reader.varint()? {
        let key = reader.bytes()?.to_vec();
        let value = match reader.array()? {
            [0] => None,
            _ => Some(reader.bytes()?.to_vec()),
        };
        rows.insert(key, value);
    }
    let blocks = reader.varint()?;
    let mut heads: HashMap<u32, Head> = HashMap::new();
    let mut buried: HashMap<u32, BTreeMap<u64, BlockRow>> = HashMap::new();
    let mut places = Rows::new();
    for _ in 0..blocks {
        let offset = begin.offset + (payload.len() - reader.rest().len()) as u64;
        let (block, length) = Block::decode(reader.rest())?;
        reader.take(length)?;
        let mut befores = Vec::with_capacity(block.entries.len());
        for entry in &block.entries {
            let old = index_entry(kv, block.stream, &entry.id)?;
            befores.push(Before { old, spelling: spelling(spelling_key, &entry.data) });
        }
        let head = match heads.entry(block.stream) {
            std::collections::hash_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(Head::read(kv, View::Applied, block.stream)?)
            }
        };
        lay_block(kv, &block, &befores, head, buried.entry(block.stream).or_default(), &mut rows)?;
        let row = BlockRow::new(begin.file, offset, u32::try_from(length).unwrap_or(u32::MAX), block.span);
        places.insert(keys::block(block.stream, block.first), Some(row.encode()));
    }
    rows.extend(places);
    kv.lay(rows);
    Ok(())
}
