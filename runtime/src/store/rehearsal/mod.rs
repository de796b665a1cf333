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

mod stream;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::stream::{Account, Below, Overlay};
use super::embedded::{check_guard, check_state, digest, last_of_each};
use super::{
    Action, Change, ChangePage, ChangesQuery, DeleteGuard, DocumentKind, Entry, Lease, Listing, MAX_BATCH_ENTRIES,
    MAX_CHECKPOINT_BYTES, MAX_METADATA_BYTES, MAX_RECORD_BYTES, ModelRule, Pruned, Reset, Retention, RunPage, RunStart,
    RunsQuery, SaveSummary, Script, Store, StoreError, StreamInfo, SyncState, UnseenIds, canonical,
};
use crate::ids::{ConnectionName, ModelName, RunId, ScriptHash, ScriptName, StreamKey, SyncKey, Timestamp};
use crate::run::{LogLine, Outcome, Run};

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

/// What a rehearsal does not do.
fn only_read<T>() -> Result<T, StoreError> {
    Err(StoreError::Storage { doing: "write in a rehearsal", source: std::io::Error::other("it only reads") })
}

/// Methods that ask the store below, with the answer where there is none.
macro_rules! below {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty, $none:expr;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> Result<$result, StoreError> {
            match self.below() {
                Some(below) => below.$name($($argument),*),
                None => Ok($none),
            }
        })*
    };
}

/// Methods that would write.
macro_rules! refused {
    ($($name:ident($($type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $(_: $type),*) -> Result<$result, StoreError> {
            only_read()
        })*
    };
}

impl Store for Rehearsal {
    fn begin_run(&self, start: RunStart) -> Result<Lease, StoreError> {
        for model in start.refreshes {
            let account = self.account(&start.run.sync, &model)?.of_a_refresh();
            self.inner().accounts.insert(model, account);
        }
        Ok(Lease { sync: start.run.sync, run: start.run.id, token: 0 })
    }

    fn renew_lease(&self, _: &Lease, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    fn save(
        &self,
        lease: &Lease,
        model: &ModelRule,
        entries: &[Entry],
        _: Timestamp,
    ) -> Result<SaveSummary, StoreError> {
        self.write(lease, model, entries, false)
    }

    fn update(
        &self,
        lease: &Lease,
        model: &ModelRule,
        entries: &[Entry],
        _: Timestamp,
    ) -> Result<SaveSummary, StoreError> {
        self.write(lease, model, entries, true)
    }

    fn delete(&self, lease: &Lease, model: &ModelName, ids: &[String], _: Timestamp) -> Result<u32, StoreError> {
        if ids.len() > MAX_BATCH_ENTRIES {
            return Err(StoreError::BatchTooLarge(format!("{} ids, over {MAX_BATCH_ENTRIES}", ids.len())));
        }
        let stream = lease.sync.stream(model);
        let mut inner = self.inner();
        let inner = &mut *inner;
        let overlay = inner.streams.entry(stream.clone()).or_default();
        let mut given = HashSet::new();
        let ids: Vec<String> = ids.iter().filter(|id| given.insert(id.as_str())).cloned().collect();
        let found = overlay.get(&self.below_of(&stream, &lease.sync), &ids)?;
        for (id, _) in &found {
            overlay.put(id, true, None);
            if let Some(account) = inner.accounts.get_mut(model) {
                account.forget(id);
            }
        }
        Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
    }

    fn track_deletes_start(&self, lease: &Lease, model: &ModelName) -> Result<(), StoreError> {
        let opened = self.inner().accounts.contains_key(model);
        let account = if opened { None } else { Some(self.account(&lease.sync, model)?) };
        let mut inner = self.inner();
        if let Some(account) = account {
            inner.accounts.insert(model.clone(), account);
        }
        if let Some(account) = inner.accounts.get_mut(model) {
            account.ended = false;
        }
        Ok(())
    }

    fn track_deletes_end(&self, lease: &Lease, model: &ModelName, guard: &DeleteGuard) -> Result<u64, StoreError> {
        let mut inner = self.inner();
        if !inner.accounts.contains_key(model) {
            return Err(StoreError::NotTracking(model.clone()));
        }
        let count = self.would_delete(&inner, lease, model, guard)?;
        if let Some(account) = inner.accounts.get_mut(model) {
            account.ended = true;
        }
        Ok(count)
    }

    fn unseen(
        &self,
        lease: &Lease,
        model: &ModelName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<UnseenIds, StoreError> {
        let inner = self.inner();
        let account = inner.accounts.get(model).ok_or_else(|| StoreError::NotTracking(model.clone()))?;
        let stream = lease.sync.stream(model);
        let bad = || StoreError::BadCursor(Box::new(stream.clone()));
        let skip: usize = after.map_or(Ok(0), |after| after.parse().map_err(|_| bad()))?;
        // Counted anew for each page: a rehearsal is for looking at.
        let (mut ids, mut at) = (Vec::new(), 0);
        let empty = Overlay::default();
        let overlay = inner.streams.get(&stream).unwrap_or(&empty);
        overlay.each_id(&self.below_of(&stream, &lease.sync), |id| {
            if !account.has_seen(id) {
                if at >= skip && ids.len() < limit.max(1) {
                    ids.push(id.to_owned());
                }
                at += 1;
            }
        })?;
        let reached = skip + ids.len();
        Ok(UnseenIds { ids, next: (at > reached).then(|| reached.to_string()) })
    }

    fn unseen_before(
        &self,
        _: &SyncKey,
        _: &ModelName,
        _: Option<&str>,
        _: usize,
    ) -> Result<Option<UnseenIds>, StoreError> {
        Ok(None)
    }

    fn sync_state(&self, sync: &SyncKey) -> Result<SyncState, StoreError> {
        if let Some(state) = self.inner().states.get(sync) {
            return Ok(state.clone());
        }
        self.below().map_or_else(|| Ok(SyncState::default()), |below| below.sync_state(sync))
    }

    fn save_checkpoint(&self, lease: &Lease, checkpoint: Option<&str>) -> Result<(), StoreError> {
        if let Some(text) = checkpoint {
            check_state("the checkpoint", text, MAX_CHECKPOINT_BYTES)?;
        }
        let mut state = self.sync_state(&lease.sync)?;
        state.checkpoint = checkpoint.map(str::to_owned);
        self.inner().begins_anew |= checkpoint.is_none();
        self.set_state(&lease.sync, state);
        Ok(())
    }

    fn finish_run(&self, lease: &Lease, run: &mut Run, guard: &DeleteGuard) -> Result<(), StoreError> {
        if run.outcome != Some(Outcome::Succeeded) {
            return Ok(());
        }
        let mut inner = self.inner();
        let inner = &mut *inner;
        for (stream, overlay) in inner.streams.iter().filter(|(_, overlay)| overlay.emptied) {
            let (mut old, mut new) = (0, 0);
            let below = Below { sync: None, ..self.below_of(stream, &lease.sync) };
            below.each_id(|_| old += 1)?;
            overlay.each_id(&below, |_| new += 1)?;
            check_guard(stream, guard, old, new.min(old))?;
        }
        let mut due = Vec::new();
        for (model, account) in inner.accounts.iter().filter(|(_, account)| account.deletes()) {
            self.would_delete(inner, lease, model, guard)?;
            let stream = lease.sync.stream(model);
            let empty = Overlay::default();
            let overlay = inner.streams.get(&stream).unwrap_or(&empty);
            let mut doomed = Vec::new();
            overlay.each_id(&self.below_of(&stream, &lease.sync), |id| {
                if !account.has_seen(id) {
                    doomed.push(id.to_owned());
                }
            })?;
            due.push((stream, doomed));
        }
        for (stream, doomed) in due {
            run.changes.deleted += doomed.len() as u64;
            let overlay = inner.streams.entry(stream).or_default();
            for id in doomed {
                overlay.put(&id, true, None);
            }
        }
        Ok(())
    }

    fn reset(&self, sync: &SyncKey, mode: &Reset, _: Timestamp) -> Result<(), StoreError> {
        self.set_state(sync, SyncState::default());
        self.inner().begins_anew = true;
        if let Reset::Empty { models } = mode {
            for model in models {
                self.inner().streams.insert(sync.stream(model), Overlay::emptied());
            }
        }
        Ok(())
    }

    fn get(&self, stream: &StreamKey, sync: Option<&SyncKey>, ids: &[String]) -> Result<Vec<Entry>, StoreError> {
        let below = Below { store: self.below(), stream, sync };
        let inner = self.inner();
        let empty = Overlay::default();
        let found = inner.streams.get(stream).unwrap_or(&empty).get(&below, ids)?;
        Ok(found.into_iter().map(|(id, data)| Entry { id, data }).collect())
    }

    fn list(
        &self,
        stream: &StreamKey,
        sync: Option<&SyncKey>,
        after: Option<&str>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Listing, StoreError> {
        let below = Below { store: self.below(), stream, sync };
        let inner = self.inner();
        let empty = Overlay::default();
        inner.streams.get(stream).unwrap_or(&empty).list(&below, after, limit.max(1), max_bytes)
    }

    fn metadata(&self, connection: &ConnectionName) -> Result<String, StoreError> {
        if let Some(value) = self.inner().metadata.get(connection) {
            return Ok(value.clone());
        }
        self.below().map_or_else(|| Ok("{}".to_owned()), |below| below.metadata(connection))
    }

    fn set_metadata(&self, connection: &ConnectionName, value: &str) -> Result<(), StoreError> {
        check_state("the metadata", value, MAX_METADATA_BYTES)?;
        self.inner().metadata.insert(connection.clone(), value.to_owned());
        Ok(())
    }

    fn update_metadata(&self, connection: &ConnectionName, fields: &str) -> Result<(), StoreError> {
        let merged = canonical::merge(&self.metadata(connection)?, fields)
            .map_err(|error| StoreError::InvalidState { what: "the metadata", reason: error.to_string() })?;
        self.set_metadata(connection, &merged)
    }

    fn watch(&self, stream: &StreamKey) -> tokio::sync::watch::Receiver<u64> {
        self.below().map_or_else(|| self.still.subscribe(), |below| below.watch(stream))
    }

    fn append_log(&self, _: RunId, lines: &[LogLine]) -> Result<(), StoreError> {
        self.inner().log.extend_from_slice(lines);
        Ok(())
    }

    fn put_run(&self, _: &Run) -> Result<(), StoreError> {
        Ok(())
    }

    fn put_trace(&self, _: RunId, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn prune(&self, _: Timestamp) -> Result<Pruned, StoreError> {
        Ok(Pruned::default())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn changes(&self, stream: &StreamKey, query: &ChangesQuery) -> Result<ChangePage, StoreError> {
        self.below().map_or_else(
            || Ok(ChangePage { changes: Vec::new(), cursor: String::new(), more: false }),
            |below| below.changes(stream, query),
        )
    }

    below! {
        changes_of(stream: &StreamKey, ids: &[String]) -> Vec<Change>, Vec::new();
        retention() -> Retention, Retention::default();
        streams() -> Vec<StreamInfo>, Vec::new();
        document(kind: DocumentKind, key: &str) -> Option<String>, None;
        documents(kind: DocumentKind, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(String, String)>, Vec::new();
        script_versions(name: &ScriptName) -> Vec<Script>, Vec::new();
        scripts() -> Vec<Script>, Vec::new();
        script(name: &ScriptName) -> Option<Script>, None;
        script_bytes(hash: &ScriptHash) -> Option<Vec<u8>>, None;
        run(id: RunId) -> Option<Run>, None;
        runs(query: &RunsQuery) -> RunPage, RunPage { runs: Vec::new(), next: None };
        trace(run: RunId) -> Option<String>, None;
        log(run: RunId) -> Vec<LogLine>, Vec::new();
    }

    refused! {
        set_retention(&Retention) -> ();
        delete_connection(&ConnectionName) -> ();
        put_document(DocumentKind, &str, Option<&str>) -> ();
        put_script(&Script, &[u8]) -> Script;
        activate_script(&ScriptName, u32) -> Option<Script>;
        remove_script(&ScriptName) -> bool;
        forget_runs_before(Timestamp) -> u64;
    }
}
