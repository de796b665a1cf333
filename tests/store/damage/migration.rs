//! A store of format 1, as the first release wrote it (`fixtures/format-1`), becomes one of the present format.

use std::fs;
use std::path::Path;

use terapi::ids::ScriptHash;
use terapi::store::RunsQuery;
use terapi::store::Store as _;

use super::{copy_of, logs, open_dir};
use crate::store::sync_calls::SkipSyncs;
use crate::store::writer::{THREADS, assert_whole_steps, stream_of, write};
use crate::store::{Reader, begin, sync};

/// What was done to each of its streams.
const STEPS: u64 = 40;
/// Given out by it for its first stream, after this sequence.
const CURSOR: (u64, &str) = (61, "Ab7VRFW18i7TAAAAAQAAAAAAAAA9vrGFXL2Gnow");

fn fixture() -> tempfile::TempDir {
    copy_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/store/fixtures/format-1"))
}

fn assert_migrated(dir: &Path) {
    for _ in 0..2 {
        let store = open_dir(dir).unwrap();
        for thread in 0..THREADS {
            assert_eq!(assert_whole_steps(&store, thread).steps, STEPS);
            let state = store.sync_state(&sync(&format!("script{thread}"), "c")).unwrap();
            assert_eq!(state.checkpoint.as_deref(), Some(r#"{"n":40}"#));
            assert!(state.last_sync_date.is_some());
        }
        let (last_sequence, cursor) = CURSOR;
        let mut reader = Reader { cursor: Some(cursor.to_owned()), last_sequence, ..Reader::default() };
        assert!(!reader.catch_up(&store, &stream_of(0), 10).is_empty(), "cursors go on");
        assert_eq!(store.runs(&RunsQuery::newest(100)).unwrap().runs.len(), 2 * THREADS);
        let bytes = b"the bytes of a script";
        assert_eq!(store.script_bytes(&ScriptHash::of(bytes)).unwrap().as_deref(), Some(&bytes[..]));
        assert_eq!(store.metadata(&"c".parse().unwrap()).unwrap(), r#"{"team":"x"}"#);
    }
    assert!(fs::read_to_string(dir.join("META.json")).unwrap().contains("\"format\": 2"));
    let mut left: Vec<_> = fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["LOCK", "MARK", "META.json", "PENDING.0", "PENDING.1", "index", "log", "scripts"]);
    // What is unchanged is known to be, and it goes on.
    let store = open_dir(dir).unwrap();
    let run = begin(&store, &sync("script0", "c"));
    write(&run, 0, STEPS + 1).unwrap();
    run.succeed();
    assert_eq!(assert_whole_steps(&store, 0).steps, STEPS + 1);
}

#[test]
fn a_store_of_format_1_is_migrated_with_all_it_has() {
    let _quick = SkipSyncs::new();
    assert_migrated(fixture().path());
}

#[test]
fn a_migration_that_was_cut_short_begins_again() {
    let _quick = SkipSyncs::new();
    let states: [fn(&Path); 4] = [
        |dir| {
            fs::create_dir(dir.join("log.new")).unwrap();
            fs::write(dir.join("log.new/0000000001.tlog"), b"x").unwrap();
        },
        |dir| fs::rename(dir.join("log"), dir.join("log.format-1")).unwrap(),
        |dir| {
            fs::rename(dir.join("log"), dir.join("log.format-1")).unwrap();
            fs::create_dir(dir.join("log")).unwrap();
            fs::write(dir.join("log/0000000001.tlog"), b"half of the new one").unwrap();
        },
        // The old index and a mark of nothing.
        |dir| {
            fs::create_dir(dir.join("index")).unwrap();
            fs::write(dir.join("index/db"), b"of another format").unwrap();
            fs::write(dir.join("MARK"), b"?").unwrap();
        },
    ];
    for cut_short in states {
        let dir = fixture();
        cut_short(dir.path());
        assert_migrated(dir.path());
    }
}

#[test]
fn a_damaged_store_of_format_1_is_not_migrated_by_halves() {
    let _quick = SkipSyncs::new();
    let dir = fixture();
    let log = logs(dir.path()).remove(0);
    let bytes = fs::read(&log).unwrap();
    // A second file that goes on after what is missing in the first.
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(dir.path().join("log/0000000002.tlog"), &bytes[..32]).unwrap();
    for _ in 0..2 {
        assert_eq!(super::open_error(dir.path()).code(), "store-corrupt");
        assert!(fs::read_to_string(dir.path().join("META.json")).unwrap().contains("\"format\": 1"));
    }
}
