//! A store that keeps nothing and a meter that counts nothing: what is left of a sync when they cost nothing.

use terapi::egress::{Exhausted, Meter};
use terapi::ids::{ConnectionName, ModelName, RunId, ScriptHash, ScriptName, StreamKey, SyncKey, Timestamp};
use terapi::run::{LogLine, Run};
use terapi::store::{
    Change, ChangePage, ChangesQuery, DeleteGuard, DocumentKind, Entry, Lease, Listing, ModelRule, Pruned, Reset,
    Retention, RunPage, RunStart, RunsQuery, SaveSummary, Script, Store, StoreError, StreamInfo, SyncState, UnseenIds,
};

pub(crate) struct NullStore;

impl Store for NullStore {
    fn begin_run(&self, _: RunStart) -> Result<Lease, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn renew_lease(&self, _: &Lease, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    fn save(&self, _: &Lease, _: &ModelRule, entries: &[Entry], _: Timestamp) -> Result<SaveSummary, StoreError> {
        Ok(SaveSummary { added: u32::try_from(entries.len()).unwrap(), ..SaveSummary::default() })
    }

    fn update(&self, _: &Lease, _: &ModelRule, entries: &[Entry], _: Timestamp) -> Result<SaveSummary, StoreError> {
        Ok(SaveSummary { added: u32::try_from(entries.len()).unwrap(), ..SaveSummary::default() })
    }

    fn delete(&self, _: &Lease, _: &ModelName, _: &[String], _: Timestamp) -> Result<u32, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn track_deletes_start(&self, _: &Lease, _: &ModelName) -> Result<(), StoreError> {
        Ok(())
    }

    fn track_deletes_end(&self, _: &Lease, _: &ModelName, _: &DeleteGuard) -> Result<u64, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn unseen(&self, _: &Lease, _: &ModelName, _: Option<&str>, _: usize) -> Result<UnseenIds, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn unseen_before(
        &self,
        _: &SyncKey,
        _: &ModelName,
        _: Option<&str>,
        _: usize,
    ) -> Result<Option<UnseenIds>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn sync_state(&self, _: &SyncKey) -> Result<SyncState, StoreError> {
        Ok(SyncState::default())
    }

    fn save_checkpoint(&self, _: &Lease, _: Option<&str>) -> Result<(), StoreError> {
        Ok(())
    }

    fn finish_run(&self, _: &Lease, _: &mut Run, _: &DeleteGuard) -> Result<(), StoreError> {
        Ok(())
    }

    fn reset(&self, _: &SyncKey, _: &Reset, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    fn changes(&self, _: &StreamKey, _: &ChangesQuery) -> Result<ChangePage, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn get(&self, _: &StreamKey, _: Option<&SyncKey>, _: &[String]) -> Result<Vec<Entry>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn list(
        &self,
        _: &StreamKey,
        _: Option<&SyncKey>,
        _: Option<&str>,
        _: usize,
        _: usize,
    ) -> Result<Listing, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn retention(&self) -> Result<Retention, StoreError> {
        Ok(Retention::default())
    }

    fn set_retention(&self, _: &Retention) -> Result<(), StoreError> {
        Ok(())
    }

    fn prune(&self, _: Timestamp) -> Result<Pruned, StoreError> {
        Ok(Pruned::default())
    }

    fn streams(&self) -> Result<Vec<StreamInfo>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn metadata(&self, _: &ConnectionName) -> Result<String, StoreError> {
        Ok("{}".to_owned())
    }

    fn set_metadata(&self, _: &ConnectionName, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn update_metadata(&self, _: &ConnectionName, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn put_script(&self, script: &Script, _: &[u8]) -> Result<Script, StoreError> {
        Ok(script.clone())
    }

    fn script_versions(&self, _: &ScriptName) -> Result<Vec<Script>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn activate_script(&self, _: &ScriptName, _: u32) -> Result<Option<Script>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn changes_of(&self, _: &StreamKey, _: &[String]) -> Result<Vec<Change>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn watch(&self, _: &StreamKey) -> tokio::sync::watch::Receiver<u64> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn delete_connection(&self, _: &ConnectionName) -> Result<(), StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn document(&self, _: DocumentKind, _: &str) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn documents(
        &self,
        _: DocumentKind,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<(String, String)>, StoreError> {
        Ok(Vec::new())
    }

    fn put_document(&self, _: DocumentKind, _: &str, _: Option<&str>) -> Result<(), StoreError> {
        Ok(())
    }

    fn forget_runs_before(&self, _: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn put_trace(&self, _: RunId, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn trace(&self, _: RunId) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn scripts(&self) -> Result<Vec<Script>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn script(&self, _: &ScriptName) -> Result<Option<Script>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn script_bytes(&self, _: &ScriptHash) -> Result<Option<Vec<u8>>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn remove_script(&self, _: &ScriptName) -> Result<bool, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn put_run(&self, _: &Run) -> Result<(), StoreError> {
        Ok(())
    }

    fn run(&self, _: RunId) -> Result<Option<Run>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn runs(&self, _: &RunsQuery) -> Result<RunPage, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn append_log(&self, _: RunId, _: &[LogLine]) -> Result<(), StoreError> {
        Ok(())
    }

    fn log(&self, _: RunId) -> Result<Vec<LogLine>, StoreError> {
        unimplemented!("not asked for by a run of the bench")
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Lets everything through.
pub(crate) struct Unmetered;

impl Meter for Unmetered {
    fn request(&self) -> Result<(), Exhausted> {
        Ok(())
    }

    fn received(&self, _: usize) -> Result<(), Exhausted> {
        Ok(())
    }

    fn released(&self, _: usize) {}
}
