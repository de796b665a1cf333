//! fjall, a row a record: two keyspaces, id → digest, sequence and JSON, and sequence → id; a batch is one write
//! batch over both. The journal is synced (`fdatasync`) every 50 ms and at the end of a pass. Defaults, but for the cache.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use terapi::store::Entry;

use super::{CACHE_BYTES, Change, Engine, PAGE, Pace, Row, digest};

pub(super) struct Fjall {
    db: Database,
    records: Keyspace,
    changes: Keyspace,
    sequence: u64,
    pace: Pace,
}

impl Fjall {
    pub(super) fn open(dir: &Path) -> Self {
        let db = Database::builder(dir).cache_size(CACHE_BYTES.into()).open().unwrap();
        let records = db.keyspace("records", KeyspaceCreateOptions::default).unwrap();
        let changes = db.keyspace("changes", KeyspaceCreateOptions::default).unwrap();
        let last = changes.last_key_value().map(|row| row.key().unwrap());
        let sequence = last.map_or(0, |key| u64::from_be_bytes(key[..].try_into().unwrap()));
        Self { db, records, changes, sequence, pace: Pace::new() }
    }
}

impl Engine for Fjall {
    fn save(&mut self, entries: &[Entry]) -> usize {
        let (mut batch, mut written) = (self.db.batch(), 0);
        for entry in entries {
            let digest = digest(&entry.data);
            let old = self.records.get(&entry.id).unwrap();
            if old.as_ref().is_some_and(|old| Row::digest(old) == digest) {
                continue;
            }
            if let Some(old) = old {
                batch.remove(&self.changes, Row::sequence(&old));
            }
            self.sequence += 1;
            written += 1;
            batch.insert(&self.records, entry.id.as_bytes(), Row::encode(digest, self.sequence, &entry.data));
            batch.insert(&self.changes, self.sequence.to_be_bytes(), entry.id.as_bytes());
        }
        if written > 0 {
            batch.commit().unwrap();
            if self.pace.due() {
                self.db.persist(PersistMode::SyncData).unwrap();
            }
        }
        written
    }

    fn end(&mut self) {
        self.db.persist(PersistMode::SyncData).unwrap();
    }

    fn feed(&mut self) -> u64 {
        let (mut read, mut after) = (0, 0_u64);
        loop {
            let rows = self.changes.range((after + 1).to_be_bytes()..).take(PAGE);
            let page: Vec<Change> = rows
                .map(|row| {
                    let (key, id) = row.into_inner().unwrap();
                    let row = self.records.get(&id).unwrap().unwrap();
                    let sequence = u64::from_be_bytes(key[..].try_into().unwrap());
                    (sequence, String::from_utf8(id.to_vec()).unwrap(), Row::data(&row))
                })
                .collect();
            let Some((last, ..)) = page.last() else { return read };
            after = *last;
            read += std::hint::black_box(page).len() as u64;
        }
    }

    fn close(self: Box<Self>) {}
}
