//! The log is the truth: what is torn off its end never was, what is missing in it is reported.

use std::fs;

use rand::Rng as _;
use terapi::store::{ChangesQuery, Store, StoreError};

use super::{STEPS, copy_of, filled, flip, logs, open_dir, open_error, picture, random};
use crate::store::sync_calls::SkipSyncs;
use crate::store::writer::{THREADS, assert_whole_steps, stream_of, write};
use crate::store::{begin, begin_refresh, feed, setting, sync, sync_calls};

/// Of a file of the log.
const HEADER_BYTES: u64 = 40;

/// What was never acknowledged: nobody says that it was durable, so a cut log is one whose end never was.
#[test]
fn a_log_cut_off_or_flipped_anywhere_gives_whole_steps_from_the_start() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path());
    fs::remove_dir_all(whole.path().join("index")).unwrap();
    fs::remove_file(whole.path().join("MARK")).unwrap();
    let mut random = random("torn tails");
    let [log] = &logs(whole.path())[..] else { panic!("one file of the log") };
    let log = log.strip_prefix(whole.path()).unwrap();
    let length = fs::metadata(whole.path().join(log)).unwrap().len();
    let mut offsets: Vec<_> = (0..200).map(|_| random.random_range(0..=length)).collect();
    // Cut in the header there is nothing left at all; that is another test.
    offsets.retain(|offset| *offset >= HEADER_BYTES);
    offsets.extend([HEADER_BYTES, HEADER_BYTES + 1, HEADER_BYTES + 12, length - 1, length]);
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

/// The mark stands apart from log and index: with it, what was durable is missed also if both have lost it.
#[test]
fn a_log_without_an_index_is_still_known_to_lack_what_was_durable() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path());
    fs::remove_dir_all(whole.path().join("index")).unwrap();
    let mut random = random("lost tails");
    let [log] = &logs(whole.path())[..] else { panic!("one file of the log") };
    let log = log.strip_prefix(whole.path()).unwrap();
    let length = fs::metadata(whole.path().join(log)).unwrap().len();
    for _ in 0..40 {
        let at = random.random_range(0..length);
        for cut in [true, false] {
            let copy = copy_of(whole.path());
            if cut {
                fs::OpenOptions::new().write(true).open(copy.path().join(log)).unwrap().set_len(at).unwrap();
            } else {
                flip(&copy.path().join(log), at, random.random_range(0..8));
            }
            for _ in 0..2 {
                let error = open_error(copy.path());
                assert!(matches!(error, StoreError::Corrupt { .. }), "at {at}, cut: {cut}: {error:?}");
            }
        }
    }
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
        let at = random.random_range(HEADER_BYTES..length);
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
            let error = open_error(whole.path());
            assert!(matches!(error, StoreError::Corrupt { .. }), "without file {number}, rebuilt {rebuild}: {error:?}");
            fs::rename(&aside, file).unwrap();
        }
    }
}

/// Those of a run that does not end did not happen, and the next refresh does them.
#[test]
fn the_deletes_of_a_refresh_come_with_its_end_or_not_at_all() {
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
    fs::remove_file(whole.path().join("MARK")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for cut in (before..after).step_by(usize::try_from((after - before) / 40).unwrap().max(1)).chain([after]) {
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
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 3_000]);
}

#[test]
fn a_file_of_the_log_whose_creation_was_cut_short_is_made_again() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    let (cursors, expected) = filled(whole.path());
    let header = fs::read(&logs(whole.path())[0]).unwrap()[..40].to_vec();
    for left in [&b""[..], &header[..39], &[0; 39], &[0; 40], &[0xff; 40]] {
        // Before the first commit, and after the end of a file that is full.
        let (new, full) = (tempfile::tempdir().unwrap(), copy_of(whole.path()));
        drop(open_dir(new.path()).unwrap());
        fs::remove_dir_all(new.path().join("index")).unwrap();
        fs::remove_file(new.path().join("MARK")).unwrap();
        fs::write(&logs(new.path())[0], left).unwrap();
        fs::write(full.path().join("log/0000000002.tlog"), left).unwrap();
        for (dir, steps) in [(new.path(), 0), (full.path(), STEPS)] {
            let store = open_dir(dir).unwrap_or_else(|error| panic!("{left:?} after {steps} steps: {error}"));
            if steps > 0 {
                assert!(picture(&store, &cursors) == expected, "{left:?}: something else is there");
            }
            let run = begin(&store, &sync("script0", "c"));
            write(&run, 0, steps + 1).unwrap();
            run.succeed();
            drop(store);
            fs::remove_dir_all(dir.join("index")).unwrap();
            assert_eq!(assert_whole_steps(&open_dir(dir).unwrap(), 0).steps, steps + 1);
        }
    }
}
