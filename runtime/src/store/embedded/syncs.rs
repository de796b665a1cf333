//! Runs and what a sync remembers: leases, checkpoints, accounts of deletes, the end of a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::commit::locked;
use super::layers::{Rows, View};
use super::streams::{StreamRow, put_stream};
use super::{Engine, keys, lock};
use crate::ids::{ModelName, RunId, SyncKey, Timestamp};
use crate::run::{Outcome, Run, StopReason, Stopped};
use crate::store::{
    Action, DeleteGuard, DocumentKind, Entry, Lease, MAX_BATCH_ENTRIES, MAX_CHECKPOINT_BYTES, ModelRule, Offense,
    Reset, RunStart, STOPPING, SaveSummary, StoreError, Suspicion, SyncState, canonical,
};

/// The run that holds a sync's lease.
pub(super) struct ActiveRun {
    token: u64,
    run: RunId,
    lease_ms: u64,
    expires: Timestamp,
    pub(super) accounts: HashMap<ModelName, Account>,
    /// Accounts saved with the checkpoint that this run goes on from, not opened again yet.
    saved: HashMap<ModelName, RoaringBitmap>,
}

/// The token of a lease that was given back or taken over; real ones begin at 1.
const RELEASED: u64 = 0;

impl ActiveRun {
    pub(super) fn refuse_if_held(&self, now: Timestamp) -> Result<(), StoreError> {
        let held = self.token != RELEASED && self.expires > now;
        if held { Err(StoreError::SyncBusy(self.run)) } else { Ok(()) }
    }
}

/// Which records were saved since an account of deletes was opened.
#[derive(Default)]
pub(super) struct Account {
    pub(super) seen: RoaringBitmap,
    /// A full refresh's, which the run's success ends.
    refresh: bool,
    /// Ended by the script.
    ended: bool,
}

impl Account {
    pub(super) fn deletes(&self) -> bool {
        self.refresh || self.ended
    }
}

/// The value of a `y` row.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SyncRow {
    token: u64,
    #[serde(flatten)]
    state: SyncState,
}

impl Engine {
    pub(super) fn begin_run(&self, start: RunStart) -> Result<Lease, StoreError> {
        let RunStart { run, lease_ms, refreshes } = start;
        let now = run.started_at;
        let mut active = lock(&self.active);
        let previous = active.get(&run.sync).cloned();
        // Waits for a write that is under way: while this is held no write of that run can begin.
        let mut previous = previous.as_deref().map(lock);
        let mut rows = Rows::new();
        if let Some(previous) = &previous {
            previous.refuse_if_held(now)?;
            self.take_over(previous, now, &mut rows)?;
        }
        let mut row = self.sync_row(&run.sync)?;
        row.token += 1;
        let mut saved = self.saved_accounts(&run.sync)?;
        let mut accounts = HashMap::new();
        for model in refreshes {
            let seen = saved.remove(&model).unwrap_or_default();
            accounts.insert(model, Account { seen, refresh: true, ended: false });
        }
        rows.insert(keys::sync(&run.sync), Some(json(&row)?));
        rows.insert(keys::run(run.id), Some(json(&run)?));
        rows.insert(keys::active(run.id), Some(Vec::new()));
        rows.insert(keys::run_of(&run.sync, run.id), Some(Vec::new()));
        self.commit_rows(rows)?;
        if let Some(previous) = &mut previous {
            previous.token = RELEASED;
        }
        let lease = Lease { sync: run.sync.clone(), run: run.id, token: row.token };
        let expires = Timestamp(now.0.saturating_add(lease_ms));
        let current = ActiveRun { token: row.token, run: run.id, lease_ms, expires, accounts, saved };
        active.insert(run.sync, Arc::new(Mutex::new(current)));
        Ok(lease)
    }

    /// The rows that end a run whose lease has expired: it cannot do so itself any more.
    fn take_over(&self, expired: &ActiveRun, now: Timestamp, rows: &mut Rows) -> Result<(), StoreError> {
        if expired.token == RELEASED {
            return Ok(());
        }
        let message = "its lease expired and the sync was taken over; what it had committed is kept";
        if let Some(run) = self.interrupt(keys::run(expired.run), message, Some(now), rows)? {
            self.strike(&run, Offense::LeaseLost, rows)?;
        }
        rows.insert(keys::active(expired.run), None);
        Ok(())
    }

    /// The row that says what is held against a run's script from now on.
    fn strike(&self, run: &Run, offense: Offense, rows: &mut Rows) -> Result<(), StoreError> {
        let key = keys::document(DocumentKind::Suspect, &Suspicion::key(&run.script));
        let before = self.index.get(View::Applied, &key)?;
        let before = before.map(|bytes| parse(&bytes, "what is held against a script")).transpose()?;
        rows.insert(key, Some(json(&Suspicion::after(before, run.id, offense))?));
        Ok(())
    }

    /// Runs `work` while the lease is known to hold: nobody takes the sync over before it returns.
    pub(super) fn with_lease<T>(
        &self,
        lease: &Lease,
        work: impl FnOnce(&mut ActiveRun) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let current = lock(&self.active).get(&lease.sync).cloned().ok_or(StoreError::LeaseLost)?;
        let mut current = lock(&current);
        if current.token != lease.token {
            return Err(StoreError::LeaseLost);
        }
        work(&mut current)
    }

    pub(super) fn renew_lease(&self, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
        self.with_lease(lease, |run| {
            run.expires = Timestamp(now.0.saturating_add(run.lease_ms));
            Ok(())
        })
    }

    pub(super) fn write_leased(
        &self,
        lease: &Lease,
        model: &ModelRule,
        entries: &[Entry],
        merge: bool,
        now: Timestamp,
    ) -> Result<SaveSummary, StoreError> {
        self.with_lease(lease, |run| {
            let stream = lease.sync.stream(&model.name);
            let outcome = locked(
                self,
                |engine| engine.stream_to_write(&stream, &lease.sync).map(Some),
                |cell, head| self.write_batch(cell, head, model, entries, merge, now),
            )?;
            let Some(outcome) = outcome else { return Ok(SaveSummary::default()) };
            if let Some(account) = run.accounts.get_mut(&model.name) {
                account.seen.extend(outcome.seen);
            }
            Ok(outcome.summary)
        })
    }

    pub(super) fn delete_leased(
        &self,
        lease: &Lease,
        model: &ModelName,
        ids: &[String],
        now: Timestamp,
    ) -> Result<u32, StoreError> {
        if ids.len() > MAX_BATCH_ENTRIES {
            return Err(StoreError::BatchTooLarge(format!("{} ids, over {MAX_BATCH_ENTRIES}", ids.len())));
        }
        self.with_lease(lease, |run| {
            let stream = lease.sync.stream(model);
            let deleted = locked(
                self,
                |engine| engine.stream(&stream, Some(&lease.sync)),
                |cell, head| {
                    let mut keys: Vec<_> = ids.iter().map(|id| self.hashes.place(cell.number, id)).collect();
                    let mut given = std::collections::HashSet::new();
                    keys.retain(|key| given.insert(*key));
                    let mut doomed: Vec<_> = self.index.places(&keys)?.into_iter().flatten().collect();
                    doomed.retain(|place| place.action != Action::Deleted);
                    self.delete_places(cell, head, &doomed, now)?;
                    Ok(doomed)
                },
            )?;
            let deleted = deleted.unwrap_or_default();
            if let Some(account) = run.accounts.get_mut(model) {
                for place in &deleted {
                    account.seen.remove(place.number);
                }
            }
            Ok(u32::try_from(deleted.len()).unwrap_or(u32::MAX))
        })
    }

    pub(super) fn track_deletes_start(&self, lease: &Lease, model: &ModelName) -> Result<(), StoreError> {
        self.with_lease(lease, |run| {
            let saved = run.saved.remove(model);
            let account = run.accounts.entry(model.clone()).or_default();
            if let Some(saved) = saved {
                account.seen |= saved;
            }
            account.ended = false;
            Ok(())
        })
    }

    pub(super) fn track_deletes_end(
        &self,
        lease: &Lease,
        model: &ModelName,
        guard: &DeleteGuard,
    ) -> Result<u64, StoreError> {
        self.with_lease(lease, |run| {
            let account = run.accounts.get_mut(model).ok_or_else(|| StoreError::NotTracking(model.clone()))?;
            let stream = lease.sync.stream(model);
            let count = match self.stream(&stream, Some(&lease.sync))? {
                Some(cell) => self.would_delete(&stream, &cell, account, guard)?,
                None => 0,
            };
            account.ended = true;
            Ok(count)
        })
    }

    pub(super) fn sync_state(&self, sync: &SyncKey) -> Result<SyncState, StoreError> {
        Ok(self.sync_row(sync)?.state)
    }

    pub(super) fn save_checkpoint(&self, lease: &Lease, checkpoint: Option<&str>) -> Result<(), StoreError> {
        if let Some(text) = checkpoint {
            check_state("the checkpoint", text, MAX_CHECKPOINT_BYTES)?;
        }
        let ticket = self.with_lease(lease, |run| {
            let mut row = self.sync_row(&lease.sync)?;
            row.state.checkpoint = checkpoint.map(str::to_owned);
            let mut rows = Rows::from([(keys::sync(&lease.sync), Some(json(&row)?))]);
            if checkpoint.is_some() {
                account_rows(&lease.sync, run, |_| true, &mut rows)?;
            } else {
                run.saved.clear();
                self.forget_accounts(&lease.sync, &mut rows)?;
            }
            self.commit_rows(rows)
        })?;
        self.wait_durable(ticket)
    }

    pub(super) fn finish_run(&self, lease: &Lease, run: &mut Run, guard: &DeleteGuard) -> Result<(), StoreError> {
        let succeeded = run.outcome == Some(Outcome::Succeeded);
        let ended = run.ended_at.unwrap_or(run.started_at);
        let ticket = self.with_lease(lease, |active| {
            let ticket = if succeeded {
                let mut row = self.sync_row(&lease.sync)?;
                row.state.last_sync_date = Some(run.started_at);
                let mut rows = Rows::from([(keys::sync(&lease.sync), Some(json(&row)?))]);
                if row.state.checkpoint.is_some() {
                    // What a script tracks over several runs goes on with its checkpoint, also if this run left it alone.
                    account_rows(&lease.sync, active, |account| !account.deletes(), &mut rows)?;
                } else {
                    self.forget_accounts(&lease.sync, &mut rows)?;
                }
                let before = run.changes.deleted;
                let finish = |deleted| {
                    run.changes.deleted = before + deleted;
                    ended_rows(run, &mut rows)?;
                    Ok(rows)
                };
                let result = self.finish_refresh(lease, active, guard, ended, finish);
                result.inspect_err(|_| run.changes.deleted = before)?
            } else {
                let mut rows = Rows::new();
                ended_rows(run, &mut rows)?;
                self.commit_rows(rows)?
            };
            active.token = RELEASED;
            Ok(ticket)
        })?;
        let mut active = lock(&self.active);
        if active.get(&lease.sync).is_some_and(|current| lock(current).token == RELEASED) {
            active.remove(&lease.sync);
        }
        drop(active);
        self.wait_durable(ticket)
    }

    pub(super) fn reset(&self, sync: &SyncKey, mode: &Reset, now: Timestamp) -> Result<(), StoreError> {
        let ticket = {
            let active = lock(&self.active);
            let mut current = active.get(sync).map(|current| lock(current));
            let mut rows = Rows::new();
            if let Some(current) = &current {
                current.refuse_if_held(now)?;
                self.take_over(current, now, &mut rows)?;
            }
            let mut row = self.sync_row(sync)?;
            row.state = SyncState::default();
            rows.insert(keys::sync(sync), Some(json(&row)?));
            self.forget_accounts(sync, &mut rows)?;
            let ticket = match mode {
                Reset::Refetch => self.commit_rows(rows)?,
                Reset::Empty { models } => self.begin_generations(sync, models, rows)?,
            };
            if let Some(current) = &mut current {
                current.token = RELEASED;
            }
            ticket
        };
        self.wait_durable(ticket)
    }

    /// From now on the sync writes to new generations of these models' streams, and only to those.
    fn begin_generations(&self, sync: &SyncKey, models: &[ModelName], rows: Rows) -> Result<u64, StoreError> {
        let given_up = self.building(sync)?;
        let mut streams = lock(&self.streams);
        let mut generations = Vec::new();
        for model in models {
            let key = sync.stream(model);
            let row = self.stream_row(View::Applied, &key)?.unwrap_or_default();
            if let Some((_, other)) = row.building.as_ref().filter(|(_, by)| by != sync) {
                let reason = format!("{other} is already building {model} anew; let it succeed, or reset it, first");
                return Err(StoreError::InvalidState { what: "the reset", reason });
            }
            let new = streams.next_number()?;
            generations.push((key, StreamRow { number: row.number, building: Some((new, sync.clone())) }, new));
        }
        let ticket = self.commit(|group| {
            for (key, row) in &given_up {
                if let Some((number, _)) = &row.building {
                    group.drop_generation(*number);
                }
                let row = StreamRow { number: row.number, building: None };
                group.put_row(keys::stream(key), Some(row.encode()));
            }
            for (key, row, new) in &generations {
                put_stream(group, key, row, *new);
            }
            group.put_rows(rows);
        })?;
        for (key, row) in given_up {
            streams.rows.remove(&key);
            if let Some((number, _)) = row.building {
                streams.cells.remove(&number);
            }
        }
        for (key, row, _) in generations {
            streams.rows.insert(key, row);
        }
        Ok(ticket)
    }

    /// A run that was active when the process died has ended, and nobody wrote how. If nobody had told the process to stop,
    /// it is held against its script.
    pub(super) fn note_interrupted_runs(&self) -> Result<(), StoreError> {
        let (from, to) = keys::ACTIVE_RUNS;
        let mut rows = Rows::new();
        let stopping = keys::document(DocumentKind::Suspect, STOPPING);
        let was_told_to = self.index.get(View::Applied, &stopping)?.is_some();
        if was_told_to {
            rows.insert(stopping, None);
        }
        for (key, _) in self.index.range(View::Applied, from, to, usize::MAX)? {
            let message = "the process ended while this run was active; what it had committed is kept, and the next run \
                           goes on from the last checkpoint or last sync date";
            let run_key = [b"r", key.get(1..).unwrap_or_default()].concat();
            let run = self.interrupt(run_key, message, None, &mut rows)?;
            // What is there of a script yet is what was there before: of several runs of it one counts.
            if let Some(run) = run.filter(|_| !was_told_to) {
                self.strike(&run, Offense::ProcessDied, &mut rows)?;
            }
            rows.insert(key, None);
        }
        if rows.is_empty() { Ok(()) } else { self.commit_rows(rows).map(drop) }
    }

    /// The row that says how a run ended, unless somebody said so already; then it is no run that was interrupted.
    fn interrupt(
        &self,
        run_key: Vec<u8>,
        message: &str,
        ended_at: Option<Timestamp>,
        rows: &mut Rows,
    ) -> Result<Option<Run>, StoreError> {
        if let Some(bytes) = self.index.get(View::Applied, &run_key)?
            && let Ok(mut run) = serde_json::from_slice::<Run>(&bytes)
            && run.outcome.is_none()
        {
            run.ended_at = ended_at;
            let (reason, message) = (StopReason::Interrupted, message.to_owned());
            run.outcome = Some(Outcome::Stopped(Stopped { reason, message, backtrace: Vec::new() }));
            rows.insert(run_key, Some(json(&run)?));
            return Ok(Some(run));
        }
        Ok(None)
    }

    fn sync_row(&self, sync: &SyncKey) -> Result<SyncRow, StoreError> {
        match self.index.get(View::Applied, &keys::sync(sync))? {
            Some(bytes) => parse(&bytes, "what a sync remembers"),
            None => Ok(SyncRow::default()),
        }
    }

    pub(super) fn saved_accounts(&self, sync: &SyncKey) -> Result<HashMap<ModelName, RoaringBitmap>, StoreError> {
        let (from, to) = keys::account_range(sync);
        let mut accounts = HashMap::new();
        for (key, value) in self.index.range(View::Applied, &from, &to, usize::MAX)? {
            let name = key.get(from.len()..).and_then(|name| std::str::from_utf8(name).ok());
            let seen = RoaringBitmap::deserialize_from(value.as_slice());
            if let (Some(Ok(model)), Ok(seen)) = (name.map(str::parse), seen) {
                accounts.insert(model, seen);
            }
        }
        Ok(accounts)
    }

    fn forget_accounts(&self, sync: &SyncKey, rows: &mut Rows) -> Result<(), StoreError> {
        let (from, to) = keys::account_range(sync);
        for (key, _) in self.index.range(View::Applied, &from, &to, usize::MAX)? {
            rows.insert(key, None);
        }
        Ok(())
    }
}

/// The rows of a run's accounts: those to `keep` as they are now, the others gone.
fn account_rows(
    sync: &SyncKey,
    run: &ActiveRun,
    keep: impl Fn(&Account) -> bool,
    rows: &mut Rows,
) -> Result<(), StoreError> {
    for (model, account) in &run.accounts {
        let mut bytes = Vec::with_capacity(account.seen.serialized_size());
        account.seen.serialize_into(&mut bytes).map_err(StoreError::io("write an account of deletes"))?;
        rows.insert(keys::account(sync, model.as_str()), keep(account).then_some(bytes));
    }
    Ok(())
}

/// The rows that say that a run has ended.
fn ended_rows(run: &Run, rows: &mut Rows) -> Result<(), StoreError> {
    rows.insert(keys::run(run.id), Some(json(run)?));
    rows.insert(keys::active(run.id), None);
    Ok(())
}

/// A checkpoint or metadata is a JSON object of so many bytes at most.
pub(in crate::store) fn check_state(what: &'static str, text: &str, max_bytes: usize) -> Result<(), StoreError> {
    let refuse = |reason| Err(StoreError::InvalidState { what, reason });
    if text.len() > max_bytes {
        return refuse(format!("it has {} bytes, over {max_bytes}", text.len()));
    }
    match canonical::validate_object(text) {
        Ok(()) => Ok(()),
        Err(error) => refuse(error.to_string()),
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::io("encode a row")(error.into()))
}

pub(super) fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8], what: &str) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Corrupt {
        what: format!("the row of {what} cannot be read: {error}"),
        next: super::SALVAGE,
    })
}
