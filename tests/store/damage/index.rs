//! The index is derived: whatever happens to it, it comes back from the log.

use std::fs;
use std::path::Path;

use rand::Rng as _;
use rand::rngs::StdRng;
use terapi::store::embedded::{EmbeddedStore, StoreOptions};
use terapi::store::{Store as _, StoreError};

use super::{STEPS, copy_of, filled, flip, open_dir, picture, random};
use crate::store::sync_calls::SkipSyncs;
use crate::store::writer::{assert_whole_steps, stream_of, write};
use crate::store::{begin, feed, setting, sync, sync_calls};

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
        let runs = sync_calls::files(&copy.path().join("index/places"));
        let db = runs.iter().max_by_key(|run| fs::metadata(run).unwrap().len()).unwrap();
        let bytes = fs::read(db).unwrap();
        for _ in 0..20 {
            let at = random.random_range(0..bytes.len());
            let at = (at..bytes.len()).chain(0..at).find(|at| bytes[*at] != 0).unwrap_or(at);
            flip(db, at as u64, random.random_range(0..8));
        }
        let found = ids.chunks(500).map(|ids| store.get(&of, None, ids)).find_map(Result::err);
        if found.is_none() {
            assert!(feed(&store, &of) == expected, "something else is there");
            continue;
        }
        assert!(matches!(found, Some(StoreError::Corrupt { .. })), "{found:?}");
        drop(store);
        let store = open_dir(copy.path()).unwrap();
        assert!(feed(&store, &of) == expected, "something else is there");
        assert!(!copy.path().join("index.is-damaged").exists());
        for ids in ids.chunks(500) {
            assert_eq!(store.get(&of, None, ids).unwrap().len(), ids.len());
        }
        return;
    }
    panic!("no damage was found late: the test tests nothing");
}
