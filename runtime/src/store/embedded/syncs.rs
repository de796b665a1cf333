//! Runs and what a sync remembers: leases, checkpoints, accounts of deletes, the end of a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::block::IndexEntry;
use super::commit::StreamCell;
use super::kv::{Rows, View};
use super::{Engine, keys, lock};
use crate::ids::{ModelName, RunId, StreamKey, SyncKey, Timestamp};
use crate::run::{Outcome, Run, StopReason, Stopped};
use crate::store::{
    DeleteGuard, Entry, Lease, MAX_BATCH_ENTRIES, MAX_CHECKPOINT_BYTES, ModelRule, RunStart, SaveSummary, StoreError,
    SyncState, canonical,
};

/// Index entries looked at together when a run's end searches for what it did not see: of those to delete the blocks are
/// unpacked once, so few at a time unpack each block many times. Some 300 bytes of memory each.
const ENTRIES_AT_ONCE: usize = 50_000;

/// The run that holds a sync's lease.
pub(super) struct ActiveRun {
    token: u64,
    run: RunId,
    lease_ms: u64,
    expires: Timestamp,
    accounts: HashMap<ModelName, Account>,
    /// Accounts saved with the checkpoint that this run goes on from, not opened again yet.
    saved: HashMap<ModelName, RoaringBitmap>,
}

/// The token of a lease that was given back or taken over; real ones begin at 1.
const RELEASED: u64 = 0;

impl ActiveRun {
    fn refuse_if_held(&self, now: Timestamp) -> Result<(), StoreError> {
        let held = self.token != RELEASED && self.expires > now;
        if held { Err(StoreError::SyncBusy(self.run)) } else { Ok(()) }
    }
}

/// Which records were saved since an account of deletes was opened.
#[derive(Default)]
struct Account {
    seen: RoaringBitmap,
    /// A full refresh's, which the run's success ends.
    refresh: bool,
    /// Ended by the script.
    ended: bool,
}

impl Account {
    fn deletes(&self) -> bool {
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
        self.interrupt(keys::run(expired.run), message, Some(now), rows)?;
        rows.insert(keys::active(expired.run), None);
        Ok(())
    }

    /// Runs `work` while the lease is known to hold: nobody takes the sync over before it returns.
    fn with_lease<T>(
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
            let cell = self.stream_to_write(&stream_of(lease, &model.name))?;
            let outcome = self.write_batch(&cell, model, entries, merge, now)?;
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
            let Some(cell) = self.stream(&stream_of(lease, model))? else { return Ok(0) };
            let mut head = lock(&cell.head);
            let mut doomed: Vec<(String, IndexEntry)> = Vec::new();
            let mut given = std::collections::HashSet::new();
            for id in ids {
                if given.insert(id)
                    && let Some(entry) = self.index_entry(cell.number, id)?
                    && entry.is_live()
                {
                    doomed.push((id.clone(), entry));
                }
            }
            let count = u32::try_from(doomed.len()).unwrap_or(u32::MAX);
            self.delete_entries(cell.number, &mut head, &doomed, now)?;
            if let Some(account) = run.accounts.get_mut(model) {
                for (_, entry) in &doomed {
                    account.seen.remove(entry.number);
                }
            }
            Ok(count)
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
            let stream = stream_of(lease, model);
            let count = match self.stream(&stream)? {
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
        let position = self.with_lease(lease, |run| {
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
        self.wait_durable(position)
    }

    pub(super) fn finish_run(&self, lease: &Lease, run: &mut Run, guard: &DeleteGuard) -> Result<(), StoreError> {
        let succeeded = run.outcome == Some(Outcome::Succeeded);
        let ended = run.ended_at.unwrap_or(run.started_at);
        let position = self.with_lease(lease, |active| {
            let mut row = self.sync_row(&lease.sync)?;
            let mut rows = Rows::new();
            if succeeded {
                run.changes.deleted += self.delete_unseen(lease, active, guard, ended)?;
                row.state.last_sync_date = Some(run.started_at);
                if row.state.checkpoint.is_some() {
                    // What a script tracks over several runs goes on with its checkpoint, also if this run left it alone.
                    account_rows(&lease.sync, active, |account| !account.deletes(), &mut rows)?;
                } else {
                    self.forget_accounts(&lease.sync, &mut rows)?;
                }
                rows.insert(keys::sync(&lease.sync), Some(json(&row)?));
            }
            rows.insert(keys::run(run.id), Some(json(run)?));
            rows.insert(keys::active(run.id), None);
            let position = self.commit_rows(rows)?;
            active.token = RELEASED;
            Ok(position)
        })?;
        let mut active = lock(&self.active);
        if active.get(&lease.sync).is_some_and(|current| lock(current).token == RELEASED) {
            active.remove(&lease.sync);
        }
        drop(active);
        self.wait_durable(position)
    }

    /// Deletes what the accounts that end now did not see. All are checked by the guard before the first delete.
    fn delete_unseen(
        &self,
        lease: &Lease,
        active: &ActiveRun,
        guard: &DeleteGuard,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut due = Vec::new();
        for (model, account) in active.accounts.iter().filter(|(_, account)| account.deletes()) {
            let stream = stream_of(lease, model);
            if let Some(cell) = self.stream(&stream)?
                && self.would_delete(&stream, &cell, account, guard)? > 0
            {
                due.push((cell, account));
            }
        }
        let mut deleted = 0;
        for (cell, account) in due {
            let mut head = lock(&cell.head);
            let (mut from, to) = keys::index_range(cell.number);
            while let Some(live) = self.next_live_entries(&mut from, &to)? {
                let mut doomed: Vec<_> =
                    live.into_iter().filter(|(_, entry)| !account.seen.contains(entry.number)).collect();
                // In the order of their blocks, so that each is unpacked once and not once a record.
                doomed.sort_unstable_by_key(|(_, entry)| entry.sequence);
                deleted += doomed.len() as u64;
                let (mut rest, mut size) = (doomed.as_slice(), MAX_BATCH_ENTRIES);
                while !rest.is_empty() {
                    let (chunk, after) = rest.split_at(rest.len().min(size));
                    match self.delete_entries(cell.number, &mut head, chunk, now) {
                        Err(StoreError::BatchTooLarge(_)) if chunk.len() > 1 => size = chunk.len() / 2,
                        result => {
                            result?;
                            rest = after;
                        }
                    }
                }
            }
        }
        Ok(deleted)
    }

    /// The records that exist among the next index entries; `None` after the last. Moves `from` behind them.
    fn next_live_entries(
        &self,
        from: &mut Vec<u8>,
        to: &[u8],
    ) -> Result<Option<Vec<(String, IndexEntry)>>, StoreError> {
        let rows = self.kv.range(View::Applied, from, to, ENTRIES_AT_ONCE)?;
        let Some((last, _)) = rows.last() else { return Ok(None) };
        *from = [last.as_slice(), &[0]].concat();
        let mut live = Vec::with_capacity(rows.len());
        for (key, value) in &rows {
            let entry = IndexEntry::decode(value)?;
            if entry.is_live()
                && let Some(id) = keys::index_id(key)
            {
                live.push((id.to_owned(), entry));
            }
        }
        Ok(Some(live))
    }

    /// How many records an account's end deletes, if the guard lets it.
    #[expect(clippy::cast_precision_loss, reason = "a share of counts; no count here comes near 2⁵³")]
    fn would_delete(
        &self,
        stream: &StreamKey,
        cell: &StreamCell,
        account: &Account,
        guard: &DeleteGuard,
    ) -> Result<u64, StoreError> {
        let (live, saved) = self.live_and_saved(cell, account)?;
        let count = live.saturating_sub(saved);
        let guarded = !guard.allow && count > 0 && live >= guard.min_records;
        if guarded && (saved == 0 || count as f64 > live as f64 * guard.max_share) {
            return Err(StoreError::DeleteGuard { stream: Box::new(stream.clone()), would_delete: count, live, saved });
        }
        Ok(count)
    }

    /// How many records exist, and how many of those the account has seen.
    fn live_and_saved(&self, cell: &StreamCell, account: &Account) -> Result<(u64, u64), StoreError> {
        let head = *lock(&cell.head);
        // Where every record that ever was still exists, so does every one in the account.
        if account.seen.is_empty() || head.live == u64::from(head.next_number) {
            return Ok((head.live, account.seen.len()));
        }
        // Otherwise another script may have deleted what this account has seen, now or before a checkpoint.
        let (mut live, mut saved) = (0, 0);
        let (mut from, to) = keys::index_range(cell.number);
        while let Some(entries) = self.next_live_entries(&mut from, &to)? {
            live += entries.len() as u64;
            saved += entries.iter().filter(|(_, entry)| account.seen.contains(entry.number)).count() as u64;
        }
        Ok((live, saved))
    }

    pub(super) fn reset(&self, sync: &SyncKey, now: Timestamp) -> Result<(), StoreError> {
        let position = {
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
            let position = self.commit_rows(rows)?;
            if let Some(current) = &mut current {
                current.token = RELEASED;
            }
            position
        };
        self.wait_durable(position)
    }

    /// A run that was active when the process died has ended, and nobody wrote how.
    pub(super) fn note_interrupted_runs(&self) -> Result<(), StoreError> {
        let (from, to) = keys::ACTIVE_RUNS;
        let mut rows = Rows::new();
        for (key, _) in self.kv.range(View::Applied, from, to, usize::MAX)? {
            let message = "the process ended while this run was active; what it had committed is kept, and the next run \
                           goes on from the last checkpoint or last sync date";
            self.interrupt([b"r", key.get(1..).unwrap_or_default()].concat(), message, None, &mut rows)?;
            rows.insert(key, None);
        }
        if rows.is_empty() { Ok(()) } else { self.commit_rows(rows).map(drop) }
    }

    /// The row that says how a run ended, unless somebody said so already.
    fn interrupt(
        &self,
        run_key: Vec<u8>,
        message: &str,
        ended_at: Option<Timestamp>,
        rows: &mut Rows,
    ) -> Result<(), StoreError> {
        if let Some(bytes) = self.kv.get(View::Applied, &run_key)?
            && let Ok(mut run) = serde_json::from_slice::<Run>(&bytes)
            && run.outcome.is_none()
        {
            run.ended_at = ended_at;
            let (reason, message) = (StopReason::Interrupted, message.to_owned());
            run.outcome = Some(Outcome::Stopped(Stopped { reason, message, backtrace: Vec::new() }));
            rows.insert(run_key, Some(json(&run)?));
        }
        Ok(())
    }

    fn sync_row(&self, sync: &SyncKey) -> Result<SyncRow, StoreError> {
        match self.kv.get(View::Applied, &keys::sync(sync))? {
            Some(bytes) => parse(&bytes, "what a sync remembers"),
            None => Ok(SyncRow::default()),
        }
    }

    fn saved_accounts(&self, sync: &SyncKey) -> Result<HashMap<ModelName, RoaringBitmap>, StoreError> {
        let (from, to) = keys::account_range(sync);
        let mut accounts = HashMap::new();
        for (key, value) in self.kv.range(View::Applied, &from, &to, usize::MAX)? {
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
        for (key, _) in self.kv.range(View::Applied, &from, &to, usize::MAX)? {
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

fn stream_of(lease: &Lease, model: &ModelName) -> StreamKey {
    StreamKey { connection: lease.sync.connection.clone(), model: model.clone(), variant: lease.sync.variant.clone() }
}

/// A checkpoint or metadata is a JSON object of so many bytes at most.
pub(super) fn check_state(what: &'static str, text: &str, max_bytes: usize) -> Result<(), StoreError> {
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
        next: "Restore the data directory from a backup",
    })
}
