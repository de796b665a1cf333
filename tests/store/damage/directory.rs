//! Directories that are in use, older than their readers, newer than this program, or incomplete.

use std::fs;

use terapi::store::embedded::{EmbeddedStore, StoreOptions};
use terapi::store::{ChangesQuery, Store as _, StoreError};

use super::{copy_of, filled, logs, open_dir, open_error, picture};
use crate::store::sync_calls::SkipSyncs;
use crate::store::writer::stream_of;
use crate::store::{Embedded, Engine as _, Reader, feed, save_in_a_run, sync, sync_calls};

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
    let newer = meta.replacen("\"format\": 2", "\"format\": 3", 1);
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
