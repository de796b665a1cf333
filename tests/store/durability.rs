//! What was acknowledged is there after kill -9 and after a power cut, and nothing is there by halves.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::store::writer::{Said, THREADS, Writer, assert_nothing_lost};
use crate::store::{BUSY, Reader, setting, sync_calls};

/// A store is given up for a new one after so many deaths: its size is what takes time.
const DEATHS_A_STORE: u64 = 8;
/// So many of the directories that one cut may leave are looked at: what takes time is the writer.
const IMAGES_A_CUT: u64 = 8;

fn random(name: &str) -> (u64, StdRng) {
    let seed = setting("TERAPI_STORE_SEED", rand::random());
    eprintln!("{name}: TERAPI_STORE_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}

/// With the engine's own limits, or small ones: then all its housekeeping is met too.
fn limits(random: &mut StdRng) -> [(&'static str, &'static str); 1] {
    [(BUSY, if random.random_bool(0.5) { "1" } else { "0" })]
}

/// `TERAPI_STORE_KILLS` says how often.
#[test]
fn kill_9_at_any_moment_loses_nothing_acknowledged_and_leaves_nothing_by_halves() {
    let (_, mut random) = random("kill -9");
    let mut kills = setting("TERAPI_STORE_KILLS", 50);
    while kills > 0 {
        let dir = tempfile::tempdir().unwrap();
        let mut readers = <[Reader; THREADS]>::default();
        let settings = limits(&mut random);
        for _ in 0..DEATHS_A_STORE.min(kills) {
            kills -= 1;
            let said = Writer::start(dir.path(), None, &settings)
                .kill_after(random.random_range(0..150), random.random_range(0..60_000));
            assert_nothing_lost(dir.path(), &said, &mut readers);
        }
    }
}

/// Cuts the power of a writer, and hands each directory that may be left to `look`; goes on with the last of them. The
/// readers have read what was there before.
fn cut_power(
    root: &Path,
    settings: &[(&str, &str)],
    images: u64,
    random: &mut StdRng,
    mut look: impl FnMut(&Path, &Said, &mut [Reader; THREADS]),
) {
    let mut readers = <[Reader; THREADS]>::default();
    let (dir, shadow) = (root.join("data"), root.join("shadow"));
    let mut left_to_do = images;
    for _ in 0..DEATHS_A_STORE {
        // What is there when the power comes back is there.
        sync_calls::begin(&dir, &shadow);
        let said = Writer::start(&dir, Some(&shadow), settings)
            .kill_after(random.random_range(0..150), random.random_range(0..60_000));
        let images = IMAGES_A_CUT.min(left_to_do);
        for image in 1..=images {
            let (left, looked_at) = (root.join("left"), root.join("copy"));
            sync_calls::cut(&dir, &shadow, &left, random);
            // Looked at in a copy: the next cut may come while the store recovers from this one.
            sync_calls::copy(&left, &looked_at);
            if image < images {
                look(&looked_at, &said, &mut readers.clone());
            } else {
                look(&looked_at, &said, &mut readers);
                fs::remove_dir_all(&dir).unwrap();
                fs::rename(&left, &dir).unwrap();
            }
            let _ = fs::remove_dir_all(&left);
            fs::remove_dir_all(&looked_at).unwrap();
        }
        left_to_do -= images;
        if left_to_do == 0 {
            return;
        }
        if !dir.join("META.json").exists() {
            // Cut before it was a store: the next writer makes another one than the copy became.
            readers = Default::default();
        }
    }
}

/// `TERAPI_STORE_CUTS` says how many directories that a cut may leave are looked at.
#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged_and_leaves_nothing_by_halves() {
    let (_, mut random) = random("power cut");
    let mut images = setting("TERAPI_STORE_CUTS", 200);
    while images > 0 {
        let root = tempfile::tempdir().unwrap();
        let now = images.min(DEATHS_A_STORE * IMAGES_A_CUT);
        let settings = limits(&mut random);
        cut_power(root.path(), &settings, now, &mut random, assert_nothing_lost);
        images -= now;
    }
}

/// With what makes the store durable taken out, in two ways: so the test above tests something.
#[test]
fn a_power_cut_without_the_syncs_is_seen_to_lose_what_was_acknowledged() {
    let (_, mut random) = random("power cut without syncs");
    for unsynced in ["log", "everything"] {
        let (mut images, mut lost) = (0, 0);
        for _ in 0..4 {
            let root = tempfile::tempdir().unwrap();
            let settings = [(sync_calls::UNSYNCED, unsynced)];
            cut_power(root.path(), &settings, IMAGES_A_CUT, &mut random, |dir, said, readers| {
                images += 1;
                let look = || assert_nothing_lost(dir, said, readers);
                lost += u32::from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err());
            });
        }
        eprintln!("without the syncs of {unsynced}: {lost} of {images} directories have lost something");
        assert!(lost * 4 >= images, "without the syncs of {unsynced} only {lost} of {images} were found out");
    }
}

/// Nobody knows what is on the disk then; asking again would be told that all is well. What was acknowledged before is
/// there, whatever became of the rest.
#[test]
fn a_sync_that_fails_ends_the_process_and_nothing_is_acknowledged_after_it() {
    let (_, mut random) = random("failed sync");
    for failing in ["1", "2", "3", "9", "25"] {
        let root = tempfile::tempdir().unwrap();
        let (dir, shadow, left) = (root.path().join("data"), root.path().join("shadow"), root.path().join("left"));
        sync_calls::begin(&dir, &shadow);
        let (said, status) = Writer::start(&dir, Some(&shadow), &[(sync_calls::FAILING, failing)]).wait();
        assert_eq!(status.code(), Some(74), "the process ends with EX_IOERR");
        sync_calls::cut(&dir, &shadow, &left, &mut random);
        assert_nothing_lost(&left, &said, &mut Default::default());
    }
}
