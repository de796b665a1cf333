//! What [`Store`] asks of a rehearsal: writes go to memory, reads see them, the rest is the store below's.

use std::collections::HashSet;

use super::Rehearsal;
use super::stream::{Below, Overlay};
use crate::ids::{ConnectionName, ModelName, RunId, ScriptHash, ScriptName, StreamKey, SyncKey, Timestamp};
use crate::run::{LogLine, Outcome, Run};
use crate::store::embedded::{check_guard, check_state};
use crate::store::{
    Change, ChangePage, ChangesQuery, DeleteGuard, DocumentKind, Entry, Lease, Listing, MAX_BATCH_ENTRIES,
    MAX_CHECKPOINT_BYTES, MAX_METADATA_BYTES, ModelRule, Pruned, Reset, Retention, RunPage, RunStart, RunsQuery,
    SaveSummary, Script, Store, StoreError, StreamInfo, SyncState, UnseenIds, canonical,
};

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
