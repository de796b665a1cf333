//! The change feed under load: four writers and four readers on the same streams, with deletes, full refreshes, closed
//! stores and disks that go away. Nobody misses a change, meets one twice, or meets one out of order.
//!
//! Every save has a number of its own, so what a reader has of a record says which write it has seen. Some ids belong to
//! one writer: of those a reader must have at least what was durable before it began to read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use terapi::ids::{StreamKey, Timestamp};
use terapi::run::Outcome;
use terapi::store::{Action, Change, Entry, Store, StoreError};

use crate::store::faulty_disk::{Fault, FaultyDisk, Lasting};
use crate::store::sync_calls::SkipSyncs;
use crate::store::{
    ActiveRun, Embedded, Engine as _, Reader, UNGUARDED, begin_refresh, entry, failure, list_all, model, now, records,
    rule, setting, stream, sync,
};

const WRITERS: usize = 4;
const READERS: usize = 4;
/// Ids in each stream that belong to one writer, and that all write to.
const OWN: usize = 6;
const SHARED: usize = 8;
/// What ends a phase of writing.
const PHASES: usize = 3;

fn model_name(number: usize) -> String {
    format!("Model{number}")
}

fn key(number: usize) -> StreamKey {
    stream("c", &model_name(number))
}

/// What all writers and readers of a seed know.
struct Shared {
    streams: usize,
    /// The last number given to a save.
    number: AtomicU64,
    /// For each stream, writer and own id: the version that is durable, see [`version`].
    durable: Vec<[[AtomicU64; OWN]; WRITERS]>,
    /// For each stream how many changes the writers were told they made.
    changes: Vec<AtomicU64>,
    writing: AtomicUsize,
    /// When so many writes were done, the disk goes away.
    writes_left: AtomicU64,
}

/// Grows with each change of an id that one writer owns: a save has a new number, a delete keeps the number.
fn version(number: u64, deleted: bool) -> u64 {
    number * 2 + u64::from(deleted)
}

fn own_id(writer: usize, of: usize) -> String {
    format!("own-{writer}-{of}")
}

/// The writer and the number of an id that one of them owns.
fn owner(id: &str) -> Option<(usize, usize)> {
    let (writer, of) = id.strip_prefix("own-")?.split_once('-')?;
    Some((writer.parse().ok()?, of.parse().ok()?))
}

fn version_of(change: &Change) -> u64 {
    let value: serde_json::Value = serde_json::from_str(&change.data).unwrap();
    version(value["n"].as_u64().unwrap(), change.action == Action::Deleted)
}

/// One of the four: its writes that are not durable yet are `pending`.
struct Writer<'a> {
    number: usize,
    shared: &'a Shared,
    store: &'a dyn Store,
    pending: Vec<(usize, usize, u64)>,
}

impl Writer<'_> {
    /// Everything so far is durable.
    fn acknowledge(&mut self) {
        for (stream, of, version) in self.pending.drain(..) {
            self.shared.durable[stream][self.number][of].fetch_max(version, Ordering::SeqCst);
        }
    }

    /// A batch of own and shared ids, each with a new number, padded at times so that it fills more than a block.
    fn batch(&self, random: &mut StdRng) -> Vec<(Option<usize>, u64, Entry)> {
        let padding = if random.random_bool(0.03) { 30_000 } else { random.random_range(0..100) };
        (0..random.random_range(1..=6))
            .map(|_| {
                let n = self.shared.number.fetch_add(1, Ordering::SeqCst) + 1;
                let own = random.random_bool(0.6).then(|| random.random_range(0..OWN));
                let id = match own {
                    Some(of) => own_id(self.number, of),
                    None => format!("shared-{}", random.random_range(0..SHARED)),
                };
                let data = format!(r#"{{"n":{n},"w":{},"p":"{}"}}"#, self.number, "x".repeat(padding));
                (own, n, entry(&id, &data))
            })
            .collect()
    }

    fn write(&mut self, run: &ActiveRun<'_>, random: &mut StdRng) -> Result<(), StoreError> {
        let of = random.random_range(0..self.shared.streams);
        let name = model_name(of);
        let count = &self.shared.changes[of];
        let told = |changes: u32| count.fetch_add(u64::from(changes), Ordering::SeqCst);
        match random.random_range(0..10) {
            0..=5 => {
                let batch = self.batch(random);
                let entries: Vec<_> = batch.iter().map(|(_, _, entry)| entry.clone()).collect();
                let summary = if random.random_bool(0.3) {
                    run.store.update(&run.lease, &rule(&name), &entries, now())?
                } else {
                    run.try_save(&name, &entries)?
                };
                told(summary.added + summary.updated);
                // Of an id that is twice in the batch the last counts, and has the greater number.
                self.pending.extend(batch.iter().filter_map(|(own, n, _)| Some((of, (*own)?, version(*n, false)))));
            }
            // What is there, once more: no change, unless somebody else changed it meanwhile.
            6 | 7 => {
                let asked: Vec<_> = (0..SHARED).map(|id| format!("shared-{id}")).collect();
                let same = run.store.get(&key(of), None, &asked)?;
                let summary = run.try_save(&name, &same)?;
                told(summary.added + summary.updated);
            }
            _ => {
                let own = random.random_range(0..OWN);
                let ids = [own_id(self.number, own), format!("shared-{}", random.random_range(0..SHARED))];
                told(run.store.delete(&run.lease, &model(&name), &ids, now())?);
                let last = self.pending.iter().rev().find(|(stream, id, _)| (*stream, *id) == (of, own));
                let before = last.map_or_else(
                    || self.shared.durable[of][self.number][own].load(Ordering::SeqCst),
                    |(_, _, version)| *version,
                );
                if before > 0 {
                    self.pending.push((of, own, before | 1));
                }
            }
        }
        Ok(())
    }

    /// Some runs: full refreshes of one model, incremental ones, some that fail.
    fn write_runs(&mut self, random: &mut StdRng, disk: &FaultyDisk) -> Result<(), StoreError> {
        let sync = sync(&format!("script{}", self.number), "c");
        for _ in 0..random.random_range(1..=3) {
            let whole = random.random_bool(0.4).then(|| random.random_range(0..self.shared.streams));
            let run = crate::store::a_run(&sync);
            let refreshes = whole.iter().map(|of| model(&model_name(*of))).collect();
            let start = terapi::store::RunStart { run: run.clone(), lease_ms: 60_000, refreshes };
            let lease = self.store.begin_run(start)?;
            let run = ActiveRun { store: self.store, lease, run };
            for _ in 0..random.random_range(1..8) {
                if self.shared.writes_left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    disk.fail_from_now_on();
                }
                self.write(&run, random)?;
                match random.random_range(0..12) {
                    0 | 1 => {
                        run.store.save_checkpoint(&run.lease, Some("{}"))?;
                        self.acknowledge();
                    }
                    2 => {
                        self.store.sync()?;
                        self.acknowledge();
                    }
                    _ => {}
                }
            }
            let outcome = if random.random_bool(0.8) { Outcome::Succeeded } else { failure() };
            let changes = run.finish(outcome, &UNGUARDED)?;
            if let Some(of) = whole {
                self.shared.changes[of].fetch_add(changes.deleted, Ordering::SeqCst);
            }
            self.acknowledge();
        }
        Ok(())
    }
}

/// A reader of one stream, and all that it was ever given.
#[derive(Default)]
struct Reading {
    reader: Reader,
    latest: HashMap<String, Change>,
    given: Vec<Change>,
    commits: HashSet<(String, Timestamp)>,
}

impl Reading {
    fn page(&mut self, store: &dyn Store, stream: &StreamKey, limit: usize) -> bool {
        let (changes, more) = self.reader.page(store, stream, limit);
        for change in changes {
            // Every call has a moment of its own, so the same moment is the same commit.
            let commit = (change.id.clone(), change.last_modified_at);
            assert!(self.commits.insert(commit), "{stream}: given twice: {change:?}");
            let before = self.latest.insert(change.id.clone(), change.clone());
            if let (Some(before), Some(_)) = (before, owner(&change.id)) {
                let order = version_of(&before) < version_of(&change);
                assert!(order, "{stream}: out of order: {before:?} before {change:?}");
            }
            self.given.push(change);
        }
        more
    }

    /// Reads to the end, and checks that it is not before what was durable when the reading began.
    fn catch_up(&mut self, store: &dyn Store, of: usize, shared: &Shared, limit: usize) {
        let load = |own: &[AtomicU64; OWN]| own.each_ref().map(|version| version.load(Ordering::SeqCst));
        let durable = shared.durable[of].each_ref().map(load);
        while self.page(store, &key(of), limit) {}
        for (writer, versions) in durable.iter().enumerate() {
            for (own, durable) in versions.iter().enumerate() {
                let read = self.latest.get(&own_id(writer, own)).map_or(0, version_of);
                assert!(read >= *durable, "{}: {} is missed: {read}, not {durable}", key(of), own_id(writer, own));
            }
        }
    }
}

/// A writer that is done, also if it panicked: the readers would read for ever.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Returns how many changes there were, and how many pages were read.
fn write_and_read(seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let engine = Embedded::new();
    let streams = random.random_range(2..=4);
    let shared = Shared {
        streams,
        number: AtomicU64::new(0),
        durable: (0..streams).map(|_| Default::default()).collect(),
        changes: (0..streams).map(|_| AtomicU64::new(0)).collect(),
        writing: AtomicUsize::new(0),
        writes_left: AtomicU64::new(0),
    };
    let mut readings: Vec<Vec<Reading>> =
        (0..READERS).map(|_| (0..streams).map(|_| Reading::default()).collect()).collect();
    let limits = [1, random.random_range(2..6), random.random_range(6..50), 1_000];
    let mut cut_off = false;
    for _ in 0..PHASES {
        let disk = FaultyDisk::new(engine.dir.path(), Fault::NoSpace, Lasting::UntilRepaired, 0);
        // It ends as it should, or the disk goes away in the middle and what is not on it is lost.
        let goes_away = random.random_ratio(u32::try_from(setting("TERAPI_STORE_AWAY_PERCENT", 35)).unwrap(), 100);
        shared.writes_left.store(if goes_away { random.random_range(1..40) } else { u64::MAX }, Ordering::SeqCst);
        shared.writing.store(WRITERS, Ordering::SeqCst);
        let store: Arc<dyn Store> = engine.open();
        let start = Barrier::new(WRITERS + READERS);
        let seeds: [u64; WRITERS] = random.random();
        let to_the_end: [bool; READERS] = random.random();
        std::thread::scope(|scope| {
            let (store, shared, disk, start) = (&*store, &shared, &disk, &start);
            for (number, seed) in seeds.into_iter().enumerate() {
                scope.spawn(move || {
                    let _done = Done(&shared.writing);
                    let mut writer = Writer { number, shared, store, pending: Vec::new() };
                    start.wait();
                    match writer.write_runs(&mut StdRng::seed_from_u64(seed), disk) {
                        Ok(()) => store.sync().map_or_else(|_| assert!(goes_away), |()| writer.acknowledge()),
                        Err(error) => assert!(goes_away && error.code() == "storage", "{error}"),
                    }
                });
            }
            for ((readings, limit), to_the_end) in readings.iter_mut().zip(limits).zip(to_the_end) {
                scope.spawn(move || {
                    start.wait();
                    while shared.writing.load(Ordering::SeqCst) > 0 {
                        for (of, reading) in readings.iter_mut().enumerate() {
                            if to_the_end {
                                reading.catch_up(store, of, shared, limit);
                            } else {
                                // It falls behind, and goes on in the next phase.
                                reading.page(store, &key(of), limit);
                            }
                        }
                    }
                });
            }
        });
        cut_off |= disk.failed() > 0;
        drop(store);
        disk.repair();
    }

    let store = engine.open();
    store.sync().unwrap();
    let mut total = 0;
    for of in 0..streams {
        let stream = key(of);
        let mut whole = Reader::default();
        let feed = whole.catch_up(&*store, &stream, 1_000);
        assert_eq!(whole.replica, records(&*store, &stream), "{stream}: feed and list");
        let asked: Vec<_> = whole.replica.keys().cloned().collect();
        let got: BTreeMap<_, _> =
            store.get(&stream, None, &asked).unwrap().into_iter().map(|entry| (entry.id, entry.data)).collect();
        assert_eq!(whole.replica, got, "{stream}: feed and get");
        assert_eq!(list_all(&*store, &stream, 9).len(), got.len());
        let info = store.streams().unwrap().into_iter().find(|info| info.stream == stream);
        let (live, changes) = info.map_or((0, 0), |info| (info.live, info.changes));
        assert_eq!((live, changes), (got.len() as u64, whole.last_sequence), "{stream}: figures");
        // What was refused may be there or not; where nothing was, every change is one that a writer was told of.
        if !cut_off {
            assert_eq!(changes, shared.changes[of].load(Ordering::SeqCst), "{stream}: changes");
        }
        let mut by_sequence: HashMap<u64, &Change> = HashMap::new();
        for (readings, limit) in readings.iter_mut().zip(limits) {
            let reading = &mut readings[of];
            reading.catch_up(&*store, of, &shared, limit);
            assert_eq!(reading.reader.replica, whole.replica, "{stream}: a reader of pages of {limit}");
            assert_eq!(reading.latest.len(), feed.len(), "{stream}");
            for change in &feed {
                assert_eq!(reading.latest[&change.id], *change, "{stream}");
            }
        }
        // Two readers who were given the same place were given the same change.
        for change in readings.iter().flat_map(|readings| &readings[of].given) {
            let first = by_sequence.entry(change.sequence).or_insert(change);
            assert_eq!(*first, change, "{stream}");
        }
        total += changes;
    }
    // The next run of each sync is not in the way of what was cut off.
    for writer in 0..WRITERS {
        begin_refresh(&*store, &sync(&format!("script{writer}"), "c"), &[]).succeed();
    }
    total
}

/// `TERAPI_STORE_SEEDS` says how many, `TERAPI_STORE_SEED` with which to begin, `TERAPI_STORE_AWAY_PERCENT` how often the
/// disk goes away.
#[test]
fn four_readers_beside_four_writers_miss_nothing_and_meet_nothing_twice_or_out_of_order() {
    let _quick = SkipSyncs::new();
    let first = setting("TERAPI_STORE_SEED", rand::random_range(0..1 << 32));
    let seeds = setting("TERAPI_STORE_SEEDS", 40);
    eprintln!("feed: TERAPI_STORE_SEED={first}, {seeds} seeds");
    let mut changes = 0;
    for seed in first..first + seeds {
        let result = std::panic::catch_unwind(|| write_and_read(seed));
        changes += result.unwrap_or_else(|_| panic!("TERAPI_STORE_SEED={seed} TERAPI_STORE_SEEDS=1 shows it"));
    }
    assert!(changes > 50 * seeds, "{changes} changes in {seeds} seeds: the test tests nothing");
}
