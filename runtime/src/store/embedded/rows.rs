//! Metadata and documents, and the engine's face: what [`Store`] asks, given to who does it.

use super::layers::{Rows, View};
use super::syncs::check_state;
use super::{EmbeddedStore, Engine, keys, lock};
use crate::ids::{ConnectionName, ModelName, RunId, ScriptHash, ScriptName, StreamKey, SyncKey, Timestamp};
use crate::run::{LogLine, Run};
use crate::store::{
    Change, ChangePage, ChangesQuery, DeleteGuard, DocumentKind, Entry, Lease, Listing, MAX_METADATA_BYTES, ModelRule,
    Pruned, Reset, Retention, RunPage, RunStart, RunsQuery, SaveSummary, Script, Store, StoreError, StreamInfo,
    SyncState, UnseenIds, canonical,
};

impl Engine {
    fn metadata(&self, connection: &ConnectionName) -> Result<String, StoreError> {
        let row = self.index.get(View::Applied, &keys::metadata(connection))?;
        Ok(row.map_or_else(|| "{}".to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn set_metadata(&self, connection: &ConnectionName, value: &str) -> Result<(), StoreError> {
        check_state("the metadata", value, MAX_METADATA_BYTES)?;
        self.put_durably(keys::metadata(connection), Some(value.as_bytes().to_vec()))
    }

    pub(super) fn put_durably(&self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.put_rows_durably(Rows::from([(key, value)]))
    }

    pub(super) fn put_rows_durably(&self, rows: Rows) -> Result<(), StoreError> {
        let ticket = self.commit_rows(rows)?;
        self.wait_durable(ticket)
    }

    fn document(&self, kind: DocumentKind, key: &str) -> Result<Option<String>, StoreError> {
        let row = self.index.get(View::Applied, &keys::document(kind, key))?;
        Ok(row.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn documents(
        &self,
        kind: DocumentKind,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let prefix = keys::document(kind, prefix);
        // The least key behind one is that key with a zero byte more.
        let behind = after.map(|after| [&keys::document(kind, after)[..], &[0]].concat());
        let from = behind.unwrap_or_default().max(prefix.clone());
        let to = keys::after(prefix);
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.index.range(View::Applied, &from, &to, limit.max(1))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(rows.iter().map(|(key, value)| (text(key.get(2..).unwrap_or_default()), text(value))).collect())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.wait_durable(self.index.last_ticket())
    }
}

impl Store for EmbeddedStore {
    fn begin_run(&self, start: RunStart) -> Result<Lease, StoreError> {
        self.engine.begin_run(start)
    }

    fn renew_lease(&self, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
        self.engine.renew_lease(lease, now)
    }

    fn save(
        &self,
        lease: &Lease,
        model: &ModelRule,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<SaveSummary, StoreError> {
        self.engine.write_leased(lease, model, entries, false, now)
    }

    fn update(
        &self,
        lease: &Lease,
        model: &ModelRule,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<SaveSummary, StoreError> {
        self.engine.write_leased(lease, model, entries, true, now)
    }

    fn delete(&self, lease: &Lease, model: &ModelName, ids: &[String], now: Timestamp) -> Result<u32, StoreError> {
        self.engine.delete_leased(lease, model, ids, now)
    }

    fn track_deletes_start(&self, lease: &Lease, model: &ModelName) -> Result<(), StoreError> {
        self.engine.track_deletes_start(lease, model)
    }

    fn track_deletes_end(&self, lease: &Lease, model: &ModelName, guard: &DeleteGuard) -> Result<u64, StoreError> {
        self.engine.track_deletes_end(lease, model, guard)
    }

    fn unseen(
        &self,
        lease: &Lease,
        model: &ModelName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<UnseenIds, StoreError> {
        self.engine.unseen_ids(lease, model, after, limit)
    }

    fn unseen_before(
        &self,
        sync: &SyncKey,
        model: &ModelName,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<UnseenIds>, StoreError> {
        self.engine.unseen_before(sync, model, after, limit)
    }

    fn sync_state(&self, sync: &SyncKey) -> Result<SyncState, StoreError> {
        self.engine.sync_state(sync)
    }

    fn save_checkpoint(&self, lease: &Lease, checkpoint: Option<&str>) -> Result<(), StoreError> {
        self.engine.save_checkpoint(lease, checkpoint)
    }

    fn finish_run(&self, lease: &Lease, run: &mut Run, guard: &DeleteGuard) -> Result<(), StoreError> {
        self.engine.finish_run(lease, run, guard)
    }

    fn reset(&self, sync: &SyncKey, mode: &Reset, now: Timestamp) -> Result<(), StoreError> {
        self.engine.reset(sync, mode, now)
    }

    fn retention(&self) -> Result<Retention, StoreError> {
        self.engine.retention()
    }

    fn set_retention(&self, retention: &Retention) -> Result<(), StoreError> {
        self.engine.set_retention(retention)
    }

    fn prune(&self, now: Timestamp) -> Result<Pruned, StoreError> {
        self.engine.prune(now)
    }

    fn changes(&self, stream: &StreamKey, query: &ChangesQuery) -> Result<ChangePage, StoreError> {
        self.engine.changes(stream, query)
    }

    fn get(&self, stream: &StreamKey, sync: Option<&SyncKey>, ids: &[String]) -> Result<Vec<Entry>, StoreError> {
        self.engine.get(stream, sync, ids)
    }

    fn changes_of(&self, stream: &StreamKey, ids: &[String]) -> Result<Vec<Change>, StoreError> {
        self.engine.changes_of(stream, ids)
    }

    fn watch(&self, stream: &StreamKey) -> tokio::sync::watch::Receiver<u64> {
        self.engine.watched.watch(stream)
    }

    fn list(
        &self,
        stream: &StreamKey,
        sync: Option<&SyncKey>,
        after: Option<&str>,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Listing, StoreError> {
        self.engine.list(stream, sync, after, limit, max_bytes)
    }

    fn streams(&self) -> Result<Vec<StreamInfo>, StoreError> {
        self.engine.streams()
    }

    fn metadata(&self, connection: &ConnectionName) -> Result<String, StoreError> {
        self.engine.metadata(connection)
    }

    fn set_metadata(&self, connection: &ConnectionName, value: &str) -> Result<(), StoreError> {
        let _guard = lock(&self.engine.small_rows);
        self.engine.set_metadata(connection, value)
    }

    fn update_metadata(&self, connection: &ConnectionName, fields: &str) -> Result<(), StoreError> {
        let _guard = lock(&self.engine.small_rows);
        let base = self.engine.metadata(connection)?;
        let merged = canonical::merge(&base, fields)
            .map_err(|error| StoreError::InvalidState { what: "the metadata", reason: error.to_string() })?;
        self.engine.set_metadata(connection, &merged)
    }

    fn delete_connection(&self, connection: &ConnectionName) -> Result<(), StoreError> {
        self.engine.delete_connection(connection)
    }

    fn document(&self, kind: DocumentKind, key: &str) -> Result<Option<String>, StoreError> {
        self.engine.document(kind, key)
    }

    fn documents(
        &self,
        kind: DocumentKind,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.engine.documents(kind, prefix, after, limit)
    }

    fn put_document(&self, kind: DocumentKind, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        let value = value.map(|text| text.as_bytes().to_vec());
        self.engine.commit_rows(Rows::from([(keys::document(kind, key), value)])).map(drop)
    }

    fn put_script(&self, script: &Script, bytes: &[u8]) -> Result<Script, StoreError> {
        self.engine.put_script(script, bytes)
    }

    fn script_versions(&self, name: &ScriptName) -> Result<Vec<Script>, StoreError> {
        self.engine.script_versions(name)
    }

    fn activate_script(&self, name: &ScriptName, version: u32) -> Result<Option<Script>, StoreError> {
        self.engine.activate_script(name, version)
    }

    fn scripts(&self) -> Result<Vec<Script>, StoreError> {
        self.engine.scripts()
    }

    fn script(&self, name: &ScriptName) -> Result<Option<Script>, StoreError> {
        self.engine.script(name)
    }

    fn script_bytes(&self, hash: &ScriptHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.script_bytes(hash)
    }

    fn remove_script(&self, name: &ScriptName) -> Result<bool, StoreError> {
        self.engine.remove_script(name)
    }

    fn put_run(&self, run: &Run) -> Result<(), StoreError> {
        self.engine.put_run(run)
    }

    fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        self.engine.run(id)
    }

    fn runs(&self, query: &RunsQuery) -> Result<RunPage, StoreError> {
        self.engine.runs(query)
    }

    fn forget_runs_before(&self, cutoff: Timestamp) -> Result<u64, StoreError> {
        self.engine.forget_runs_before(cutoff)
    }

    fn put_trace(&self, run: RunId, trace: &str) -> Result<(), StoreError> {
        self.engine.put_trace(run, trace)
    }

    fn trace(&self, run: RunId) -> Result<Option<String>, StoreError> {
        self.engine.trace(run)
    }

    fn append_log(&self, run: RunId, lines: &[LogLine]) -> Result<(), StoreError> {
        self.engine.append_log(run, lines)
    }

    fn log(&self, run: RunId) -> Result<Vec<LogLine>, StoreError> {
        self.engine.log(run)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.engine.sync()
    }
}
