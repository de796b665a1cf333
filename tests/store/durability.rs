//! What was acknowledged is there after kill -9 and after a power cut, and nothing is there by halves.

use std::fs;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::store::writer::{THREADS, Writer, assert_nothing_lost};
use crate::store::{Reader, setting, sync_calls};

/// A store is given up for a new one after so many deaths: its size is what takes time.
const DEATHS_A_STORE: u64 = 8;

fn random(name: &str) -> (u64, StdRng) {
    let seed = setting("TERAPI_STORE_SEED", rand::random());
    eprintln!("{name}: TERAPI_STORE_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}

/// `TERAPI_STORE_KILLS` says how often.
#[test]
fn kill_9_at_any_moment_loses_nothing_acknowledged_and_leaves_nothing_by_halves() {
    let (_, mut random) = random("kill -9");
    let mut kills = setting("TERAPI_STORE_KILLS", 25);
    while kills > 0 {
        let dir = tempfile::tempdir().unwrap();
        let mut readers = <[Reader; THREADS]>::default();
        for _ in 0..DEATHS_A_STORE.min(kills) {
            kills -= 1;
            let said = Writer::start(dir.path(), None, None)
                .kill_after(random.random_range(0..150), random.random_range(0..60_000));
            assert_nothing_lost(dir.path(), &said, &mut readers);
        }
    }
}

/// `TERAPI_STORE_CUTS` says how often.
#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged_and_leaves_nothing_by_halves() {
    let (_, mut random) = random("power cut");
    let mut cuts = setting("TERAPI_STORE_CUTS", 25);
    while cuts > 0 {
        let root = tempfile::tempdir().unwrap();
        let mut readers = <[Reader; THREADS]>::default();
        let (dir, shadow) = (root.path().join("data"), root.path().join("shadow"));
        for _ in 0..DEATHS_A_STORE.min(cuts) {
            cuts -= 1;
            // What is there when the power comes back is there.
            sync_calls::begin(&dir, &shadow);
            let said = Writer::start(&dir, Some(&shadow), None)
                .kill_after(random.random_range(0..150), random.random_range(0..60_000));
            let left = root.path().join("left");
            sync_calls::cut(&dir, &shadow, &left, &mut random);
            let _ = fs::remove_dir_all(&dir);
            fs::rename(&left, &dir).unwrap();
            // Looked at in a copy: the next cut may come while the store recovers from this one.
            let looked_at = root.path().join("copy");
            sync_calls::copy(&dir, &looked_at);
            assert_nothing_lost(&looked_at, &said, &mut readers);
            fs::remove_dir_all(&looked_at).unwrap();
            if !dir.join("META.json").exists() {
                // Cut before it was a store: the next writer makes another one than the copy became.
                readers = Default::default();
            }
        }
    }
}

/// Nobody knows what is on the disk then; asking again would be told that all is well. What was acknowledged before is
/// there, whatever became of the rest.
#[test]
fn a_sync_that_fails_ends_the_process_and_nothing_is_acknowledged_after_it() {
    let (_, mut random) = random("failed sync");
    for failing in [1, 2, 3, 9, 25] {
        let root = tempfile::tempdir().unwrap();
        let (dir, shadow, left) = (root.path().join("data"), root.path().join("shadow"), root.path().join("left"));
        sync_calls::begin(&dir, &shadow);
        let (said, status) = Writer::start(&dir, Some(&shadow), Some(failing)).wait();
        assert_eq!(status.code(), Some(74), "the process ends with EX_IOERR");
        sync_calls::cut(&dir, &shadow, &left, &mut random);
        assert_nothing_lost(&left, &said, &mut Default::default());
    }
}
