//! The index as everybody sees it: catalog and places, with what they do not have yet laid over them in memory.
//!
//! From new to old:
//!
//! 1. the *open* group: what was committed since the last group was closed;
//! 2. the *closing* group: being written to the log and made durable;
//! 3. the *settled* layer: durable in the log, to go into catalog and places with the next checkpoint;
//! 4. the *frozen* layer: a checkpoint is writing it;
//! 5. catalog and places.
//!
//! Two views: [`View::Applied`] is everything, for writers; [`View::Durable`] begins at 3 and so leaves out what a power
//! cut could still take back, for readers. The rows of extents come with settling, so both views agree on them.
//!
//! A little over 500 lines: every reader walks the same layers under the same lock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Bound;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::block::BlockEntry;
use super::catalog::Catalog;
use super::keys;
use super::log::Position;
use super::pending::{self, Pending};
use super::places::{Key, NewRun, Place, Places};
use crate::ids::StreamKey;
use crate::store::StoreError;

/// A row's key and its value; `None` removes it.
pub(super) type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
/// A key and its value.
pub(super) type Row = (Vec<u8>, Vec<u8>);
/// Places by key.
pub(super) type PlaceMap = HashMap<Key, Place, BuildHasherDefault<KeyHasher>>;

/// What a row costs in memory besides its bytes: two vectors, a share of a tree node.
const ROW_OVERHEAD_BYTES: usize = 64;
/// What a place costs in memory: 64 bytes at a load of 7/8 and less.
const PLACE_BYTES: usize = 100;

/// Whether a reader sees what is not durable yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Applied,
    Durable,
}

/// Keys end in a hash already.
#[derive(Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk::<8>() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The changes of one stream in a group.
pub(super) struct StreamGroup {
    pub(super) key: StreamKey,
    /// Ascending by sequence.
    pub(super) entries: BTreeMap<u64, BlockEntry>,
    /// Sequences of earlier groups that these supersede.
    pub(super) buried: Vec<u64>,
}

/// An extent that a reclaim writes again.
pub(super) struct Moved {
    pub(super) stream: u32,
    pub(super) key: StreamKey,
    pub(super) first: u64,
    pub(super) span: u32,
    pub(super) entries: Vec<BlockEntry>,
}

/// Commits that become durable together, as one frame of the log.
#[derive(Default)]
pub(super) struct Group {
    pub(super) rows: Rows,
    pub(super) places: PlaceMap,
    pub(super) streams: BTreeMap<u32, StreamGroup>,
    pub(super) moved: Vec<Moved>,
    /// About how much memory it takes.
    pub(super) bytes: usize,
    /// What the commit under way has done so far, for the files of what is pending.
    noted: Vec<u8>,
    /// Its own number, which its frame has too.
    number: u64,
    /// The number of its last commit.
    pub(super) ticket: u64,
}

impl Group {
    pub(super) fn put_row(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + ROW_OVERHEAD_BYTES;
        pending::note_row(&mut self.noted, &key, value.as_deref());
        self.rows.insert(key, value);
    }

    pub(super) fn put_rows(&mut self, rows: Rows) {
        for (key, value) in rows {
            self.put_row(key, value);
        }
    }

    /// Takes a generation of a stream away.
    pub(super) fn drop_generation(&mut self, number: u32) {
        self.put_row(keys::head(number), None);
        self.put_row(keys::horizons(number), None);
        self.put_row(keys::dead_stream(number), None);
    }

    /// Adds a change and forgets what it supersedes: an entry of this very group goes, one of an earlier group is noted.
    pub(super) fn put_entry(
        &mut self,
        (stream, name): (u32, &StreamKey),
        (key, place): (Key, Place),
        entry: BlockEntry,
        supersedes: Option<u64>,
    ) {
        self.bytes += entry.data.len() + 2 * entry.id.len() + ROW_OVERHEAD_BYTES * 2 + PLACE_BYTES;
        pending::note_entry(&mut self.noted, stream, name, &entry);
        self.places.insert(key, place);
        let group = self.streams.entry(stream).or_insert_with(|| StreamGroup {
            key: name.clone(),
            entries: BTreeMap::new(),
            buried: Vec::new(),
        });
        if let Some(old) = supersedes
            && group.entries.remove(&old).is_none()
        {
            group.buried.push(old);
        }
        group.entries.insert(entry.sequence, entry);
    }
}

/// The changes of a stream that have no extents yet.
pub(super) struct Unsettled {
    /// The first of them.
    pub(super) first: Option<u64>,
    pub(super) entries: Vec<BlockEntry>,
    /// Up to where those are all.
    pub(super) end: u64,
    /// What they supersede.
    pub(super) buried: HashSet<u64>,
}

/// What is durable in the log and not in catalog and places yet.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) rows: Rows,
    pub(super) places: PlaceMap,
    bytes: usize,
    /// Up to where it brings them.
    position: Option<Position>,
}

#[derive(Default)]
struct Layers {
    open: Group,
    closing: Option<Arc<Group>>,
    settled: Settled,
    frozen: Option<Arc<Settled>>,
}

impl Layers {
    fn place(&self, key: &Key) -> Option<Place> {
        let closing = || self.closing.as_ref()?.places.get(key);
        let frozen = || self.frozen.as_ref()?.places.get(key);
        self.open.places.get(key).or_else(closing).or_else(|| self.settled.places.get(key)).or_else(frozen).copied()
    }

    fn row(&self, view: View, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        let applied = view == View::Applied;
        let open = || self.open.rows.get(key).filter(|_| applied);
        let closing = || self.closing.as_ref().filter(|_| applied)?.rows.get(key);
        let frozen = || self.frozen.as_ref()?.rows.get(key);
        open().or_else(closing).or_else(|| self.settled.rows.get(key)).or_else(frozen)
    }

    /// The rows of each layer that a view sees, the newest first.
    fn rows(&self, view: View) -> impl Iterator<Item = &Rows> {
        let applied = view == View::Applied;
        let closing = self.closing.as_deref().map(|closing| &closing.rows);
        let frozen = self.frozen.as_deref().map(|frozen| &frozen.rows);
        [Some(&self.open.rows).filter(|_| applied), closing.filter(|_| applied), Some(&self.settled.rows), frozen]
            .into_iter()
            .flatten()
    }
}

pub(super) struct Index {
    layers: RwLock<Layers>,
    /// Where commits go at once, from when all is open.
    pending: OnceLock<Pending>,
    /// The run that a checkpoint wrote which could not be ended.
    pub(super) written: Mutex<Option<NewRun>>,
    pub(super) catalog: Catalog,
    pub(super) places: Places,
}

impl Index {
    pub(super) fn new(catalog: Catalog, places: Places) -> Self {
        Self { layers: RwLock::default(), pending: OnceLock::new(), written: Mutex::default(), catalog, places }
    }

    fn read(&self) -> RwLockReadGuard<'_, Layers> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Layers> {
        self.layers.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        // Held, so that nothing newer comes between what the layers lack and what the catalog has.
        let layers = self.read();
        match layers.row(view, key) {
            Some(value) => Ok(value.clone()),
            None => self.catalog.get(key),
        }
    }

    /// At most `limit` rows with keys in `from..to`, ascending.
    pub(super) fn range(&self, view: View, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.scan(view, from, to, limit, false)
    }

    /// At most `limit` rows with keys in `from..to`, descending.
    pub(super) fn range_back(&self, view: View, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.scan(view, from, to, limit, true)
    }

    /// A merge of sorted sequences: the layers from new to old, and the catalog. Of a key the newest counts.
    fn scan(&self, view: View, from: &[u8], to: &[u8], limit: usize, back: bool) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let layers = self.read();
        let mut over: Vec<_> = layers.rows(view).map(|rows| rows.range::<[u8], _>(bounds)).collect();
        let mut next_over = |layer: usize| {
            let rows = over.get_mut(layer)?;
            let row = if back { rows.next_back() } else { rows.next() };
            row.map(|(key, value)| (key.as_slice(), value.as_deref()))
        };
        let mut heads: Vec<_> = (0..layers.rows(view).count()).map(&mut next_over).collect();
        self.catalog.rows((from, to), back, |next_stored| {
            let mut stored = next_stored()?;
            let mut result = Vec::new();
            while result.len() < limit {
                let keys =
                    heads.iter().flatten().map(|(key, _)| *key).chain(stored.as_ref().map(|(key, _)| key.as_slice()));
                let Some(key) = (if back { keys.max() } else { keys.min() }).map(<[u8]>::to_vec) else { break };
                let mut newest = None;
                for (layer, head) in heads.iter_mut().enumerate() {
                    if let Some((_, value)) = head.take_if(|(other, _)| *other == key) {
                        newest.get_or_insert(value.map(<[u8]>::to_vec));
                        *head = next_over(layer);
                    }
                }
                if let Some((_, value)) = stored.take_if(|(other, _)| *other == key) {
                    newest.get_or_insert(Some(value));
                    stored = next_stored()?;
                }
                result.extend(newest.flatten().map(|value| (key, value)));
            }
            Ok(result)
        })
    }

    /// The newest place of each key, durable or not.
    pub(super) fn places(&self, keys: &[Key]) -> Result<Vec<Option<Place>>, StoreError> {
        let mut found: Vec<_> = {
            let layers = self.read();
            keys.iter().map(|key| layers.place(key)).collect()
        };
        for (key, place) in keys.iter().zip(&mut found) {
            if place.is_none() {
                *place = self.noticed(self.places.get(key))?;
            }
        }
        Ok(found)
    }

    /// Hands all places of a stream to `visit`, durable or not, ascending by key. Whoever may write to the stream must wait.
    pub(super) fn visit_places(
        &self,
        stream: u32,
        mut visit: impl FnMut(&Key, Place) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.visit_places_from(stream, None, |key, place| visit(key, place).map(|()| true))
    }

    /// The same from a key on, that one included, for as long as `visit` says that it wants more.
    pub(super) fn visit_places_from(
        &self,
        stream: u32,
        start: Option<Key>,
        mut visit: impl FnMut(&Key, Place) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let (from, to) = keys::place_range(stream);
        let from = start.unwrap_or(from);
        let mut over = BTreeMap::new();
        let stored = {
            let layers = self.read();
            let maps = [
                layers.frozen.as_deref().map(|frozen| &frozen.places),
                Some(&layers.settled.places),
                layers.closing.as_deref().map(|closing| &closing.places),
                Some(&layers.open.places),
            ];
            for places in maps.into_iter().flatten() {
                let within = places.iter().filter(|(key, _)| **key >= from && to.is_none_or(|to| **key < to));
                over.extend(within.map(|(key, place)| (*key, *place)));
            }
            self.places.range(&from, to.as_ref())
        };
        let mut over = over.into_iter().peekable();
        for row in stored {
            let (key, place) = self.noticed(row)?;
            while let Some((newer, newer_place)) = over.next_if(|(newer, _)| *newer < key) {
                if !visit(&newer, newer_place)? {
                    return Ok(());
                }
            }
            let newer = over.next_if(|(newer, _)| *newer == key);
            if !visit(&key, newer.map_or(place, |(_, newer)| newer))? {
                return Ok(());
            }
        }
        for (key, place) in over {
            if !visit(&key, place)? {
                break;
            }
        }
        Ok(())
    }

    /// Damaged places make the next start build the index anew.
    fn noticed<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.map_err(|error| match error {
            StoreError::Corrupt { what, .. } => self.catalog.damaged(&what),
            other => other,
        })
    }

    /// The entry at a sequence, if it is in a group that has not settled.
    pub(super) fn unsettled(&self, stream: u32, sequence: u64) -> Option<BlockEntry> {
        let layers = self.read();
        let of = |group: &Group| group.streams.get(&stream)?.entries.get(&sequence).cloned();
        of(&layers.open).or_else(|| of(layers.closing.as_deref()?))
    }

    /// What of a stream has not settled, of the sequences behind `after` and up to `end` the first `limit` entries.
    pub(super) fn unsettled_changes(&self, stream: u32, after: u64, end: u64, limit: usize) -> Unsettled {
        let layers = self.read();
        let mut unsettled = Unsettled { first: None, entries: Vec::new(), end, buried: HashSet::new() };
        for group in layers.closing.as_deref().into_iter().chain([&layers.open]) {
            let Some(changes) = group.streams.get(&stream) else { continue };
            unsettled.buried.extend(&changes.buried);
            unsettled.first = unsettled.first.or_else(|| changes.entries.keys().next().copied());
            if after >= end {
                continue;
            }
            for entry in changes.entries.range(after + 1..=end).map(|(_, entry)| entry) {
                if unsettled.entries.len() == limit {
                    unsettled.end = unsettled.end.min(entry.sequence - 1);
                    break;
                }
                unsettled.entries.push(entry.clone());
            }
        }
        // The open group may supersede what the closing one has.
        unsettled.entries.retain(|entry| !unsettled.buried.contains(&entry.sequence));
        unsettled
    }

    /// Commits: whatever `change` does to the open group is applied at once. Returns the commit's number.
    pub(super) fn commit(&self, change: impl FnOnce(&mut Group)) -> u64 {
        let mut layers = self.write();
        change(&mut layers.open);
        self.note(&mut layers)
    }

    /// Ends a commit to the open group; returns its number.
    fn note(&self, layers: &mut Layers) -> u64 {
        let noted = std::mem::take(&mut layers.open.noted);
        if let Some(pending) = self.pending.get() {
            pending.add(&noted);
        }
        layers.open.ticket += 1;
        layers.open.ticket
    }

    /// The number of the last group that is durable.
    pub(super) fn last_group(&self) -> Result<u64, StoreError> {
        let row = self.get(View::Durable, keys::GROUP)?;
        Ok(row.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes))
    }

    /// The open group's number; before the first commit.
    pub(super) fn number_groups_from(&self, number: u64) {
        self.write().open.number = number;
    }

    /// From now on commits go to the files of what is pending, too. Nothing is being committed.
    pub(super) fn keep_pending(&self, pending: Pending) {
        let layers = self.write();
        pending.begin(layers.open.number);
        let _ = self.pending.set(pending);
    }

    /// Writes rows of these keys again as they are now, so that the log has them at its end.
    pub(super) fn commit_again(&self, keys: &[Vec<u8>]) -> Result<u64, StoreError> {
        let mut layers = self.write();
        let mut again = Vec::new();
        for key in keys {
            if layers.open.rows.contains_key(key) {
                continue;
            }
            let value = match layers.row(View::Applied, key) {
                Some(value) => value.clone(),
                None => self.catalog.get(key)?,
            };
            // A row that is gone needs no tombstone: what it was stood no later than in the file that goes now.
            again.extend(value.map(|value| (key.clone(), value)));
        }
        for (key, value) in again {
            layers.open.put_row(key, Some(value));
        }
        Ok(self.note(&mut layers))
    }

    /// The number of the last commit.
    pub(super) fn last_ticket(&self) -> u64 {
        self.read().open.ticket
    }

    /// About how much memory waits to be written: to the log, and by the next checkpoint.
    pub(super) fn waiting_bytes(&self) -> (usize, usize) {
        let layers = self.read();
        (layers.open.bytes, layers.settled.bytes)
    }

    /// Closes the open group, if anything is in it, or gives the one again that could not be written before. Where there is
    /// nothing to write, says which commit was the last.
    pub(super) fn close(&self) -> Result<Arc<Group>, u64> {
        let mut layers = self.write();
        if let Some(closing) = &layers.closing {
            return Ok(Arc::clone(closing));
        }
        let ticket = layers.open.ticket;
        if layers.open.bytes == 0 && layers.open.moved.is_empty() {
            return Err(ticket);
        }
        let number = layers.open.number;
        layers.open.rows.insert(keys::GROUP.to_vec(), Some(number.to_le_bytes().to_vec()));
        if let Some(pending) = self.pending.get() {
            pending.begin(number + 1);
        }
        let next = Group { ticket, number: number + 1, ..Group::default() };
        let open = Arc::new(std::mem::replace(&mut layers.open, next));
        layers.closing = Some(Arc::clone(&open));
        Ok(open)
    }

    /// The closing group is durable up to `position`: from now on readers see it, with the rows of its `extents`.
    pub(super) fn settle(&self, extents: Rows, position: Position) {
        let mut layers = self.write();
        let Some(group) = layers.closing.take() else { return };
        let settled = &mut layers.settled;
        for (key, value) in group.rows.iter().map(|(key, value)| (key.clone(), value.clone())).chain(extents) {
            settled.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + ROW_OVERHEAD_BYTES;
            settled.rows.insert(key, value);
        }
        settled.bytes += group.places.len() * PLACE_BYTES;
        settled.places.extend(group.places.iter().map(|(key, place)| (*key, *place)));
        settled.position = Some(position);
    }

    /// Lays what a frame of the log brings, at a start.
    pub(super) fn replay(&self, rows: Rows, places: PlaceMap, position: Position) {
        let mut layers = self.write();
        layers.closing = Some(Arc::new(Group { places, ..Group::default() }));
        drop(layers);
        self.settle(rows, position);
    }

    /// Freezes the settled layer for a checkpoint, or gives the frozen one again that could not be written before.
    pub(super) fn freeze(&self) -> Option<(Arc<Settled>, Position)> {
        let mut layers = self.write();
        if layers.frozen.is_none() {
            layers.settled.position?;
            layers.frozen = Some(Arc::new(std::mem::take(&mut layers.settled)));
        }
        let frozen = layers.frozen.clone()?;
        let position = frozen.position?;
        Some((frozen, position))
    }

    /// Catalog and places have the frozen layer.
    pub(super) fn thaw(&self, run: Option<NewRun>) {
        let mut layers = self.write();
        if let Some(run) = run {
            self.places.publish(run);
        }
        layers.frozen = None;
    }
}
