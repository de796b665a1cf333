//! Terapi's embedded store: each pass is a run that refreshes all.

use std::path::Path;

use terapi::ids::{ModelName, RunId, ScriptHash, StreamKey, SyncKey, Timestamp, Variant};
use terapi::run::{Changes, Outcome, Run, RunKind, Usage};
use terapi::store::embedded::{EmbeddedStore, StoreOptions};
use terapi::store::{ChangesQuery, DeleteGuard, Entry, Lease, ModelRule, RunStart, Store as _};

use super::{Engine, PAGE};

/// In 2026. A store asks nobody for the time, so a pass says that it is later than the one before.
const FIRST_PASS: u64 = 1_790_000_000_000;
/// Longer than any pass: nothing here renews a lease.
const LEASE_MS: u64 = 86_400_000;

pub(crate) struct Terapi {
    store: EmbeddedStore,
    passes: u64,
    active: Option<(Run, Lease)>,
}

impl Terapi {
    pub(crate) fn open(dir: &Path, cache_bytes: Option<u64>) -> Self {
        let mut options = StoreOptions::default();
        if let Some(bytes) = cache_bytes {
            options.cache_bytes = bytes;
        }
        Self { store: EmbeddedStore::open(dir, &options).unwrap(), passes: 0, active: None }
    }

    /// The changes since a cursor, or all: how many, and where to go on.
    pub(crate) fn read(&self, cursor: Option<String>) -> (u64, String) {
        let (mut next, mut read, mut more) = self.page(cursor);
        while more {
            let count;
            (next, count, more) = self.page(Some(next));
            read += count;
        }
        (read, next)
    }

    /// Where to go on, how many changes there were, and whether there are more.
    fn page(&self, cursor: Option<String>) -> (String, u64, bool) {
        let query = ChangesQuery { cursor, limit: PAGE, ..ChangesQuery::default() };
        let page = std::hint::black_box(self.store.changes(&stream(), &query).unwrap());
        (page.cursor, page.changes.len() as u64, page.more)
    }

    fn now(&self) -> Timestamp {
        Timestamp(FIRST_PASS + self.passes)
    }
}

impl Engine for Terapi {
    fn begin(&mut self) {
        self.passes += 1;
        let now = self.now();
        let run = Run {
            id: RunId::new(now),
            kind: RunKind::Sync,
            sync: SyncKey {
                script: "issues".parse().unwrap(),
                connection: "bench".parse().unwrap(),
                variant: Variant::default(),
            },
            script: ScriptHash::of(b"bench"),
            started_at: now,
            ended_at: None,
            outcome: None,
            usage: Usage::default(),
            changes: Changes::default(),
        };
        let start = RunStart { run: run.clone(), lease_ms: LEASE_MS, refreshes: vec![model()] };
        let lease = self.store.begin_run(start).unwrap();
        self.active = Some((run, lease));
    }

    fn save(&mut self, batch: &[Entry]) -> usize {
        let (_, lease) = self.active.as_ref().unwrap();
        let rule = ModelRule { name: model(), ignore: Vec::new() };
        let summary = self.store.save(lease, &rule, batch, self.now()).unwrap();
        usize::try_from(summary.added + summary.updated).unwrap()
    }

    fn end(&mut self) {
        let (mut run, lease) = self.active.take().unwrap();
        run.outcome = Some(Outcome::Succeeded);
        self.store.finish_run(&lease, &mut run, &DeleteGuard::default()).unwrap();
        assert_eq!(run.changes.deleted, 0, "every pass saves everything");
    }

    fn feed(&mut self) -> u64 {
        self.read(None).0
    }

    fn close(self: Box<Self>) {}
}

fn model() -> ModelName {
    "Issue".parse().unwrap()
}

fn stream() -> StreamKey {
    StreamKey { connection: "bench".parse().unwrap(), model: model(), variant: Variant::default() }
}
