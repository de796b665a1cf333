//! The tools against damage: each finds what is wrong, none takes away what is good.

mod checks;
mod copies;
mod rescue;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use terapi::store::embedded::{EmbeddedStore, Limits, StoreOptions, Verification, backup, restore, salvage, verify};
use terapi::store::{ChangesQuery, Store, StoreError};

use super::damage::{Picture, copy_of, filled, logs, picture};
use super::sync_calls::{self, SkipSyncs};
use super::writer::stream_of;
use super::{Reader, begin, entry, save_in_a_run, sync};

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

/// What is there, but for cursors of another history.
fn shown(dir: &Path) -> Picture {
    without_cursors(picture(&open_dir(dir).unwrap(), &[]))
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

fn expected_records(picture: &Picture) -> u64 {
    picture.records.iter().map(|records| records.len() as u64).sum()
}

/// As it was, without cursors and what follows them.
fn without_cursors(mut picture: Picture) -> Picture {
    picture.feeds.iter_mut().flatten().for_each(|change| change.cursor.clear());
    Picture { after: Vec::new(), ..picture }
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
