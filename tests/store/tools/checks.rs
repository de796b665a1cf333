//! `verify`: finds what is wrong, says what it costs, changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng as _;
use terapi::store::embedded::verify;

use super::{content, expected_records, issues, open_dir, options, shown, small, verified, without_cursors};
use crate::store::damage::{copy_of, filled, flip, logs, picture, random};
use crate::store::sync_calls::{self, SkipSyncs};
use crate::store::{save_in_a_run, setting, sync};

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
    // Of its own log sled takes what comes before the damage: the catalog as it was once. A start replays the rest.
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
    // Cut between two commits: only the mark knows that there was more.
    let copy = copy_of(whole.path());
    let last = copy.path().join(files[files.len() - 1].strip_prefix(whole.path()).unwrap());
    fs::OpenOptions::new().write(true).open(last).unwrap().set_len(40).unwrap();
    let found = verified(copy.path()).problems.problems;
    assert!(found.len() == 1 && found[0].what.contains("but was durable up to byte"), "{found:?}");
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

/// Places of a copy that went another way: the same secret, so they look like ours.
#[test]
fn verify_finds_records_that_only_the_index_has() {
    let _quick = SkipSyncs::new();
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path());
    let other = copy_of(whole.path());
    for (dir, model) in [(&whole, "Model0"), (&other, "Model1")] {
        let store = open_dir(dir.path()).unwrap();
        save_in_a_run(&store, &sync("script0", "c"), model, &[("only here", "{}")]);
    }
    let newest = |dir: &Path| sync_calls::files(&dir.join("index/places")).pop().unwrap();
    let (to, from) = (newest(whole.path()), newest(other.path()));
    assert!(to.file_name() == from.file_name(), "both did the same");
    fs::copy(from, to).unwrap();
    let found = verified(whole.path()).problems;
    for says in ["c/Model0: the log has ", "c/Model1: the log has "] {
        assert!(found.problems.iter().any(|it| it.what.starts_with(says)), "{says}: {found:?}");
    }
}
