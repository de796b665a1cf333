//! A process that writes until it is killed, and what must be there afterwards.
//!
//! What the n-th step of a thread writes follows from n alone, so that whoever looks at the store later knows what every
//! number of steps leaves behind. Every step is one call, so one commit: a store that is in between two steps is torn.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use terapi::ids::{ScriptHash, StreamKey, SyncKey};
use terapi::store::{Action, Reset, RunsQuery, Script, Store, StoreError};

use crate::store::{
    Reader, begin, begin_refresh, entry, model, now, open_dir, rule, setting, stream, sync, sync_calls,
};

/// Threads that write side by side, each with a sync and a stream of its own.
pub(crate) const THREADS: usize = 2;
const GROUPS: u64 = 25;
/// A checkpoint after so many steps, a plain sync in between, and a run's end after more.
const CHECKPOINT_EVERY: u64 = 5;
const SYNC_EVERY: u64 = 7;
const FINISH_EVERY: u64 = 33;
/// And something else that writes, which nobody checks here.
const BESIDE_EVERY: u64 = 20;

/// One commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Save,
    Update,
    Delete,
}

/// A number that looks random and is always the same.
fn mix(n: u64, salt: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xD1B5_4A32_D192_ED03);
    x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^ (x >> 32)
}

/// The ids that step `n` writes: always the same together, some so many and large that they fill several blocks.
fn ids(n: u64) -> Vec<String> {
    let group = mix(n, 1) % GROUPS;
    let size = if group == 0 { 24 } else { 1 + group % 6 };
    (0..size).map(|i| format!("{group}/{i}")).collect()
}

fn kind(n: u64) -> Kind {
    match mix(n, 2) % 10 {
        0 => Kind::Delete,
        1 | 2 => Kind::Update,
        _ => Kind::Save,
    }
}

/// What step `n` saves under the `i`-th of its ids. `TERAPI_STORE_PADDING` makes every record that large (300,000, say),
/// so that the log soon has several files.
fn saved(n: u64, i: usize) -> String {
    static NOISE: OnceLock<(String, usize)> = OnceLock::new();
    let (noise, large) = NOISE.get_or_init(|| {
        let large = usize::try_from(setting("TERAPI_STORE_PADDING", 0)).unwrap();
        let words: Vec<_> = (0..(large.max(20_000) * 2) as u64 / 16).map(|at| format!("{:016x}", mix(at, 9))).collect();
        (words.concat(), large)
    });
    let length = match mix(n, 1) % GROUPS {
        _ if *large > 0 => *large,
        0 => 20_000,
        _ => usize::try_from(mix(n, 3) % 300).unwrap(),
    };
    let from = usize::try_from(mix(n * 64 + i as u64, 4)).unwrap() % (noise.len() - length);
    format!(r#"{{"n":{n},"i":{i},"p":"{}"}}"#, &noise[from..from + length])
}

/// A stream as it is after some steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) steps: u64,
    pub(crate) last: u64,
    records: BTreeMap<String, (u64, Action, String)>,
}

impl Expected {
    /// One step more.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        let n = self.steps;
        for (i, id) in ids(n).into_iter().enumerate() {
            let live = self.records.get(&id).filter(|(_, action, _)| *action != Action::Deleted);
            let (action, data) = match (kind(n), live) {
                (Kind::Delete, None) => continue,
                (Kind::Delete, Some((_, _, data))) => (Action::Deleted, data.clone()),
                (Kind::Update, Some((_, _, data))) => {
                    let kept = data.split_once(r#","u":"#).map_or(data.trim_end_matches('}'), |(kept, _)| kept);
                    let whole = if kept.starts_with(r#"{"u":"#) { "{".to_owned() } else { format!("{kept},") };
                    (Action::Updated, format!(r#"{whole}"u":{n}}}"#))
                }
                (Kind::Update, None) => (Action::Added, format!(r#"{{"u":{n}}}"#)),
                (Kind::Save, live) => (if live.is_some() { Action::Updated } else { Action::Added }, saved(n, i)),
            };
            self.last += 1;
            self.records.insert(id, (self.last, action, data));
        }
    }

    fn feed(&self) -> Vec<(u64, &str, Action, &str)> {
        let mut feed: Vec<_> = self
            .records
            .iter()
            .map(|(id, (sequence, action, data))| (*sequence, id.as_str(), *action, data.as_str()))
            .collect();
        feed.sort_unstable_by_key(|(sequence, ..)| *sequence);
        feed
    }

    pub(crate) fn live(&self) -> BTreeMap<String, String> {
        let live = self.records.iter().filter(|(_, (_, action, _))| *action != Action::Deleted);
        live.map(|(id, (_, _, data))| (id.clone(), data.clone())).collect()
    }
}

pub(crate) fn stream_of(thread: usize) -> StreamKey {
    stream("c", &format!("Model{thread}"))
}

fn sync_of(thread: usize) -> SyncKey {
    sync(&format!("script{thread}"), "c")
}

/// Does step `n` on a store.
pub(crate) fn write(run: &crate::store::ActiveRun<'_>, thread: usize, n: u64) -> Result<(), StoreError> {
    let rule = rule(&format!("Model{thread}"));
    let ids = ids(n);
    let of = |data: &dyn Fn(usize) -> String| -> Vec<_> {
        ids.iter().enumerate().map(|(i, id)| entry(id, &data(i))).collect()
    };
    match kind(n) {
        Kind::Save => run.store.save(&run.lease, &rule, &of(&|i| saved(n, i)), now()).map(drop),
        Kind::Update => run.store.update(&run.lease, &rule, &of(&|_| format!(r#"{{"u":{n}}}"#)), now()).map(drop),
        Kind::Delete => run.store.delete(&run.lease, &rule.name, &ids, now()).map(drop),
    }
}

/// Checks that the stream is exactly as some number of steps leaves it, that everything in the store agrees on it, and
/// returns how many.
pub(crate) fn assert_whole_steps(store: &dyn Store, thread: usize) -> Expected {
    let key = stream_of(thread);
    let last = store.streams().unwrap().iter().find(|info| info.stream == key).map_or(0, |info| info.changes);
    let mut expected = Expected::default();
    while expected.last < last {
        expected.step();
    }
    assert_eq!(expected.last, last, "thread {thread}: half of step {} is there", expected.steps);
    // Steps that change nothing leave nothing to tell that they were done.
    loop {
        let mut next = expected.clone();
        next.step();
        if next.last > last {
            break;
        }
        expected = next;
    }
    let changes = Reader::default().catch_up(store, &key, 37);
    let feed: Vec<_> = changes
        .iter()
        .map(|change| (change.sequence, change.id.as_str(), change.action, change.data.as_str()))
        .collect();
    assert!(
        feed == expected.feed(),
        "thread {thread}: the feed after {} steps is\n{}",
        expected.steps,
        shortened(&feed)
    );
    let live = expected.live();
    assert_eq!(crate::store::records(store, &key), live, "thread {thread}: list");
    let mut all = std::collections::BTreeSet::new();
    all.extend(expected.records.keys().cloned());
    let found = store.get(&key, None, &all.into_iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(found.into_iter().map(|entry| (entry.id, entry.data)).collect::<BTreeMap<_, _>>(), live, "get");
    let info = store.streams().unwrap().into_iter().find(|info| info.stream == key);
    assert_eq!(info.map_or(0, |info| info.live), live.len() as u64, "thread {thread}: figures");
    expected
}

fn shortened(feed: &[(u64, &str, Action, &str)]) -> String {
    let line = |(sequence, id, action, data): &(u64, &str, Action, &str)| {
        format!("{sequence} {id} {} {data:.30}", action.word())
    };
    feed.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What the writer has said: for each thread, the steps that it knows to be durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    pub(crate) durable: [u64; THREADS],
    pub(crate) checkpoint: [u64; THREADS],
    /// The last sequence and the cursor that a reader in that process was given.
    pub(crate) read: [Option<(u64, String)>; THREADS],
}

impl Said {
    fn note(&mut self, line: &str) {
        // The test harness begins a line of its own with the test's name.
        let Some(at) = line.find("SAID ") else { return };
        let words: Vec<_> = line[at..].split(' ').collect();
        let [_, what, thread, number, rest @ ..] = words.as_slice() else { return };
        // The last line may be cut off; every whole one ends with a full stop.
        let (Ok(thread), Ok(number), Some(&".")) = (thread.parse::<usize>(), number.parse(), rest.last()) else {
            return;
        };
        match *what {
            "durable" => self.durable[thread] = self.durable[thread].max(number),
            "checkpoint" => {
                self.durable[thread] = self.durable[thread].max(number);
                self.checkpoint[thread] = self.checkpoint[thread].max(number);
            }
            _ => self.read[thread] = Some((number, rest[0].to_owned())),
        }
    }
}

/// A writer in a process of its own.
pub(crate) struct Writer {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    pub(crate) said: Said,
}

impl Writer {
    /// Starts one; `shadow` is where it keeps what it knows to be on the disk, and `settings` are for its environment.
    pub(crate) fn start(dir: &Path, shadow: Option<&Path>, settings: &[(&str, &str)]) -> Self {
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("{module}::writes_until_it_is_killed"), "--nocapture", "--test-threads=1"]);
        command.env("TERAPI_STORE_WRITER", dir).stdout(Stdio::piped()).stderr(Stdio::inherit());
        if let Some(shadow) = shadow {
            command.env(sync_calls::SHADOW, shadow).env(sync_calls::SHADOWED, dir);
        }
        command.envs(settings.iter().copied());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, said: Said::default() }
    }

    /// Lets it say so many things, and kills it some time after.
    pub(crate) fn kill_after(mut self, things: u64, micros: u64) -> Said {
        let mut line = String::new();
        for _ in 0..things {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                let status = self.child.wait().unwrap();
                panic!("the writer ended by itself: {status}");
            }
            self.said.note(line.trim_end());
        }
        let moment = Instant::now();
        while moment.elapsed().as_micros() < u128::from(micros) {
            std::hint::spin_loop();
        }
        self.child.kill().unwrap();
        self.wait().0
    }

    /// Listens until it has said so many things, and kills it then, or until it has died, and says whether it did.
    pub(crate) fn listen(mut self, things: u64) -> (Said, bool) {
        let mut line = String::new();
        for _ in 0..things {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                let (said, status) = self.wait();
                let signal = std::os::unix::process::ExitStatusExt::signal(&status);
                assert_eq!(signal, Some(libc::SIGKILL), "the writer ended by itself: {status}");
                return (said, true);
            }
            self.said.note(line.trim_end());
        }
        self.child.kill().unwrap();
        (self.wait().0, false)
    }

    /// Hears it out.
    pub(crate) fn wait(mut self) -> (Said, ExitStatus) {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            self.said.note(line.trim_end());
            line.clear();
        }
        (self.said, self.child.wait().unwrap())
    }
}

/// Not a test but the other process: writes where the environment says, else does nothing.
#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os("TERAPI_STORE_WRITER") else { return };
    // One thread's panic must end the process, or who listens would listen for ever.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(101);
    }));
    crate::store::failpoints::arm();
    let store = open_dir(Path::new(&dir)).unwrap();
    let say = |what: &str, thread: usize, number: u64, rest: &str| {
        let line = format!("\nSAID {what} {thread} {number} {rest}.\n");
        let mut out = std::io::stdout().lock();
        // Whoever reads is gone: so be it.
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    };
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, say, ended) = (&store, &say, &ended);
            scope.spawn(move || {
                let mut n = assert_whole_steps(store, thread).steps;
                let mut run = begin(store, &sync_of(thread));
                while !ended.load(Ordering::Relaxed) {
                    n += 1;
                    write(&run, thread, n).unwrap();
                    if n.is_multiple_of(CHECKPOINT_EVERY) {
                        run.checkpoint(&format!(r#"{{"n":{n}}}"#));
                        say("checkpoint", thread, n, "");
                    }
                    if n.is_multiple_of(SYNC_EVERY) {
                        store.sync().unwrap();
                        say("durable", thread, n, "");
                    }
                    if n.is_multiple_of(FINISH_EVERY) {
                        run.succeed();
                        say("durable", thread, n, "");
                        run = begin(store, &sync_of(thread));
                    }
                    if n.is_multiple_of(BESIDE_EVERY) {
                        beside(store, thread, n);
                    }
                }
            });
        }
        let mut readers = [const { None }; THREADS].map(|_: Option<()>| Reader::default());
        loop {
            for (thread, reader) in readers.iter_mut().enumerate() {
                if !reader.page(&store, &stream_of(thread), 50).0.is_empty() {
                    let cursor = reader.cursor.clone().unwrap();
                    say("read", thread, reader.last_sequence, &format!("{cursor} "));
                }
            }
        }
    });
}

/// What else writes to a store: none of it touches the streams of [`stream_of`].
fn beside(store: &dyn Store, thread: usize, n: u64) {
    let connection = format!("beside{thread}");
    store.set_metadata(&connection.parse().unwrap(), &format!(r#"{{"n":{n}}}"#)).unwrap();
    let bytes = saved(n, 0).into_bytes();
    let script = Script {
        name: connection.parse().unwrap(),
        version: 0,
        integration: None,
        hash: ScriptHash::of(&bytes),
        size: bytes.len() as u64,
        added_at: now(),
        manifest: "{}".to_owned(),
        limits: "{}".to_owned(),
    };
    store.put_script(&script, &bytes).unwrap();
    // A full refresh that deletes, of a sync that is then reset.
    let sync = sync(&connection, &connection);
    let run = begin_refresh(store, &sync, &["Beside"]);
    let ids = (n..n + 60).map(|id| (id.to_string(), format!(r#"{{"n":{n}}}"#))).collect::<Vec<_>>();
    run.save("Beside", &ids.iter().map(|(id, data)| (id.as_str(), data.as_str())).collect::<Vec<_>>());
    run.succeed();
    if n.is_multiple_of(3) {
        store.remove_script(&script.name).unwrap();
        store.reset(&sync, &Reset::Refetch, now()).unwrap();
    } else if n.is_multiple_of(2) {
        // The next run here builds a new generation and swaps.
        store.reset(&sync, &Reset::Empty { models: vec![model("Beside")] }, now()).unwrap();
    }
}

/// Reopens what a writer left and checks it against what it had said. `readers` have read this store before.
pub(crate) fn assert_nothing_lost(dir: &Path, said: &Said, readers: &mut [Reader; THREADS]) {
    let store = open_dir(dir).unwrap();
    store.sync().unwrap();
    for (thread, always_there) in readers.iter_mut().enumerate() {
        let expected = assert_whole_steps(&store, thread);
        let (steps, durable) = (expected.steps, said.durable[thread]);
        assert!(steps >= durable, "thread {thread}: {steps} steps are there, {durable} were durable");

        let state = store.sync_state(&sync_of(thread)).unwrap();
        let checkpoint = state.checkpoint.map_or(0, |text| {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            value["n"].as_u64().unwrap()
        });
        assert!(checkpoint >= said.checkpoint[thread], "thread {thread}: checkpoint {checkpoint}, {said:?}");
        assert!(checkpoint <= steps, "thread {thread}: checkpoint {checkpoint} without the {steps} steps before it");

        // What a reader saw has not been taken back, and its cursor goes on.
        if let Some((sequence, cursor)) = &said.read[thread] {
            assert!(*sequence <= expected.last, "thread {thread}: {sequence} was read, {} is there", expected.last);
            let mut reader = Reader { cursor: Some(cursor.clone()), last_sequence: *sequence, ..Reader::default() };
            reader.catch_up(&store, &stream_of(thread), 64);
        }
        always_there.catch_up(&store, &stream_of(thread), 64);
        assert_eq!(always_there.replica, expected.live(), "thread {thread}: a reader that was there all the time");
    }
    for run in store.runs(&RunsQuery::newest(1_000)).unwrap().runs {
        assert!(run.outcome.is_some(), "{run:?} is shown as active");
    }
}
