//! `backup` and `restore`: whole copies or none.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use terapi::store::Store as _;
use terapi::store::embedded::{Copied, EmbeddedStore, backup, restore};

use super::{assert_lost_history, issues, open_dir, shown, small, verified, without_cursors};
use crate::store::damage::{copy_of, filled, flip, logs, picture};
use crate::store::sync_calls::{self, SkipSyncs};
use crate::store::writer::{THREADS, assert_whole_steps, stream_of, write};
use crate::store::{begin, sync};

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
