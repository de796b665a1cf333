//! Batches: all or nothing, what is a change, merging, deleting.

use terapi::store::{Action, Entry, MAX_BATCH_ENTRIES, MAX_RECORD_BYTES, ModelRule, StoreError};

use crate::store::{Engine, begin, brief, entries, entry, feed, ids, model, now, records, save_in_a_run, stream, sync};

const MODEL: &str = "Issue";

fn with_padding(bytes: usize) -> String {
    let frame = r#"{"p":""}"#.len();
    format!(r#"{{"p":"{}"}}"#, "x".repeat(bytes - frame))
}

fn bad_entries() -> Vec<Entry> {
    let mut bad = entries(&[
        ("", "{}"),
        ("x", ""),
        ("x", "{"),
        ("x", r#"{"a":1}}"#),
        ("x", "[]"),
        ("x", "null"),
        ("x", r#"{"a":NaN}"#),
        ("x", r#"{"a":1,"a":2}"#),
        ("x", r#"{"a":"\ud800"}"#),
        ("x", "\u{feff}{}"),
    ]);
    bad.push(entry(&"i".repeat(513), "{}"));
    bad.push(entry("x", &with_padding(MAX_RECORD_BYTES + 1)));
    bad.push(entry("x", &format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65))));
    bad
}

pub(super) fn a_batch_with_one_bad_entry_leaves_nothing_wherever_it_stands(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("kept", r#"{"v":1}"#)]);
    let good = entries(&[("kept", r#"{"v":2}"#), ("new", "{}"), ("newer", "{}")]);
    for bad in bad_entries() {
        for index in 0..=good.len() {
            let mut batch = good.clone();
            batch.insert(index, bad.clone());
            let what = format!("{:.40} at {index}", format!("{bad:?}"));
            match run.try_save(MODEL, &batch) {
                Err(StoreError::InvalidRecord { index: found, .. }) => assert_eq!(found, index, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
        }
    }
    assert_eq!(brief(&feed(&*store, &stream)), [("kept", Action::Added, r#"{"v":1}"#)]);
    assert_eq!(records(&*store, &stream).len(), 1);
    // And the stream goes on as if nothing had been.
    assert_eq!(run.try_save(MODEL, &good).unwrap().added, 2);
    assert_eq!(feed(&*store, &stream).iter().map(|change| change.sequence).collect::<Vec<_>>(), [2, 3, 4]);
}

pub(super) fn a_refused_first_batch_leaves_no_stream(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    let run = begin(&*store, &sync);
    run.try_save(MODEL, &entries(&[("a", "{}"), ("b", "{")])).unwrap_err();
    store.sync().unwrap();
    assert_eq!(store.streams().unwrap(), []);
}

pub(super) fn a_batch_over_the_limits_is_refused_whole(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let many: Vec<_> = (0..=MAX_BATCH_ENTRIES).map(|i| entry(&i.to_string(), "{}")).collect();
    let error = run.try_save(MODEL, &many).unwrap_err();
    assert_eq!(error.code(), "batch-too-large");
    let large: Vec<_> = (0..9).map(|i| entry(&i.to_string(), &with_padding(MAX_RECORD_BYTES))).collect();
    let error = run.try_save(MODEL, &large).unwrap_err();
    assert_eq!(error.code(), "batch-too-large");
    assert_eq!(feed(&*store, &stream), []);
}

pub(super) fn what_is_exactly_at_the_limits_is_accepted(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let id = "é".repeat(256);
    let data = with_padding(MAX_RECORD_BYTES);
    run.save(MODEL, &[(&id, &data)]);
    let many: Vec<_> = (0..MAX_BATCH_ENTRIES).map(|i| entry(&i.to_string(), "{}")).collect();
    assert_eq!(run.try_save(MODEL, &many).unwrap().added, 1_000);
    // 8 MiB to the byte, ids counted in.
    let full: Vec<_> = (0..8).map(|i| entry(&i.to_string(), &with_padding(MAX_RECORD_BYTES - 1))).collect();
    assert_eq!(run.try_save(MODEL, &full).unwrap().updated, 8);
    let found = store.get(&stream, None, &[id, "7".to_owned()]).unwrap();
    assert_eq!(
        found.iter().map(|entry| entry.data.len()).collect::<Vec<_>>(),
        [MAX_RECORD_BYTES, MAX_RECORD_BYTES - 1]
    );
    assert_eq!(feed(&*store, &stream).len(), 1_001);
}

pub(super) fn of_an_id_given_twice_the_last_counts_and_the_summary_says_so(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let summary =
        run.save(MODEL, &[("a", r#"{"v":1}"#), ("b", r#"{"v":1}"#), ("a", r#"{"v":2}"#), ("a", r#"{"v":3}"#)]);
    assert_eq!((summary.added, summary.updated, summary.unchanged, summary.repeated), (2, 0, 0, 2));
    let expected = [("b", Action::Added, r#"{"v":1}"#), ("a", Action::Added, r#"{"v":3}"#)];
    assert_eq!(brief(&feed(&*store, &stream)), expected);
    // The last is what is there already: unchanged, whatever came before it.
    let summary = run.save(MODEL, &[("a", r#"{"v":9}"#), ("a", r#"{"v":3}"#)]);
    assert_eq!((summary.added, summary.updated, summary.unchanged, summary.repeated), (0, 0, 1, 1));
    assert_eq!(brief(&feed(&*store, &stream)), expected);
}

pub(super) fn a_repeated_entry_that_would_not_count_must_be_acceptable_too(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let error = run.try_save(MODEL, &entries(&[("b", "{}"), ("a", "{"), ("a", "{}")])).unwrap_err();
    assert!(matches!(error, StoreError::InvalidRecord { index: 1, .. }), "{error:?}");
    let error = store.update(&run.lease, &crate::store::rule(MODEL), &entries(&[("a", "{"), ("a", "{}")]), now());
    assert!(matches!(error, Err(StoreError::InvalidRecord { index: 0, .. })), "{error:?}");
    assert_eq!(feed(&*store, &stream), []);
}

pub(super) fn an_unchanged_record_makes_no_feed_entry(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let first = r#"{"a":{"x":1,"y":[1,2]},"b":"Aé/"}"#;
    save_in_a_run(&*store, &sync, MODEL, &[("r", first)]);
    for same in [
        first,
        r#"{"b":"Aé/","a":{"y":[1,2],"x":1}}"#,
        "\n{ \"a\" :\t{ \"x\":1, \"y\":[ 1 , 2 ] },\r\n \"b\":\"Aé/\" } ",
        r#"{"a":{"x":1,"y":[1,2]},"b":"\u0041\u00e9\/"}"#,
        r#"{"\u0061":{"x":1,"y":[1,2]},"b":"Aé/"}"#,
    ] {
        let summary = save_in_a_run(&*store, &sync, MODEL, &[("r", same)]);
        assert_eq!((summary.added, summary.updated, summary.unchanged), (0, 0, 1), "{same}");
        let changes = feed(&*store, &stream);
        assert_eq!(brief(&changes), [("r", Action::Added, first)], "{same}");
        assert_eq!(changes[0].sequence, 1, "{same}");
    }
}

pub(super) fn numbers_and_arrays_are_compared_as_they_are_written(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let versions = [
        r#"{"n":9007199254740993}"#,
        r#"{"n":9007199254740992}"#,
        r#"{"n":1}"#,
        r#"{"n":1.0}"#,
        r#"{"n":1e0}"#,
        r#"{"n":"1"}"#,
        r#"{"n":[1,2]}"#,
        r#"{"n":[2,1]}"#,
        r#"{"n":null}"#,
        "{}",
        r#"{"N":null}"#,
        r#"{"n":{}}"#,
        r#"{"n":[]}"#,
        r#"{"n":"e\u0301"}"#,
        r#"{"n":"\u00e9"}"#,
    ];
    for (count, version) in versions.iter().enumerate() {
        let summary = run.save(MODEL, &[("r", version)]);
        assert_eq!(summary.added + summary.updated, 1, "{version}");
        let changes = feed(&*store, &stream);
        assert_eq!((changes[0].sequence, changes[0].data.as_str()), (count as u64 + 1, *version));
    }
}

pub(super) fn what_is_stored_is_what_was_written_byte_for_byte(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let data = "{ \"z\" : 1e300 ,\n\t\"a\":9007199254740993.10,\"u\":\"\\u00e9 \u{1f600} \\/\",\"\":{} }  ";
    save_in_a_run(&*store, &sync, MODEL, &[("r", data)]);
    assert_eq!(store.get(&stream, None, &ids(&["r"])).unwrap(), [entry("r", data)]);
    drop(store);
    let store = engine.open();
    assert_eq!(brief(&feed(&*store, &stream)), [("r", Action::Added, data)]);
}

pub(super) fn ignored_fields_alone_are_no_change_and_are_stored_with_a_real_one(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let rule = ModelRule { name: model(MODEL), ignore: vec!["seen".to_owned(), "not there".to_owned()] };
    let run = begin(&*store, &sync);
    let save = |data: &str| store.save(&run.lease, &rule, &[entry("r", data)], now()).unwrap();
    assert_eq!(save(r#"{"v":1,"seen":1}"#).added, 1);
    assert_eq!(save(r#"{"v":1,"seen":2}"#).unchanged, 1);
    assert_eq!(save(r#"{"v":1}"#).unchanged, 1);
    assert_eq!(brief(&feed(&*store, &stream)), [("r", Action::Added, r#"{"v":1,"seen":1}"#)]);
    // Only at the top level.
    assert_eq!(save(r#"{"v":{"seen":1}}"#).updated, 1);
    assert_eq!(save(r#"{"v":{"seen":2},"seen":3}"#).updated, 1);
    assert_eq!(brief(&feed(&*store, &stream)), [("r", Action::Updated, r#"{"v":{"seen":2},"seen":3}"#)]);
    // Ignored or not, it must be JSON.
    store.save(&run.lease, &rule, &[entry("r", r#"{"v":1,"seen":}"#)], now()).unwrap_err();
}

pub(super) fn an_empty_batch_changes_nothing(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    assert_eq!(run.save(MODEL, &[]), terapi::store::SaveSummary::default());
    assert_eq!(run.update(MODEL, &[]), terapi::store::SaveSummary::default());
    assert_eq!(run.delete(MODEL, &[]), 0);
    assert_eq!(feed(&*store, &stream), []);
    assert_eq!(store.streams().unwrap(), []);
}

pub(super) fn update_replaces_top_level_fields_and_keeps_the_others(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("r", r#"{"a":1,"b":{"x":1,"y":2},"c":"old"}"#)]);
    let summary = run.update(MODEL, &[("r", r#"{"b":{"x":3},"c":null,"d":[9007199254740993]}"#)]);
    assert_eq!((summary.added, summary.updated, summary.unchanged), (0, 1, 0));
    let merged = r#"{"a":1,"b":{"x":3},"c":null,"d":[9007199254740993]}"#;
    assert_eq!(brief(&feed(&*store, &stream)), [("r", Action::Updated, merged)]);
    // Again, from what is stored now, and in the same batch as others.
    let summary = run.update(MODEL, &[("n", "{}"), ("r", r#"{"a":2}"#), ("r", r#"{"a":3}"#)]);
    assert_eq!((summary.added, summary.updated, summary.repeated), (1, 1, 1));
    let merged = r#"{"a":3,"b":{"x":3},"c":null,"d":[9007199254740993]}"#;
    assert_eq!(store.get(&stream, None, &ids(&["r"])).unwrap(), [entry("r", merged)]);
}

pub(super) fn update_adds_unknown_and_deleted_records_as_given(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("gone", r#"{"old":1}"#)]);
    run.delete(MODEL, &["gone"]);
    let summary = run.update(MODEL, &[("gone", r#"{"new":1}"#), ("never", r#"{"new":2}"#)]);
    assert_eq!((summary.added, summary.updated), (2, 0));
    let expected = [("gone", Action::Added, r#"{"new":1}"#), ("never", Action::Added, r#"{"new":2}"#)];
    assert_eq!(brief(&feed(&*store, &stream)), expected);
}

pub(super) fn an_update_that_changes_nothing_makes_no_feed_entry(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("r", r#"{"a":1,"b":2}"#)]);
    for fields in [r#"{"b":2}"#, "{}", r#"{ "\u0062" : 2 , "a":1 }"#] {
        let summary = run.update(MODEL, &[("r", fields)]);
        assert_eq!((summary.added, summary.updated, summary.unchanged), (0, 0, 1), "{fields}");
    }
    assert_eq!(brief(&feed(&*store, &stream)), [("r", Action::Added, r#"{"a":1,"b":2}"#)]);
}

pub(super) fn an_update_with_one_bad_entry_leaves_nothing(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("x", r#"{"v":1}"#), ("y", r#"{"v":1}"#)]);
    for bad in bad_entries() {
        let batch = [entry("y", r#"{"v":2}"#), bad, entry("z", "{}")];
        let result = store.update(&run.lease, &crate::store::rule(MODEL), &batch, now());
        assert!(matches!(result, Err(StoreError::InvalidRecord { index: 1, .. })), "{result:?}");
    }
    assert_eq!(feed(&*store, &stream).len(), 2);
    assert_eq!(store.get(&stream, None, &ids(&["y", "z"])).unwrap(), [entry("y", r#"{"v":1}"#)]);
}

pub(super) fn an_update_that_grows_a_record_over_the_limit_is_refused_whole(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("r", &with_padding(MAX_RECORD_BYTES))]);
    let batch = entries(&[("n", "{}"), ("r", r#"{"q":1}"#)]);
    let result = store.update(&run.lease, &crate::store::rule(MODEL), &batch, now());
    assert!(matches!(result, Err(StoreError::InvalidRecord { index: 1, .. })), "{result:?}");
    assert_eq!(feed(&*store, &stream).len(), 1);
    assert_eq!(run.update(MODEL, &[("r", r#"{"p":1}"#)]).updated, 1);
}

pub(super) fn a_delete_keeps_the_last_content(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", r#"{"v":1}"#), ("b", "{}"), ("c", "{}")]);
    run.save(MODEL, &[("a", r#"{"v":2}"#)]);
    // Given twice, it goes once.
    assert_eq!(run.delete(MODEL, &["c", "a", "a"]), 2);
    let changes = feed(&*store, &stream);
    let expected = [("b", Action::Added, "{}"), ("c", Action::Deleted, "{}"), ("a", Action::Deleted, r#"{"v":2}"#)];
    assert_eq!(brief(&changes), expected);
    assert_eq!(changes[2].deleted_at(), Some(changes[2].last_modified_at));
    assert!(changes[2].first_seen_at < changes[2].last_modified_at);
    assert_eq!(records(&*store, &stream).keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(store.get(&stream, None, &ids(&["a", "b", "c"])).unwrap(), [entry("b", "{}")]);
}

pub(super) fn deleting_an_unknown_or_deleted_id_leaves_no_trace(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    assert_eq!(run.delete(MODEL, &["a"]), 0);
    run.save(MODEL, &[("a", "{}"), ("b", "{}")]);
    assert_eq!(run.delete(MODEL, &["a", "never", "", &"x".repeat(10_000)]), 1);
    assert_eq!(run.delete(MODEL, &["a", "never"]), 0);
    let changes = feed(&*store, &stream);
    assert_eq!(brief(&changes), [("b", Action::Added, "{}"), ("a", Action::Deleted, "{}")]);
    assert_eq!(changes[1].sequence, 3);
}

pub(super) fn a_deleted_record_that_comes_back_is_added(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", "{}")]);
    let first = feed(&*store, &stream);
    run.delete(MODEL, &["a"]);
    // The very same content: still it came back.
    assert_eq!(run.save(MODEL, &[("a", "{}")]).added, 1);
    let again = feed(&*store, &stream);
    assert_eq!(brief(&again), [("a", Action::Added, "{}")]);
    assert_eq!(again[0].sequence, 3);
    assert!(again[0].first_seen_at > first[0].first_seen_at);
    assert_eq!(run.save(MODEL, &[("a", r#"{"v":2}"#)]).updated, 1);
    assert_eq!(store.streams().unwrap()[0].live, 1);
}

pub(super) fn a_delete_of_too_many_ids_is_refused_whole(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("0", "{}")]);
    let many: Vec<_> = (0..=MAX_BATCH_ENTRIES).map(|i| i.to_string()).collect();
    let error = store.delete(&run.lease, &model(MODEL), &many, now()).unwrap_err();
    assert_eq!(error.code(), "batch-too-large");
    assert_eq!(records(&*store, &stream).len(), 1);
}

/// Together they are far over what one commit may hold, and they do not compress: a delete must not need them in one
/// piece, and a refresh must be able to delete what many batches saved.
pub(super) fn many_large_records_can_be_deleted(engine: &dyn Engine) {
    use rand::{Rng as _, SeedableRng as _};
    const COUNT: u64 = 140;
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let mut random = rand::rngs::StdRng::seed_from_u64(1);
    let noise: String = (0..MAX_RECORD_BYTES - 100).map(|_| char::from(random.random_range(b'a'..=b'~'))).collect();
    let run = begin(&*store, &sync);
    for id in 0..COUNT {
        run.save(MODEL, &[(&id.to_string(), &format!(r#"{{"p":"{id}{noise}"}}"#))]);
    }
    run.succeed();
    let run = begin(&*store, &sync);
    let half: Vec<_> = (0..COUNT / 2).map(|id| id.to_string()).collect();
    match store.delete(&run.lease, &model(MODEL), &half, now()) {
        Ok(deleted) => assert_eq!(u64::from(deleted), half.len() as u64),
        // All or nothing: an engine may say that this is too much at once.
        Err(error) => {
            assert_eq!(error.code(), "batch-too-large");
            store.sync().unwrap();
            assert_eq!(store.streams().unwrap()[0].live, COUNT);
            for id in &half {
                assert_eq!(run.delete(MODEL, &[id]), 1);
            }
        }
    }
    run.succeed();
    let deleted = crate::store::begin_refresh(&*store, &sync, &[MODEL]).succeed().deleted;
    assert_eq!(deleted, COUNT - half.len() as u64);
    let info = store.streams().unwrap().remove(0);
    assert_eq!((info.live, info.changes), (0, 2 * COUNT));
    assert_eq!(records(&*store, &stream).len(), 0);
}
