//! Small rows (metadata, scripts, runs, logs), and the engine's face: what [`Store`] asks, given to who does it.

use std::fs;
use std::path::PathBuf;

use super::layers::{Rows, View};
use super::syncs::{check_state, json, parse};
use super::{EmbeddedStore, Engine, keys, lock, write_durably};
use crate::ids::{ConnectionName, ModelName, RunId, ScriptHash, ScriptName, StreamKey, SyncKey, Timestamp};
use crate::run::{LogLine, Run};
use crate::store::{
    ChangePage, ChangesQuery, DeleteGuard, Entry, Lease, Listing, MAX_METADATA_BYTES, ModelRule, Pruned, Reset,
    Retention, RunStart, SaveSummary, Script, Store, StoreError, StreamInfo, SyncState, canonical,
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
        let ticket = self.commit_rows(Rows::from([(key, value)]))?;
        self.wait_durable(ticket)
    }

    fn scripts(&self) -> Result<Vec<Script>, StoreError> {
        let (from, to) = keys::ALL_SCRIPTS;
        let rows = self.index.range(View::Applied, from, to, usize::MAX)?;
        rows.iter().map(|(_, value)| parse(value, "a script")).collect()
    }

    /// The name is our own hexadecimal hash, never a text from outside.
    fn script_path(&self, hash: &ScriptHash) -> PathBuf {
        self.dir.join("scripts").join(format!("{hash}.wasm"))
    }

    fn script_bytes(&self, hash: &ScriptHash) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(self.script_path(hash)) {
            Ok(bytes) if ScriptHash::of(&bytes) == *hash => Ok(Some(bytes)),
            Ok(_) => Err(StoreError::Corrupt {
                what: format!("the bytes of script {} are not what was uploaded", hash.short()),
                next: "Upload the script again",
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read a script")(error)),
        }
    }

    fn put_script(&self, script: &Script, bytes: &[u8]) -> Result<(), StoreError> {
        let _guard = lock(&self.small_rows);
        let path = self.script_path(&script.hash);
        let doing = "write a script; free space on the disk if it is full";
        super::create_folder(&self.dir.join("scripts")).map_err(StoreError::io(doing))?;
        if self.script_bytes(&script.hash).ok().flatten().is_none() {
            write_durably(&path, bytes).map_err(StoreError::io(doing))?;
        }
        let before = self.index.get(View::Applied, &keys::script(&script.name))?;
        self.put_durably(keys::script(&script.name), Some(json(script)?))?;
        match before {
            Some(before) => self.forget_bytes(&parse::<Script>(&before, "a script")?.hash),
            None => Ok(()),
        }
    }

    fn remove_script(&self, name: &ScriptName) -> Result<bool, StoreError> {
        let _guard = lock(&self.small_rows);
        let Some(row) = self.index.get(View::Applied, &keys::script(name))? else { return Ok(false) };
        self.put_durably(keys::script(name), None)?;
        self.forget_bytes(&parse::<Script>(&row, "a script")?.hash)?;
        Ok(true)
    }

    /// Removes bytes that no script has any more.
    fn forget_bytes(&self, hash: &ScriptHash) -> Result<(), StoreError> {
        if self.scripts()?.iter().any(|script| script.hash == *hash) {
            return Ok(());
        }
        match fs::remove_file(self.script_path(hash)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io("remove a script")(error)),
            _ => Ok(()),
        }
    }

    fn append_log(&self, run: RunId, lines: &[LogLine]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        let _guard = lock(&self.small_rows);
        let (from, to) = (keys::log(run, 0), keys::log(run, u32::MAX));
        let last = self.index.range_back(View::Applied, &from, &to, 1)?;
        let last = last.first().and_then(|(key, _)| key.last_chunk::<4>().copied());
        let chunk = last.map_or(0, |last| u32::from_be_bytes(last) + 1);
        self.commit_rows(Rows::from([(keys::log(run, chunk), Some(json(&lines)?))])).map(drop)
    }

    fn log(&self, run: RunId) -> Result<Vec<LogLine>, StoreError> {
        let mut lines = Vec::new();
        for (_, value) in self.index.range(View::Applied, &keys::log(run, 0), &keys::log(run, u32::MAX), usize::MAX)? {
            lines.extend(parse::<Vec<LogLine>>(&value, "a run's log")?);
        }
        Ok(lines)
    }

    fn runs(&self, before: Option<RunId>, limit: usize) -> Result<Vec<Run>, StoreError> {
        let (from, end) = keys::ALL_RUNS;
        let to = before.map_or_else(|| end.to_vec(), keys::run);
        let rows = self.index.range_back(View::Applied, from, &to, limit)?;
        rows.iter().map(|(_, value)| parse(value, "a run")).collect()
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

    fn put_script(&self, script: &Script, bytes: &[u8]) -> Result<(), StoreError> {
        self.engine.put_script(script, bytes)
    }

    fn scripts(&self) -> Result<Vec<Script>, StoreError> {
        self.engine.scripts()
    }

    fn script(&self, name: &ScriptName) -> Result<Option<Script>, StoreError> {
        let row = self.engine.index.get(View::Applied, &keys::script(name))?;
        row.map(|bytes| parse(&bytes, "a script")).transpose()
    }

    fn script_bytes(&self, hash: &ScriptHash) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.script_bytes(hash)
    }

    fn remove_script(&self, name: &ScriptName) -> Result<bool, StoreError> {
        self.engine.remove_script(name)
    }

    fn put_run(&self, run: &Run) -> Result<(), StoreError> {
        self.engine.put_durably(keys::run(run.id), Some(json(run)?))
    }

    fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let row = self.engine.index.get(View::Applied, &keys::run(id))?;
        row.map(|bytes| parse(&bytes, "a run")).transpose()
    }

    fn runs(&self, before: Option<RunId>, limit: usize) -> Result<Vec<Run>, StoreError> {
        self.engine.runs(before, limit)
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
