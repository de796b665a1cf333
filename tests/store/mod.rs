//! The store, from outside: one suite that every engine passes, a model that it must agree with, and what must survive
//! a process that dies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod concurrency;
mod conformance;
mod damage;
mod durability;
mod failpoints;
mod faulty_disk;
mod feed;
mod full_disk;
mod model;
mod suspicion;
mod sync_calls;
mod tools;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use terapi::ids::{ModelName, RunId, ScriptHash, StreamKey, SyncKey, Timestamp, Variant};
use terapi::run::{Changes, Failure, Outcome, Run, RunKind, Usage};
use terapi::store::embedded::{EmbeddedStore, Limits, StoreOptions};
use terapi::store::{
    Action, Change, ChangesQuery, DeleteGuard, Entry, Lease, ModelRule, RunStart, SaveSummary, Store, StoreError,
};

/// What the suite needs of an engine: data that outlives the handles to it.
pub(crate) trait Engine {
    /// Opens the data. Every handle from before has been dropped.
    fn open(&self) -> Arc<dyn Store>;
}

/// Looks at the data now, and when it was opened anew.
pub(crate) fn now_and_reopened(engine: &dyn Engine, store: Arc<dyn Store>, look: impl Fn(&dyn Store)) {
    look(&*store);
    drop(store);
    look(&*engine.open());
}

/// The embedded engine in a directory of its own.
pub(crate) struct Embedded {
    pub(crate) dir: tempfile::TempDir,
}

impl Embedded {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }
}

impl Engine for Embedded {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(open_dir(self.dir.path()).unwrap())
    }
}

pub(crate) fn open_dir(dir: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(dir, &StoreOptions { cache_bytes: 8 << 20, limits: limits(), ..StoreOptions::default() })
}

/// Set to 1 lets housekeeping happen all the time: every test passes with it too.
pub(crate) const BUSY: &str = "TERAPI_STORE_BUSY";

fn limits() -> Limits {
    if setting(BUSY, 0) == 0 { Limits::default() } else { busy() }
}

/// Limits so small that files roll, and the index is written, merged and reclaimed, after some commits.
pub(crate) fn busy() -> Limits {
    Limits { roll_bytes: 8 << 10, checkpoint_bytes: 4 << 10, checkpoint_log_bytes: 8 << 10, slack_bytes: 8 << 10 }
}

/// A number from the environment, for longer runs.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

/// Later than every moment before. Runs that start at different moments sort in that order.
pub(crate) fn now() -> Timestamp {
    static NOW: AtomicU64 = AtomicU64::new(1_700_000_000_000);
    Timestamp(NOW.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn model(name: &str) -> ModelName {
    name.parse().unwrap()
}

pub(crate) fn rule(name: &str) -> ModelRule {
    ModelRule { name: model(name), ignore: Vec::new() }
}

pub(crate) fn sync(script: &str, connection: &str) -> SyncKey {
    SyncKey { script: script.parse().unwrap(), connection: connection.parse().unwrap(), variant: Variant::default() }
}

pub(crate) fn stream(connection: &str, model: &str) -> StreamKey {
    StreamKey { connection: connection.parse().unwrap(), model: model.parse().unwrap(), variant: Variant::default() }
}

pub(crate) fn entry(id: &str, data: &str) -> Entry {
    Entry { id: id.to_owned(), data: data.to_owned() }
}

pub(crate) fn entries(of: &[(&str, &str)]) -> Vec<Entry> {
    of.iter().map(|(id, data)| entry(id, data)).collect()
}

pub(crate) fn ids(of: &[&str]) -> Vec<String> {
    of.iter().map(|id| (*id).to_owned()).collect()
}

/// Lets every delete through: for tests of something else.
pub(crate) const UNGUARDED: DeleteGuard = DeleteGuard { min_records: 0, max_share: 1.0, allow: true };

/// A run that is only data: not begun.
pub(crate) fn a_run(sync: &SyncKey) -> Run {
    let started_at = now();
    Run {
        id: RunId::new(started_at),
        kind: RunKind::Sync,
        sync: sync.clone(),
        script: ScriptHash::of(b"a script"),
        started_at,
        ended_at: None,
        outcome: None,
        usage: Usage::default(),
        changes: Changes::default(),
    }
}

pub(crate) fn failure() -> Outcome {
    Outcome::Failed(Failure {
        code: "script-transient".to_owned(),
        transient: true,
        message: "the API answered 503".to_owned(),
        details: Some(r#"{"status":503}"#.to_owned()),
        retry_after_ms: Some(1_000),
    })
}

/// A run under way. Everything here panics where the store refuses; `lease` is there for those who expect that.
pub(crate) struct ActiveRun<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) lease: Lease,
    pub(crate) run: Run,
}

/// Begins a run that deletes nothing at its end.
pub(crate) fn begin<'a>(store: &'a dyn Store, sync: &SyncKey) -> ActiveRun<'a> {
    begin_refresh(store, sync, &[])
}

/// Begins a full refresh of these models.
pub(crate) fn begin_refresh<'a>(store: &'a dyn Store, sync: &SyncKey, models: &[&str]) -> ActiveRun<'a> {
    let run = a_run(sync);
    let refreshes = models.iter().map(|name| model(name)).collect();
    let lease = store.begin_run(RunStart { run: run.clone(), lease_ms: 60_000, refreshes }).expect("begin a run");
    ActiveRun { store, lease, run }
}

impl ActiveRun<'_> {
    pub(crate) fn try_save(&self, model: &str, entries: &[Entry]) -> Result<SaveSummary, StoreError> {
        self.store.save(&self.lease, &rule(model), entries, now())
    }

    pub(crate) fn save(&self, model: &str, of: &[(&str, &str)]) -> SaveSummary {
        self.try_save(model, &entries(of)).expect("save")
    }

    pub(crate) fn update(&self, model: &str, of: &[(&str, &str)]) -> SaveSummary {
        self.store.update(&self.lease, &rule(model), &entries(of), now()).expect("update")
    }

    pub(crate) fn delete(&self, name: &str, of: &[&str]) -> u32 {
        self.store.delete(&self.lease, &model(name), &ids(of), now()).expect("delete")
    }

    pub(crate) fn track_start(&self, name: &str) {
        self.store.track_deletes_start(&self.lease, &model(name)).expect("start an account");
    }

    pub(crate) fn track_end(&self, name: &str) -> u64 {
        self.store.track_deletes_end(&self.lease, &model(name), &UNGUARDED).expect("end an account")
    }

    pub(crate) fn checkpoint(&self, text: &str) {
        self.store.save_checkpoint(&self.lease, Some(text)).expect("save a checkpoint");
    }

    pub(crate) fn finish(mut self, outcome: Outcome, guard: &DeleteGuard) -> Result<Changes, StoreError> {
        self.run.outcome = Some(outcome);
        self.run.ended_at = Some(now());
        self.store.finish_run(&self.lease, &mut self.run, guard)?;
        Ok(self.run.changes)
    }

    pub(crate) fn succeed(self) -> Changes {
        self.finish(Outcome::Succeeded, &UNGUARDED).expect("finish a run")
    }

    pub(crate) fn fail(self) {
        self.finish(failure(), &UNGUARDED).expect("finish a run");
    }
}

/// A run that saves and succeeds.
pub(crate) fn save_in_a_run(store: &dyn Store, sync: &SyncKey, model: &str, of: &[(&str, &str)]) -> SaveSummary {
    let run = begin(store, sync);
    let summary = run.save(model, of);
    run.succeed();
    summary
}

/// What a reader of the feed has: it knows the store only by the changes it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) cursor: Option<String>,
    pub(crate) replica: BTreeMap<String, String>,
    pub(crate) last_sequence: u64,
}

impl Reader {
    /// Reads to the present end in pages of `limit`, and checks what every page must be. Returns what it read.
    pub(crate) fn catch_up(&mut self, store: &dyn Store, stream: &StreamKey, limit: usize) -> Vec<Change> {
        let mut read = Vec::new();
        loop {
            let (changes, more) = self.page(store, stream, limit);
            read.extend(changes);
            if !more {
                return read;
            }
        }
    }

    /// Reads one page; says whether there was more.
    pub(crate) fn page(&mut self, store: &dyn Store, stream: &StreamKey, limit: usize) -> (Vec<Change>, bool) {
        let query = ChangesQuery { cursor: self.cursor.clone(), limit, ..ChangesQuery::default() };
        let page = store.changes(stream, &query).expect("read changes");
        assert!(page.changes.len() <= limit.max(1), "a page holds no more than was asked for");
        let mut in_page = std::collections::HashSet::new();
        for change in &page.changes {
            assert!(change.sequence > self.last_sequence, "sequences ascend: {change:?} after {}", self.last_sequence);
            assert!(in_page.insert(change.id.clone()), "an id is once in a page: {change:?}");
            self.last_sequence = change.sequence;
            if change.action == Action::Deleted {
                self.replica.remove(&change.id);
            } else {
                self.replica.insert(change.id.clone(), change.data.clone());
            }
        }
        self.cursor = Some(page.cursor);
        (page.changes, page.more)
    }
}

/// The whole feed from the start.
pub(crate) fn feed(store: &dyn Store, stream: &StreamKey) -> Vec<Change> {
    store.sync().expect("sync");
    Reader::default().catch_up(store, stream, 1_000)
}

/// Id, action and data of each change.
pub(crate) fn brief(changes: &[Change]) -> Vec<(&str, Action, &str)> {
    changes.iter().map(|change| (change.id.as_str(), change.action, change.data.as_str())).collect()
}

/// Everything that `list` gives, in pages of `limit`.
pub(crate) fn list_all(store: &dyn Store, stream: &StreamKey, limit: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let listing = store.list(stream, None, after.as_deref(), limit, 4 << 20).expect("list");
        assert!(listing.entries.len() <= limit.max(1), "a listing holds no more than was asked for");
        all.extend(listing.entries);
        match listing.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// The records of a stream by id, as `list` gives them.
pub(crate) fn records(store: &dyn Store, stream: &StreamKey) -> BTreeMap<String, String> {
    let listed = list_all(store, stream, 100);
    let count = listed.len();
    let records: BTreeMap<_, _> = listed.into_iter().map(|entry| (entry.id, entry.data)).collect();
    assert_eq!(records.len(), count, "a record is listed once");
    records
}
