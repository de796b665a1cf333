//! A process that dies at each of the engine's failpoints: between any two things it does that must be one.
//!
//! The points and their names are the engine's; its feature `failpoints` is on in tests.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use terapi::store::embedded::FAILPOINTS;

use crate::store::writer::{THREADS, Writer, assert_nothing_lost};
use crate::store::{BUSY, Reader, setting, sync_calls};

/// At which failpoint a writer dies, and at the how many-th time that it comes by.
const FAILPOINT: &str = "TERAPI_STORE_FAILPOINT";
const HIT: &str = "TERAPI_STORE_FAILPOINT_HIT";
/// A writer that has said so much without dying does not come by.
const ENOUGH: u64 = 2_000;
/// So many of the directories that a power cut there may leave are looked at.
const IMAGES: u64 = 2;

/// Called in the writer's process, before it opens the store.
pub(crate) fn arm() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let Ok(name) = std::env::var(FAILPOINT) else { return };
    let hit = setting(HIT, 1);
    let times = AtomicU64::new(0);
    fail::cfg_callback(name, move || {
        if times.fetch_add(1, Ordering::SeqCst) + 1 == hit {
            kill_this_process();
        }
    })
    .unwrap();
}

#[allow(unsafe_code)]
fn kill_this_process() {
    // SAFETY: kill(2) takes two numbers and touches no memory.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    // The signal may come a moment later.
    loop {
        std::thread::park();
    }
}

/// Lets a writer die at a failpoint and says whether it did. Whatever became of it, nothing is lost, neither by the kill
/// nor if the power goes at the same moment.
fn dies_at(root: &Path, name: &str, hit: u64, readers: &mut [Reader; THREADS], random: &mut StdRng) -> bool {
    let (dir, shadow) = (root.join("data"), root.join("shadow"));
    sync_calls::begin(&dir, &shadow);
    let settings = [(FAILPOINT, name), (HIT, &hit.to_string()), (BUSY, "1")];
    let (said, died) = Writer::start(&dir, Some(&shadow), &settings).listen(ENOUGH);
    for _ in 0..IMAGES {
        let left = root.join("left");
        sync_calls::cut(&dir, &shadow, &left, random);
        assert_nothing_lost(&left, &said, &mut readers.clone());
        std::fs::remove_dir_all(&left).unwrap();
    }
    // In a copy: what comes next begins with what the dead process left, not with a store that was closed since.
    let left = root.join("copy");
    sync_calls::copy(&dir, &left);
    assert_nothing_lost(&left, &said, readers);
    std::fs::remove_dir_all(&left).unwrap();
    if !dir.join("META.json").exists() {
        *readers = Default::default();
    }
    died
}

/// `TERAPI_STORE_DEATHS` says how often at each.
#[test]
fn a_process_that_dies_at_any_failpoint_loses_nothing_acknowledged_and_leaves_nothing_by_halves() {
    let seed = setting("TERAPI_STORE_SEED", rand::random());
    eprintln!("failpoints: TERAPI_STORE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let deaths = setting("TERAPI_STORE_DEATHS", 2);
    let mut missed = Vec::new();
    for name in FAILPOINTS {
        let root = tempfile::tempdir().unwrap();
        let mut readers = <[Reader; THREADS]>::default();
        let mut died = 0;
        // The first death may come while there is next to nothing, and at a later hit of the same point there is more.
        for number in 0..deaths {
            let hit = if number == 0 { 1 } else { random.random_range(1..12) };
            died += u64::from(dies_at(root.path(), name, hit, &mut readers, &mut random));
        }
        eprintln!("{name}: died {died} times");
        if died == 0 {
            missed.push(*name);
        }
    }
    assert!(!FAILPOINTS.is_empty());
    assert!(missed.is_empty(), "no writer came by {missed:?}");
}
