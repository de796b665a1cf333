//! Records by id and one after the other.

use terapi::store::StoreError;

use crate::store::{Engine, begin, entries, entry, ids, list_all, stream, sync};

const MODEL: &str = "Issue";

pub(super) fn get_returns_what_exists_in_the_order_asked(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    assert_eq!(store.get(&stream, None, &ids(&["a"])).unwrap(), []);
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", r#"{"v":1}"#), ("b", "{}"), ("c", "{}"), ("d", "{}")]);
    run.save(MODEL, &[("a", r#"{"v":2}"#)]);
    run.delete(MODEL, &["b"]);
    let found = store.get(&stream, None, &ids(&["d", "never", "a", "b", "c", "", "a"])).unwrap();
    let expected = [("d", "{}"), ("a", r#"{"v":2}"#), ("c", "{}"), ("a", r#"{"v":2}"#)];
    assert_eq!(found, entries(&expected));
    assert_eq!(store.get(&stream, None, &[]).unwrap(), []);
}

pub(super) fn list_returns_those_that_changed_longest_ago_first(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    assert_eq!(list_all(&*store, &stream, 10), []);
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("d", "{}"), ("a", "{}"), ("c", "{}"), ("b", "{}")]);
    run.save(MODEL, &[("a", r#"{"v":2}"#)]);
    run.save(MODEL, &[("d", "{}")]);
    run.delete(MODEL, &["c"]);
    let expected = entries(&[("d", "{}"), ("b", "{}"), ("a", r#"{"v":2}"#)]);
    for limit in [0, 1, 2, 3, 100] {
        assert_eq!(list_all(&*store, &stream, limit), expected, "limit {limit}");
    }
}

pub(super) fn list_keeps_to_its_limits(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let data = format!(r#"{{"p":"{}"}}"#, "x".repeat(92));
    run.save(MODEL, &[("a", &data), ("b", &data), ("c", &data)]);
    for (limit, max_bytes, expected) in [(0, 9_999, 1), (2, 9_999, 2), (9, 0, 1), (9, 200, 2), (9, 299, 2), (9, 300, 3)]
    {
        let listing = store.list(&stream, None, None, limit, max_bytes).unwrap();
        assert_eq!(listing.entries.len(), expected, "limit {limit}, {max_bytes} bytes");
        assert_eq!(listing.next.is_some(), expected < 3, "limit {limit}, {max_bytes} bytes");
    }
}

pub(super) fn a_listing_whose_records_are_updated_meanwhile_ends_and_returns_each_once(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let batch: Vec<_> = (0..50).map(|number| entry(&format!("{number:02}"), "{}")).collect();
    run.try_save(MODEL, &batch).unwrap();
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let listing = store.list(&stream, None, after.as_deref(), 7, 1 << 20).unwrap();
        for listed in listing.entries {
            run.update(MODEL, &[(&listed.id, r#"{"looked":true}"#), (&format!("new-{}", listed.id), "{}")]);
            found.push(listed.id);
        }
        assert!(found.len() <= 50, "a record is listed twice: {found:?}");
        let Some(next) = listing.next else { break };
        after = Some(next);
    }
    assert_eq!(found, batch.into_iter().map(|entry| entry.id).collect::<Vec<_>>());
    assert_eq!(list_all(&*store, &stream, 7).len(), 100);
}

pub(super) fn a_listing_whose_records_are_deleted_meanwhile_ends(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let batch: Vec<_> = (0..50).map(|number| entry(&format!("{number:02}"), "{}")).collect();
    run.try_save(MODEL, &batch).unwrap();
    let (mut after, mut found) = (None, 0);
    loop {
        let listing = store.list(&stream, None, after.as_deref(), 7, 1 << 20).unwrap();
        for listed in listing.entries {
            assert_eq!(run.delete(MODEL, &[&listed.id]), 1);
            found += 1;
        }
        let Some(next) = listing.next else { break };
        after = Some(next);
    }
    assert_eq!(found, 50);
    assert_eq!(list_all(&*store, &stream, 7), []);
}

pub(super) fn a_place_in_a_listing_that_was_never_given_out_is_refused_or_harmless(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", "{}"), ("b", "{}")]);
    let max = u64::MAX;
    let forged = [
        String::new(),
        "-".to_owned(),
        "x".to_owned(),
        "-1-2".to_owned(),
        format!("{max}-{max}"),
        format!("0-{max}"),
        format!("{max}-0"),
        "7-3".to_owned(),
        "99999999999999999999999-1".to_owned(),
        "0-1-2".to_owned(),
        "A".repeat(1 << 20),
    ];
    for after in forged {
        match store.list(&stream, None, Some(&after), 10, 1 << 20) {
            Ok(listing) => assert!(listing.entries.len() <= 2 && listing.next.is_none(), "{after:.40}: {listing:?}"),
            Err(error) => assert!(matches!(error, StoreError::BadCursor(_)), "{after:.40}: {error:?}"),
        }
    }
}

pub(super) fn get_and_list_see_a_batch_at_once(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    for version in 0..200 {
        let data = format!(r#"{{"v":{version}}}"#);
        run.save(MODEL, &[("a", &data)]);
        assert_eq!(store.get(&stream, None, &ids(&["a"])).unwrap(), [entry("a", &data)]);
        assert_eq!(list_all(&*store, &stream, 10), [entry("a", &data)]);
    }
}
