//! Damaged, foreign and incomplete directories: what can be made whole is made whole, the rest is reported; nothing that
//! is wrong is served, and nothing that was there is thrown away in silence.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use terapi::ids::ScriptHash;
use terapi::run::{Level, LogLine, Run};
use terapi::store::embedded::{EmbeddedStore, StoreOptions};
use terapi::store::{Change, ChangesQuery, Script, Store, StoreError, StreamInfo, SyncState};

use crate::store::sync_calls::SkipSyncs;
use crate::store::writer::{THREADS, assert_whole_steps, stream_of, write};
use crate::store::{
    Embedded, Engine, Reader, begin, begin_refresh, feed, now, open_dir, save_in_a_run, setting, sync, sync_calls,
};

/// Everything that can be asked of a store.
#[derive(Debug, PartialEq)]
struct Picture {
    streams: Vec<StreamInfo>,
    feeds: Vec<Vec<Change>>,
    records: Vec<BTreeMap<String, String>>,
    /// What follows each of some cursors that were given out before.
    after: Vec<Vec<Change>>,
    states: Vec<SyncState>,
    runs: Vec<Run>,
    logs: Vec<Vec<LogLine>>,
    scripts: Vec<(Script, Option<Vec<u8>>)>,
    metadata: String,
}

fn picture(store: &dyn Store, cursors: &[Reader]) -> Picture {
    store.sync().unwrap();
    let streams = store.streams().unwrap();
    let runs = store.runs(None, 1_000).unwrap();
    let after = cursors.iter().map(|reader| reader.clone().catch_up(store, &stream_of(0), 50)).collect();
    Picture {
        feeds: streams.iter().map(|info| feed(store, &info.stream)).collect(),
        records: streams.iter().map(|info| crate::store::records(store, &info.stream)).collect(),
        after,
        states: (0..THREADS).map(|thread| store.sync_state(&sync(&format!("script{thread}"), "c")).unwrap()).collect(),
        logs: runs.iter().map(|run| store.log(run.id).unwrap()).collect(),
        scripts: store
            .scripts()
            .unwrap()
            .into_iter()
            .map(|script| (script.clone(), store.script_bytes(&script.hash).unwrap()))
            .collect(),
        metadata: store.metadata(&"c".parse().unwrap()).unwrap(),
        runs,
        streams,
    }
}

const STEPS: u64 = 120;

/// A store with some of everything, closed; readers somewhere in the feed of `stream_of(0)`; and the picture of it.
fn filled(dir: &Path) -> (Vec<Reader>, Picture) {
    let store = open_dir(dir).unwrap();
    let mut cursors = vec![Reader::default()];
    for thread in 0..THREADS {
        let mut run = begin(&store, &sync(&format!("script{thread}"), "c"));
        for n in 1..=STEPS {
            write(&run, thread, n).unwrap();
            if n % 20 == 0 {
                run.checkpoint(&format!(r#"{{"n":{n}}}"#));
                let line = LogLine { at: now(), level: Level::Info, message: format!("step {n}"), fields: None };
                store.append_log(run.run.id, &[line]).unwrap();
                let mut reader = cursors[cursors.len() - 1].clone();
                reader.page(&store, &stream_of(0), 20);
                cursors.push(reader);
            }
            if n % 50 == 0 {
                run.succeed();
                run = begin(&store, &sync(&format!("script{thread}"), "c"));
            }
        }
        run.fail();
    }
    let bytes = b"the bytes of a script";
    let script = Script {
        name: "a-script".parse().unwrap(),
        hash: ScriptHash::of(bytes),
        size: bytes.len() as u64,
        added_at: now(),
        manifest: "{}".to_owned(),
        limits: "{}".to_owned(),
    };
    store.put_script(&script, bytes).unwrap();
    store.set_metadata(&"c".parse().unwrap(), r#"{"team":"x"}"#).unwrap();
    let picture = picture(&store, &cursors);
    (cursors, picture)
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    sync_calls::copy(dir, copy.path());
    copy
}

fn logs(dir: &Path) -> Vec<PathBuf> {
    let mut files = sync_calls::files(&dir.join("log"));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "tlog"));
    files
}

fn random(name: &str) -> StdRng {
    let seed = setting("TERAPI_STORE_SEED", rand::random());
    eprintln!("{name}: TERAPI_STORE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn flip(file: &Path, at: u64, bit: u32) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

fn open_error(dir: &Path) -> StoreError {
    match open_dir(dir) {
        Err(error) => error,
        Ok(_) => panic!("{} opens", dir.display()),
    }
}

/// Something that is done to a directory.
type Harm<'a> = Box<dyn Fn(&Path, &mut StdRng) + 'a>;

#[test]
fn an_index_that_is_gone_or_garbage_is_made_anew_from_the_log() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (cursors, expected) = filled(whole.path());
    let mut random = random("garbage");
    let index_files = sync_calls::files(&whole.path().join("index"));
    assert!(!index_files.is_empty());
    let mut harms: Vec<(String, Harm<'_>)> = vec![
        ("no index".to_owned(), Box::new(|dir, _| fs::remove_dir_all(dir.join("index")).unwrap())),
        (
            "an empty index".to_owned(),
            Box::new(|dir, _| {
                fs::remove_dir_all(dir.join("index")).unwrap();
                fs::create_dir(dir.join("index")).unwrap();
            }),
        ),
        (
            "all of it garbage".to_owned(),
            Box::new(|dir, random| {
                for file in sync_calls::files(&dir.join("index")) {
                    let mut bytes = fs::read(&file).unwrap();
                    random.fill(&mut bytes[..]);
                    fs::write(&file, bytes).unwrap();
                }
            }),
        ),
    ];
    for file in &index_files {
        let inside = file.strip_prefix(whole.path()).unwrap();
        let name = inside.display();
        harms.push((format!("{name} gone"), Box::new(move |dir, _| fs::remove_file(dir.join(inside)).unwrap())));
        harms.push((format!("{name} empty"), Box::new(move |dir, _| fs::write(dir.join(inside), b"").unwrap())));
        for (what, keep) in [("half", 2), ("a tenth", 10)] {
            harms.push((
                format!("{what} of {name}"),
                Box::new(move |dir, _| {
                    let bytes = fs::read(dir.join(inside)).unwrap();
                    fs::write(dir.join(inside), &bytes[..bytes.len() / keep]).unwrap();
                }),
            ));
        }
        harms.push((
            format!("{name} zeros"),
            Box::new(move |dir, _| {
                let length = fs::metadata(dir.join(inside)).unwrap().len();
                fs::write(dir.join(inside), vec![0; usize::try_from(length).unwrap()]).unwrap();
            }),
        ));
        harms.push((
            format!("{name} garbage"),
            Box::new(move |dir, random| {
                let mut bytes = fs::read(dir.join(inside)).unwrap();
                random.fill(&mut bytes[..]);
                fs::write(dir.join(inside), bytes).unwrap();
            }),
        ));
    }
    for (what, harm) in harms {
        let copy = copy_of(whole.path());
        harm(copy.path(), &mut random);
        for again in 0..2 {
            eprintln!("{what}, opened {again} times before");
            let store = open_dir(copy.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(picture(&store, &cursors) == expected, "{what}: something else is there");
        }
        // And it goes on.
        let store = open_dir(copy.path()).unwrap();
        let run = begin(&store, &sync("script0", "c"));
        write(&run, 0, STEPS + 1).unwrap();
        run.succeed();
        assert_whole_steps(&store, 0);
    }
}

/// `TERAPI_STORE_FLIPS` says how often.
#[test]
fn a_flipped_bit_in_the_index_never_shows_anything_wrong() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (cursors, expected) = filled(whole.path());
    let mut random = random("flips in the index");
    let files = sync_calls::files(&whole.path().join("index"));
    for _ in 0..setting("TERAPI_STORE_FLIPS", 60) {
        let copy = copy_of(whole.path());
        let file = copy.path().join(files[random.random_range(0..files.len())].strip_prefix(whole.path()).unwrap());
        let bytes = fs::read(&file).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let at = random.random_range(0..bytes.len());
        // Most of the file is empty space; where it is not, it matters.
        let at = (at..bytes.len()).chain(0..at).find(|at| bytes[*at] != 0).unwrap_or(at);
        flip(&file, at as u64, random.random_range(0..8));
        let what = format!("{} at {at}", file.display());
        let store = open_dir(copy.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(picture(&store, &cursors) == expected, "{what}: something else is there");
    }
}

/// An index opens without being read whole, so damage may show much later.
#[test]
fn an_index_that_turns_out_damaged_is_reported_and_made_anew_at_the_next_start() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let mut random = random("damage found late");
    let of = stream_of(0);
    let ids: Vec<_> = (0..10_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let store = open_dir(whole.path()).unwrap();
    let run = begin(&store, &sync("script0", "c"));
    for ids in ids.chunks(500) {
        run.try_save("Model0", &ids.iter().map(|id| crate::store::entry(id, "{}")).collect::<Vec<_>>()).unwrap();
        store.sync().unwrap();
    }
    run.succeed();
    let expected = feed(&store, &of);
    drop(store);
    for _ in 0..20 {
        let copy = copy_of(whole.path());
        // Too little memory to keep all pages, so some are read again.
        let options = StoreOptions { cache_bytes: 64 << 10, ..StoreOptions::default() };
        let store = EmbeddedStore::open(copy.path(), &options).unwrap();
        let db = copy.path().join("index/db");
        let bytes = fs::read(&db).unwrap();
        for _ in 0..20 {
            let at = random.random_range(0..bytes.len());
            let at = (at..bytes.len()).chain(0..at).find(|at| bytes[*at] != 0).unwrap_or(at);
            flip(&db, at as u64, random.random_range(0..8));
        }
        let found = ids.chunks(500).map(|ids| store.get(&of, ids)).find_map(Result::err);
        if found.is_none() {
            assert!(feed(&store, &of) == expected, "something else is there");
            continue;
        }
        assert!(matches!(found, Some(StoreError::Corrupt { .. })), "{found:?}");
        drop(store);
        let store = open_dir(copy.path()).unwrap();
        assert!(feed(&store, &of) == expected, "something else is there");
        for ids in ids.chunks(500) {
            assert_eq!(store.get(&of, ids).unwrap().len(), ids.len());
        }
        return;
    }
    panic!("no damage was found late: the test tests nothing");
}

/// Without an index the log alone says what there is, so a cut log is one whose end never was.
#[test]
fn a_log_cut_off_or_flipped_anywhere_gives_whole_steps_from_the_start() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path());
    fs::remove_dir_all(whole.path().join("index")).unwrap();
    let mut random = random("torn tails");
    let [log] = &logs(whole.path())[..] else { panic!("one file of the log") };
    let log = log.strip_prefix(whole.path()).unwrap();
    let length = fs::metadata(whole.path().join(log)).unwrap().len();
    let mut offsets: Vec<_> = (0..200).map(|_| random.random_range(0..=length)).collect();
    // Cut in the header there is nothing left at all; that is another test.
    offsets.retain(|offset| *offset >= 32);
    offsets.extend([32, 33, 44, length - 1, length]);
    offsets.sort_unstable();
    let mut before = [0; THREADS];
    for offset in offsets {
        let copy = copy_of(whole.path());
        let file = fs::OpenOptions::new().write(true).open(copy.path().join(log)).unwrap();
        file.set_len(offset).unwrap();
        let store = open_dir(copy.path()).unwrap_or_else(|error| panic!("cut at {offset}: {error}"));
        let steps = [0, 1].map(|thread| assert_whole_steps(&store, thread).steps);
        assert!(steps[0] >= before[0] && steps[1] >= before[1], "cut at {offset}: {steps:?} after {before:?}");
        before = steps;
        // What follows is written where the torn commit was, and read back.
        let run = begin(&store, &sync("script0", "c"));
        write(&run, 0, steps[0] + 1).unwrap();
        run.succeed();
        drop(store);
        fs::remove_dir_all(copy.path().join("index")).unwrap();
        assert!(assert_whole_steps(&open_dir(copy.path()).unwrap(), 0).steps > steps[0], "cut at {offset}");

        let copy = copy_of(whole.path());
        if offset < length {
            flip(&copy.path().join(log), offset, random.random_range(0..8));
        }
        let store = open_dir(copy.path()).unwrap_or_else(|error| panic!("flipped at {offset}: {error}"));
        let flipped = [0, 1].map(|thread| assert_whole_steps(&store, thread).steps);
        assert_eq!(flipped, steps, "flipped at {offset}: exactly what was before is there");
        drop(store);
        // The rest may be good: it is not thrown away.
        if offset < length {
            let kept: u64 =
                sync_calls::files(&copy.path().join("log")).iter().map(|f| fs::metadata(f).unwrap().len()).sum();
            assert!(kept >= length, "flipped at {offset}: {kept} of {length} bytes are left");
        }
    }
    assert!(before[0] >= STEPS && before[1] >= STEPS, "the whole log has everything: {before:?}");
}

#[test]
fn a_log_that_lacks_what_was_durable_is_reported_and_not_accepted() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path());
    let [log] = &logs(whole.path())[..] else { panic!("one file of the log") };
    let log = log.strip_prefix(whole.path()).unwrap();
    let length = fs::metadata(whole.path().join(log)).unwrap().len();
    for left in [length - 1, length / 2, 32, 31, 1, 0] {
        let copy = copy_of(whole.path());
        fs::OpenOptions::new().write(true).open(copy.path().join(log)).unwrap().set_len(left).unwrap();
        for _ in 0..2 {
            let error = open_error(copy.path());
            assert!(matches!(error, StoreError::Corrupt { .. }), "{left} of {length} bytes: {error:?}");
        }
    }
    let copy = copy_of(whole.path());
    fs::remove_file(copy.path().join(log)).unwrap();
    for _ in 0..2 {
        let error = open_error(copy.path());
        assert!(matches!(error, StoreError::Corrupt { .. }), "no log: {error:?}");
    }
}

/// A bit that flips where the index points is found when it is read, and only what lies there is lost.
#[test]
fn a_flipped_bit_in_a_record_is_reported_when_it_is_read() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (cursors, expected) = filled(whole.path());
    let mut random = random("flips in the log");
    let [log] = &logs(whole.path())[..] else { panic!("one file of the log") };
    let log = log.strip_prefix(whole.path()).unwrap();
    let length = fs::metadata(whole.path().join(log)).unwrap().len();
    let (mut found, flips) = (0, setting("TERAPI_STORE_FLIPS", 60));
    for _ in 0..flips {
        let copy = copy_of(whole.path());
        let at = random.random_range(32..length);
        flip(&copy.path().join(log), at, random.random_range(0..8));
        let store = open_dir(copy.path()).unwrap_or_else(|error| panic!("flipped at {at}: {error}"));
        let damaged = (0..THREADS).find_map(|thread| {
            let query = ChangesQuery { limit: usize::MAX, max_bytes: usize::MAX, ..ChangesQuery::default() };
            store.changes(&stream_of(thread), &query).err()
        });
        match damaged {
            Some(error) => {
                assert!(matches!(error, StoreError::Corrupt { .. }), "flipped at {at}: {error:?}");
                found += 1;
            }
            // It hit what is superseded, or a row that the index has too.
            None => assert!(picture(&store, &cursors) == expected, "flipped at {at}: something else is there"),
        }
    }
    assert!(found > 0, "none of {flips} flips hit a record: the test tests nothing");
}

/// Enough for several files of the log: they are one history, with all of its files.
#[test]
fn a_log_of_several_files_is_read_whole_and_one_that_misses_a_file_is_reported() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let mut random = random("several files");
    let noise: String = (0..1_040_000).map(|_| char::from(random.random_range(b'a'..=b'~'))).collect();
    let store = open_dir(whole.path()).unwrap();
    let run = begin(&store, &sync("script0", "c"));
    for n in 0..220 {
        let data = format!(r#"{{"n":{n},"p":"{noise}"}}"#);
        run.save("Model0", &[(&format!("{}", n % 100), &data)]);
        if n % 10 == 0 {
            run.checkpoint(&format!(r#"{{"n":{n}}}"#));
        }
    }
    run.succeed();
    let sequences = |store: &dyn Store| -> Vec<_> {
        feed(store, &stream_of(0)).into_iter().map(|change| (change.sequence, change.id, change.data)).collect()
    };
    let expected = sequences(&store);
    drop(store);
    let files = logs(whole.path());
    assert!(files.len() >= 3, "{files:?}");
    for rebuild in [false, true] {
        if rebuild {
            fs::remove_dir_all(whole.path().join("index")).unwrap();
        }
        assert!(sequences(&open_dir(whole.path()).unwrap()) == expected, "rebuilt: {rebuild}");
    }
    for rebuild in [false, true] {
        for (number, file) in files.iter().enumerate() {
            let aside = file.with_extension("aside");
            fs::rename(file, &aside).unwrap();
            let index = whole.path().join("index");
            if rebuild {
                let _ = fs::remove_dir_all(&index);
            }
            // That the last file of a log without an index was there, nobody can know.
            if !(rebuild && number == files.len() - 1) {
                let error = open_error(whole.path());
                assert!(
                    matches!(error, StoreError::Corrupt { .. }),
                    "without file {number}, rebuilt {rebuild}: {error:?}"
                );
            }
            fs::rename(&aside, file).unwrap();
        }
    }
}

/// Then a cursor may be ahead of what there is, or in a place that has become another: never an empty answer.
#[test]
fn a_cursor_from_a_history_that_is_gone_is_told_so() {
    let _quick = SkipSyncs::new();
    let engine = Embedded::new();
    let of = stream_of(0);
    let store = engine.open();
    save_in_a_run(&*store, &sync("script0", "c"), "Model0", &[("a", "{}")]);
    drop(store);
    let backup = copy_of(engine.dir.path());
    let store = engine.open();
    save_in_a_run(&*store, &sync("script0", "c"), "Model0", &[("b", "{}"), ("c", "{}")]);
    let mut reader = Reader::default();
    reader.catch_up(&*store, &of, 100);
    drop(store);

    let store = open_dir(backup.path()).unwrap();
    let query = ChangesQuery { cursor: reader.cursor, ..ChangesQuery::default() };
    let error = store.changes(&of, &query).unwrap_err();
    assert!(matches!(error, StoreError::LostHistory(_)), "{error:?}");
}

/// Somebody put the index of one copy beside the log of another.
#[test]
fn an_index_beside_the_log_of_another_history_is_reported_and_the_log_left_alone() {
    let _quick = SkipSyncs::new();
    let first = tempfile::tempdir().unwrap();
    let store = open_dir(first.path()).unwrap();
    save_in_a_run(&store, &sync("script0", "c"), "Model0", &[("a", "{}")]);
    drop(store);
    let second = copy_of(first.path());
    for (dir, ids) in [(&first, 1..3), (&second, 10..40)] {
        let store = open_dir(dir.path()).unwrap();
        for id in ids {
            save_in_a_run(&store, &sync("script0", "c"), "Model0", &[(&format!("{id}"), "{}")]);
        }
    }
    fs::remove_dir_all(second.path().join("index")).unwrap();
    sync_calls::copy(&first.path().join("index"), &second.path().join("index"));
    let before = fs::read(&logs(second.path())[0]).unwrap();
    let error = open_error(second.path());
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(fs::read(&logs(second.path())[0]).unwrap() == before, "the log was changed");
    // As the error says.
    fs::rename(second.path().join("index"), second.path().join("index-of-the-other")).unwrap();
    let store = open_dir(second.path()).unwrap();
    assert_eq!(feed(&store, &stream_of(0)).len(), 31);
}

#[test]
fn a_directory_in_use_is_refused_with_the_process_that_uses_it() {
    let _quick = SkipSyncs::new();
    let dir = tempfile::tempdir().unwrap();
    let store = open_dir(dir.path()).unwrap();
    let impatient = StoreOptions { patience: std::time::Duration::ZERO, ..StoreOptions::default() };
    match EmbeddedStore::open(dir.path(), &impatient) {
        Err(StoreError::Locked { holder, path }) => {
            assert_eq!(holder, std::process::id().to_string());
            assert_eq!(path, dir.path().display().to_string());
        }
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("one directory was opened twice"),
    }
    // The one that has it was not disturbed.
    save_in_a_run(&store, &sync("script0", "c"), "Model0", &[("a", "{}")]);
    drop(store);
    assert_eq!(feed(&open_dir(dir.path()).unwrap(), &stream_of(0)).len(), 1);
}

#[test]
fn a_directory_of_a_newer_format_or_without_its_head_is_refused_and_left_alone() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (cursors, expected) = filled(whole.path());
    let meta = fs::read_to_string(whole.path().join("META.json")).unwrap();
    let newer = meta.replacen("\"format\": 1", "\"format\": 2", 1);
    assert_ne!(newer, meta);
    let half = &meta[..meta.len() / 2];
    for bad in [Some(newer.as_str()), Some(""), Some("{}"), Some("garbage"), Some(half), None] {
        let copy = copy_of(whole.path());
        let path = copy.path().join("META.json");
        match bad {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let code = open_error(copy.path()).code();
        assert_eq!(code, if bad == Some(&newer) { "store-newer-format" } else { "store-corrupt" }, "{bad:?}");
        // With its head back, everything is there.
        fs::write(&path, &meta).unwrap();
        assert!(picture(&open_dir(copy.path()).unwrap(), &cursors) == expected, "{bad:?}: something else is there");
    }
}

/// A refresh's deletes are many commits. If the process dies among them, the next refresh does the rest.
#[test]
fn deletes_that_were_cut_short_are_done_by_the_next_refresh() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let of = stream_of(0);
    let store = open_dir(whole.path()).unwrap();
    let sync = sync("script0", "c");
    let run = begin(&store, &sync);
    for start in [0, 1_000, 2_000] {
        let batch: Vec<_> = (start..start + 1_000).map(|id| crate::store::entry(&id.to_string(), "{}")).collect();
        run.try_save("Model0", &batch).unwrap();
    }
    run.succeed();
    let state = store.sync_state(&sync).unwrap();
    drop(store);
    let before = fs::metadata(&logs(whole.path())[0]).unwrap().len();
    let store = open_dir(whole.path()).unwrap();
    let run = begin_refresh(&store, &sync, &["Model0"]);
    run.save("Model0", &[("0", "{}")]);
    assert_eq!(run.succeed().deleted, 2_999);
    drop(store);
    let after = fs::metadata(&logs(whole.path())[0]).unwrap().len();
    fs::remove_dir_all(whole.path().join("index")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (before..=after).step_by(usize::try_from((after - before) / 40).unwrap().max(1)) {
        let copy = copy_of(whole.path());
        let file = logs(copy.path()).remove(0);
        fs::OpenOptions::new().write(true).open(file).unwrap().set_len(cut).unwrap();
        let store = open_dir(copy.path()).unwrap();
        let live = store.streams().unwrap()[0].live;
        seen.insert(live);
        if store.sync_state(&sync).unwrap() == state {
            let run = begin_refresh(&store, &sync, &["Model0"]);
            run.save("Model0", &[("0", "{}")]);
            assert_eq!(run.succeed().deleted, live - 1, "cut at {cut}");
        } else {
            assert_eq!(live, 1, "cut at {cut}: the run counts as a success");
        }
        assert_eq!(feed(&store, &of).len(), 3_000, "cut at {cut}");
    }
    assert!(seen.len() > 2, "{seen:?}: no cut fell among the deletes");
}
