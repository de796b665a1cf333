//! SQLite: WAL, `synchronous=NORMAL`, prepared statements, a transaction a batch; one table, an index on the sequence.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};
use terapi::store::Entry;

use super::{CACHE_BYTES, Change, Engine, PAGE, digest};

pub(super) struct Sqlite {
    db: Connection,
    sequence: u64,
}

impl Sqlite {
    pub(super) fn open(dir: &Path) -> Self {
        let db = Connection::open(dir.join("records.sqlite")).unwrap();
        db.pragma_update(None, "journal_mode", "WAL").unwrap();
        db.pragma_update(None, "synchronous", "NORMAL").unwrap();
        db.pragma_update(None, "cache_size", -(i64::from(CACHE_BYTES) >> 10)).unwrap();
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS records (
                id TEXT PRIMARY KEY, seq INTEGER NOT NULL, digest BLOB NOT NULL, json TEXT NOT NULL
             );
             CREATE INDEX IF NOT EXISTS changes ON records (seq);",
        )
        .unwrap();
        let last: Option<i64> = db.query_row("SELECT max(seq) FROM records", (), |row| row.get(0)).unwrap();
        Self { db, sequence: last.unwrap_or(0).try_into().unwrap() }
    }
}

impl Engine for Sqlite {
    fn save(&mut self, entries: &[Entry]) -> usize {
        let mut written = 0;
        // The cache of prepared statements is asked once a batch.
        self.db.prepare_cached("BEGIN IMMEDIATE").unwrap().execute(()).unwrap();
        let mut find = self.db.prepare_cached("SELECT digest FROM records WHERE id = ?1").unwrap();
        let mut put = self
            .db
            .prepare_cached(
                "INSERT INTO records (id, seq, digest, json) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, digest = excluded.digest, json = excluded.json",
            )
            .unwrap();
        for entry in entries {
            let digest = digest(&entry.data);
            let same = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_blob()? == digest);
            if find.query_row([&entry.id], same).optional().unwrap() == Some(true) {
                continue;
            }
            self.sequence += 1;
            written += 1;
            put.execute(params![entry.id, self.sequence.cast_signed(), digest, entry.data]).unwrap();
        }
        self.db.prepare_cached("COMMIT").unwrap().execute(()).unwrap();
        written
    }

    fn end(&mut self) {
        let busy = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        assert_eq!(self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), busy).unwrap(), 0);
    }

    fn feed(&mut self) -> u64 {
        let mut query =
            self.db.prepare_cached("SELECT seq, id, json FROM records WHERE seq > ?1 ORDER BY seq LIMIT ?2").unwrap();
        let (mut read, mut after) = (0, 0_i64);
        loop {
            let change =
                |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?, row.get(2)?));
            let limit = i64::try_from(PAGE).unwrap();
            let page: Vec<Change> = query.query_map([after, limit], change).unwrap().collect::<Result<_, _>>().unwrap();
            let Some((last, ..)) = page.last() else { return read };
            after = last.cast_signed();
            read += std::hint::black_box(page).len() as u64;
        }
    }

    fn close(self: Box<Self>) {
        self.db.close().unwrap();
    }
}
