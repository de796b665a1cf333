//! `terapi:sync/records`: everything is the store's work; here are budgets, models and the texts of errors.

use std::sync::Arc;

use super::{HostState, RunHost};
use crate::ids::StreamKey;
use crate::sandbox::bindings::records::{Entry, Error, Host, Listing, SaveSummary, UnseenIds};
use crate::sandbox::limits::{Budget, RunMeter};
use crate::store::{self, Lease, ModelRule, Store, StoreError};

/// What one `list` returns at most, in bytes of JSON.
const MAX_LIST_BYTES: usize = 4 << 20;
/// What one `list` or `get-by-ids` returns at most, in records.
const MAX_READ_RECORDS: usize = 1_000;
/// Records that `get-by-ids` reads before it counts them: at most 8 MiB.
const READ_AT_ONCE: usize = 8;

impl Host for HostState {
    async fn batch_save(&mut self, model: String, entries: Vec<Entry>) -> wasmtime::Result<Result<SaveSummary, Error>> {
        self.write(model, entries, false).await
    }

    async fn batch_update(
        &mut self,
        model: String,
        entries: Vec<Entry>,
    ) -> wasmtime::Result<Result<SaveSummary, Error>> {
        self.write(model, entries, true).await
    }

    async fn batch_delete(&mut self, model: String, ids: Vec<String>) -> wasmtime::Result<Result<u32, Error>> {
        let (run, meter, _) = self.enter()?;
        let bytes = ids.iter().map(String::len).sum();
        let (lease, model) = match run.writer(&model).and_then(|it| charge(meter, ids.len(), bytes).map(|()| it)) {
            Ok(it) => it,
            Err(error) => return Ok(Err(error)),
        };
        let now = run.clock.now();
        let deleted = run.ask_store(move |store| store.delete(&lease, &model.name, &ids, now)).await?;
        Ok(deleted
            .inspect(|deleted| {
                run.changes.deleted += u64::from(*deleted);
                run.show_progress();
            })
            .map_err(Error::from))
    }

    async fn get_by_ids(&mut self, model: String, ids: Vec<String>) -> wasmtime::Result<Result<Vec<Entry>, Error>> {
        let (run, meter, _) = self.enter()?;
        if ids.len() > MAX_READ_RECORDS {
            return Ok(Err(Error::BatchTooLarge(format!("{} ids, over {MAX_READ_RECORDS}", ids.len()))));
        }
        let stream = match run.stream(&model) {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        // A few at a time, each counted before the next: a thousand ids can stand for a gigabyte.
        let counted = Arc::clone(meter);
        let sync = run.lease.as_ref().map(|lease| lease.sync.clone());
        let read = move |store: &dyn Store| {
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for some in ids.chunks(READ_AT_ONCE) {
                let more = store.get(&stream, sync.as_ref(), some)?;
                let weight = weight(&more);
                bytes += weight;
                entries.extend(more);
                if counted.take_memory(weight).is_err() {
                    break;
                }
            }
            Ok((entries, bytes))
        };
        match run.ask_store(read).await? {
            Ok((entries, bytes)) => {
                meter.check_memory()?;
                run.handed_over += bytes;
                Ok(Ok(entries.into_iter().map(Entry::from).collect()))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn list(
        &mut self,
        model: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Listing, Error>> {
        let (run, meter, _) = self.enter()?;
        let stream = match run.stream(&model) {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        let limit = (limit as usize).min(MAX_READ_RECORDS);
        let sync = run.lease.as_ref().map(|lease| lease.sync.clone());
        let list = move |store: &dyn Store| store.list(&stream, sync.as_ref(), after.as_deref(), limit, MAX_LIST_BYTES);
        let listing = run.ask_store(list).await?;
        match listing {
            Ok(listing) => {
                let entries = run.hand_over_entries(meter, listing.entries)?;
                Ok(Ok(Listing { entries, next: listing.next }))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn track_deletes_start(&mut self, model: String) -> wasmtime::Result<Result<(), Error>> {
        let (run, _, _) = self.enter()?;
        run.ended.remove(&model);
        let (lease, model) = match run.writer(&model) {
            Ok(it) => it,
            Err(error) => return Ok(Err(error)),
        };
        Ok(run.ask_store(move |store| store.track_deletes_start(&lease, &model.name)).await?.map_err(Error::from))
    }

    async fn track_deletes_end(&mut self, model: String) -> wasmtime::Result<Result<u64, Error>> {
        let (run, _, _) = self.enter()?;
        let (lease, rule) = match run.open_account(&model) {
            Ok(it) => it,
            Err(error) => return Ok(Err(error)),
        };
        let guard = run.guard.clone();
        let count = run.ask_store(move |store| store.track_deletes_end(&lease, &rule.name, &guard)).await?;
        if count.is_ok() {
            run.ended.insert(model);
        }
        Ok(count.map_err(Error::from))
    }

    async fn unseen(
        &mut self,
        model: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<UnseenIds, Error>> {
        let (run, meter, _) = self.enter()?;
        let (lease, model) = match run.open_account(&model) {
            Ok(it) => it,
            Err(error) => return Ok(Err(error)),
        };
        let limit = (limit as usize).min(MAX_READ_RECORDS);
        let found = run.ask_store(move |store| store.unseen(&lease, &model.name, after.as_deref(), limit)).await?;
        match found {
            Ok(found) => {
                let bytes = found.ids.iter().map(|id| id.len() as u64).sum();
                meter.take_memory(bytes)?;
                run.handed_over += bytes;
                Ok(Ok(UnseenIds { ids: found.ids, next: found.next }))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl HostState {
    async fn write(
        &mut self,
        model: String,
        entries: Vec<Entry>,
        merge: bool,
    ) -> wasmtime::Result<Result<SaveSummary, Error>> {
        let (run, meter, _) = self.enter()?;
        let bytes: usize = entries.iter().map(|entry| entry.id.len() + entry.data.len()).sum();
        let (lease, model) = match run.writer(&model).and_then(|it| charge(meter, entries.len(), bytes).map(|()| it)) {
            Ok(it) => it,
            Err(error) => return Ok(Err(error)),
        };
        // The batch is in the host now, besides the guest's own copy.
        meter.take_memory(bytes as u64)?;
        let now = run.clock.now();
        let entries: Vec<_> =
            entries.into_iter().map(|entry| store::Entry { id: entry.id, data: entry.data }).collect();
        let summary = run
            .ask_store(move |store| {
                if merge {
                    store.update(&lease, &model, &entries, now)
                } else {
                    store.save(&lease, &model, &entries, now)
                }
            })
            .await;
        meter.give_memory(bytes as u64);
        Ok(summary?
            .map(|summary| {
                run.changes.added += u64::from(summary.added);
                run.changes.updated += u64::from(summary.updated);
                run.changes.unchanged += u64::from(summary.unchanged);
                run.show_progress();
                SaveSummary {
                    added: summary.added,
                    updated: summary.updated,
                    unchanged: summary.unchanged,
                    repeated: summary.repeated,
                }
            })
            .map_err(Error::from))
    }
}

impl RunHost {
    /// What a write needs: the lease, and the model by its name.
    fn writer(&self, model: &str) -> Result<(Lease, ModelRule), Error> {
        let rule = self.models.get(model).ok_or_else(|| Error::UnknownModel(model.chars().take(80).collect()))?;
        let lease = self.lease.clone().ok_or_else(|| {
            Error::NotAllowed("an action does not write records: let the sync fetch what the action changed".to_owned())
        })?;
        Ok((lease, rule.clone()))
    }

    /// What the end of an account of deletes needs. The store keeps what was ended until the run's end, for that is when it
    /// deletes; to the script it is over.
    fn open_account(&self, model: &str) -> Result<(Lease, ModelRule), Error> {
        let (lease, rule) = self.writer(model)?;
        if self.ended.contains(model) {
            return Err(StoreError::NotTracking(rule.name).into());
        }
        Ok((lease, rule))
    }

    fn stream(&self, model: &str) -> Result<StreamKey, Error> {
        let rule = self.models.get(model).ok_or_else(|| Error::UnknownModel(model.chars().take(80).collect()))?;
        Ok(StreamKey { connection: self.connection.clone(), model: rule.name.clone(), variant: self.variant.clone() })
    }

    fn hand_over_entries(&mut self, meter: &RunMeter, entries: Vec<store::Entry>) -> wasmtime::Result<Vec<Entry>> {
        let bytes = weight(&entries);
        meter.take_memory(bytes)?;
        self.handed_over += bytes;
        Ok(entries.into_iter().map(Entry::from).collect())
    }
}

fn weight(entries: &[store::Entry]) -> u64 {
    entries.iter().map(|entry| (entry.id.len() + entry.data.len()) as u64).sum()
}

impl From<store::Entry> for Entry {
    fn from(entry: store::Entry) -> Self {
        Self { id: entry.id, data: entry.data }
    }
}

fn charge(meter: &RunMeter, records: usize, bytes: usize) -> Result<(), Error> {
    meter
        .spend(Budget::Records, records as u64)
        .and_then(|()| meter.spend(Budget::RecordBytes, bytes as u64))
        .map_err(|budget| Error::Exhausted(budget.into()))
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InvalidRecord { index, reason } => {
                Self::Invalid((u32::try_from(index).unwrap_or(u32::MAX), reason))
            }
            StoreError::BatchTooLarge(_) => Self::BatchTooLarge(error.to_string()),
            StoreError::LeaseLost => Self::LeaseLost,
            StoreError::NotTracking(_) | StoreError::BadCursor(_) => Self::NotAllowed(error.to_string()),
            StoreError::DeleteGuard { .. } => Self::DeleteGuard(error.to_string()),
            other => Self::Storage(other.to_string()),
        }
    }
}
