//! Bare sled, a row a record: one tree, `r` + id → digest, sequence and JSON, `s` + sequence → id; a batch is one
//! `apply_batch`. sled's own flusher writes every 50 ms, and the end of a pass flushes.

use std::path::Path;

use terapi::store::Entry;

use super::{CACHE_BYTES, Change, Engine, GROUP_INTERVAL, PAGE, Row, digest};

pub(super) struct Sled {
    db: sled::Db,
    sequence: u64,
}

impl Sled {
    pub(super) fn open(dir: &Path) -> Self {
        let interval = u64::try_from(GROUP_INTERVAL.as_millis()).unwrap();
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES.into()).flush_every_ms(Some(interval));
        let db = config.open().unwrap();
        let last = db.scan_prefix(b"s").next_back().map(|row| row.unwrap().0);
        let sequence = last.map_or(0, |key| u64::from_be_bytes(key[1..].try_into().unwrap()));
        Self { db, sequence }
    }
}

impl Engine for Sled {
    fn save(&mut self, entries: &[Entry]) -> usize {
        let (mut batch, mut written) = (sled::Batch::default(), 0);
        for entry in entries {
            let (key, digest) = ([b"r", entry.id.as_bytes()].concat(), digest(&entry.data));
            let old = self.db.get(&key).unwrap();
            if old.as_ref().is_some_and(|old| Row::digest(old) == digest) {
                continue;
            }
            if let Some(old) = old {
                batch.remove([b"s", Row::sequence(&old)].concat());
            }
            self.sequence += 1;
            written += 1;
            batch.insert(key, Row::encode(digest, self.sequence, &entry.data));
            batch.insert([&b"s"[..], &self.sequence.to_be_bytes()].concat(), entry.id.as_bytes());
        }
        if written > 0 {
            self.db.apply_batch(batch).unwrap();
        }
        written
    }

    fn end(&mut self) {
        self.db.flush().unwrap();
    }

    fn feed(&mut self) -> u64 {
        let (mut read, mut after) = (0, 0_u64);
        loop {
            let from = [&b"s"[..], &(after + 1).to_be_bytes()].concat();
            let rows = self.db.range(from..vec![b's' + 1]).take(PAGE);
            let page: Vec<Change> = rows
                .map(|row| {
                    let (key, id) = row.unwrap();
                    let row = self.db.get([b"r", &id[..]].concat()).unwrap().unwrap();
                    let sequence = u64::from_be_bytes(key[1..].try_into().unwrap());
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
