//! A disk that is full or broken: the n-th call that writes fails, for every n of a scripted sync, once or until the
//! operator has made room. The caller gets a clear error, readers go on with what is durable, no batch is ever there by
//! halves, and with room the same store goes on without a restart.
//!
//! Over 500 lines: the scripted sync, what each of its steps must leave, and what checks that, are one thing.

#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use terapi::ids::{RunId, ScriptHash, Timestamp};
use terapi::run::{Level, LogLine, Outcome, Run};
use terapi::store::embedded::EmbeddedStore;
use terapi::store::{Action, Change, ChangesQuery, Entry, Lease, RunStart, RunsQuery, Script, Store, StoreError};

use crate::store::faulty_disk::{Fault, FaultyDisk, Lasting};
use crate::store::sync_calls::{self, SkipSyncs};
use crate::store::{
    BUSY, Reader, UNGUARDED, a_run, entry, failure, list_all, model, now, open_dir, rule, setting, stream, sync,
};

/// How long the store may refuse writes once there is room: it tries again every second, but the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);
const MODELS: [&str; 2] = ["Issue", "Pull"];
const LARGE: usize = 20_000;

/// One call of the store.
#[derive(Debug, Clone)]
enum Step {
    Open,
    Begin { refresh: bool },
    Save(usize, Vec<Entry>),
    Update(usize, Vec<Entry>),
    Delete(usize, Vec<String>),
    Checkpoint,
    Sync,
    Log,
    Metadata,
    Script,
    Finish { success: bool },
    Close,
}

impl Step {
    /// Whether all before it is durable when it returns.
    fn makes_durable(&self) -> bool {
        matches!(self, Self::Checkpoint | Self::Sync | Self::Metadata | Self::Script | Self::Finish { .. })
    }
}

fn noise(step: usize, length: usize) -> String {
    let mut text = String::with_capacity(length + 64);
    let mut n = 0_u64;
    while text.len() < length {
        text.push_str(&ScriptHash::of(format!("{step}/{n}").as_bytes()).to_string());
        n += 1;
    }
    text.truncate(length);
    text
}

/// A first sync, a full refresh, and a run that fails, with everything that writes in between. Every record's content
/// is its own.
fn script() -> Vec<Step> {
    let records = |n: usize, ids: std::ops::Range<usize>, padding: usize| -> Vec<Entry> {
        ids.map(|id| entry(&id.to_string(), &format!(r#"{{"n":{n},"id":{id},"p":"{}"}}"#, noise(n + id, padding))))
            .collect()
    };
    let ids = |ids: &[usize]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let field = |n: usize, ids: &[usize]| -> Vec<Entry> {
        ids.iter().map(|id| entry(&id.to_string(), &format!(r#"{{"u":{n}}}"#))).collect()
    };
    let mut refreshed = records(1, 2..6, 100);
    refreshed.extend(records(20, 0..2, 50));
    vec![
        Step::Open,
        Step::Begin { refresh: false },
        Step::Save(0, records(1, 0..12, 100)),
        Step::Save(1, records(2, 0..3, 10)),
        Step::Update(0, field(3, &[0, 1, 40])),
        Step::Checkpoint,
        Step::Script,
        Step::Delete(0, ids(&[7, 8, 99])),
        Step::Save(1, records(5, 2..20, LARGE)),
        Step::Log,
        Step::Checkpoint,
        Step::Metadata,
        Step::Save(0, records(6, 7..8, 0)),
        Step::Finish { success: true },
        Step::Begin { refresh: true },
        Step::Save(0, refreshed),
        Step::Checkpoint,
        Step::Delete(0, ids(&[3])),
        Step::Save(0, records(21, 50..54, 300)),
        Step::Finish { success: true },
        Step::Sync,
        Step::Close,
        Step::Open,
        Step::Begin { refresh: false },
        Step::Save(0, records(30, 0..3, 10)),
        Step::Script,
        Step::Update(1, field(31, &[0, 5, 19])),
        Step::Checkpoint,
        Step::Delete(1, ids(&[1, 6])),
        Step::Metadata,
        Step::Finish { success: false },
        Step::Sync,
        Step::Close,
        Step::Open,
        Step::Close,
    ]
}

/// A record as the feed has it, and between which sequences: in which order a refresh deletes is the engine's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    from: u64,
    to: u64,
    action: Action,
    data: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stream {
    last: u64,
    records: BTreeMap<String, Record>,
}

impl Stream {
    fn live(&self, id: &str) -> Option<&Record> {
        self.records.get(id).filter(|record| record.action != Action::Deleted)
    }

    fn all_live(&self) -> BTreeMap<String, String> {
        let live = self.records.iter().filter(|(_, record)| record.action != Action::Deleted);
        live.map(|(id, record)| (id.clone(), record.data.clone())).collect()
    }

    fn figures(&self) -> (u64, u64) {
        (self.last, self.all_live().len() as u64)
    }

    /// Whether this is the stream's feed.
    fn is(&self, feed: &[&Change]) -> bool {
        feed.len() == self.records.len()
            && feed.iter().all(|change| {
                self.records.get(&change.id).is_some_and(|record| {
                    (record.from..=record.to).contains(&change.sequence)
                        && (record.action, &record.data) == (change.action, &change.data)
                })
            })
    }

    fn put(&mut self, id: &str, action: Action, data: String) {
        self.last += 1;
        let record = Record { from: self.last, to: self.last, action, data };
        self.records.insert(id.to_owned(), record);
    }

    fn delete_together(&mut self, ids: &[String]) {
        let (from, to) = (self.last + 1, self.last + ids.len() as u64);
        for id in ids {
            let Some(record) = self.records.get_mut(id) else { continue };
            (record.from, record.to, record.action) = (from, to, Action::Deleted);
        }
        self.last = to;
    }
}

/// What is in the store after so many steps.
#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    streams: [Stream; 2],
    seen: BTreeSet<String>,
    refresh: bool,
    checkpoint: Option<String>,
    /// Of the runs begun, the last that succeeded.
    succeeded: Option<usize>,
    begun: usize,
    metadata: Option<usize>,
    script: Option<usize>,
}

impl State {
    fn after(&self, step: &Step, number: usize) -> Self {
        let mut next = self.clone();
        match step {
            Step::Begin { refresh } => {
                (next.refresh, next.begun) = (*refresh, next.begun + 1);
                next.seen.clear();
            }
            Step::Save(model, entries) => {
                for Entry { id, data } in entries {
                    next.note_seen(*model, id);
                    let stream = &mut next.streams[*model];
                    match stream.live(id).map(|record| record.data.clone()) {
                        Some(old) if old == *data => {}
                        Some(_) => stream.put(id, Action::Updated, data.clone()),
                        None => stream.put(id, Action::Added, data.clone()),
                    }
                }
            }
            Step::Update(model, entries) => {
                for Entry { id, data } in entries {
                    next.note_seen(*model, id);
                    let stream = &mut next.streams[*model];
                    match stream.live(id).map(|record| record.data.clone()) {
                        // Each field is new to its record.
                        Some(old) => {
                            let merged = format!("{},{}", old.trim_end_matches('}'), &data[1..]);
                            stream.put(id, Action::Updated, merged);
                        }
                        None => stream.put(id, Action::Added, data.clone()),
                    }
                }
            }
            Step::Delete(model, ids) => {
                for id in ids {
                    let stream = &mut next.streams[*model];
                    if let Some(data) = stream.live(id).map(|record| record.data.clone()) {
                        stream.put(id, Action::Deleted, data);
                        next.seen.remove(id);
                    }
                }
            }
            Step::Checkpoint => next.checkpoint = Some(checkpoint(number)),
            Step::Metadata => next.metadata = Some(number),
            Step::Script => next.script = Some(number),
            Step::Finish { success } => {
                if *success {
                    next.succeeded = Some(next.begun);
                    if next.refresh {
                        let seen = std::mem::take(&mut next.seen);
                        let doomed: Vec<_> =
                            next.streams[0].all_live().into_keys().filter(|id| !seen.contains(id)).collect();
                        next.streams[0].delete_together(&doomed);
                    }
                }
            }
            Step::Open | Step::Close | Step::Sync | Step::Log => {}
        }
        next
    }

    fn note_seen(&mut self, model: usize, id: &str) {
        if model == 0 {
            self.seen.insert(id.to_owned());
        }
    }
}

fn checkpoint(number: usize) -> String {
    format!(r#"{{"step":{number}}}"#)
}

fn script_of(number: usize) -> (Script, Vec<u8>) {
    let bytes = noise(number, 9_000).into_bytes();
    let script = Script {
        name: "a-script".parse().unwrap(),
        version: 0,
        integration: None,
        hash: ScriptHash::of(&bytes),
        size: bytes.len() as u64,
        added_at: Timestamp(number as u64),
        manifest: "{}".to_owned(),
        limits: "{}".to_owned(),
    };
    (script, bytes)
}

/// The script under way on a store whose disk may be faulty.
struct World<'a> {
    dir: &'a Path,
    disk: FaultyDisk,
    steps: &'a [Step],
    /// What there is after so many steps.
    states: &'a [State],
    store: Option<EmbeddedStore>,
    /// So many steps were tried, so many returned without an error, and so many of them are durable.
    tried: usize,
    done: usize,
    durable: usize,
    run: Option<(Lease, Run)>,
    /// When each run started that was begun.
    started: Vec<Timestamp>,
    ended: Vec<(RunId, &'static str)>,
    readers: [Reader; 2],
}

impl World<'_> {
    fn step(&mut self, number: usize, again: u64) -> Result<(), StoreError> {
        let step = &self.steps[number];
        match step {
            Step::Open => {
                self.store = Some(open_dir(self.dir)?);
                return Ok(());
            }
            Step::Close => {
                self.store = None;
                return Ok(());
            }
            _ => {}
        }
        let store = self.store.as_ref().unwrap();
        if let Step::Begin { refresh } = step {
            let mut run = a_run(&sync("script", "c"));
            // If the failed call did begin it, whoever comes later than its lease has the sync.
            run.started_at.0 += again * 100_000;
            let refreshes = if *refresh { vec![model(MODELS[0])] } else { Vec::new() };
            let lease = store.begin_run(RunStart { run: run.clone(), lease_ms: 60_000, refreshes })?;
            self.started.push(run.started_at);
            self.run = Some((lease, run));
            return Ok(());
        }
        let (lease, run) = self.run.as_mut().unwrap();
        match step {
            Step::Save(of, entries) => store.save(lease, &rule(MODELS[*of]), entries, now()).map(drop),
            Step::Update(of, entries) => store.update(lease, &rule(MODELS[*of]), entries, now()).map(drop),
            Step::Delete(of, ids) => store.delete(lease, &model(MODELS[*of]), ids, now()).map(drop),
            Step::Checkpoint => store.save_checkpoint(lease, Some(&checkpoint(number))),
            Step::Sync => store.sync(),
            Step::Log => {
                let line = LogLine { at: now(), level: Level::Info, message: "a line".to_owned(), fields: None };
                store.append_log(run.id, &[line])
            }
            Step::Metadata => store.set_metadata(&"c".parse().unwrap(), &checkpoint(number)),
            Step::Script => {
                let (script, bytes) = script_of(number);
                store.put_script(&script, &bytes).map(drop)
            }
            Step::Finish { success } => {
                run.outcome = Some(if *success { Outcome::Succeeded } else { failure() });
                run.ended_at = Some(now());
                let code = if *success { "succeeded" } else { "script-transient" };
                match store.finish_run(lease, run, &UNGUARDED) {
                    // The failed call did end it; that is durable once `sync` says so.
                    Err(StoreError::LeaseLost) if again > 0 => {
                        store.sync()?;
                        let stored = store.run(run.id)?.and_then(|run| run.outcome);
                        assert_eq!(stored.as_ref().map(Outcome::code), Some(code), "the run lost its lease");
                    }
                    result => result?,
                }
                self.ended.push((run.id, code));
                Ok(())
            }
            Step::Open | Step::Close | Step::Begin { .. } => Ok(()),
        }
    }

    /// Does every step, and looks at the store whenever one fails.
    fn go(&mut self) {
        for number in 0..self.steps.len() {
            self.tried = number + 1;
            let begun = Instant::now();
            let mut again = 0;
            while let Err(error) = self.step(number, again) {
                let (step, first) = (format!("{:?}", self.steps[number]), self.disk.first_failed());
                let what = format!("step {number}, try {again}: {error} ({step:.100}; the {first:?} failed)");
                // A run that failed to begin may have begun; its lease is waited out above.
                let busy = matches!(error, StoreError::SyncBusy(_)) && again > 0;
                assert!(error.code() == "storage" || busy, "{what}");
                assert!(self.disk.failed() > 0, "nothing failed: {what}");
                if again == 0 {
                    self.look_at_it(&what);
                    self.disk.repair();
                } else {
                    std::thread::sleep(Duration::from_millis(20));
                }
                assert!(begun.elapsed() < PATIENCE, "still refused with room: {what}");
                again += 1;
            }
            self.done = number + 1;
            if self.steps[number].makes_durable() {
                self.durable = number + 1;
            }
        }
    }

    /// The store refused something: it shows exactly what is durable, and so does what a kill would leave.
    /// Reads go on whatever fails, but for one thing: sled cut off in the middle of a write of its own may want to end that
    /// before it answers, and says so until there is room.
    fn can_be_read(&self, store: &EmbeddedStore) -> bool {
        let refused = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Storage { .. }));
        let mut any = refused(store.sync_state(&sync("script", "c")).map(drop));
        any |= refused(store.metadata(&"c".parse().unwrap()).map(drop));
        any |= refused(store.scripts().map(drop)) || refused(store.runs(&RunsQuery::newest(100)).map(drop));
        any |= refused(store.streams().map(drop));
        for (number, model) in MODELS.iter().enumerate() {
            let key = stream("c", model);
            let all: Vec<_> = self.states[self.tried].streams[number].records.keys().cloned().collect();
            any |= refused(store.get(&key, None, &all).map(drop));
            any |= refused(store.list(&key, None, None, 1_000, usize::MAX).map(drop));
            any |= refused(store.changes(&key, &ChangesQuery { limit: 1_000, ..ChangesQuery::default() }).map(drop));
        }
        // Where the disk stays full, sled meets that too, whatever met it first.
        let first = self.disk.first_failed().unwrap_or_default();
        assert!(!any || first.contains("catalog") || self.disk.lasts(), "reads are refused after {first} failed");
        !any
    }

    fn look_at_it(&mut self, what: &str) {
        let mut shown = [0; 2];
        if let Some(store) = self.store.take() {
            if self.can_be_read(&store) {
                shown = self.assert_whole(&store, View::Open, what).map(|shown| *shown.start());
                for (number, reader) in self.readers.iter_mut().enumerate() {
                    reader.catch_up(&store, &stream("c", MODELS[number]), 7);
                }
            }
            self.store = Some(store);
        }
        // Only while nothing is written does a copy show one moment.
        if self.disk.lasts() {
            let copy = a_dir();
            sync_calls::copy(self.dir, copy.path());
            let store = open_dir(copy.path()).unwrap_or_else(|error| panic!("a copy does not open: {error}: {what}"));
            let left = self.assert_whole(&store, View::Reopened, what);
            for (left, shown) in left.iter().zip(shown) {
                assert!(*left.end() >= shown, "{shown} was shown to readers, {left:?} is there: {what}");
            }
        }
    }

    /// Checks that everything in the store is as some number of steps left it, and returns for each stream how many
    /// that can be.
    fn assert_whole(&self, store: &EmbeddedStore, view: View, what: &str) -> [RangeInclusive<usize>; 2] {
        let applied = match view {
            View::Open => self.done,
            View::Reopened => {
                store.sync().unwrap();
                self.durable
            }
        };
        let possible = |least: usize| (least..=self.tried).map(|steps| (steps, &self.states[steps]));
        let which = |least: usize, matches: &dyn Fn(&State) -> bool, which: &dyn std::fmt::Debug| {
            let steps: Vec<_> = possible(least).filter(|(_, state)| matches(state)).map(|(steps, _)| steps).collect();
            match steps.as_slice() {
                [] => panic!("{view:?}: not what {least} to {} steps leave: {which:?}: {what}", self.tried),
                [first, .., last] | [first @ last] => *first..=*last,
            }
        };
        let state = store.sync_state(&sync("script", "c")).unwrap();
        let checkpoint = which(applied, &|expected| expected.checkpoint == state.checkpoint, &state);
        which(applied, &|expected| expected.succeeded.map(|run| self.started[run - 1]) == state.last_sync_date, &state);
        let metadata = store.metadata(&"c".parse().unwrap()).unwrap();
        let metadata_of = |state: &State| state.metadata.map_or("{}".to_owned(), self::checkpoint);
        which(applied, &|expected| metadata_of(expected) == metadata, &metadata);
        // What was refused may have been counted as a version or not.
        let uncounted = |script: Script| Script { version: 0, ..script };
        let scripts: Vec<_> = store.scripts().unwrap().into_iter().map(uncounted).collect();
        let expected_scripts = |state: &State| Vec::from_iter(state.script.map(|number| script_of(number).0));
        which(applied, &|expected| expected_scripts(expected) == scripts, &scripts);
        for script in &scripts {
            let (_, bytes) = script_of(usize::try_from(script.added_at.0).unwrap());
            assert!(
                store.script_bytes(&script.hash).unwrap().as_ref() == Some(&bytes),
                "{view:?}: script bytes: {what}"
            );
        }
        for (run, code) in &self.ended {
            let outcome = store.run(*run).unwrap().and_then(|run| run.outcome);
            assert_eq!(outcome.as_ref().map(Outcome::code), Some(*code), "{view:?}: {what}");
        }
        store.runs(&RunsQuery::newest(100)).unwrap();

        [0, 1].map(|number| {
            let key = stream("c", MODELS[number]);
            // What becomes durable between two pages is in the second.
            let feed = Reader::default().catch_up(store, &key, 1_000);
            let last: BTreeMap<_, _> = feed.iter().map(|change| (&change.id, change.sequence)).collect();
            let feed: Vec<_> = feed.iter().filter(|change| last[&change.id] == change.sequence).collect();
            let brief: Vec<_> = feed.iter().map(|change| (change.sequence, &change.id, change.action)).collect();
            let shown = which(self.durable, &|state| state.streams[number].is(&feed), &brief);
            let all: Vec<_> = self.states[self.tried].streams[number].records.keys().cloned().collect();
            let found = pairs(store.get(&key, None, &all).unwrap());
            which(self.durable, &|state| state.streams[number].all_live() == found, &found.keys());
            let listed = pairs(list_all(store, &key, 100));
            which(self.durable, &|state| state.streams[number].all_live() == listed, &listed.keys());
            let info = store.streams().unwrap().into_iter().find(|info| info.stream == key);
            let figures = info.map_or((0, 0), |info| (info.changes, info.live));
            which(self.durable, &|state| state.streams[number].figures() == figures, &figures);
            if view == View::Reopened {
                assert!(found == listed && found.len() as u64 == figures.1, "index and feed differ: {what}");
                which(*shown.start(), &|state| state.streams[number].all_live() == found, &found.keys());
                let (page, step) = (&state.checkpoint, checkpoint.start());
                assert!(step <= shown.end(), "the checkpoint {page:?} is ahead of {} steps: {what}", shown.end());
            }
            shown
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// In the process that met the fault: what is applied may be more than what is durable.
    Open,
    Reopened,
}

fn pairs(entries: Vec<Entry>) -> BTreeMap<String, String> {
    entries.into_iter().map(|entry| (entry.id, entry.data)).collect()
}

/// A directory in memory where there is enough of it: hundreds of stores at once would wait for a real disk most of the
/// time.
fn a_dir() -> tempfile::TempDir {
    // SAFETY: numbers only, for which zero is a value.
    let mut room: libc::statvfs64 = unsafe { std::mem::zeroed() };
    // SAFETY: a path that ends with a zero byte, and the structure to fill.
    let known = unsafe { libc::statvfs64(c"/dev/shm".as_ptr(), &raw mut room) } == 0;
    let dir =
        if known && room.f_bavail * room.f_bsize > 1 << 30 { Path::new("/dev/shm") } else { &std::env::temp_dir() };
    tempfile::tempdir_in(dir).or_else(|_| tempfile::tempdir()).unwrap()
}

/// Goes through the script on a disk whose `failing`-th call fails. Returns how many calls there were, and which failed.
fn go(steps: &[Step], states: &[State], fault: Fault, lasting: Lasting, failing: u64) -> (u64, Option<String>) {
    let dir = a_dir();
    let disk = FaultyDisk::new(dir.path(), fault, lasting, failing);
    let mut world = World {
        dir: dir.path(),
        disk,
        steps,
        states,
        store: None,
        tried: 0,
        done: 0,
        durable: 0,
        run: None,
        started: Vec::new(),
        ended: Vec::new(),
        readers: Default::default(),
    };
    world.go();
    let (calls, failed) = (world.disk.calls(), world.disk.first_failed());
    world.disk.repair();
    // What is there is there, and it is all in the log.
    for what in ["at the end", "with a new index"] {
        // The call that fails may be one of these: how many came before depends on how commits fell into groups.
        let store = open_dir(dir.path()).or_else(|_| {
            world.disk.repair();
            open_dir(dir.path())
        });
        let store = store.unwrap();
        world.durable = steps.len();
        world.assert_whole(&store, View::Reopened, what);
        for (number, reader) in world.readers.iter_mut().enumerate() {
            reader.catch_up(&store, &stream("c", MODELS[number]), 7);
            assert_eq!(reader.replica, states[steps.len()].streams[number].all_live(), "a reader, {what}");
        }
        drop(store);
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    }
    (calls, failed)
}

/// Set in the process in which the disk is faulty: an engine that dies or hangs of it must not take other tests along.
const FAULTY: &str = "TERAPI_STORE_FAULTY";
/// Each `n` waits for the store to try again most of the time.
const AT_ONCE: usize = 16;
/// After that a store hangs.
const HANGS: Duration = Duration::from_mins(4);

/// `TERAPI_STORE_ALL_FAULTS=1` meets every n with every fault; without it, with one that lasts and one that does not.
/// `TERAPI_STORE_FAILING_WRITE` meets one n only.
#[test]
fn whichever_write_fails_nothing_is_there_by_halves_and_with_room_all_goes_on() {
    if std::env::var_os(FAULTY).is_none() {
        let (_, module) = module_path!().split_once("::").unwrap();
        let this = "whichever_write_fails_nothing_is_there_by_halves_and_with_room_all_goes_on";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::{this}"), "--nocapture"])
            .env(FAULTY, "1")
            .env(BUSY, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        for line in said.lines().filter(|line| line.contains("faults: ")) {
            eprintln!("{line}");
        }
        assert!(output.status.success(), "{}\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        return;
    }
    // The panics are what is told in the end.
    std::panic::set_hook(Box::new(|_| ()));
    let _quick = SkipSyncs::new();
    let steps = script();
    let mut states = vec![State::default()];
    for (number, step) in steps.iter().enumerate() {
        states.push(states[number].after(step, number));
    }
    let (calls, _) = go(&steps, &states, Fault::NoSpace, Lasting::Once, 0);
    println!("faults: {calls} calls");

    let kinds: Vec<_> = [Fault::NoSpace, Fault::Short, Fault::Broken]
        .into_iter()
        .flat_map(|fault| [Lasting::UntilRepaired, Lasting::Once].map(|lasting| (fault, lasting)))
        .collect();
    let seed = setting("TERAPI_STORE_SEED", rand::random_range(0..1_000));
    let every = setting("TERAPI_STORE_ALL_FAULTS", 0) > 0;
    let only = setting("TERAPI_STORE_FAILING_WRITE", 0);
    let work: Vec<_> = (1..=calls)
        .filter(|n| only == 0 || only == *n)
        .flat_map(|n| {
            let of_n = kinds[2 * (usize::try_from(n + seed).unwrap() % 3)].0;
            let kinds = kinds.iter().filter(move |(fault, _)| every || *fault == of_n);
            kinds.map(move |(fault, lasting)| (*fault, *lasting, n))
        })
        .collect();
    let (next, met) = (AtomicUsize::new(0), AtomicU64::new(0));
    let under_way: Mutex<BTreeMap<usize, Instant>> = Mutex::default();
    let wrong: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some((fault, lasting, n)) = work.get(number).copied() else { return };
                    under_way.lock().unwrap().insert(number, Instant::now());
                    match catch_unwind(AssertUnwindSafe(|| go(&steps, &states, fault, lasting, n))) {
                        Ok((_, failed)) => {
                            met.fetch_add(u64::from(failed.is_some()), Ordering::SeqCst);
                        }
                        Err(panic) => {
                            let text = panic.downcast_ref::<String>().cloned();
                            let text = text.unwrap_or_else(|| "a panic without a text".to_owned());
                            wrong.lock().unwrap().push(format!("write {n} fails, {fault:?} {lasting:?}: {text}"));
                        }
                    }
                    under_way.lock().unwrap().remove(&number);
                }
            });
        }
        scope.spawn(|| {
            while next.load(Ordering::SeqCst) < work.len() + AT_ONCE {
                std::thread::sleep(Duration::from_millis(50));
                for (number, since) in &*under_way.lock().unwrap() {
                    if since.elapsed() > HANGS {
                        println!("the store hangs: {:?}; before:\n{}", work[*number], wrong.lock().unwrap().join("\n"));
                        std::process::exit(1);
                    }
                }
            }
        });
    });
    let (wrong, met) = (wrong.into_inner().unwrap(), met.into_inner());
    println!("\nfaults: TERAPI_STORE_SEED={seed}, {calls} calls, {} faults, {met} met", work.len());
    if !wrong.is_empty() {
        println!("{} of {} went wrong:\n{}", wrong.len(), work.len(), wrong.join("\n"));
        std::process::exit(1);
    }
    // What the engine does in the background makes the count differ a little.
    if only == 0 && met * 10 < work.len() as u64 * 8 {
        println!("the test tests too little");
        std::process::exit(1);
    }
}
