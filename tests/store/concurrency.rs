//! Writers and readers at once: every reader misses nothing, meets nothing twice, and nothing out of order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use terapi::ids::StreamKey;
use terapi::run::Outcome;
use terapi::store::{Change, RunsQuery, Store};

use crate::store::{
    Embedded, Engine, Reader, UNGUARDED, begin, begin_refresh, entry, failure, list_all, records, setting, stream, sync,
};

const WRITERS: usize = 3;
const SHARED: &str = "Shared";

fn own(writer: usize) -> String {
    format!("Own{writer}")
}

/// Full refreshes of a model of its own, and a share of one that all have: each record is written over and over, some
/// go and come back.
fn write(store: &dyn Store, writer: usize, rounds: u64) {
    let sync = sync(&format!("script{writer}"), "c");
    for round in 0..rounds {
        let run = begin_refresh(store, &sync, &[&own(writer)]);
        for batch in 0..4 {
            let of: Vec<_> = (0..25)
                .map(|i| batch * 25 + i)
                .filter(|id| !(id + round).is_multiple_of(9))
                .map(|id| entry(&id.to_string(), &format!(r#"{{"round":{},"writer":{writer}}}"#, round / (1 + id % 3))))
                .collect();
            run.try_save(&own(writer), &of).unwrap();
            let id = (round * 7 + batch) % 40;
            run.save(
                SHARED,
                &[(&id.to_string(), &format!(r#"{{"round":{round},"batch":{batch},"writer":{writer}}}"#))],
            );
            if (round + batch) % 5 == 0 {
                run.delete(SHARED, &[&((id + 20) % 40).to_string()]);
            }
        }
        if round % 3 == 0 {
            run.checkpoint(&format!(r#"{{"round":{round}}}"#));
        }
        let outcome = if round % 10 == 9 { failure() } else { Outcome::Succeeded };
        run.finish(outcome, &UNGUARDED).unwrap();
    }
}

struct Reading {
    reader: Reader,
    /// All that was ever read of each id: the data of each, with its place.
    read: BTreeMap<String, Vec<Change>>,
    sequences: HashSet<u64>,
}

impl Reading {
    fn page(&mut self, store: &dyn Store, stream: &StreamKey, limit: usize) -> bool {
        let (changes, more) = self.reader.page(store, stream, limit);
        for change in changes {
            assert!(self.sequences.insert(change.sequence), "{stream}: {} is read twice", change.sequence);
            self.read.entry(change.id.clone()).or_default().push(change);
        }
        more
    }
}

/// A writer that is done, also if it panicked: the readers would read for ever.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// `TERAPI_STORE_ROUNDS` makes it longer.
#[test]
fn readers_beside_three_writers_miss_nothing_and_meet_nothing_twice() {
    let engine = Embedded::new();
    let store = engine.open();
    let rounds = setting("TERAPI_STORE_ROUNDS", 100);
    let streams: Vec<_> = (0..WRITERS).map(own).chain([SHARED.to_owned()]).map(|model| stream("c", &model)).collect();
    let writing = AtomicUsize::new(WRITERS);
    let start = Barrier::new(2 * WRITERS);
    let readings: Vec<Vec<Reading>> = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, writing, start) = (&*store, &writing, &start);
            scope.spawn(move || {
                start.wait();
                let _done = Done(writing);
                write(store, writer, rounds);
            });
        }
        let readers: Vec<_> = [1, 7, 1_000]
            .into_iter()
            .map(|limit| {
                let (store, streams, writing, start) = (&*store, &streams, &writing, &start);
                scope.spawn(move || {
                    start.wait();
                    let new =
                        |_| Reading { reader: Reader::default(), read: BTreeMap::new(), sequences: HashSet::new() };
                    let mut readings: Vec<_> = streams.iter().map(new).collect();
                    loop {
                        let last_round = writing.load(Ordering::SeqCst) == 0;
                        if last_round {
                            store.sync().unwrap();
                        }
                        for (reading, stream) in readings.iter_mut().zip(streams) {
                            while reading.page(store, stream, limit) {}
                            // What else reads meets no half of a commit either.
                            let ids: Vec<_> = (0..40).map(|id| id.to_string()).collect();
                            let found = store.get(stream, None, &ids).unwrap();
                            assert!(found.iter().all(|entry| entry.data.contains("writer")), "{found:?}");
                            store.list(stream, None, None, limit, 1 << 20).unwrap();
                        }
                        if last_round {
                            return readings;
                        }
                    }
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });

    for (number, stream) in streams.iter().enumerate() {
        let mut whole = Reader::default();
        let feed = whole.catch_up(&*store, stream, 1_000);
        assert_eq!(whole.replica, records(&*store, stream));
        assert_eq!(list_all(&*store, stream, 9).len(), whole.replica.len());
        let info = store.streams().unwrap().into_iter().find(|info| info.stream == *stream).unwrap();
        assert_eq!((info.live, info.changes), (whole.replica.len() as u64, whole.last_sequence));
        for readings in &readings {
            let reading = &readings[number];
            assert_eq!(reading.reader.replica, whole.replica, "{stream}");
            // The last that was read of each record is what the feed ends with.
            assert_eq!(reading.read.len(), feed.len(), "{stream}");
            for change in &feed {
                assert_eq!(reading.read[&change.id].last(), Some(change), "{stream}");
            }
        }
        // Two readers who were given the same place were given the same change.
        let mut by_sequence: BTreeMap<u64, &Change> = BTreeMap::new();
        for change in readings.iter().flat_map(|readings| readings[number].read.values().flatten()) {
            let first = by_sequence.entry(change.sequence).or_insert(change);
            assert_eq!(*first, change, "{stream}");
        }
    }
    assert!(store.runs(&RunsQuery::newest(10_000)).unwrap().runs.iter().all(|run| run.outcome.is_some()));
}

/// Who takes a sync over waits for the write that is under way, and after that no write of the old run begins.
#[test]
fn of_many_who_want_one_sync_at_a_time_exactly_one_has_it() {
    let engine = Embedded::new();
    let store = engine.open();
    let sync = sync("script", "c");
    let rounds = setting("TERAPI_STORE_ROUNDS", 60);
    let saved = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (store, sync, saved) = (&*store, &sync, &saved);
            scope.spawn(move || {
                for round in 0..rounds {
                    let mut run = crate::store::a_run(sync);
                    // Every clock is later than all leases before: each takes over from whoever has it.
                    run.started_at.0 += round * 1_000;
                    let start = terapi::store::RunStart { run: run.clone(), lease_ms: 1, refreshes: Vec::new() };
                    let Ok(lease) = store.begin_run(start) else { continue };
                    let active = crate::store::ActiveRun { store, lease, run };
                    for n in 0..5 {
                        let batch = [entry("token", &format!(r#"{{"token":{},"n":{n}}}"#, active.lease.token))];
                        match active.try_save("Model", &batch) {
                            Ok(_) => saved.fetch_add(1, Ordering::Relaxed),
                            Err(error) => {
                                assert_eq!(error.code(), "lease-lost");
                                break;
                            }
                        };
                    }
                }
            });
        }
    });
    store.sync().unwrap();
    // Every save that was let through is a change, and there is none beside them.
    let info = store.streams().unwrap().remove(0);
    assert_eq!(info.changes, saved.load(Ordering::Relaxed) as u64);
    let run = begin(&*store, &crate::store::sync("other", "c"));
    run.succeed();
}

/// The tokens of the writes to one record ascend: a stale write never comes after a newer run's.
#[test]
fn writes_of_an_old_run_never_come_after_those_of_a_newer() {
    let engine = Embedded::new();
    let store = engine.open();
    let sync = sync("script", "c");
    let stream = stream("c", "Model");
    let token_of = |data: &str| serde_json::from_str::<serde_json::Value>(data).unwrap()["token"].as_u64().unwrap();
    std::thread::scope(|scope| {
        let taking_over = scope.spawn(|| {
            for round in 1..100 {
                let mut run = crate::store::a_run(&sync);
                run.started_at.0 += round * 1_000_000;
                let start = terapi::store::RunStart { run, lease_ms: 1, refreshes: Vec::new() };
                let lease = store.begin_run(start).unwrap();
                // The old run writes on while it is taken over.
                let stale = &lease.clone();
                scope.spawn({
                    let (store, stale) = (&store, stale.clone());
                    move || {
                        for n in 0.. {
                            let data = format!(r#"{{"token":{},"n":{n}}}"#, stale.token);
                            let batch = [entry("shared", &data), entry(&format!("{}-{n}", stale.token), &data)];
                            if store.save(&stale, &crate::store::rule("Model"), &batch, crate::store::now()).is_err() {
                                return;
                            }
                        }
                    }
                });
                store.save_checkpoint(&lease, Some(&format!(r#"{{"token":{}}}"#, lease.token))).unwrap();
            }
            // The last of them would write for ever.
            store.reset(&sync, &terapi::store::Reset::Refetch, terapi::ids::Timestamp(u64::MAX)).unwrap();
        });
        taking_over.join().unwrap();
    });
    store.sync().unwrap();
    let mut last = 0;
    for change in crate::store::feed(&*store, &stream) {
        if change.id != "shared" {
            let token = token_of(&change.data);
            assert!(token >= last, "a write of run {token} comes after one of run {last}");
            last = token;
        }
    }
    assert!(last > 1);
}
