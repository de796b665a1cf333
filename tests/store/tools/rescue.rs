//! `salvage`: everything that is readable, nothing that is wrong.

use std::fs;
use std::path::Path;

use rand::Rng as _;
use terapi::ids::ScriptHash;
use terapi::store::embedded::{EmbeddedStore, Salvaged, salvage};
use terapi::store::{Reset, Retention, RunsQuery, Script, Store as _};

use super::{
    RECORDS, assert_lost_history, content, expected_records, issues, open_dir, options, shown, small, text, verified,
    without_cursors,
};
use crate::store::damage::{copy_of, filled, flip, logs, picture, random};
use crate::store::sync_calls::{self, SkipSyncs};
use crate::store::writer::{assert_whole_steps, stream_of, write};
use crate::store::{begin, begin_refresh, entry, model, now, records, save_in_a_run, setting, stream, sync};

/// Salvages into a new directory.
fn salvaged(dir: &Path) -> (tempfile::TempDir, Salvaged) {
    let to = tempfile::tempdir().unwrap();
    let report = salvage(dir, to.path(), &options(), &mut |_, _| {}).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(verified(to.path()).problems.problems, [], "what was salvaged is whole: {report:#?}");
    (to, report)
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

/// Moved extents, several files, a generation that was dropped, one that is being built, tombstones that were pruned, a
/// script that was taken away.
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
        store.set_retention(&Retention { payloads_ms: None, tombstones_ms: Some(0), runs_ms: None }).unwrap();
        store.prune(now()).unwrap();
        // One generation is replaced, another one begun.
        save_in_a_run(&store, &sync("script1", "c"), "Model1", &[("a", "{}"), ("b", "{}")]);
        store.reset(&sync("script1", "c"), &Reset::Empty { models: vec![model("Model1")] }, now()).unwrap();
        save_in_a_run(&store, &sync("script1", "c"), "Model1", &[("b", r#"{"new":1}"#), ("c", "{}")]);
        store.reset(&key, &Reset::Empty { models: vec![model("Model0")] }, now()).unwrap();
        let run = begin(&store, &key);
        run.save("Model0", &[("400", "{}"), ("401", "{}")]);
        run.fail();
        let bytes = b"the bytes of a script";
        let (name, text) = ("taken-away".parse().unwrap(), || "{}".to_owned());
        let (hash, size) = (ScriptHash::of(bytes), bytes.len() as u64);
        store
            .put_script(
                &Script {
                    name,
                    version: 0,
                    integration: None,
                    hash,
                    size,
                    added_at: now(),
                    manifest: text(),
                    limits: text(),
                },
                bytes,
            )
            .unwrap();
        store.remove_script(&"taken-away".parse().unwrap()).unwrap();
        picture(&store, &[])
    };
    assert_eq!(verified(whole.path()).problems.problems, []);
    let (to, report) = salvaged(whole.path());
    assert_eq!((report.lost_blocks, &report.problems.problems[..], &report.affected[..]), (0, &[][..], &[][..]));
    assert!(shown(to.path()) == without_cursors(expected), "something else is there");
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
        let store = open_dir(to.path()).unwrap();
        if at < length / 4 * 3 {
            // What stands in frames behind it is found again.
            let state = store.sync_state(&sync("script0", "c")).unwrap();
            assert_eq!(state.checkpoint.as_deref(), Some(r#"{"version":1}"#), "byte {at}: {report:#?}");
            assert_eq!(store.runs(&RunsQuery::newest(10)).unwrap().runs.len(), 2, "byte {at}");
        }
        let found = records(&store, &stream_of(0));
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
