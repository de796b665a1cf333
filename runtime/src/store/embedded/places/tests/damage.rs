//! What is damaged or fails is noticed.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_flipped_bit_anywhere_is_noticed_and_never_gives_a_wrong_place() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    let entries = some(PAGE_ENTRIES as u64 * GROUP_PAGES as u64 + 100, 0);
    let manifest = add(&places, &entries);
    let path = run_path(dir.path(), manifest[0]);
    let good = fs::read(&path).unwrap();
    let pages = GROUP_PAGES + 2 + 2;
    assert_eq!(good.len(), pages * PAGE_BYTES + (GROUP_PAGES + 2) * 16 + 64);
    let mut rng = StdRng::seed_from_u64(4);
    // Some in each page, whole heads, and all of the fences and the end.
    let mut flips: Vec<usize> = (pages * PAGE_BYTES..good.len()).collect();
    for page in 0..pages {
        flips.extend((0..6).map(|_| page * PAGE_BYTES + rng.random_range(0..PAGE_BYTES)));
    }
    for page in [0, GROUP_PAGES, pages - 1] {
        flips.extend((0..64).map(|byte| page * PAGE_BYTES + byte));
    }
    let (mut at_open, mut later) = (0, 0);
    for at in flips {
        let mut bad = good.clone();
        bad[at] ^= 1 << rng.random_range(0..8);
        fs::write(&path, &bad).unwrap();
        let places = match Places::open(dir.path(), &manifest, LARGE) {
            Ok(places) => places,
            Err(StoreError::Corrupt { .. }) => {
                at_open += 1;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        later += 1;
        let problems = places.verify();
        assert_eq!(problems.len(), 1, "byte {at}: {problems:?}");
        assert!(problems[0].contains(&format!("page {} (byte", at / PAGE_BYTES)), "byte {at}: {problems:?}");
        let mut damaged = 0;
        for (key, place) in &entries {
            match places.get(key) {
                Ok(found) => assert_eq!(found, Some(*place), "byte {at}"),
                Err(error) => {
                    assert!(is_damage::<()>(&Err(error)));
                    damaged += 1;
                }
            }
        }
        assert!(damaged > 0, "byte {at}");
        let is_filter = at / PAGE_BYTES == GROUP_PAGES || at / PAGE_BYTES == pages - 1;
        let mut range = places.range(&[0; 16], None);
        assert_ne!(range.by_ref().any(|entry| entry.is_err()), is_filter, "byte {at}");
        assert!(range.next().is_none());
    }
    assert!(at_open > 600 && later > 300, "{at_open} {later}");
    // What is damaged while it is open, too.
    fs::write(&path, &good).unwrap();
    let places = Places::open(dir.path(), &manifest, LARGE).unwrap();
    let mut bad = good.clone();
    bad[good.len() - 100] ^= 1;
    fs::write(&path, &bad).unwrap();
    assert_eq!(places.verify().len(), 1);
}

#[test]
fn a_file_of_another_length_is_not_opened() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    let manifest = add(&places, &some(300, 0));
    let path = run_path(dir.path(), manifest[0]);
    let good = fs::read(&path).unwrap();
    for length in (0..good.len()).step_by(61).chain([good.len() - 1, good.len() - 64]) {
        fs::write(&path, &good[..length]).unwrap();
        assert!(is_damage(&Places::open(dir.path(), &manifest, LARGE)), "{length}");
    }
    for more in [1, 64, PAGE_BYTES] {
        fs::write(&path, [&good[..], &vec![0; more]].concat()).unwrap();
        assert!(is_damage(&Places::open(dir.path(), &manifest, LARGE)), "{more}");
    }
    let pages = 5 * PAGE_BYTES;
    fs::write(&path, [&good[..pages], &[0; PAGE_BYTES], &good[pages..]].concat()).unwrap();
    assert!(is_damage(&Places::open(dir.path(), &manifest, LARGE)));
    // Cut while it is open.
    fs::write(&path, &good).unwrap();
    let places = Places::open(dir.path(), &manifest, LARGE).unwrap();
    fs::write(&path, &good[..100]).unwrap();
    assert!(is_damage(&places.get(&key(1, 0))));
    assert_eq!(places.verify().len(), 1);
    fs::remove_file(&path).unwrap();
    assert!(is_damage(&Places::open(dir.path(), &manifest, LARGE)));
}

#[test]
fn a_page_from_elsewhere_is_not_taken_for_the_right_one() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    add(&places, &some(300, 0));
    let manifest = add(&places, &some(300, 1_000));
    let [older, newer] = [1, 2].map(|number| fs::read(run_path(dir.path(), number)).unwrap());
    let path = run_path(dir.path(), 2);
    let first = *some(300, 0).keys().next().unwrap();
    for (what, from) in [("another run", &older[..PAGE_BYTES]), ("another place", &newer[PAGE_BYTES..2 * PAGE_BYTES])] {
        fs::write(&path, [from, &newer[PAGE_BYTES..]].concat()).unwrap();
        let places = Places::open(dir.path(), &manifest, LARGE).unwrap();
        assert!(is_damage(&places.get(&first)), "{what}");
        assert_eq!(places.verify().len(), 1, "{what}");
    }
    // A whole file of the same length under another name.
    fs::write(&path, &older).unwrap();
    assert!(is_damage(&Places::open(dir.path(), &manifest, LARGE)));
    // Of another life of the same number: intact by itself, but not what the fences say.
    let other = folder();
    add(
        &Places::open(other.path(), &[], LARGE).unwrap(),
        &(300..600).map(|record| (key(1, record), place(record))).collect(),
    );
    let stale = fs::read(run_path(other.path(), 1)).unwrap();
    fs::write(run_path(dir.path(), 1), [&stale[..PAGE_BYTES], &older[PAGE_BYTES..]].concat()).unwrap();
    assert!(is_damage(&Places::open(dir.path(), &[1], LARGE).unwrap().get(&first)));
}

#[test]
fn a_failed_write_changes_nothing_and_leaves_no_file() {
    let dir = folder();
    let places = Places::open(dir.path(), &[], LARGE).unwrap();
    add(&places, &some(10, 0));
    // The disk is full from the second run on.
    symlink("/dev/full", dir.path().join("0000000002.run.tmp")).unwrap();
    let full = places.write(some(9_000, 0).into_iter().map(Ok));
    assert!(matches!(full, Err(StoreError::Storage { .. })));
    let broken = some(9_000, 0).into_iter().map(Ok).chain([Err(corrupt("the source is damaged".into()))]);
    assert!(is_damage(&places.write(broken)));
    let twice = some(1, 0).into_iter().chain(some(1, 0)).map(Ok);
    assert!(is_damage(&places.write(twice)));
    assert!(is_damage(&places.write([Ok((key(1, 1), Place { sequence: 1 << 48, ..place(1) }))].into_iter())));
    assert_eq!(files(&dir), ["0000000001.run"]);
    assert_eq!(all(&places).len(), 10);
    assert_eq!(add(&places, &some(11, 0)).len(), 2);
}
