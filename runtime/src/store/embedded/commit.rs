//! Change detection and commits of records.
//!
//! A batch: check every entry → keep the last of each id → compare with the index → give numbers and sequences to what
//! changed → lay it over the index. Nothing is laid before the last entry was found acceptable. The flusher writes it.

use std::collections::HashMap;
use std::sync::Arc;

use highway::{HighwayHash as _, HighwayHasher};

use super::block::{BlockEntry, Reader, put_varint};
use super::layers::{Group, Index, View};
use super::places::{Key, Place};
use super::streams::StreamCell;
use super::{Engine, keys};
use crate::ids::Timestamp;
use crate::store::canonical::{self, Digest, Scratch};
use crate::store::{
    Action, Entry, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, MAX_ID_BYTES, MAX_RECORD_BYTES, ModelRule, SaveSummary,
    StoreError,
};

/// The largest content that one batch deletes. A tombstone carries it, so deleting what many batches saved takes as much
/// memory as saving it all at once would.
const MAX_DELETE_BYTES: usize = 64 << 20;
/// Records of which the content is looked up together.
const DELETES_READ_AT_ONCE: usize = 64;

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

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(bytes);
        Ok(Self { last: reader.varint()?, next_number: reader.int()?, live: reader.varint()? })
    }

    /// The head of a stream as its row has it.
    pub(super) fn read(index: &Index, view: View, stream: u32) -> Result<Self, StoreError> {
        let row = index.get(view, &keys::head(stream))?;
        Ok(row.map(|bytes| Self::decode(&bytes)).transpose()?.unwrap_or_default())
    }
}

/// Keyed hashes, so that nobody outside can aim for two ids, texts or contents that look the same. `HighwayHash`, since
/// every record that comes is hashed: it takes a tenth of the time of BLAKE3 for texts of this size.
pub(super) struct Hashes {
    id: [u64; 4],
    spelling: [u64; 4],
    digest: [u64; 4],
}

impl Hashes {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let key = |context| {
            let bytes = blake3::derive_key(context, secret);
            let mut words = bytes.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)));
            std::array::from_fn(|_| words.next().unwrap_or_default())
        };
        Self {
            id: key("terapi 2026 id of a record"),
            spelling: key("terapi 2026 spelling of a record"),
            digest: key("terapi 2026 content of a record"),
        }
    }

    /// The key of a record's place: of a billion ids two share twelve bytes with a chance of one in 10¹¹.
    pub(super) fn place(&self, stream: u32, id: &str) -> Key {
        let [low, high] = HighwayHasher::new(highway::Key(self.id)).hash128(id.as_bytes());
        let mut key = Key::default();
        key[..4].copy_from_slice(&stream.to_be_bytes());
        key[4..8].copy_from_slice(&low.to_be_bytes()[..4]);
        key[8..].copy_from_slice(&high.to_be_bytes());
        key
    }

    /// Of the JSON as it is spelled: the same spelling needs no canonical digest to be unchanged.
    pub(super) fn spelling(&self, data: &str) -> [u8; 8] {
        HighwayHasher::new(highway::Key(self.spelling)).hash64(data.as_bytes()).to_le_bytes()
    }

    /// What is kept of a canonical digest. It is compared with one other, so eight bytes do: two contents look the same with
    /// a chance of one in 10¹⁹.
    pub(super) fn digest(&self, digest: &Digest) -> [u8; 8] {
        HighwayHasher::new(highway::Key(self.digest)).hash64(&digest.0).to_le_bytes()
    }
}

/// A change that is about to be committed.
pub(super) struct Staged {
    pub(super) key: Key,
    pub(super) spelling: [u8; 8],
    /// The sequence of what it supersedes.
    pub(super) supersedes: Option<u64>,
    pub(super) entry: BlockEntry,
}

/// What a batch did, and which record numbers it saw.
pub(super) struct BatchOutcome {
    pub(super) summary: SaveSummary,
    pub(super) seen: Vec<u32>,
}

impl StreamCell {
    /// Lays changes and the head after them over the index.
    pub(super) fn put(&self, group: &mut Group, next: Head, staged: Vec<Staged>) {
        if staged.is_empty() {
            return;
        }
        for Staged { key, spelling, supersedes, entry } in staged {
            let place = Place {
                sequence: entry.sequence,
                number: entry.number,
                action: entry.action,
                first_seen: entry.first_seen,
                digest: entry.digest,
                spelling,
            };
            group.put_entry((self.number, &self.key), (key, place), entry, supersedes);
        }
        group.put_row(keys::head(self.number), Some(next.encode()));
    }
}

impl Engine {
    /// Saves or merges a batch.
    pub(super) fn write_batch(
        &self,
        cell: &StreamCell,
        head: &mut Head,
        model: &ModelRule,
        entries: &[Entry],
        merge: bool,
        now: Timestamp,
    ) -> Result<BatchOutcome, StoreError> {
        let mut scratch = Scratch::default();
        let (counted, repeated) = last_of_each(entries, |index, entry| {
            // It will not be stored, but a batch with an unacceptable entry is refused whole.
            digest(index, &entry.data, &model.ignore, &mut scratch).map(drop)
        })?;
        let keys: Vec<Key> = counted.iter().map(|(_, entry)| self.hashes.place(cell.number, &entry.id)).collect();
        let places = self.index.places(&keys)?;
        let merged = if merge { self.merged(cell.number, &counted, &places)? } else { Vec::new() };

        let mut outcome = BatchOutcome { summary: SaveSummary::default(), seen: Vec::with_capacity(counted.len()) };
        outcome.summary.repeated = repeated;
        let mut next = *head;
        let mut staged = Vec::new();
        for (at, (((index, entry), key), old)) in counted.into_iter().zip(keys).zip(places).enumerate() {
            let data = merged.get(at).and_then(Option::as_deref).unwrap_or(&entry.data);
            let live = old.filter(|old| old.action != Action::Deleted);
            let spelling = self.hashes.spelling(data);
            let digest = match live {
                Some(live) if live.spelling == spelling => live.digest,
                _ => self.hashes.digest(&digest(index, data, &model.ignore, &mut scratch)?),
            };
            if let Some(live) = live.filter(|live| live.digest == digest) {
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
            let action = if live.is_some() {
                outcome.summary.updated += 1;
                Action::Updated
            } else {
                outcome.summary.added += 1;
                next.live += 1;
                Action::Added
            };
            outcome.seen.push(number);
            let first_seen = live.map_or(now, |live| live.first_seen);
            let (id, data) = (entry.id.clone(), data.to_owned());
            let (sequence, modified) = (next.last, now);
            staged.push(Staged {
                key,
                spelling,
                supersedes: old.map(|old| old.sequence),
                entry: BlockEntry { sequence, action, number, first_seen, modified, digest, id, data },
            });
        }
        self.commit_changes(cell, head, next, staged)?;
        Ok(outcome)
    }

    /// Marks live records as deleted, with their last content. Refused if together that is too much for one commit.
    pub(super) fn delete_places(
        &self,
        cell: &StreamCell,
        head: &mut Head,
        doomed: &[Place],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut next = *head;
        let mut staged = Vec::with_capacity(doomed.len());
        let mut bytes = 0;
        for some in doomed.chunks(DELETES_READ_AT_ONCE) {
            for content in self.contents(cell.number, some)? {
                bytes += content.data.len();
                next.last += 1;
                next.live = next.live.saturating_sub(1);
                staged.push(self.tombstone(cell.number, content, next.last, now));
            }
            if bytes > MAX_DELETE_BYTES {
                let what = format!("the records to delete have more than {MAX_DELETE_BYTES} bytes");
                return Err(StoreError::BatchTooLarge(what));
            }
        }
        self.commit_changes(cell, head, next, staged)
    }

    /// The change that deletes a record.
    pub(super) fn tombstone(&self, stream: u32, last: BlockEntry, sequence: u64, now: Timestamp) -> Staged {
        Staged {
            key: self.hashes.place(stream, &last.id),
            spelling: self.hashes.spelling(&last.data),
            supersedes: Some(last.sequence),
            entry: BlockEntry {
                sequence,
                action: Action::Deleted,
                modified: now,
                // Of a pruned record nothing is left to keep.
                data: if last.data.is_empty() { "{}".to_owned() } else { last.data },
                ..last
            },
        }
    }

    /// Commits changes in the order of their sequences; `next` is the stream's head after them.
    pub(super) fn commit_changes(
        &self,
        cell: &StreamCell,
        head: &mut Head,
        next: Head,
        staged: Vec<Staged>,
    ) -> Result<(), StoreError> {
        if !staged.is_empty() {
            self.commit(|group| cell.put(group, next, staged))?;
            *head = next;
        }
        Ok(())
    }

    /// The merged JSON of each entry whose record exists.
    fn merged(
        &self,
        stream: u32,
        entries: &[Indexed<'_>],
        places: &[Option<Place>],
    ) -> Result<Vec<Option<String>>, StoreError> {
        let live: Vec<Place> =
            places.iter().flatten().filter(|place| place.action != Action::Deleted).copied().collect();
        let mut contents = self.contents(stream, &live)?.into_iter();
        let mut merged = Vec::with_capacity(entries.len());
        for ((index, entry), place) in entries.iter().zip(places) {
            let exists = place.is_some_and(|place| place.action != Action::Deleted);
            let base = if exists { contents.next() } else { None };
            let Some(base) = base.filter(|base| !base.data.is_empty()) else {
                merged.push(None);
                continue;
            };
            let refuse = |reason| StoreError::InvalidRecord { index: *index, reason };
            let data = canonical::merge(&base.data, &entry.data).map_err(|error| refuse(error.to_string()))?;
            if data.len() > MAX_RECORD_BYTES {
                let length = data.len();
                return Err(refuse(format!(
                    "merged with what is stored it has {length} bytes, over {MAX_RECORD_BYTES}"
                )));
            }
            merged.push(Some(data));
        }
        Ok(merged)
    }
}

/// Does `work` while nobody else writes to the stream that `find` finds.
pub(super) fn locked<T>(
    engine: &Engine,
    find: impl Fn(&Engine) -> Result<Option<Arc<StreamCell>>, StoreError>,
    work: impl FnOnce(&StreamCell, &mut Head) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    loop {
        let Some(cell) = find(engine)? else { return Ok(None) };
        let mut head = super::lock(&cell.head);
        // Its generation was replaced while we waited: what was written to it would be lost.
        if let Some(head) = head.as_mut() {
            return work(&cell, head).map(Some);
        }
    }
}

/// An entry and its index in the batch.
pub(in crate::store) type Indexed<'a> = (usize, &'a Entry);

/// The last entry of each id with its index, in order, and how many others there were. Checks sizes and ids of all; the
/// others go to `check`.
pub(in crate::store) fn last_of_each(
    entries: &[Entry],
    mut check: impl FnMut(usize, &Entry) -> Result<(), StoreError>,
) -> Result<(Vec<Indexed<'_>>, u32), StoreError> {
    check_batch(entries)?;
    let mut last = HashMap::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        last.insert(entry.id.as_str(), index);
    }
    let repeated = u32::try_from(entries.len() - last.len()).unwrap_or(u32::MAX);
    let mut counted = Vec::with_capacity(last.len());
    for (index, entry) in entries.iter().enumerate() {
        if repeated == 0 || last.get(entry.id.as_str()) == Some(&index) {
            counted.push((index, entry));
        } else {
            check(index, entry)?;
        }
    }
    Ok((counted, repeated))
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

pub(in crate::store) fn digest(
    index: usize,
    data: &str,
    ignore: &[String],
    scratch: &mut Scratch,
) -> Result<Digest, StoreError> {
    canonical::digest(data, ignore, scratch)
        .map_err(|error| StoreError::InvalidRecord { index, reason: error.to_string() })
}

pub(super) fn missing(stream: u32, sequence: u64) -> StoreError {
    StoreError::Corrupt {
        what: format!("what stream {stream} has at sequence {sequence} is not where the index says"),
        next: super::SALVAGE,
    }
}
