//! The index: sled, with the commits that it does not have yet laid over it in memory.
//!
//! A commit's rows go into the *active* layer at once. A flush freezes that layer, makes the log durable, and only
//! then gives the rows to sled, in one atomic batch with the log position that they bring it to. So sled never knows
//! of a commit that the log could lose, and after a crash the log replays what sled missed.
//!
//! Two views: [`View::Applied`] is everything, for writers; [`View::Durable`] leaves out what a power cut could still
//! take back, for readers.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::log::Position;
use crate::store::StoreError;

/// A row's key and its value; `None` removes it.
pub(super) type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A key and its value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// Whether a reader sees what is not durable yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Applied,
    Durable,
}

/// The row that says up to where in the log sled has everything.
const POSITION_KEY: &[u8] = b"p";

#[derive(Default)]
struct Layers {
    active: Rows,
    active_bytes: usize,
    frozen: Arc<Rows>,
    frozen_durable: bool,
}

pub(super) struct Kv {
    db: sled::Db,
    /// The file that tells the next start that sled is damaged.
    damage_mark: PathBuf,
    layers: RwLock<Layers>,
}

impl Kv {
    pub(super) fn new(db: sled::Db, damage_mark: PathBuf) -> Self {
        Self { db, damage_mark, layers: RwLock::new(Layers::default()) }
    }

    /// Asks sled. It opens without looking at every page, so damage may show much later, as an error or as a panic; all
    /// that helps is to make it anew from the log, which the next start does.
    fn ask<T>(&self, doing: &'static str, work: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
        let reason = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error @ (sled::Error::Corruption { .. } | sled::Error::ReportableBug(_)))) => error.to_string(),
            Ok(Err(error)) => return Err(StoreError::index(doing)(error)),
            Err(_) => "it panicked".to_owned(),
        };
        if let Err(error) = File::create(&self.damage_mark) {
            tracing::error!(%error, "the damaged index could not be marked; move the folder `index` away by hand");
        }
        Err(StoreError::Corrupt {
            what: format!("its index, while asked to {doing}: {reason}"),
            next: "Start Terapi again: it makes the index anew from the log",
        })
    }

    /// Up to where sled has the log.
    pub(super) fn position(&self) -> Result<Option<Position>, StoreError> {
        let row = self.ask("read its index", || self.db.get(POSITION_KEY))?;
        Ok(row.and_then(|bytes| Position::decode(&bytes)))
    }

    /// Removes every row.
    pub(super) fn clear(&self) -> Result<(), StoreError> {
        self.ask("clear its index", || self.db.clear())
    }

    pub(super) fn get(&self, view: View, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        {
            let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
            if view == View::Applied
                && let Some(value) = layers.active.get(key)
            {
                return Ok(value.clone());
            }
            if (view == View::Applied || layers.frozen_durable)
                && let Some(value) = layers.frozen.get(key)
            {
                return Ok(value.clone());
            }
        }
        // If the frozen layer reached sled in between, sled has the same value.
        let value = self.ask("read its index", || self.db.get(key))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    /// At most `limit` rows with keys in `from..to`, ascending.
    pub(super) fn range(&self, view: View, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.scan(view, from, to, limit, false)
    }

    /// At most `limit` rows with keys in `from..to`, descending.
    pub(super) fn range_back(&self, view: View, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.scan(view, from, to, limit, true)
    }

    fn scan(&self, view: View, from: &[u8], to: &[u8], limit: usize, back: bool) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let over = self.layers_in(view, from, to);
        let mut stored = self.db.range(from..to);
        let mut over = over.into_iter();
        let mut next_stored = || {
            let row =
                self.ask("read its index", || if back { stored.next_back() } else { stored.next() }.transpose())?;
            Ok::<_, StoreError>(row.map(|(key, value)| (key.to_vec(), value.to_vec())))
        };
        let mut next_over = || if back { over.next_back() } else { over.next() };

        // A merge of two sorted sequences, in which the layer wins.
        let mut result = Vec::new();
        let (mut a, mut b) = (next_over(), next_stored()?);
        while result.len() < limit {
            let order = match (&a, &b) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((key, _)), Some((other, _))) if back => other.cmp(key),
                (Some((key, _)), Some((other, _))) => key.cmp(other),
            };
            if order.is_ne() && order.is_gt() {
                result.extend(b.take());
                b = next_stored()?;
                continue;
            }
            if order.is_eq() {
                b = next_stored()?;
            }
            if let Some((key, Some(value))) = a.take() {
                result.push((key, value));
            }
            a = next_over();
        }
        Ok(result)
    }

    fn layers_in(&self, view: View, from: &[u8], to: &[u8]) -> Rows {
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let layers = self.layers.read().unwrap_or_else(PoisonError::into_inner);
        let mut over = Rows::new();
        if view == View::Applied || layers.frozen_durable {
            over.extend(layers.frozen.range::<[u8], _>(bounds).map(|(k, v)| (k.clone(), v.clone())));
        }
        if view == View::Applied {
            over.extend(layers.active.range::<[u8], _>(bounds).map(|(k, v)| (k.clone(), v.clone())));
        }
        over
    }

    /// Lays the rows of a commit over the index. The caller holds the log's tail, so layers and log agree on order.
    pub(super) fn lay(&self, rows: Rows) {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in rows {
            layers.active_bytes += key.len() + value.as_ref().map_or(0, Vec::len) + ROW_OVERHEAD_BYTES;
            layers.active.insert(key, value);
        }
    }

    /// About how much memory waits to be flushed.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.layers.read().unwrap_or_else(PoisonError::into_inner).active_bytes
    }

    /// Whether the last flush could not give its rows to sled. They must go there before others are frozen.
    pub(super) fn owes(&self) -> bool {
        !self.layers.read().unwrap_or_else(PoisonError::into_inner).frozen.is_empty()
    }

    /// Step one of a flush: what was laid so far is frozen. The caller holds the log's tail.
    pub(super) fn freeze(&self) {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        layers.active_bytes = 0;
        let active = std::mem::take(&mut layers.active);
        layers.frozen = Arc::new(active);
        layers.frozen_durable = false;
    }

    /// Step two, after the log is durable: readers see the frozen rows.
    pub(super) fn reveal(&self) {
        self.layers.write().unwrap_or_else(PoisonError::into_inner).frozen_durable = true;
    }

    /// Step three: sled takes the frozen rows over, together with the position they bring it to.
    pub(super) fn hand_over(&self, position: Position) -> Result<(), StoreError> {
        let frozen = Arc::clone(&self.layers.read().unwrap_or_else(PoisonError::into_inner).frozen);
        let mut batch = sled::Batch::default();
        for (key, value) in frozen.iter() {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        batch.insert(POSITION_KEY, position.encode());
        self.ask("write its index", || self.db.apply_batch(batch))?;
        self.layers.write().unwrap_or_else(PoisonError::into_inner).frozen = Arc::default();
        Ok(())
    }

    /// Makes sled itself durable, so that a restart replays less.
    pub(super) fn flush_index(&self) -> Result<(), StoreError> {
        self.ask("flush its index", || self.db.flush()).map(drop)
    }
}

/// What a row costs in the layer besides its bytes: two vectors, a share of a tree node.
const ROW_OVERHEAD_BYTES: usize = 64;
