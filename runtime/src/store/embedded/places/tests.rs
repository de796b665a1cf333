#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod damage;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use tempfile::TempDir;

use super::page::{self, GROUP_PAGES, PAGE_BYTES, PAGE_ENTRIES};
use super::*;

type Model = BTreeMap<Key, Place>;

/// The smallest cache there is: most pages come from disk.
const SMALL: u64 = 0;
const LARGE: u64 = 64 << 20;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn key(stream: u32, record: u64) -> Key {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&stream.to_be_bytes());
    key[4..].copy_from_slice(&blake3::hash(&record.to_le_bytes()).as_bytes()[..12]);
    key
}

fn place(sequence: u64) -> Place {
    Place {
        sequence,
        number: u32::try_from(sequence % 1_000).unwrap(),
        action: [Action::Added, Action::Updated, Action::Deleted][usize::try_from(sequence % 3).unwrap()],
        first_seen: Timestamp(sequence * 3),
        digest: (sequence * 5).to_le_bytes(),
        spelling: (sequence * 7).to_le_bytes(),
    }
}

fn written(places: &Places, entries: &Model) -> NewRun {
    places.write(entries.iter().map(|(key, place)| Ok((*key, *place)))).unwrap().unwrap()
}

/// Writes and publishes; the manifest from then on.
fn add(places: &Places, entries: &Model) -> Vec<u64> {
    let new = written(places, entries);
    let manifest = places.manifest_with(&new);
    places.publish(new);
    manifest
}

fn merge_once(places: &Places, keep: impl Fn(&Key, &Place) -> bool) -> Option<Vec<u64>> {
    let new = places.merge(keep).unwrap()?;
    let manifest = places.manifest_with(&new);
    places.publish(new);
    places.remove_unused().unwrap();
    Some(manifest)
}

/// Entries of one stream with sequences from `first` on.
fn some(count: u64, first: u64) -> Model {
    (0..count).map(|record| (key(1, record), place(first + record))).collect()
}

fn all(places: &Places) -> Vec<(Key, Place)> {
    places.range(&[0; 16], None).map(Result::unwrap).collect()
}

fn files(dir: &TempDir) -> Vec<String> {
    let mut files: Vec<String> =
        fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    files
}

fn is_damage<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Corrupt { .. }))
}

#[test]
fn a_place_survives_its_encoding_and_one_that_does_not_fit_is_refused() {
    let largest = Place { sequence: (1 << 48) - 1, number: u32::MAX, first_seen: Timestamp((1 << 48) - 1), ..place(2) };
    for place in [place(0), place(1), place(2), largest] {
        assert_eq!(Place::decode(&place.encode().unwrap()), Some(place));
    }
    assert_eq!(Place { sequence: 1 << 48, ..place(1) }.encode(), None);
    assert_eq!(Place { first_seen: Timestamp(1 << 48), ..place(1) }.encode(), None);
    assert_eq!(Place::decode(&[0; PLACE_BYTES]), None);
}

/// The same by maps, a map a run.
#[derive(Default)]
struct Layers(Vec<(u64, Model)>);

impl Layers {
    fn manifest(&self) -> Vec<u64> {
        self.0.iter().map(|(number, _)| *number).collect()
    }

    fn flat(&self) -> Model {
        self.0.iter().flat_map(|(_, entries)| entries.clone()).collect()
    }

    fn merge(&mut self, manifest: &[u64], keep: impl Fn(&Key) -> bool) {
        let start = self.0.iter().position(|(number, _)| !manifest.contains(number)).unwrap();
        let gone = self.0.iter().filter(|(number, _)| !manifest.contains(number)).count();
        let mut merged: Model = self.0.drain(start..start + gone).flat_map(|(_, entries)| entries).collect();
        if start == 0 {
            merged.retain(|key, _| keep(key));
        }
        if !merged.is_empty() {
            self.0.insert(start, (manifest[start], merged));
        }
        assert_eq!(self.manifest(), manifest);
    }
}

#[test]
fn random_operations_give_what_a_map_gives() {
    let (mut upper, mut lower) = (0, 0);
    for seed in 0..8 {
        let dir = folder();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut layers = Layers::default();
        let mut places = Places::open(dir.path(), &[], SMALL).unwrap();
        let mut sequence = 0;
        for _ in 0..80 {
            match rng.random_range(0..10) {
                0..5 => {
                    // Sizes around the edges of pages and groups too.
                    let sizes = [1, 2, 82, 83, 84, 166, 1_000, 2_655, 2_656, 2_657, 6_000, 9_000];
                    let mut batch = Model::new();
                    for _ in 0..*sizes.choose(&mut rng).unwrap() {
                        sequence += 1;
                        batch.insert(key(rng.random_range(1..5), rng.random_range(0..20_000)), place(sequence));
                    }
                    let manifest = add(&places, &batch);
                    layers.0.push((*manifest.last().unwrap(), batch));
                    assert_eq!(layers.manifest(), manifest);
                }
                5..8 => {
                    let gone = u32::to_be_bytes(rng.random_range(1..5));
                    if let Some(manifest) = merge_once(&places, |key, _| key[..4] != gone) {
                        *if layers.0[0].0 == manifest[0] { &mut upper } else { &mut lower } += 1;
                        layers.merge(&manifest, |key| key[..4] != gone);
                    }
                }
                8 => {
                    let cache = [SMALL, LARGE][rng.random_range(0..2)];
                    places = Places::open(dir.path(), &layers.manifest(), cache).unwrap();
                }
                _ => {
                    let from = key(rng.random_range(0..6), rng.next_u64());
                    let to = key(rng.random_range(0..6), rng.next_u64());
                    let expected: Vec<_> =
                        layers.flat().into_iter().filter(|(key, _)| *key >= from && *key < to).collect();
                    let found: Vec<_> = places.range(&from, Some(&to)).map(Result::unwrap).collect();
                    assert!(found == expected, "seed {seed}");
                }
            }
            let model = layers.flat();
            for _ in 0..200 {
                let key = key(rng.random_range(0..6), rng.random_range(0..21_000));
                assert_eq!(places.get(&key).unwrap(), model.get(&key).copied(), "seed {seed}");
            }
        }
        let model = layers.flat();
        assert!(model.iter().all(|(key, place)| places.get(key).unwrap() == Some(*place)), "seed {seed}");
        assert!(all(&places).into_iter().eq(model), "seed {seed}");
        assert_eq!(places.verify(), Vec::<String>::new());
        assert_eq!(files(&dir).len(), layers.0.len(), "seed {seed}");
        assert_eq!(places.entries(), layers.0.iter().map(|(_, entries)| entries.len() as u64).sum::<u64>());
    }
    assert!(upper > 0 && lower > 0, "merges without and with the oldest run: {upper}, {lower}");
}

#[test]
fn keys_that_are_not_uniform_are_found_as_well() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    let mut entries = Model::new();
    for n in 0..9_000_u64 {
        let mut key = [0; 16];
        key[8..].copy_from_slice(&(n * n * n).to_be_bytes());
        entries.insert(key, place(n));
    }
    entries.insert([0xff; 16], place(9_001));
    add(&places, &entries);
    assert!(entries.iter().all(|(key, place)| places.get(key).unwrap() == Some(*place)));
    assert!(all(&places).into_iter().eq(entries.clone()));
    for n in 1..9_000_u64 {
        let mut key = [0; 16];
        key[8..].copy_from_slice(&(n * n * n + 2).to_be_bytes());
        assert_eq!(places.get(&key).unwrap(), entries.get(&key).copied());
    }
}

#[test]
fn a_range_starts_at_its_first_bound_and_ends_before_its_second() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], SMALL).unwrap();
    assert_eq!(places.range(&[0; 16], None).count(), 0);
    add(&places, &some(6_000, 0));
    add(&places, &some(100, 9_000));
    let mut expected = some(6_000, 0);
    expected.append(&mut some(100, 9_000));
    let keys: Vec<Key> = expected.keys().copied().collect();
    for (from, to) in [(0, 0), (0, 1), (82, 83), (83, 84), (2_655, 2_657), (2_656, 5_312), (5_999, 5_999), (7, 5_999)] {
        let found: Vec<_> = places.range(&keys[from], Some(&keys[to])).map(Result::unwrap).collect();
        assert!(found == keys[from..to].iter().map(|key| (*key, expected[key])).collect::<Vec<_>>(), "{from} {to}");
    }
    assert_eq!(places.range(&keys[5_999], None).count(), 1);
    assert_eq!(places.range(&[0xff; 16], None).count(), 0);
    assert_eq!(places.range(&keys[9], Some(&keys[3])).count(), 0);
    assert_eq!(places.range(&key(2, 0), None).count(), 0);
}

#[test]
fn a_range_shows_the_moment_it_was_taken_at() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], SMALL).unwrap();
    for first in 0..4 {
        add(&places, &some(1_000, first * 1_000));
    }
    let mut range = places.range(&[0; 16], None);
    assert_eq!(range.next().unwrap().unwrap().1.sequence / 1_000, 3);
    merge_once(&places, |_, _| false).unwrap();
    assert_eq!(all(&places), []);
    assert_eq!(files(&dir), Vec::<String>::new());
    assert!(range.by_ref().all(|entry| entry.unwrap().1.sequence / 1_000 == 3));
    assert!(range.next().is_none());
}

#[test]
fn a_run_is_seen_from_its_publication_on() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    assert!(places.write(std::iter::empty()).unwrap().is_none());
    let new = written(&places, &some(10, 5));
    assert_eq!((places.get(&key(1, 0)).unwrap(), places.entries(), places.bytes()), (None, 0, 0));
    let manifest = places.manifest_with(&new);
    places.publish(new);
    assert_eq!((places.get(&key(1, 0)).unwrap(), places.entries()), (Some(place(5)), 10));
    assert_eq!(places.bytes(), fs::metadata(run_path(dir.path(), manifest[0])).unwrap().len());
    drop(places);
    assert_eq!(Places::open(dir.path(), &manifest, LARGE).unwrap().get(&key(1, 0)).unwrap(), Some(place(5)));
}

#[test]
fn what_the_manifest_does_not_name_is_removed_at_the_next_open() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    let manifest = add(&places, &some(10, 0));
    let _ = written(&places, &some(10, 100));
    fs::write(dir.path().join("0000000009.run.tmp"), "half").unwrap();
    fs::write(dir.path().join("README"), "not ours").unwrap();
    let places = Places::open(dir.path(), &manifest, LARGE).unwrap();
    assert_eq!(files(&dir), ["0000000001.run", "README"]);
    assert_eq!(places.get(&key(1, 0)).unwrap(), Some(place(0)));
    assert!(is_damage(&Places::open(dir.path(), &[1, 1], LARGE)));
    assert!(is_damage(&Places::open(dir.path(), &[1, 2], LARGE)));
    assert_eq!(files(&dir), ["0000000001.run", "README"]);
}

#[test]
fn a_discarded_run_leaves_no_file_and_its_number_is_not_used_again() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    let new = written(&places, &some(10, 0));
    new.discard().unwrap();
    assert_eq!(files(&dir), Vec::<String>::new());
    assert_eq!(add(&places, &some(10, 0)), [2]);
}

#[test]
fn a_merge_drops_entries_only_together_with_the_oldest_run() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    // Larger than the lowest tier, so that the first merge leaves it out.
    add(&places, &some(17_000, 0));
    for first in [100_000, 200_000, 300_000, 400_000] {
        add(&places, &some(500, first));
    }
    let no_newest = |_: &Key, place: &Place| place.sequence < 400_000;
    assert_eq!(merge_once(&places, no_newest).unwrap(), [1, 6]);
    assert_eq!(places.get(&key(1, 7)).unwrap(), Some(place(400_007)));
    assert_eq!(places.entries(), 17_500);
    assert!(merge_once(&places, no_newest).is_none());
    for first in [500_000, 600_000, 700_000] {
        add(&places, &(17_000..34_000).map(|record| (key(1, record), place(first + record))).collect());
    }
    // The small run between large ones is taken along, and an older place of a dropped key does not come back.
    assert_eq!(merge_once(&places, no_newest).unwrap().len(), 1);
    assert_eq!(places.get(&key(1, 7)).unwrap(), None);
    assert_eq!(places.get(&key(1, 500)).unwrap(), Some(place(500)));
    assert_eq!(places.entries(), 16_500);
    assert_eq!(files(&dir).len(), 1);
}

#[test]
fn a_merge_that_leaves_nothing_only_removes() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    for first in 0..4 {
        add(&places, &some(100, first));
    }
    let new = places.merge(|_, _| false).unwrap().unwrap();
    assert_eq!(places.manifest_with(&new), Vec::<u64>::new());
    // Before the publication nothing has changed, and a run published meanwhile stays.
    assert_eq!(all(&places).len(), 100);
    assert_eq!(add(&places, &some(1, 50)), [1, 2, 3, 4, 6]);
    assert_eq!(places.manifest_with(&new), [6]);
    places.publish(new);
    assert_eq!(files(&dir).len(), 5);
    places.remove_unused().unwrap();
    assert_eq!(files(&dir), ["0000000006.run"]);
    assert_eq!(all(&places), [(key(1, 0), place(50))]);
}

#[test]
fn runs_stay_few_and_entries_are_not_written_often() {
    for (seed, largest) in [(1, 65_536), (2, 3_000), (3, 1_000_000)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut runs: Vec<u64> = Vec::new();
        let (mut added, mut moved) = (0, 0);
        for _ in 0..3_000 {
            // Every other one is tiny, as those of a close are.
            let size = if rng.random() { largest } else { rng.random_range(1..100) };
            added += size;
            runs.push(size);
            while let Some(which) = merge::which(&runs) {
                let sum = runs[which.clone()].iter().sum::<u64>();
                moved += sum;
                assert!(which.len() >= 4);
                runs.splice(which, [sum]);
            }
            let tiers = added.ilog2().div_ceil(2).saturating_sub(6) as usize + 1;
            assert!(runs.len() <= 3 * tiers, "{runs:?}");
        }
        assert!(moved / added <= 8, "each was written {} times", moved / added);
    }
    assert_eq!(merge::which(&[]), None);
    assert_eq!(merge::which(&[1, 1, 1]), None);
    assert_eq!(merge::which(&[1, 1, 1, 0]), Some(0..4));
    assert_eq!(merge::which(&[1 << 20, 9, 9, 9, 9]), Some(1..5));
    assert_eq!(merge::which(&[1 << 20, 9, 1 << 20, 9, 1 << 20, 9]), Some(0..5));
    assert_eq!(merge::which(&[9; 40]), Some(0..16));
}

#[test]
fn a_filter_lets_every_key_of_it_pass_and_few_others() {
    let mut filter = [0; PAGE_BYTES];
    let keys = PAGE_ENTRIES as u64 * GROUP_PAGES as u64;
    let number = |record| u128::from_be_bytes(key(1, record));
    for record in 0..keys {
        page::filter_add(&mut filter, number(record));
    }
    assert!((0..keys).all(|record| page::filter_passes(&filter, number(record))));
    let wrong = (keys..keys + 20_000).filter(|record| page::filter_passes(&filter, number(*record))).count();
    assert!(wrong < 200, "{wrong} of 20000 passed");
    assert_eq!(filter[..64], [0; 64]);
}

#[test]
fn the_cache_holds_no_more_than_it_may_and_keeps_filters_longer() {
    let cache = Cache::new(32 * (PAGE_BYTES as u64 + 64));
    let slots: Vec<cache::Slot> = (0..100).map(|_| cache::Slot::default()).collect();
    let held = |page: u32| cache.read(&slots[page as usize], (1, page), 0, |bytes| bytes[0]);
    cache.insert(&slots[0], (1, 0), cache::FILTER_CREDIT, &[0; PAGE_BYTES]);
    for page in 1..100_u8 {
        cache.insert(&slots[page as usize], (1, page.into()), cache::DATA_CREDIT, &[page; PAGE_BYTES]);
    }
    let kept: Vec<u32> = (0..100).filter(|page| held(*page).is_some()).collect();
    assert_eq!(kept.len(), 32);
    assert!(kept.contains(&0));
    assert!(kept.iter().all(|page| held(*page) == Some(u8::try_from(*page).unwrap())));
    // Another run's page of the same number and frame.
    assert_eq!(cache.read(&slots[99], (2, 99), 0, |bytes| bytes[0]), None);
}

#[test]
fn readers_find_every_key_while_runs_come_and_go() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], SMALL).unwrap();
    add(&places, &some(3_000, 0));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                let (places, done) = (&places, &done);
                scope.spawn(move || {
                    let mut rng = StdRng::seed_from_u64(seed);
                    let mut newest = vec![0; 3_000];
                    let mut rounds = 0_u64;
                    while !done.load(Ordering::Relaxed) || rounds < 1_000 {
                        rounds += 1;
                        let record = rng.random_range(0..3_000);
                        let found = places.get(&key(1, record)).unwrap().unwrap();
                        assert_eq!(found, place(found.sequence));
                        assert_eq!(found.sequence % 10_000, record);
                        let before = &mut newest[usize::try_from(record).unwrap()];
                        assert!(*before <= found.sequence);
                        *before = found.sequence;
                        assert_eq!(places.get(&key(2, record)).unwrap(), None);
                        if rounds.is_multiple_of(500) {
                            assert_eq!(places.range(&[0; 16], None).map(Result::unwrap).count(), 3_000);
                        }
                    }
                })
            })
            .collect();
        for round in 1..60 {
            add(
                &places,
                &(0..3_000).step_by(7).map(|record| (key(1, record), place(round * 10_000 + record))).collect(),
            );
            while merge_once(&places, |_, _| true).is_some() {}
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(places.verify(), Vec::<String>::new());
}
