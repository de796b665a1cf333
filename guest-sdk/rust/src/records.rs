//! Saving records, and reading saved ones.
//!
//! Save each page as it comes and let go of it: memory stays flat, however many records there are.

use std::borrow::Cow;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::bindings::host::terapi::sync::records as host;
use crate::bindings::host::terapi::sync::records::EntryParam;
use crate::error::{self, Error, Result};
use crate::model::{self, Model, RecordId};

/// The most entries that the host takes in one call.
const BATCH_ENTRIES: usize = 1_000;
/// A batch is sent once its JSON is this long. The host takes 8 MiB, but a script's memory is counted too, and beyond
/// some hundred records a larger batch saves nothing.
const BATCH_BYTES: usize = 1 << 20;
/// Records in one call of `list`: with the host's own limit of 4 MiB it is a page that fits in a small script.
const LIST_PAGE: u32 = 500;

/// What saving did, summed up over the batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Saved {
    /// New, or deleted before.
    pub added: u64,
    /// Known, and different now.
    pub updated: u64,
    /// Known, and the same; nothing was written.
    pub unchanged: u64,
    /// Ids that stood in a batch more than once: the last one counted.
    pub repeated: u64,
}

impl AddAssign<host::SaveSummary> for Saved {
    fn add_assign(&mut self, summary: host::SaveSummary) {
        self.added += u64::from(summary.added);
        self.updated += u64::from(summary.updated);
        self.unchanged += u64::from(summary.unchanged);
        self.repeated += u64::from(summary.repeated);
    }
}

/// A saved record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its JSON.
    pub data: String,
}

impl Record {
    /// The JSON as a type that may borrow from it.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_str(&self.data)
            .map_err(|error| Error::from(error).context(format!("reading the record `{}`", self.id)))
    }
}

/// Saves records, given by value or by reference; any number of them, also none.
///
/// The host takes up to 1,000 records or 1 MiB of them at a time, each batch all or none, so of more than that the
/// first may be saved when this fails. That does no harm: saving a record again that did not change is free.
pub fn batch_save<M: Model>(records: impl IntoIterator<Item = M>) -> Result<Saved> {
    save(M::NAME, "saving", records, host::batch_save, |record, batch| batch.push_record(&record))
}

/// Saves JSON objects as they are, without a type for their fields: ids, and objects that are or hold a record of `M`. The
/// object must have the string `id` itself.
pub fn batch_save_raw<'a, M: Model>(records: impl IntoIterator<Item = (impl RecordId, &'a RawValue)>) -> Result<Saved> {
    save(M::NAME, "saving", records, host::batch_save, |(id, data), batch| {
        batch.push(&id.as_text(), |out| {
            out.extend_from_slice(data.get().as_bytes());
            Ok(())
        })
    })
}

/// Changes some top-level fields of records of `M`: ids, and objects with those fields but no `id`. Other fields stay; a
/// field that is null becomes null. An unknown id is added with what is given.
pub fn batch_update<M: Model>(changes: impl IntoIterator<Item = (impl RecordId, impl Serialize)>) -> Result<Saved> {
    save(M::NAME, "updating", changes, host::batch_update, |(id, change), batch| {
        let id = id.as_text();
        batch.push(&id, |out| model::write_json_with_id(&id, &change, out))
    })
}

/// Marks records of `M` as deleted and returns how many of them there were. Unknown ids leave no trace.
pub fn batch_delete<M: Model>(ids: impl IntoIterator<Item = impl RecordId>) -> Result<u64> {
    let ids = texts(ids);
    let mut deleted = 0;
    for chunk in ids.chunks(BATCH_ENTRIES) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let count = host::batch_delete(M::NAME, &chunk).map_err(|error| {
            error::from_records(&format!("deleting {}", M::NAME), error, |at| name(chunk.get(at).copied()))
        })?;
        deleted += u64::from(count);
    }
    Ok(deleted)
}

/// The records of `M` with these ids that exist and are not deleted, in the order asked.
pub fn get_by_ids<M: Model>(ids: impl IntoIterator<Item = impl RecordId>) -> Result<Vec<Record>> {
    let ids = texts(ids);
    let mut found = Vec::new();
    for chunk in ids.chunks(BATCH_ENTRIES) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let entries = host::get_by_ids(M::NAME, &chunk).map_err(|error| {
            error::from_records(&format!("reading {}", M::NAME), error, |at| name(chunk.get(at).copied()))
        })?;
        found.extend(entries.into_iter().map(Record::from));
    }
    Ok(found)
}

/// All records of `M` that exist, those that changed longest ago first; fetched page by page. Ends after the first error.
pub fn list<M: Model>() -> impl Iterator<Item = Result<Record>> {
    let mut after = Some(None::<String>);
    std::iter::from_fn(move || {
        let page = host::list(M::NAME, after.take()?.as_deref(), LIST_PAGE);
        Some(match page {
            Ok(page) => {
                after = page.next.map(Some);
                page.entries.into_iter().map(|entry| Ok(Record::from(entry))).collect()
            }
            Err(error) => {
                vec![Err(error::from_records(&format!("listing {}", M::NAME), error, |at| format!("entry {at}")))]
            }
        })
    })
    .flatten()
}

/// From now on Terapi notes which records of `M` are saved, until [`track_deletes_end`]. The account spans runs: a run that
/// goes on from a checkpoint calls this again, and nothing is forgotten. (A full refresh needs none of this.)
pub fn track_deletes_start<M: Model>() -> Result<()> {
    host::track_deletes_start(M::NAME).map_err(|error| {
        error::from_records(&format!("tracking deletes of {}", M::NAME), error, |at| format!("entry {at}"))
    })
}

/// Marks for deletion what was not saved since [`track_deletes_start`], and returns how many records that is. They are
/// deleted when this run succeeds.
pub fn track_deletes_end<M: Model>() -> Result<u64> {
    host::track_deletes_end(M::NAME).map_err(|error| {
        error::from_records(&format!("deleting what is gone of {}", M::NAME), error, |at| format!("entry {at}"))
    })
}

/// The ids of the records of `M` that [`track_deletes_end`] would mark now: those not saved since [`track_deletes_start`].
/// Fetched page by page. Ends after the first error.
pub fn unseen<M: Model>() -> impl Iterator<Item = Result<String>> {
    let mut after = Some(None::<String>);
    std::iter::from_fn(move || {
        let page = host::unseen(M::NAME, after.take()?.as_deref(), LIST_PAGE);
        Some(match page {
            Ok(page) => {
                after = page.next.map(Some);
                page.ids.into_iter().map(Ok).collect()
            }
            Err(error) => {
                let doing = format!("listing what was not saved of {}", M::NAME);
                vec![Err(error::from_records(&doing, error, |at| format!("entry {at}")))]
            }
        })
    })
    .flatten()
}

impl From<host::EntryResult> for Record {
    fn from(entry: host::EntryResult) -> Self {
        Self { id: entry.id, data: entry.data }
    }
}

fn texts(ids: impl IntoIterator<Item = impl RecordId>) -> Vec<String> {
    ids.into_iter().map(|id| id.as_text().into_owned()).collect()
}

fn name(id: Option<&str>) -> String {
    id.map_or_else(|| "a record".to_owned(), |id| format!("record `{id}`"))
}

/// A batch on its way: one buffer for all ids and one for all JSON, because a buffer for each record would be grown,
/// and its content moved, several times over.
#[derive(Debug, Default)]
struct Batch {
    ids: String,
    data: Vec<u8>,
    /// Where the id and the JSON of each entry end.
    ends: Vec<(usize, usize)>,
}

impl Batch {
    fn push_record(&mut self, record: &impl Model) -> Result<()> {
        self.push(&record.id(), |out| record.write_json(out))
    }

    fn push(&mut self, id: &str, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        write(&mut self.data).map_err(|error| error.context(name(Some(id))))?;
        self.ids.push_str(id);
        self.ends.push((self.ids.len(), self.data.len()));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= BATCH_ENTRIES || self.data.len() >= BATCH_BYTES
    }

    fn entries(&self) -> Result<Vec<EntryParam<'_>>> {
        let data = std::str::from_utf8(&self.data)?;
        let mut from = (0, 0);
        let mut entries = Vec::with_capacity(self.ends.len());
        for &to in &self.ends {
            let (id, data) = (self.ids.get(from.0..to.0), data.get(from.1..to.1));
            entries.push(EntryParam { id: id.unwrap_or_default(), data: data.unwrap_or_default() });
            from = to;
        }
        Ok(entries)
    }

    fn clear(&mut self) {
        self.ids.clear();
        self.data.clear();
        self.ends.clear();
    }
}

fn save<T>(
    model: &str,
    doing: &str,
    records: impl IntoIterator<Item = T>,
    mut send: impl FnMut(&str, &[EntryParam<'_>]) -> Result<host::SaveSummary, host::Error>,
    mut push: impl FnMut(T, &mut Batch) -> Result<()>,
) -> Result<Saved> {
    let mut saved = Saved::default();
    let mut batch = Batch::default();
    let mut flush = |batch: &mut Batch| -> Result<()> {
        let entries = batch.entries()?;
        saved += send(model, &entries).map_err(|error| {
            error::from_records(&format!("{doing} {model}"), error, |at| name(entries.get(at).map(|entry| entry.id)))
        })?;
        batch.clear();
        Ok(())
    };
    for record in records {
        push(record, &mut batch).map_err(|error| error.context(Cow::Owned::<str>(format!("{doing} {model}"))))?;
        if batch.is_full() {
            flush(&mut batch)?;
        }
    }
    if !batch.ends.is_empty() {
        flush(&mut batch)?;
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::unnecessary_wraps)]

    use super::*;

    #[crate::model]
    struct Thing {
        id: usize,
        text: String,
    }

    fn things(count: usize, bytes: usize) -> Vec<Thing> {
        (0..count).map(|id| Thing { id, text: "x".repeat(bytes) }).collect()
    }

    /// The batches that the host is handed, as (first id, entries, bytes).
    fn batches<M: Model>(records: impl IntoIterator<Item = M>) -> (Result<Saved>, Vec<(String, usize, usize)>) {
        let mut seen = Vec::new();
        let send = |_: &str, entries: &[EntryParam<'_>]| {
            let bytes = entries.iter().map(|entry| entry.data.len()).sum();
            seen.push((entries.first().unwrap().id.to_owned(), entries.len(), bytes));
            let added = u32::try_from(entries.len()).unwrap();
            Ok(host::SaveSummary { added, updated: 0, unchanged: 0, repeated: 0 })
        };
        let saved = save(M::NAME, "saving", records, send, |record, batch| batch.push_record(&record));
        (saved, seen)
    }

    #[test]
    fn any_number_of_records_is_split_into_batches_that_the_host_takes() {
        let (saved, seen) = batches(things(2_500, 10).iter());
        assert_eq!(saved.unwrap().added, 2_500);
        assert_eq!(
            seen.iter().map(|(id, count, _)| (id.as_str(), *count)).collect::<Vec<_>>(),
            [("0", 1_000), ("1000", 1_000), ("2000", 500)]
        );
    }

    #[test]
    fn large_records_make_smaller_batches() {
        let (_, seen) = batches(things(10, 300_000));
        assert_eq!(seen.iter().map(|(_, count, _)| *count).collect::<Vec<_>>(), [4, 4, 2]);
        assert!(seen.iter().all(|(_, _, bytes)| *bytes < 2 * BATCH_BYTES));
    }

    #[test]
    fn nothing_to_save_asks_nothing_of_the_host() {
        let (saved, seen) = batches(Vec::<Thing>::new());
        assert_eq!((saved.unwrap(), seen.len()), (Saved::default(), 0));
    }

    #[test]
    fn each_entry_has_its_own_id_and_json() {
        let mut batch = Batch::default();
        for thing in things(3, 1) {
            batch.push_record(&thing).unwrap();
        }
        let entries: Vec<_> = batch.entries().unwrap().into_iter().map(|entry| (entry.id, entry.data)).collect();
        assert_eq!(
            entries,
            [("0", r#"{"id":"0","text":"x"}"#), ("1", r#"{"id":"1","text":"x"}"#), ("2", r#"{"id":"2","text":"x"}"#)]
        );
    }

    #[test]
    fn a_refused_record_is_named() {
        let send = |_: &str, _: &[EntryParam<'_>]| Err(host::Error::Invalid((1, "id is empty".into())));
        let error = save("Thing", "saving", things(2, 1), send, |thing, batch| batch.push_record(&thing)).unwrap_err();
        assert_eq!(error.message(), "saving Thing: record `1`: id is empty");
    }
}
