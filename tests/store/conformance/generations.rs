//! Reset with empty: a new generation beside the old one, swapped in by the next success.

use terapi::store::{ChangesQuery, DeleteGuard, Reset, Store, StoreError};

use crate::store::{
    Engine, Reader, UNGUARDED, begin, begin_refresh, brief, failure, feed, ids, list_all, model, now, now_and_reopened,
    records, save_in_a_run, stream, sync,
};

const MODEL: &str = "Issue";

fn empty(store: &dyn Store, sync: &terapi::ids::SyncKey, models: &[&str]) {
    let models = models.iter().map(|name| model(name)).collect();
    store.reset(sync, &Reset::Empty { models }, now()).unwrap();
}

pub(super) fn readers_see_the_old_generation_until_the_new_one_is_whole(engine: &dyn Engine) {
    let (sync, of) = (sync("s", "c"), stream("c", MODEL));
    let store = engine.open();
    save_in_a_run(&*store, &sync, MODEL, &[("a", r#"{"v":1}"#), ("b", r#"{"v":1}"#)]);
    let before = feed(&*store, &of);
    empty(&*store, &sync, &[MODEL]);
    assert_eq!(feed(&*store, &of), before);
    // A run that fails leaves what it saved to the next one.
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("b", r#"{"v":2}"#)]);
    run.fail();
    assert_eq!(feed(&*store, &of), before);
    drop(store);
    let store = engine.open();
    assert_eq!(feed(&*store, &of), before);
    let run = begin(&*store, &sync);
    let summary = run.save(MODEL, &[("b", r#"{"v":2}"#), ("c", r#"{"v":2}"#)]);
    assert_eq!((summary.added, summary.unchanged), (1, 1), "compared with the new generation alone");
    run.checkpoint("{}");
    assert_eq!(feed(&*store, &of), before);
    run.succeed();
    let live = [("b".to_owned(), r#"{"v":2}"#.to_owned()), ("c".to_owned(), r#"{"v":2}"#.to_owned())];
    now_and_reopened(engine, store, |store| {
        assert_eq!(records(store, &of), live.clone().into());
        assert_eq!(feed(store, &of).iter().map(|change| change.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(store.streams().unwrap()[0].live, 2);
    });
}

pub(super) fn a_cursor_of_the_old_generation_is_refused_after_the_swap(engine: &dyn Engine) {
    let (store, sync, of) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    save_in_a_run(&*store, &sync, MODEL, &[("a", "{}")]);
    let mut reader = Reader::default();
    reader.catch_up(&*store, &of, 10);
    empty(&*store, &sync, &[MODEL]);
    // Not before.
    assert!(reader.catch_up(&*store, &of, 10).is_empty());
    save_in_a_run(&*store, &sync, MODEL, &[("a", "{}")]);
    let query = ChangesQuery { cursor: reader.cursor.clone(), ..ChangesQuery::default() };
    let error = store.changes(&of, &query).unwrap_err();
    assert!(matches!(error, StoreError::LostHistory(_)), "{error:?}");
    let mut reader = Reader::default();
    assert_eq!(reader.catch_up(&*store, &of, 10).len(), 1);
    save_in_a_run(&*store, &sync, MODEL, &[("b", "{}")]);
    assert_eq!(reader.catch_up(&*store, &of, 10).len(), 1);
}

pub(super) fn a_script_that_builds_a_generation_reads_that_one(engine: &dyn Engine) {
    let (store, sync, of) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    save_in_a_run(&*store, &sync, MODEL, &[("a", r#"{"old":1}"#), ("b", r#"{"old":1}"#)]);
    empty(&*store, &sync, &[MODEL]);
    let run = begin(&*store, &sync);
    run.update(MODEL, &[("a", r#"{"new":1}"#)]);
    let asked = ids(&["a", "b"]);
    let data = |found: Vec<terapi::store::Entry>| found.into_iter().map(|entry| entry.data).collect::<Vec<_>>();
    assert_eq!(data(store.get(&of, Some(&sync), &asked).unwrap()), [r#"{"new":1}"#]);
    assert_eq!(data(store.get(&of, None, &asked).unwrap()), [r#"{"old":1}"#, r#"{"old":1}"#]);
    let listed = store.list(&of, Some(&sync), None, 10, 1 << 20).unwrap();
    assert_eq!(data(listed.entries), [r#"{"new":1}"#]);
    assert_eq!(list_all(&*store, &of, 10).len(), 2);
    assert_eq!(run.delete(MODEL, &["b"]), 0, "the new generation has none");
    assert_eq!(run.delete(MODEL, &["a"]), 1);
    assert_eq!(list_all(&*store, &of, 10).len(), 2);
    run.succeed();
    assert_eq!(list_all(&*store, &of, 10).len(), 0);
}

pub(super) fn a_generation_with_too_little_in_it_does_not_take_the_place_of_the_old(engine: &dyn Engine) {
    let (store, sync, of) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    save_in_a_run(&*store, &sync, MODEL, &[("a", "{}"), ("b", "{}"), ("c", "{}"), ("d", "{}")]);
    empty(&*store, &sync, &[MODEL]);
    let guard = DeleteGuard { min_records: 4, max_share: 0.5, allow: false };
    for saved in [&[][..], &[("a", "{}")]] {
        let mut run = begin_refresh(&*store, &sync, &[MODEL]);
        run.save(MODEL, saved);
        run.run.outcome = Some(terapi::run::Outcome::Succeeded);
        let error = store.finish_run(&run.lease, &mut run.run, &guard).unwrap_err();
        assert!(matches!(error, StoreError::DeleteGuard { live: 4, .. }), "{error:?}");
        assert_eq!(feed(&*store, &of).len(), 4);
        run.finish(failure(), &guard).unwrap();
    }
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("b", "{}")]);
    run.finish(terapi::run::Outcome::Succeeded, &guard).unwrap();
    assert_eq!(feed(&*store, &of).len(), 2);
}

pub(super) fn a_refresh_deletes_in_the_generation_that_it_builds(engine: &dyn Engine) {
    let (store, sync, of) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    save_in_a_run(&*store, &sync, MODEL, &[("a", "{}"), ("b", "{}")]);
    empty(&*store, &sync, &[MODEL]);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    run.save(MODEL, &[("gone", "{}"), ("b", "{}")]);
    run.fail();
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    run.save(MODEL, &[("a", "{}"), ("b", "{}")]);
    run.succeed();
    assert_eq!(records(&*store, &of).into_keys().collect::<Vec<_>>(), ["a", "b"]);
}

pub(super) fn another_sync_goes_on_with_the_generation_that_is_read(engine: &dyn Engine) {
    let (store, of) = (engine.open(), stream("c", MODEL));
    let (one, two) = (sync("one", "c"), sync("two", "c"));
    save_in_a_run(&*store, &one, MODEL, &[("a", "{}")]);
    empty(&*store, &one, &[MODEL]);
    save_in_a_run(&*store, &two, MODEL, &[("b", "{}")]);
    assert_eq!(brief(&feed(&*store, &of)).len(), 2);
    let models = vec![model(MODEL)];
    let error = store.reset(&two, &Reset::Empty { models }, now()).unwrap_err();
    assert_eq!(error.code(), "invalid-state", "two at once would lose one");
    save_in_a_run(&*store, &one, MODEL, &[("c", "{}")]);
    assert_eq!(records(&*store, &of).into_keys().collect::<Vec<_>>(), ["c"]);
    save_in_a_run(&*store, &two, MODEL, &[("d", "{}")]);
    assert_eq!(records(&*store, &of).into_keys().collect::<Vec<_>>(), ["c", "d"]);
}

pub(super) fn a_second_reset_begins_the_generation_again(engine: &dyn Engine) {
    let (store, sync, of) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    save_in_a_run(&*store, &sync, MODEL, &[("a", "{}")]);
    empty(&*store, &sync, &[MODEL, "Other"]);
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("half", "{}")]);
    run.fail();
    empty(&*store, &sync, &[MODEL]);
    drop(store);
    let store = engine.open();
    save_in_a_run(&*store, &sync, MODEL, &[("b", "{}")]);
    save_in_a_run(&*store, &sync, "Other", &[("o", "{}")]);
    assert_eq!(records(&*store, &of).into_keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(records(&*store, &stream("c", "Other")).len(), 1);
}

pub(super) fn a_model_that_saves_nothing_is_empty_after_the_swap(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    save_in_a_run(&*store, &sync, MODEL, &[("a", "{}")]);
    save_in_a_run(&*store, &sync, "Other", &[("o", "{}")]);
    empty(&*store, &sync, &[MODEL, "Other", "Never"]);
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("b", "{}")]);
    run.finish(terapi::run::Outcome::Succeeded, &UNGUARDED).unwrap();
    now_and_reopened(engine, store, |store| {
        assert_eq!(records(store, &stream("c", MODEL)).len(), 1);
        assert_eq!(records(store, &stream("c", "Other")).len(), 0);
        assert_eq!(feed(store, &stream("c", "Never")).len(), 0);
    });
}
