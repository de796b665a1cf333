//! Nothing is pruned unless it was asked for; then content and tombstones go by age, and late readers are told.

use terapi::ids::Timestamp;
use terapi::store::{Action, ChangesQuery, Pruned, Retention, Store, StoreError};

use crate::store::{
    Engine, Reader, begin, brief, entries, feed, ids, list_all, now_and_reopened, records, rule, save_in_a_run, stream,
    sync,
};

const MODEL: &str = "Issue";

fn at(store: &dyn Store, moment: u64, saves: &[(&str, &str)], deletes: &[&str]) {
    let run = begin(store, &sync("s", "c"));
    store.save(&run.lease, &rule(MODEL), &entries(saves), Timestamp(moment)).unwrap();
    store.delete(&run.lease, &rule(MODEL).name, &ids(deletes), Timestamp(moment)).unwrap();
    run.succeed();
}

fn filled(store: &dyn Store) {
    at(store, 1_000, &[("a", r#"{"v":1}"#), ("b", r#"{"v":1}"#), ("c", r#"{"v":1}"#)], &[]);
    at(store, 2_000, &[("d", r#"{"v":1}"#)], &["c"]);
    at(store, 3_000, &[("b", r#"{"v":2}"#)], &["d"]);
}

pub(super) fn without_a_retention_nothing_is_pruned(engine: &dyn Engine) {
    let (store, of) = (engine.open(), stream("c", MODEL));
    filled(&*store);
    let before = feed(&*store, &of);
    assert_eq!(store.retention().unwrap(), Retention::default());
    assert_eq!(store.prune(Timestamp(u64::MAX)).unwrap(), Pruned::default());
    assert_eq!(feed(&*store, &of), before);
}

pub(super) fn content_that_did_not_change_for_long_goes_and_the_record_stays_known(engine: &dyn Engine) {
    let of = stream("c", MODEL);
    let store = engine.open();
    filled(&*store);
    let retention = Retention { payloads_ms: Some(500), tombstones_ms: None, runs_ms: None };
    store.set_retention(&retention).unwrap();
    assert_eq!(store.prune(Timestamp(2_600)).unwrap(), Pruned { records: 1, tombstones: 0, runs: 0 });
    assert_eq!(store.prune(Timestamp(2_600)).unwrap(), Pruned::default(), "once");
    now_and_reopened(engine, store, |store| {
        assert_eq!(store.retention().unwrap(), retention);
        let left = [
            ("c", Action::Deleted, r#"{"v":1}"#),
            ("b", Action::Updated, r#"{"v":2}"#),
            ("d", Action::Deleted, r#"{"v":1}"#),
        ];
        assert_eq!(brief(&feed(store, &of)), left);
        assert_eq!(list_all(store, &of, 10).len(), 1);
        assert_eq!(store.get(&of, None, &ids(&["a", "b"])).unwrap().len(), 1);
        assert_eq!(store.streams().unwrap()[0].live, 2);
    });
    let store = engine.open();
    let summary = save_in_a_run(&*store, &sync("s", "c"), MODEL, &[("a", r#"{"v":1}"#), ("e", "{}")]);
    assert_eq!((summary.added, summary.unchanged), (1, 1));
    // What changes has content again, and one that goes leaves a tombstone, though nothing of its content is left.
    at(&*store, 4_000, &[("f", "{}")], &["a"]);
    assert!(brief(&feed(&*store, &of)).contains(&("a", Action::Deleted, "{}")));
    save_in_a_run(&*store, &sync("s", "c"), MODEL, &[("a", r#"{"v":3}"#)]);
    assert_eq!(records(&*store, &of)["a"], r#"{"v":3}"#);
}

pub(super) fn a_merge_into_pruned_content_keeps_what_is_given(engine: &dyn Engine) {
    let (store, of) = (engine.open(), stream("c", MODEL));
    filled(&*store);
    store.set_retention(&Retention { payloads_ms: Some(0), tombstones_ms: None, runs_ms: None }).unwrap();
    store.prune(Timestamp(10_000)).unwrap();
    let run = begin(&*store, &sync("s", "c"));
    let summary = run.update(MODEL, &[("a", r#"{"w":1}"#)]);
    run.succeed();
    assert_eq!(summary.updated, 1);
    assert_eq!(records(&*store, &of)["a"], r#"{"w":1}"#);
}

pub(super) fn deleted_records_are_forgotten(engine: &dyn Engine) {
    let of = stream("c", MODEL);
    let store = engine.open();
    filled(&*store);
    store.set_retention(&Retention { payloads_ms: None, tombstones_ms: Some(500), runs_ms: None }).unwrap();
    assert_eq!(store.prune(Timestamp(2_600)).unwrap(), Pruned { records: 0, tombstones: 1, runs: 0 });
    now_and_reopened(engine, store, |store| {
        assert_eq!(feed(store, &of).iter().map(|change| change.id.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
    });
    let store = engine.open();
    let summary = save_in_a_run(&*store, &sync("s", "c"), MODEL, &[("c", r#"{"v":1}"#)]);
    assert_eq!(summary.added, 1);
    assert_eq!(records(&*store, &of).len(), 3);
}

pub(super) fn a_cursor_from_before_what_was_pruned_is_refused_and_a_later_one_goes_on(engine: &dyn Engine) {
    let (store, of) = (engine.open(), stream("c", MODEL));
    filled(&*store);
    let read = |cursor: Option<&String>, limit| {
        store.changes(&of, &ChangesQuery { cursor: cursor.cloned(), limit, ..ChangesQuery::default() })
    };
    let early = read(None, 1).unwrap().cursor;
    let late = read(None, 10).unwrap().cursor;
    store.set_retention(&Retention { payloads_ms: None, tombstones_ms: Some(500), runs_ms: None }).unwrap();
    store.prune(Timestamp(2_600)).unwrap();
    let error = read(Some(&early), 10).unwrap_err();
    assert!(matches!(error, StoreError::PastRetention(_)), "{error:?}");
    assert_eq!(error.code(), "cursor-past-retention");
    assert!(read(Some(&late), 10).unwrap().changes.is_empty());
    assert_eq!(Reader::default().catch_up(&*store, &of, 10).len(), 3, "from the start there is what there is");
}
