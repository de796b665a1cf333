//! A store that, once sealed, panics when it is asked for anything that writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use terapi::ids::{ConnectionName, ModelName, RunId, ScriptHash, ScriptName, StreamKey, SyncKey, Timestamp};
use terapi::run::{LogLine, Run};
use terapi::store::{
    Change, ChangePage, ChangesQuery, DeleteGuard, DocumentKind, Entry, Lease, Listing, ModelRule, Pruned, Reset,
    Retention, RunPage, RunStart, RunsQuery, SaveSummary, Script, Store, StoreError, StreamInfo, SyncState, UnseenIds,
};

/// Everything is the inner store's.
pub(crate) struct SealedStore {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) sealed: Arc<AtomicBool>,
}

macro_rules! reads {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> Result<$result, StoreError> {
            self.inner.$name($($argument),*)
        })*
    };
}

macro_rules! writes {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> Result<$result, StoreError> {
            assert!(!self.sealed.load(Ordering::SeqCst), "{} of a sealed store", stringify!($name));
            self.inner.$name($($argument),*)
        })*
    };
}

impl Store for SealedStore {
    fn watch(&self, stream: &StreamKey) -> tokio::sync::watch::Receiver<u64> {
        self.inner.watch(stream)
    }

    reads! {
        get(stream: &StreamKey, sync: Option<&SyncKey>, ids: &[String]) -> Vec<Entry>;
        unseen_before(sync: &SyncKey, model: &ModelName, after: Option<&str>, limit: usize) -> Option<UnseenIds>;
        sync_state(sync: &SyncKey) -> SyncState;
        retention() -> Retention;
        changes(stream: &StreamKey, query: &ChangesQuery) -> ChangePage;
        list( stream: &StreamKey, sync: Option<&SyncKey>, after: Option<&str>, limit: usize, max_bytes: usize ) -> Listing;
        streams() -> Vec<StreamInfo>;
        metadata(connection: &ConnectionName) -> String;
        changes_of(stream: &StreamKey, ids: &[String]) -> Vec<Change>;
        document(kind: DocumentKind, key: &str) -> Option<String>;
        documents(kind: DocumentKind, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(String, String)>;
        script_versions(name: &ScriptName) -> Vec<Script>;
        trace(run: RunId) -> Option<String>;
        scripts() -> Vec<Script>;
        script(name: &ScriptName) -> Option<Script>;
        script_bytes(hash: &ScriptHash) -> Option<Vec<u8>>;
        run(id: RunId) -> Option<Run>;
        runs(query: &RunsQuery) -> RunPage;
        log(run: RunId) -> Vec<LogLine>;
    }

    writes! {
        save(lease: &Lease, model: &ModelRule, entries: &[Entry], now: Timestamp) -> SaveSummary;
        begin_run(start: RunStart) -> Lease;
        renew_lease(lease: &Lease, now: Timestamp) -> ();
        update(lease: &Lease, model: &ModelRule, entries: &[Entry], now: Timestamp) -> SaveSummary;
        delete(lease: &Lease, model: &ModelName, ids: &[String], now: Timestamp) -> u32;
        track_deletes_start(lease: &Lease, model: &ModelName) -> ();
        track_deletes_end(lease: &Lease, model: &ModelName, guard: &DeleteGuard) -> u64;
        unseen(lease: &Lease, model: &ModelName, after: Option<&str>, limit: usize) -> UnseenIds;
        save_checkpoint(lease: &Lease, checkpoint: Option<&str>) -> ();
        finish_run(lease: &Lease, run: &mut Run, guard: &DeleteGuard) -> ();
        reset(sync: &SyncKey, mode: &Reset, now: Timestamp) -> ();
        set_retention(retention: &Retention) -> ();
        prune(now: Timestamp) -> Pruned;
        set_metadata(connection: &ConnectionName, value: &str) -> ();
        update_metadata(connection: &ConnectionName, fields: &str) -> ();
        delete_connection(connection: &ConnectionName) -> ();
        put_document(kind: DocumentKind, key: &str, value: Option<&str>) -> ();
        put_script(script: &Script, bytes: &[u8]) -> Script;
        activate_script(name: &ScriptName, version: u32) -> Option<Script>;
        forget_runs_before(cutoff: Timestamp) -> u64;
        put_trace(run: RunId, trace: &str) -> ();
        remove_script(name: &ScriptName) -> bool;
        put_run(run: &Run) -> ();
        append_log(run: RunId, lines: &[LogLine]) -> ();
        sync() -> ();
    }
}
