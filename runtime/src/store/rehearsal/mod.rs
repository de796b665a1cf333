//! A store that keeps what is written to it in memory, over another store that it only reads: for a run that is tried out.
//!
//! What a run asks is answered as the store below would answer if the run's writes were in it: the same summaries, the same
//! deletes, the same refusals. [`Rehearsal::changes`] says afterwards what the run would have left behind. Without a store
//! below it is empty at first.
//!
//! # Invariants
//! - Nothing is written below: of the other store only methods are called that read.
//! - Memory grows with what changes, and by 16 bytes for each record that is saved where deletes are tracked.
//! - There is one run at a time, and it needs no lease of the store below.
//!
//! Where a retention has pruned a record's content, that content cannot be compared here: the record counts as updated.

mod face;
mod stream;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::stream::{Account, Below, Overlay};
use super::embedded::{check_guard, digest, last_of_each};
use super::{
    Action, DeleteGuard, Entry, Lease, MAX_BATCH_ENTRIES, MAX_RECORD_BYTES, ModelRule, SaveSummary, Store, StoreError,
    SyncState, canonical,
};
use crate::ids::{ConnectionName, ModelName, StreamKey, SyncKey};
use crate::run::LogLine;

/// See the module.
pub struct Rehearsal {
    below: Option<Arc<dyn Store>>,
    inner: Mutex<Inner>,
    /// Never told anything: who reads changes reads the store below.
    still: tokio::sync::watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    states: HashMap<SyncKey, SyncState>,
    metadata: BTreeMap<ConnectionName, String>,
    streams: BTreeMap<StreamKey, Overlay>,
    accounts: HashMap<ModelName, Account>,
    /// What an earlier run saw and saved with its checkpoint is forgotten, as the checkpoint is.
    begins_anew: bool,
    log: Vec<LogLine>,
}

/// What a run would have left behind.
#[derive(Debug, Clone, Default)]
pub struct Rehearsed {
    /// Records that would be another than before, each once, by stream and in the order of their last change.
    pub records: Vec<RehearsedRecord>,
    /// The metadata of connections that would be another.
    pub metadata: BTreeMap<ConnectionName, String>,
}

/// A record that would be another than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RehearsedRecord {
    /// In which stream.
    pub stream: StreamKey,
    /// Its id.
    pub id: String,
    /// What would have happened to it.
    pub action: Action,
    /// What it would be; `None` of a deleted one.
    pub data: Option<String>,
}

impl Rehearsal {
    /// Over a store.
    #[must_use]
    pub fn over(below: Arc<dyn Store>) -> Self {
        Self { below: Some(below), inner: Mutex::default(), still: tokio::sync::watch::Sender::new(0) }
    }

    /// Over nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self { below: None, inner: Mutex::default(), still: tokio::sync::watch::Sender::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self) -> Option<&dyn Store> {
        self.below.as_deref()
    }

    /// What a sync finds remembered when it begins.
    pub fn set_state(&self, sync: &SyncKey, state: SyncState) {
        self.inner().states.insert(sync.clone(), state);
    }

    /// What a stream has before a run, over what is below.
    pub fn put(&self, stream: &StreamKey, entries: Vec<Entry>) {
        let mut inner = self.inner();
        let overlay = inner.streams.entry(stream.clone()).or_default();
        for entry in entries {
            overlay.put(&entry.id, false, Some(entry.data));
        }
    }

    /// What was written, as far as it would change anything.
    pub fn changes(&self) -> Result<Rehearsed, StoreError> {
        let inner = self.inner();
        let mut rehearsed = Rehearsed::default();
        for (stream, overlay) in &inner.streams {
            for (id, staged) in overlay.in_order() {
                let action = match (staged.existed, &staged.data) {
                    (true, Some(_)) => Action::Updated,
                    (false, Some(_)) => Action::Added,
                    (true, None) => Action::Deleted,
                    (false, None) => continue,
                };
                let (stream, id, data) = (stream.clone(), id.to_owned(), staged.data.clone());
                rehearsed.records.push(RehearsedRecord { stream, id, action, data });
            }
        }
        for (connection, value) in &inner.metadata {
            let before = self.below().map_or_else(|| Ok("{}".to_owned()), |below| below.metadata(connection))?;
            if canonical::digest(&before, &[], &mut canonical::Scratch::default())
                != canonical::digest(value, &[], &mut canonical::Scratch::default())
            {
                rehearsed.metadata.insert(connection.clone(), value.clone());
            }
        }
        Ok(rehearsed)
    }

    /// What was logged.
    #[must_use]
    pub fn logged(&self) -> Vec<LogLine> {
        self.inner().log.clone()
    }

    fn write(
        &self,
        lease: &Lease,
        model: &ModelRule,
        entries: &[Entry],
        merge: bool,
    ) -> Result<SaveSummary, StoreError> {
        let mut scratch = canonical::Scratch::default();
        let (counted, repeated) =
            last_of_each(entries, |index, entry| digest(index, &entry.data, &model.ignore, &mut scratch).map(drop))?;
        let stream = lease.sync.stream(&model.name);
        let mut inner = self.inner();
        let inner = &mut *inner;
        let overlay = inner.streams.entry(stream.clone()).or_default();
        let ids: Vec<String> = counted.iter().map(|(_, entry)| entry.id.clone()).collect();
        let now: HashMap<String, String> =
            overlay.get(&self.below_of(&stream, &lease.sync), &ids)?.into_iter().collect();
        let mut summary = SaveSummary { repeated, ..SaveSummary::default() };
        let mut staged = Vec::with_capacity(counted.len());
        // All of them are checked before any of them counts.
        for (index, entry) in counted {
            let current = now.get(&entry.id);
            let data = match current.filter(|current| merge && !current.is_empty()) {
                Some(current) => merged(index, current, &entry.data)?,
                None => entry.data.clone(),
            };
            let new = digest(index, &data, &model.ignore, &mut scratch)?;
            let old = current.and_then(|current| canonical::digest(current, &model.ignore, &mut scratch).ok());
            let counter = match (current, old) {
                (None, _) => &mut summary.added,
                (Some(_), Some(old)) if old == new => {
                    summary.unchanged += 1;
                    staged.push((&entry.id, None));
                    continue;
                }
                (Some(_), _) => &mut summary.updated,
            };
            *counter += 1;
            staged.push((&entry.id, Some(data)));
        }
        for (id, data) in staged {
            if let Some(account) = inner.accounts.get_mut(&model.name) {
                account.see(id);
            }
            if let Some(data) = data {
                overlay.put(id, now.contains_key(id), Some(data));
            }
        }
        Ok(summary)
    }

    /// What is below a stream, for the sync that writes to it.
    fn below_of<'a>(&'a self, stream: &'a StreamKey, sync: &'a SyncKey) -> Below<'a> {
        Below { store: self.below(), stream, sync: Some(sync) }
    }

    /// How many records there are, and how many of them the account has seen.
    fn live_and_saved(&self, inner: &Inner, lease: &Lease, model: &ModelName) -> Result<(u64, u64), StoreError> {
        let stream = lease.sync.stream(model);
        let Some(account) = inner.accounts.get(model) else { return Ok((0, 0)) };
        let (mut live, mut saved) = (0, 0);
        let empty = Overlay::default();
        let overlay = inner.streams.get(&stream).unwrap_or(&empty);
        overlay.each_id(&self.below_of(&stream, &lease.sync), |id| {
            live += 1;
            saved += u64::from(account.has_seen(id));
        })?;
        Ok((live, saved))
    }

    /// Checks the guard and returns how many records a model would lose.
    fn would_delete(
        &self,
        inner: &Inner,
        lease: &Lease,
        model: &ModelName,
        guard: &DeleteGuard,
    ) -> Result<u64, StoreError> {
        let (live, saved) = self.live_and_saved(inner, lease, model)?;
        check_guard(&lease.sync.stream(model), guard, live, saved)?;
        Ok(live.saturating_sub(saved))
    }

    /// The account of a model, with what an earlier run saw that this one goes on from.
    fn account(&self, lease: &SyncKey, model: &ModelName) -> Result<Account, StoreError> {
        let below = self.below().filter(|_| !self.inner().begins_anew);
        let Some(below) = below else { return Ok(Account::default()) };
        let mut unseen: Option<HashSet<u128>> = None;
        let mut after = None;
        while let Some(page) = below.unseen_before(lease, model, after.as_deref(), MAX_BATCH_ENTRIES)? {
            unseen.get_or_insert_default().extend(page.ids.iter().map(|id| stream::hash(id)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(Account::going_on(unseen))
    }
}

fn merged(index: usize, base: &str, fields: &str) -> Result<String, StoreError> {
    let refuse = |reason| StoreError::InvalidRecord { index, reason };
    let data = canonical::merge(base, fields).map_err(|error| refuse(error.to_string()))?;
    if data.len() > MAX_RECORD_BYTES {
        let length = data.len();
        return Err(refuse(format!("merged with what is stored it has {length} bytes, over {MAX_RECORD_BYTES}")));
    }
    Ok(data)
}
