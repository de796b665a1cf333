//! The tools against damage: each finds what is wrong, none takes away what is good.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rand::Rng as _;
use terapi::store::embedded::{
    Copied, EmbeddedStore, Limits, Salvaged, StoreOptions, Verification, backup, restore, salvage, verify,
};
use terapi::store::{ChangesQuery, Reset, Retention, Store, StoreError};

use super::damage::{Picture, copy_of, filled, flip, logs, picture, random};
use super::sync_calls::{self, SkipSyncs};
use super::writer::{THREADS, assert_whole_steps, stream_of, write};
use super::{Reader, begin, begin_refresh, entry, model, now, records, save_in_a_run, setting, stream, sync};

fn options() -> StoreOptions {
    StoreOptions { cache_bytes: 8 << 20, patience: std::time::Duration::from_secs(1), limits: Limits::default() }
}

/// So that a small store has several files and gives some back.
fn small() -> StoreOptions {
    let limits = Limits {
        roll_bytes: 96 << 10,
        checkpoint_bytes: 64 << 10,
        checkpoint_log_bytes: 128 << 10,
        slack_bytes: 64 << 10,
    };
    StoreOptions { limits, ..options() }
}

fn open_dir(dir: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(dir, &options())
}

fn verified(dir: &Path) -> Verification {
    verify(dir, &options(), &mut |_, _| {}).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
}

/// Salvages into a new directory.
fn salvaged(dir: &Path) -> (tempfile::TempDir, Salvaged) {
    let to = tempfile::tempdir().unwrap();
    let report = salvage(dir, to.path(), &options(), &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(verified(to.path()).problems.problems, [], "what was salvaged is whole: {report:#?}");
    (to, report)
}

fn backed_up(dir: &Path) -> (tempfile::TempDir, Copied) {
    let to = tempfile::tempdir().unwrap();
    let copied = backup(dir, to.path(), &mut |_, _| {}).unwrap();
    (to, copied)
}

fn restored(dir: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    restore(dir, to.path(), &mut |_, _| {}).unwrap();
    to
}

/// What is there, but for cursors of another history.
fn shown(dir: &Path) -> Picture {
    picture(&open_dir(dir).unwrap(), &[])
}

/// Every file with its bytes, but for who had it open last.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = sync_calls::files(dir).into_iter().filter(|file| !file.ends_with("LOCK"));
    files.map(|file| (file.strip_prefix(dir).unwrap().to_owned(), fs::read(&file).unwrap())).collect()
}

fn assert_lost_history(dir: &Path, cursor: &Reader) {
    let query = ChangesQuery { cursor: cursor.cursor.clone(), ..ChangesQuery::default() };
    let error = open_dir(dir).unwrap().changes(&stream_of(0), &query).unwrap_err();
    assert!(matches!(error, StoreError::LostHistory(_)), "{error:?}");
}

/// Issue-like: records that do not pack to nothing.
fn text(n: u64, version: u64) -> String {
    let mut words = String::new();
    let mut x = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ version.wrapping_mul(0xD1B5_4A32_D192_ED03);
    for _ in 0..45 {
        x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let _ = write!(words, "{:014x} ", x >> 8);
    }
    format!(r#"{{"number":{n},"version":{version},"state":"open","title":"Issue {n}","body":"{words}"}}"#)
}

const RECORDS: u64 = 3_000;

/// A store with 3,000 records, of which every tenth was changed once.
fn issues(dir: &Path, options: &StoreOptions) -> BTreeMap<String, String> {
    let store = EmbeddedStore::open(dir, options).unwrap();
    let mut expected = BTreeMap::new();
    let mut save = |store: &dyn Store, numbers: Vec<u64>, version: u64| {
        let run = begin(store, &sync("script0", "c"));
        for some in numbers.chunks(100) {
            let batch: Vec<_> = some.iter().map(|n| entry(&format!("{n}"), &text(*n, version))).collect();
            run.try_save("Model0", &batch).unwrap();
            expected.extend(batch.into_iter().map(|entry| (entry.id, entry.data)));
            store.sync().unwrap();
        }
        run.checkpoint(&format!(r#"{{"version":{version}}}"#));
        run.succeed();
    };
    save(&store, (0..RECORDS).collect(), 0);
    save(&store, (0..RECORDS).step_by(10).collect(), 1);
    expected
}

#[test]
fn a_whole_store_verifies_without_a_word_and_is_not_changed() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (_, expected) = filled(whole.path());
    let records: u64 = expected_records(&expected);
    let before = content(whole.path());
    let mut steps = Vec::new();
    let found = verify(whole.path(), &options(), &mut |done, total| steps.push((done, total))).unwrap();
    assert_eq!(found.problems.problems, []);
    assert_eq!(found.records, records);
    assert!(found.files == 1 && found.frames > 10 && found.blocks > 10, "{found:?}");
    assert!(steps.is_sorted() && steps.last().is_some_and(|(done, total)| done == total && *total > 0), "{steps:?}");
    assert!(content(whole.path()) == before, "it was changed");
    assert!(shown(whole.path()) == without_cursors(expected), "something else is there");
}

fn expected_records(picture: &Picture) -> u64 {
    picture.records.iter().map(|records| records.len() as u64).sum()
}

/// As it was, without what follows cursors.
fn without_cursors(picture: Picture) -> Picture {
    Picture { after: Vec::new(), ..picture }
}

/// As a process that was killed leaves it: the index behind, the last commit torn.
#[test]
fn what_a_crash_leaves_behind_is_no_problem() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path());
    let early = copy_of(whole.path());
    {
        let store = open_dir(whole.path()).unwrap();
        save_in_a_run(&store, &sync("script0", "c"), "Model0", &[("later", "{}"), ("0/0", "{}")]);
    }
    let records = verified(whole.path()).records;
    let behind = copy_of(whole.path());
    fs::remove_dir_all(behind.path().join("index")).unwrap();
    sync_calls::copy(&early.path().join("index"), &behind.path().join("index"));
    let without = copy_of(whole.path());
    fs::remove_dir_all(without.path().join("index")).unwrap();
    let torn = copy_of(whole.path());
    let mut log = fs::read(&logs(torn.path())[0]).unwrap();
    let again = log[40..140].to_vec();
    log.extend(again);
    fs::write(&logs(torn.path())[0], log).unwrap();
    for (dir, what) in [(&behind, "an index that is behind"), (&without, "no index"), (&torn, "a torn end")] {
        let before = content(dir.path());
        let found = verified(dir.path());
        assert_eq!((found.problems.problems, found.records), (Vec::new(), records), "{what}");
        assert!(content(dir.path()) == before, "{what}: it was changed");
    }
}

/// Every byte of the log counts, every byte of the places, the mark, the head and the scripts.
#[test]
fn verify_finds_a_flipped_bit_wherever_it_matters() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (cursors, expected) = filled(whole.path());
    let mut random = random("flips that verify finds");
    let log = logs(whole.path())[0].strip_prefix(whole.path()).unwrap().to_owned();
    let length = fs::metadata(whole.path().join(&log)).unwrap().len();
    let script = sync_calls::files(&whole.path().join("scripts"))[0].strip_prefix(whole.path()).unwrap().to_owned();
    let places = sync_calls::files(&whole.path().join("index/places"));
    let places = places[0].strip_prefix(whole.path()).unwrap().to_owned();
    // In the log: header, a frame's head, and anything.
    let mut flips: Vec<(PathBuf, u64)> =
        [0, 9, 13, 20, 30, 39, 40, 45, 50, 60, 64, length - 1].map(|at| (log.clone(), at)).into();
    flips.extend((0..setting("TERAPI_STORE_FLIPS", 60)).map(|_| (log.clone(), random.random_range(40..length))));
    let size = fs::metadata(whole.path().join(&places)).unwrap().len();
    flips.extend((0..10).map(|_| (places.clone(), random.random_range(0..size))));
    let catalog = Path::new("index/catalog/conf");
    flips.extend([0, 20, 40].map(|at| (catalog.to_owned(), at)));
    flips.extend([0, 3, 8, 40].map(|at| (PathBuf::from("MARK"), at)));
    flips.extend([512, 520, 555].map(|at| (PathBuf::from("MARK"), at)));
    flips.push((script, 3));
    let meta = fs::read_to_string(whole.path().join("META.json")).unwrap();
    let digit = meta.rfind(|c: char| c.is_ascii_digit()).unwrap();
    flips.push(("META.json".into(), digit as u64));
    for (file, at) in flips {
        let copy = copy_of(whole.path());
        let bit = if file.ends_with("META.json") { 0 } else { random.random_range(0..8) };
        flip(&copy.path().join(&file), at, bit);
        let before = content(copy.path());
        let found = verified(copy.path());
        let what = format!("{} byte {at} bit {bit}", file.display());
        assert!(!found.problems.problems.is_empty(), "{what}: nothing was found");
        assert!(content(copy.path()) == before, "{what}: it was changed");
        let name = file.file_name().unwrap().to_str().unwrap();
        let kind = if file == places || file == catalog { "index" } else { name };
        assert!(found.problems.problems[0].place.contains(kind), "{what}: {:?}", found.problems);
        if kind == "index" {
            assert!(found.problems.problems[0].what.contains("made anew"), "{what}: {:?}", found.problems);
            assert!(picture(&open_dir(copy.path()).unwrap(), &cursors) == expected, "{what}: as verify says");
        }
    }
    // Of its own log sled takes what comes before the damage, which is the catalog as it was once: a start replays the rest.
    let bytes = fs::read(whole.path().join("index/catalog/db")).unwrap();
    for _ in 0..20 {
        let at = random.random_range(0..bytes.len());
        let copy = copy_of(whole.path());
        flip(&copy.path().join("index/catalog/db"), at as u64, random.random_range(0..8));
        let problems = verified(copy.path()).problems.problems;
        assert!(picture(&open_dir(copy.path()).unwrap(), &cursors) == expected, "catalog byte {at}: {problems:?}");
    }
}

#[test]
fn verify_names_what_is_lost() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    issues(whole.path(), &options());
    let log = &logs(whole.path())[0];
    // In the middle there is nothing but blocks.
    flip(log, fs::metadata(log).unwrap().len() / 2, 3);
    let found = verified(whole.path());
    let lost: Vec<_> = found.problems.problems.iter().filter(|problem| problem.what.contains("block")).collect();
    assert_eq!(lost.len(), 1, "{:?}", found.problems);
    assert!(lost[0].what.contains("c/Model0") && lost[0].what.contains("up to "), "{lost:?}");
    assert!(lost[0].place.starts_with("log/0000000001.tlog byte "), "{lost:?}");
}

#[test]
fn verify_finds_missing_files_cut_logs_and_indexes_of_other_stores() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    issues(whole.path(), &small());
    assert_eq!(verified(whole.path()).problems.problems, []);
    let files = logs(whole.path());
    assert!(files.len() >= 3, "{files:?}");
    for file in &files {
        let copy = copy_of(whole.path());
        let inside = file.strip_prefix(whole.path()).unwrap();
        fs::remove_file(copy.path().join(inside)).unwrap();
        let found = verified(copy.path()).problems.problems;
        assert!(found[0].place.contains(inside.to_str().unwrap()) && found[0].what.contains("missing"), "{found:?}");
        let copy = copy_of(whole.path());
        let length = fs::metadata(file).unwrap().len();
        let cut = fs::OpenOptions::new().write(true).open(copy.path().join(inside)).unwrap();
        cut.set_len(length / 2).unwrap();
        let found = verified(copy.path()).problems.problems;
        assert!(!found.is_empty(), "{} cut in the middle", inside.display());
    }
    let other = tempfile::tempdir().unwrap();
    filled(other.path());
    let copy = copy_of(whole.path());
    fs::remove_dir_all(copy.path().join("index")).unwrap();
    sync_calls::copy(&other.path().join("index"), &copy.path().join("index"));
    let found = verified(copy.path()).problems.problems;
    assert!(found[0].place == "index" && found[0].what.contains("not the index of this log"), "{found:?}");
}

/// Both have what the log says, and neither knows what the other one lacks: only a comparison tells.
#[test]
fn verify_finds_an_index_that_does_not_agree_with_the_log() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path());
    let places = whole.path().join("index/places");
    let other = tempfile::tempdir().unwrap();
    // The same names of files, another secret: every key is another.
    filled(other.path());
    let named = sync_calls::files(&places);
    for file in &named {
        let from = other.path().join("index/places").join(file.file_name().unwrap());
        assert!(from.exists(), "both stores did the same");
        fs::copy(from, file).unwrap();
    }
    let found = verified(whole.path()).problems;
    assert!(found.problems.iter().any(|it| it.what.contains("it has another")), "{found:?}");
    assert!(found.problems.len() <= 100 && found.count() > 100, "{} problems", found.count());
}

#[test]
fn an_undamaged_store_is_salvaged_exactly() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (cursors, expected) = filled(whole.path());
    let before = content(whole.path());
    let (to, report) = salvaged(whole.path());
    assert_eq!((report.lost_blocks, report.lost_bytes, &report.problems.problems[..]), (0, 0, &[][..]));
    assert_eq!(report.records, expected_records(&expected));
    assert_eq!((report.runs, report.scripts), (expected.runs.len() as u64, 1));
    assert!(content(whole.path()) == before, "the source was changed");
    assert_lost_history(to.path(), &cursors[1]);
    assert!(shown(to.path()) == without_cursors(expected), "something else is there");
    // It goes on from there: what comes again is unchanged, what is new is new.
    let store = open_dir(to.path()).unwrap();
    let steps = assert_whole_steps(&store, 0).steps;
    let run = begin(&store, &sync("script0", "c"));
    write(&run, 0, steps + 1).unwrap();
    run.succeed();
    assert_eq!(assert_whole_steps(&store, 0).steps, steps + 1);
}

/// Moved extents, several files, a generation that was dropped, one that is being built, content that was pruned.
#[test]
fn a_store_with_a_past_is_salvaged_exactly() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let of = stream("c", "Model0");
    let expected = {
        let store = EmbeddedStore::open(whole.path(), &small()).unwrap();
        let key = sync("script0", "c");
        for version in 0..6 {
            let run = begin(&store, &key);
            for some in (0..400).collect::<Vec<u64>>().chunks(50) {
                // A few stay as they are, so that a reclaim has something to move.
                let changed = some.iter().filter(|n| version == 0 || *n % 7 != 0);
                let batch: Vec<_> = changed.map(|n| entry(&n.to_string(), &text(*n, version))).collect();
                run.try_save("Model0", &batch).unwrap();
                store.sync().unwrap();
            }
            run.delete("Model0", &["3", "4"]);
            run.succeed();
        }
        assert!(logs(whole.path())[0].file_name().unwrap() != "0000000001.tlog", "nothing was reclaimed");
        store.set_retention(&Retention { payloads_ms: None, tombstones_ms: Some(0) }).unwrap();
        store.prune(now()).unwrap();
        // One generation is replaced, another one begun.
        save_in_a_run(&store, &sync("script1", "c"), "Model1", &[("a", "{}"), ("b", "{}")]);
        store.reset(&sync("script1", "c"), &Reset::Empty { models: vec![model("Model1")] }, now()).unwrap();
        save_in_a_run(&store, &sync("script1", "c"), "Model1", &[("b", r#"{"new":1}"#), ("c", "{}")]);
        store.reset(&key, &Reset::Empty { models: vec![model("Model0")] }, now()).unwrap();
        let run = begin(&store, &key);
        run.save("Model0", &[("400", "{}"), ("401", "{}")]);
        run.fail();
        picture(&store, &[])
    };
    assert_eq!(verified(whole.path()).problems.problems, []);
    let (to, report) = salvaged(whole.path());
    assert_eq!((report.lost_blocks, &report.problems.problems[..], &report.affected[..]), (0, &[][..], &[][..]));
    assert!(shown(to.path()) == expected, "something else is there");
    // What was begun goes on where it was: the success swaps.
    for dir in [whole.path(), to.path()] {
        let store = open_dir(dir).unwrap();
        let run = begin_refresh(&store, &sync("script0", "c"), &["Model0"]);
        run.save("Model0", &[("400", "{}"), ("402", "{}")]);
        run.succeed();
        let found: Vec<_> = records(&store, &of).into_keys().collect();
        assert_eq!(found, ["400", "402"], "{}", dir.display());
    }
}

/// `TERAPI_STORE_FLIPS` says how often.
#[test]
fn a_flipped_bit_costs_no_more_than_its_block() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let expected = issues(whole.path(), &options());
    let mut random = random("flips in what is salvaged");
    let log = logs(whole.path())[0].strip_prefix(whole.path()).unwrap().to_owned();
    let length = fs::metadata(whole.path().join(&log)).unwrap().len();
    let mut places = vec![0, 20, 39, 40, 44, 50, 60, 64, length - 1];
    places.extend((0..setting("TERAPI_STORE_FLIPS", 60)).map(|_| random.random_range(0..length)));
    let mut lost_something = 0;
    for at in places {
        let copy = copy_of(whole.path());
        flip(&copy.path().join(&log), at, random.random_range(0..8));
        let (to, report) = salvaged(copy.path());
        let found = records(&open_dir(to.path()).unwrap(), &stream_of(0));
        let mut wrong = 0;
        for (id, data) in &found {
            let n: u64 = id.parse().unwrap();
            wrong += u64::from(expected.get(id) != Some(data));
            assert!([text(n, 0), text(n, 1)].contains(data), "byte {at}: {id} is {data}");
        }
        let missing = RECORDS - found.len() as u64 + wrong;
        // The block that was hit: some 32 KiB of records.
        assert!(missing <= 48, "byte {at}: {missing} records are missing or old: {report:#?}");
        assert_eq!(report.records, found.len() as u64, "byte {at}");
        if missing > 0 {
            lost_something += 1;
            assert_eq!(report.lost_blocks, 1, "byte {at}: {report:#?}");
            assert_eq!(report.affected, [stream_of(0)], "byte {at}");
        }
    }
    assert!(lost_something > 10, "{lost_something} flips cost anything: the test tests nothing");
}

#[test]
fn what_is_left_of_a_store_that_does_not_open_is_salvaged() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let expected = issues(whole.path(), &small());
    let files = logs(whole.path());
    assert!(files.len() >= 4, "{files:?}");
    let of = stream_of(0);
    let all = |dir: &Path| records(&open_dir(dir).unwrap(), &of);

    let copy = copy_of(whole.path());
    fs::remove_file(copy.path().join("META.json")).unwrap();
    let (to, report) = salvaged(copy.path());
    assert!(all(to.path()) == expected && report.problems.problems[0].place == "META.json", "{report:#?}");

    let copy = copy_of(whole.path());
    fs::remove_file(copy.path().join("MARK")).unwrap();
    fs::remove_dir_all(copy.path().join("index")).unwrap();
    let (to, report) = salvaged(copy.path());
    assert!(all(to.path()) == expected && report.problems.problems[0].place == "MARK", "{report:#?}");

    let mut lost_something = 0;
    for (number, file) in files.iter().enumerate() {
        let inside = file.strip_prefix(whole.path()).unwrap();
        // Without its header it can be read all the same.
        let copy = copy_of(whole.path());
        let mut bytes = fs::read(file).unwrap();
        bytes[..40].fill(0xAA);
        fs::write(copy.path().join(inside), bytes).unwrap();
        let (to, report) = salvaged(copy.path());
        assert!(all(to.path()) == expected, "the header of file {number}: {report:#?}");

        let copy = copy_of(whole.path());
        fs::remove_file(copy.path().join(inside)).unwrap();
        let (to, report) = salvaged(copy.path());
        assert!(report.problems.problems.iter().any(|it| it.place.contains(inside.to_str().unwrap())), "{report:#?}");
        let found = all(to.path());
        lost_something += usize::from(found != expected);
        assert!(found.len() * 10 >= expected.len() * 4, "without file {number} {} records are left", found.len());
        assert!(report.unattributed, "without file {number} nobody knows what was in it");
    }

    assert!(lost_something + 2 >= files.len(), "{lost_something} of {} files had records in them", files.len());

    // Cut in the middle of a commit: whole blocks before the cut are there.
    let copy = copy_of(whole.path());
    let last = copy.path().join(files[files.len() - 1].strip_prefix(whole.path()).unwrap());
    let length = fs::metadata(&last).unwrap().len();
    fs::OpenOptions::new().write(true).open(last).unwrap().set_len(length / 2).unwrap();
    let (to, report) = salvaged(copy.path());
    assert!(report.lost_bytes > 0, "{report:#?}");
    assert!(all(to.path()).len() * 10 >= expected.len() * 8);
}

/// States, runs and scripts survive what hits records, and the other way round.
#[test]
fn what_is_not_a_record_is_salvaged_as_well() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (_, expected) = filled(whole.path());
    let copy = copy_of(whole.path());
    fs::write(&sync_calls::files(&copy.path().join("scripts"))[0], "something else").unwrap();
    let (to, report) = salvaged_with_problems(copy.path());
    assert!(report.problems.problems[0].place.starts_with("scripts/"), "{report:#?}");
    let found = shown(to.path());
    assert_eq!(found.scripts[0].1, None, "nothing wrong is kept");
    assert!(found.states == expected.states && found.runs == expected.runs && found.logs == expected.logs);
    assert_eq!(found.metadata, expected.metadata);
}

/// The script's row is there and its bytes are not, which verify says.
fn salvaged_with_problems(dir: &Path) -> (tempfile::TempDir, Salvaged) {
    let to = tempfile::tempdir().unwrap();
    let report = salvage(dir, to.path(), &options(), &mut |_, _| {}).unwrap();
    let problems = verified(to.path()).problems.problems;
    assert!(problems.len() == 1 && problems[0].what.contains("bytes of script a-script are missing"), "{problems:?}");
    (to, report)
}

#[test]
fn a_backup_is_a_store_and_restores_to_what_was() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (cursors, expected) = filled(whole.path());
    let (to, copied) = backed_up(whole.path());
    assert_eq!((copied.files, copied.scripts), (1, 1));
    assert_eq!(copied.log_bytes, fs::metadata(&logs(whole.path())[0]).unwrap().len());
    assert_eq!(verified(to.path()).problems.problems, []);
    let back = restored(to.path());
    assert_eq!(verified(back.path()).problems.problems, []);
    // The backup goes on where it was: cursors hold. What was restored has a history of its own.
    assert!(picture(&open_dir(to.path()).unwrap(), &cursors) == expected, "the backup");
    assert_lost_history(back.path(), &cursors[1]);
    assert!(shown(back.path()) == without_cursors(expected), "what was restored");
}

#[test]
fn a_backup_of_a_store_that_is_written_to_restores_to_whole_batches() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(whole.path(), &small()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                let mut run = begin(store, &sync(&format!("script{thread}"), "c"));
                for n in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    write(&run, thread, n).unwrap();
                    if n % 40 == 0 {
                        run.succeed();
                        run = begin(store, &sync(&format!("script{thread}"), "c"));
                    }
                }
            });
        }
        let (mut before, mut reclaimed) = ([0; THREADS], false);
        for _ in 0..12 {
            store.sync().unwrap();
            // What is durable before a backup is in it.
            let durable = [0, 1].map(|thread| {
                store.streams().unwrap().iter().find(|info| info.stream == stream_of(thread)).map_or(0, |it| it.changes)
            });
            let (to, copied) = backed_up(whole.path());
            reclaimed |= copied.files > 1 && logs(to.path())[0].file_name().unwrap() != "0000000001.tlog";
            let back = restored(to.path());
            assert_eq!(verified(back.path()).problems.problems, []);
            let restored = open_dir(back.path()).unwrap();
            for thread in 0..THREADS {
                let steps = assert_whole_steps(&restored, thread);
                assert!(steps.last >= durable[thread], "{} of {}", steps.last, durable[thread]);
                assert!(steps.steps >= before[thread]);
                before[thread] = steps.steps;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(before.iter().all(|steps| *steps > 0), "nothing was written meanwhile");
        assert!(reclaimed, "no file was given back meanwhile: the test tests less than it should");
    });
}

#[test]
fn a_damaged_store_is_not_copied_and_leaves_nothing_behind() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    issues(whole.path(), &small());
    let files = logs(whole.path());
    let to = tempfile::tempdir().unwrap();
    for file in &files {
        let copy = copy_of(whole.path());
        let inside = copy.path().join(file.strip_prefix(whole.path()).unwrap());
        flip(&inside, fs::metadata(file).unwrap().len() / 2, 1);
        for (name, error) in [
            ("backup", backup(copy.path(), to.path(), &mut |_, _| {}).unwrap_err()),
            ("restore", restore(copy.path(), to.path(), &mut |_, _| {}).unwrap_err()),
        ] {
            assert_eq!(error.code(), "store-corrupt", "{name}: {error}");
            assert!(error.to_string().contains("store salvage"), "{name}: {error}");
            assert_eq!(sync_calls::files(to.path()), Vec::<PathBuf>::new(), "{name}");
        }
    }
    for missing in ["MARK", "log/0000000002.tlog", "META.json"] {
        let copy = copy_of(whole.path());
        fs::remove_file(copy.path().join(missing)).unwrap();
        assert!(backup(copy.path(), to.path(), &mut |_, _| {}).is_err(), "without {missing}");
        assert_eq!(sync_calls::files(to.path()), Vec::<PathBuf>::new(), "without {missing}");
    }
    // A copy that was cut short is no store, and nobody takes it for one.
    let (half, _) = backed_up(whole.path());
    fs::remove_file(half.path().join("META.json")).unwrap();
    assert!(open_dir(half.path()).is_err());
    assert!(restore(half.path(), to.path(), &mut |_, _| {}).is_err());
}

#[test]
fn directories_that_are_in_use_or_not_empty_are_refused() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path());
    let used = copy_of(whole.path());
    let store = open_dir(used.path()).unwrap();
    let nowhere = || tempfile::tempdir().unwrap().path().join("new");
    let impatient = StoreOptions { patience: std::time::Duration::ZERO, ..options() };
    let none = &mut |_, _| {};
    for (tool, result) in [
        ("verify", verify(used.path(), &impatient, none).map(drop)),
        ("salvage from", salvage(used.path(), &nowhere(), &impatient, none).map(drop)),
        ("salvage to", salvage(whole.path(), used.path(), &impatient, none).map(drop)),
        ("backup to", backup(whole.path(), used.path(), none).map(drop)),
        ("restore from", restore(used.path(), &nowhere(), none).map(drop)),
        ("restore to", restore(whole.path(), used.path(), none).map(drop)),
    ] {
        match result {
            Err(StoreError::Locked { holder, .. }) => assert_eq!(holder, std::process::id().to_string(), "{tool}"),
            other => panic!("{tool}: {other:?}"),
        }
    }
    save_in_a_run(&store, &sync("script0", "c"), "Model0", &[("a", "{}")]);
    drop(store);
    let full = tempfile::tempdir().unwrap();
    fs::write(full.path().join("something"), "of somebody").unwrap();
    for dir in [used.path(), full.path()] {
        let before = content(dir);
        for (tool, result) in [
            ("salvage", salvage(whole.path(), dir, &impatient, none).map(drop)),
            ("backup", backup(whole.path(), dir, none).map(drop)),
            ("restore", restore(whole.path(), dir, none).map(drop)),
        ] {
            let error = result.unwrap_err();
            assert!(error.to_string().contains("is not empty; move it away"), "{tool}: {error}");
            assert!(content(dir) == before, "{tool}");
        }
    }
    assert!(!full.path().join("LOCK").exists());
    let empty = tempfile::tempdir().unwrap();
    assert!(verify(empty.path(), &impatient, none).unwrap_err().to_string().contains("there is none in"));
    assert!(salvage(empty.path(), &nowhere(), &impatient, none).unwrap_err().to_string().contains("there is none in"));
    assert!(backup(empty.path(), &nowhere(), none).unwrap_err().to_string().contains("there is none in"));
    assert_eq!(sync_calls::files(empty.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_newer_format_is_refused_by_all_tools() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path());
    let path = whole.path().join("META.json");
    let meta = fs::read_to_string(&path).unwrap();
    let (number, format) = (meta.find("\"format\": ").unwrap() + 10, "99");
    let newer = format!("{}{format}{}", &meta[..number], &meta[number + 1..]);
    fs::write(&path, newer).unwrap();
    let before = content(whole.path());
    let to = tempfile::tempdir().unwrap();
    let none = &mut |_, _| {};
    for (tool, result) in [
        ("verify", verify(whole.path(), &options(), none).map(drop)),
        ("salvage", salvage(whole.path(), to.path(), &options(), none).map(drop)),
        ("backup", backup(whole.path(), to.path(), none).map(drop)),
        ("restore", restore(whole.path(), to.path(), none).map(drop)),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.code(), "store-newer-format", "{tool}: {error}");
        assert!(error.to_string().contains("99"), "{tool}: {error}");
    }
    assert!(content(whole.path()) == before && sync_calls::files(to.path()).is_empty());
}

#[test]
fn figures_say_what_is_there() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let expected = issues(whole.path(), &options());
    let store = open_dir(whole.path()).unwrap();
    let stats = store.stats().unwrap();
    let file = fs::metadata(&logs(whole.path())[0]).unwrap().len();
    assert_eq!((stats.log_files, stats.log_bytes), (1, file));
    assert!(stats.live_bytes > file / 2 && stats.live_bytes < file, "{stats:?}");
    assert!(stats.places >= RECORDS && stats.places_bytes > RECORDS * 49 && stats.catalog_bytes > 0, "{stats:?}");
    assert_eq!(stats.streams.len(), 1);
    assert_eq!(stats.streams[0].live, expected.len() as u64);
    assert_eq!(stats.streams[0].changes, RECORDS + RECORDS / 10);
}
