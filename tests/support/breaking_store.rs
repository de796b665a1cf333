//! A store that panics when it is asked to save a record with the id `break`, or to read very much at a time.

use std::sync::Arc;

use terapi::ids::{ConnectionName, ModelName, RunId, ScriptHash, ScriptName, StreamKey, SyncKey, Timestamp};
use terapi::run::{LogLine, Run};
use terapi::store::{
    Change, ChangePage, ChangesQuery, DeleteGuard, DocumentKind, Entry, Lease, Listing, ModelRule, Pruned, Reset,
    Retention, RunPage, RunStart, RunsQuery, SaveSummary, Script, Store, StoreError, StreamInfo, SyncState, UnseenIds,
};

/// Everything else is the inner store's.
pub(crate) struct BreakingStore {
    pub(crate) inner: Arc<dyn Store>,
}

macro_rules! delegate {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> Result<$result, StoreError> {
            self.inner.$name($($argument),*)
        })*
    };
}

impl Store for BreakingStore {
    fn save(
        &self,
        lease: &Lease,
        model: &ModelRule,
        entries: &[Entry],
        now: Timestamp,
    ) -> Result<SaveSummary, StoreError> {
        assert!(entries.iter().all(|entry| entry.id != "break"), "the store broke");
        self.inner.save(lease, model, entries, now)
    }

    fn get(&self, stream: &StreamKey, sync: Option<&SyncKey>, ids: &[String]) -> Result<Vec<Entry>, StoreError> {
        let found = self.inner.get(stream, sync, ids)?;
        let bytes: usize = found.iter().map(|entry| entry.data.len()).sum();
        assert!(bytes <= 8 << 20, "{bytes} bytes were read before any of them was counted");
        Ok(found)
    }

    fn watch(&self, stream: &StreamKey) -> tokio::sync::watch::Receiver<u64> {
        self.inner.watch(stream)
    }

    delegate! {
        begin_run(start: RunStart) -> Lease;
        renew_lease(lease: &Lease, now: Timestamp) -> ();
        update(lease: &Lease, model: &ModelRule, entries: &[Entry], now: Timestamp) -> SaveSummary;
        delete(lease: &Lease, model: &ModelName, ids: &[String], now: Timestamp) -> u32;
        track_deletes_start(lease: &Lease, model: &ModelName) -> ();
        track_deletes_end(lease: &Lease, model: &ModelName, guard: &DeleteGuard) -> u64;
        unseen(lease: &Lease, model: &ModelName, after: Option<&str>, limit: usize) -> UnseenIds;
        unseen_before(sync: &SyncKey, model: &ModelName, after: Option<&str>, limit: usize) -> Option<UnseenIds>;
        sync_state(sync: &SyncKey) -> SyncState;
        save_checkpoint(lease: &Lease, checkpoint: Option<&str>) -> ();
        finish_run(lease: &Lease, run: &mut Run, guard: &DeleteGuard) -> ();
        reset(sync: &SyncKey, mode: &Reset, now: Timestamp) -> ();
        retention() -> Retention;
        set_retention(retention: &Retention) -> ();
        prune(now: Timestamp) -> Pruned;
        changes(stream: &StreamKey, query: &ChangesQuery) -> ChangePage;
        list(
            stream: &StreamKey, sync: Option<&SyncKey>, after: Option<&str>, limit: usize, max_bytes: usize
        ) -> Listing;
        streams() -> Vec<StreamInfo>;
        metadata(connection: &ConnectionName) -> String;
        set_metadata(connection: &ConnectionName, value: &str) -> ();
        update_metadata(connection: &ConnectionName, fields: &str) -> ();
        changes_of(stream: &StreamKey, ids: &[String]) -> Vec<Change>;
        delete_connection(connection: &ConnectionName) -> ();
        document(kind: DocumentKind, key: &str) -> Option<String>;
        documents(kind: DocumentKind, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(String, String)>;
        put_document(kind: DocumentKind, key: &str, value: Option<&str>) -> ();
        put_script(script: &Script, bytes: &[u8]) -> Script;
        script_versions(name: &ScriptName) -> Vec<Script>;
        activate_script(name: &ScriptName, version: u32) -> Option<Script>;
        forget_runs_before(cutoff: Timestamp) -> u64;
        put_trace(run: RunId, trace: &str) -> ();
        trace(run: RunId) -> Option<String>;
        scripts() -> Vec<Script>;
        script(name: &ScriptName) -> Option<Script>;
        script_bytes(hash: &ScriptHash) -> Option<Vec<u8>>;
        remove_script(name: &ScriptName) -> bool;
        put_run(run: &Run) -> ();
        run(id: RunId) -> Option<Run>;
        runs(query: &RunsQuery) -> RunPage;
        append_log(run: RunId, lines: &[LogLine]) -> ();
        log(run: RunId) -> Vec<LogLine>;
        sync() -> ();
    }
}
