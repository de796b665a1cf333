//! Full refreshes, accounts of deletes, and the guard that holds them back.

use terapi::run::Outcome;
use terapi::store::{Action, DeleteGuard, Store, StoreError};

use crate::store::{
    ActiveRun, Engine, begin, begin_refresh, brief, entry, failure, feed, model, records, save_in_a_run, stream, sync,
};

const MODEL: &str = "Issue";

const GUARD: DeleteGuard = DeleteGuard { min_records: 10, max_share: 0.5, allow: false };

fn names(store: &dyn Store) -> Vec<String> {
    records(store, &stream("c", MODEL)).into_keys().collect()
}

/// Saves `0` to `count - 1` in a run of its own.
fn fill(store: &dyn Store, model: &str, count: usize) {
    let run = begin(store, &sync("s", "c"));
    save_range(&run, model, 0..count);
    run.succeed();
}

fn save_range(run: &ActiveRun<'_>, model: &str, range: std::ops::Range<usize>) {
    let batch: Vec<_> = range.map(|number| entry(&number.to_string(), r#"{"v":1}"#)).collect();
    for batch in batch.chunks(1_000) {
        run.try_save(model, batch).unwrap();
    }
}

pub(super) fn a_full_refresh_deletes_what_it_did_not_save(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    save_in_a_run(&*store, &sync, MODEL, &[("a", "{}"), ("b", r#"{"last":1}"#), ("c", "{}"), ("d", "{}")]);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    run.save(MODEL, &[("a", "{}")]);
    run.update(MODEL, &[("c", r#"{"v":2}"#)]);
    run.save(MODEL, &[("e", "{}")]);
    let changes = run.succeed();
    assert_eq!(changes.deleted, 2);
    assert_eq!(names(&*store), ["a", "c", "e"]);
    let changes = feed(&*store, &stream);
    let gone: Vec<_> = changes.iter().filter(|change| change.action == Action::Deleted).cloned().collect();
    assert_eq!(brief(&gone), [("b", Action::Deleted, r#"{"last":1}"#), ("d", Action::Deleted, "{}")]);
    // Deleted is deleted: the next one deletes nothing.
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    run.save(MODEL, &[("a", "{}"), ("c", r#"{"v":2}"#), ("e", "{}")]);
    assert_eq!(run.succeed().deleted, 0);
    assert_eq!(feed(&*store, &stream), changes);
}

pub(super) fn a_full_refresh_that_saves_the_same_again_changes_nothing(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    fill(&*store, MODEL, 2_500);
    let before = feed(&*store, &stream);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    for start in [2_000, 0, 1_000] {
        save_range(&run, MODEL, start..(start + 1_000).min(2_500));
    }
    assert_eq!(run.succeed().deleted, 0);
    assert_eq!(feed(&*store, &stream), before);
}

pub(super) fn a_failed_refresh_deletes_nothing(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    fill(&*store, MODEL, 5);
    let before = feed(&*store, &stream);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    save_range(&run, MODEL, 0..1);
    run.fail();
    let stopped = terapi::run::Stopped {
        reason: terapi::run::StopReason::TimedOut,
        message: String::new(),
        backtrace: Vec::new(),
    };
    begin_refresh(&*store, &sync, &[MODEL]).finish(Outcome::Stopped(stopped), &GUARD).unwrap();
    assert_eq!(feed(&*store, &stream), before);
}

pub(super) fn a_refresh_deletes_in_all_its_models(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 3);
    fill(&*store, "Pull", 3);
    fill(&*store, "Label", 3);
    let run = begin_refresh(&*store, &sync, &[MODEL, "Pull", "Never"]);
    save_range(&run, MODEL, 0..1);
    assert_eq!(run.succeed().deleted, 5);
    let live: Vec<_> = store.streams().unwrap().iter().map(|info| (info.stream.model.to_string(), info.live)).collect();
    assert_eq!(live, [(MODEL.to_owned(), 1), ("Label".to_owned(), 3), ("Pull".to_owned(), 0)]);
}

pub(super) fn a_record_saved_and_deleted_in_the_same_refresh_is_gone(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 4);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    save_range(&run, MODEL, 0..3);
    run.delete(MODEL, &["0", "1"]);
    run.save(MODEL, &[("1", r#"{"v":1}"#)]);
    assert_eq!(run.succeed().deleted, 1);
    assert_eq!(names(&*store), ["1", "2"]);
}

/// Two scripts share a model. What the first has saved, the second deletes; that must not be set off against a record
/// that is really gone.
pub(super) fn a_record_deleted_by_another_script_does_not_hide_one_that_went(engine: &dyn Engine) {
    let (store, sync, other) = (engine.open(), sync("s", "c"), sync("t", "c"));
    fill(&*store, MODEL, 6);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    save_range(&run, MODEL, 0..5);
    let second = begin(&*store, &other);
    second.delete(MODEL, &["0"]);
    second.succeed();
    assert_eq!(run.succeed().deleted, 1);
    assert_eq!(names(&*store), ["1", "2", "3", "4"]);

    // The same over a checkpoint, in between two runs.
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    run.save(MODEL, &[("1", r#"{"v":1}"#), ("2", r#"{"v":1}"#)]);
    run.checkpoint("{}");
    run.fail();
    let second = begin(&*store, &other);
    second.delete(MODEL, &["1", "2"]);
    second.succeed();
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    run.save(MODEL, &[("3", r#"{"v":1}"#)]);
    assert_eq!(run.track_end(MODEL), 1);
    assert_eq!(run.succeed().deleted, 1);
    assert_eq!(names(&*store), ["3"]);
}

fn assert_guarded(error: &StoreError, expected: (u64, u64, u64)) {
    match error {
        StoreError::DeleteGuard { stream: of, would_delete, live, saved } => {
            assert_eq!(**of, stream("c", MODEL));
            assert_eq!((*would_delete, *live, *saved), expected);
        }
        other => panic!("{other:?}"),
    }
}

/// Succeeding is refused by the guard; then nothing has changed, and the run can be finished as failed.
fn assert_stopped(store: &dyn Store, mut run: ActiveRun<'_>, expected: (u64, u64, u64)) {
    let sync = sync("s", "c");
    let (feed_before, state, changes) =
        (feed(store, &stream("c", MODEL)), store.sync_state(&sync).unwrap(), run.run.changes);
    run.run.outcome = Some(Outcome::Succeeded);
    let error = store.finish_run(&run.lease, &mut run.run, &GUARD).unwrap_err();
    assert_guarded(&error, expected);
    assert_eq!(run.run.changes, changes);
    assert_eq!(feed(store, &stream("c", MODEL)), feed_before);
    assert_eq!(store.sync_state(&sync).unwrap(), state);
    assert_eq!(store.run(run.run.id).unwrap().unwrap().outcome, None);
    store.renew_lease(&run.lease, crate::store::now()).expect("the lease is kept");
    let id = run.run.id;
    run.finish(failure(), &GUARD).unwrap();
    assert_eq!(store.run(id).unwrap().unwrap().outcome, Some(failure()));
    assert_eq!(feed(store, &stream("c", MODEL)), feed_before);
    assert_eq!(store.sync_state(&sync).unwrap(), state);
}

pub(super) fn the_guard_stops_a_refresh_that_saved_nothing(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 10);
    assert_stopped(&*store, begin_refresh(&*store, &sync, &[MODEL]), (10, 10, 0));
    // Whatever share is allowed, nothing saved is suspicious.
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    let all = DeleteGuard { max_share: 1.0, ..GUARD };
    assert_guarded(&run.finish(Outcome::Succeeded, &all).unwrap_err(), (10, 10, 0));
}

/// What the run saved was deleted by somebody else: of what exists it saved nothing.
pub(super) fn the_guard_counts_no_record_that_another_script_deleted(engine: &dyn Engine) {
    let (store, sync, other) = (engine.open(), sync("s", "c"), sync("t", "c"));
    fill(&*store, MODEL, 14);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    save_range(&run, MODEL, 0..4);
    let second = begin(&*store, &other);
    second.delete(MODEL, &["0", "1", "2", "3"]);
    second.succeed();
    assert_stopped(&*store, run, (10, 10, 0));
}

pub(super) fn the_guard_stops_a_refresh_that_would_delete_more_than_its_share(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 10);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    save_range(&run, MODEL, 0..4);
    assert_stopped(&*store, run, (6, 10, 4));
    // New records do not make up for old ones: the share is of what there is at the end.
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    save_range(&run, MODEL, 0..5);
    assert_eq!(run.finish(Outcome::Succeeded, &GUARD).unwrap().deleted, 5);
    assert_eq!(names(&*store).len(), 5);
}

pub(super) fn the_guard_stops_all_models_of_a_run_together(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    // Whatever order an engine looks at them in, one is before and one is after.
    for name in ["Before", MODEL, "Zebra"] {
        fill(&*store, name, 12);
    }
    let run = begin_refresh(&*store, &sync, &["Before", MODEL, "Zebra"]);
    save_range(&run, "Before", 0..11);
    save_range(&run, "Zebra", 0..11);
    assert_stopped(&*store, run, (12, 12, 0));
    assert_eq!(store.streams().unwrap().iter().map(|info| info.live).collect::<Vec<_>>(), [12, 12, 12]);
}

pub(super) fn the_guard_leaves_small_streams_alone(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 9);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    assert_eq!(run.finish(Outcome::Succeeded, &GUARD).unwrap().deleted, 9);
    assert_eq!(names(&*store).len(), 0);
    // An empty stream that stays empty is no matter either.
    begin_refresh(&*store, &sync, &[MODEL])
        .finish(Outcome::Succeeded, &DeleteGuard { min_records: 0, ..GUARD })
        .unwrap();
}

pub(super) fn the_guard_lets_everything_through_once(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 20);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    let deleted = run.finish(Outcome::Succeeded, &DeleteGuard { allow: true, ..GUARD }).unwrap().deleted;
    assert_eq!(deleted, 20);
    fill(&*store, MODEL, 20);
    assert_stopped(&*store, begin_refresh(&*store, &sync, &[MODEL]), (20, 20, 0));
}

pub(super) fn an_account_deletes_what_was_not_saved_between_start_and_end(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 6);
    let run = begin(&*store, &sync);
    // Before the start it does not count.
    save_range(&run, MODEL, 0..1);
    run.track_start(MODEL);
    save_range(&run, MODEL, 1..3);
    run.update(MODEL, &[("3", "{}")]);
    run.save(MODEL, &[("new", "{}")]);
    assert_eq!(run.track_end(MODEL), 3);
    assert_eq!(names(&*store).len(), 7, "nothing goes before the run's end");
    assert_eq!(run.succeed().deleted, 3);
    assert_eq!(names(&*store), ["1", "2", "3", "new"]);
}

pub(super) fn what_an_account_has_not_seen_is_listed_in_pages(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 60);
    let run = begin(&*store, &sync);
    let unseen =
        |run: &ActiveRun<'_>, after: Option<&str>, limit| store.unseen(&run.lease, &model(MODEL), after, limit);
    assert_eq!(unseen(&run, None, 10).unwrap_err().code(), "not-tracking");
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..25);
    run.save(MODEL, &[("new", "{}")]);
    run.delete(MODEL, &["59", "3"]);
    let all = |limit: usize| {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = unseen(&run, after.as_deref(), limit).unwrap();
            assert!(page.ids.len() <= limit.max(1), "a page holds no more than was asked for");
            ids.extend(page.ids);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        ids.sort_by_key(|id| id.parse::<usize>().unwrap());
        ids
    };
    let expected: Vec<_> = (25..59).map(|number| number.to_string()).collect();
    for limit in [0, 1, 7, 34, 1_000] {
        assert_eq!(all(limit), expected, "{limit} at a time");
    }
    // What is saved between two pages is not named any more, and nothing else is passed over.
    let first = unseen(&run, None, 10).unwrap();
    save_range(&run, MODEL, 25..40);
    let rest = unseen(&run, first.next.as_deref(), 1_000).unwrap();
    assert_eq!(rest.next, None);
    for id in (40..59).map(|number| number.to_string()) {
        assert!(first.ids.contains(&id) != rest.ids.contains(&id), "{id} is there once");
    }
    for damaged in ["", "x", "00", "é", &"f".repeat(40), &first.next.unwrap()[1..]] {
        assert_eq!(unseen(&run, Some(damaged), 10).unwrap_err().code(), "bad-cursor", "{damaged:?}");
    }
    assert_eq!(run.track_end(MODEL), 19, "reading changes nothing");
    assert_eq!(run.succeed().deleted, 19);
    let run = begin(&*store, &sync);
    run.track_start("Never");
    assert_eq!(store.unseen(&run.lease, &model("Never"), None, 10).unwrap(), terapi::store::UnseenIds::default());
}

pub(super) fn an_account_that_was_not_ended_deletes_nothing(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 3);
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..1);
    assert_eq!(run.succeed().deleted, 0);
    // Ended, and started again.
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    run.track_end(MODEL);
    run.track_start(MODEL);
    assert_eq!(run.succeed().deleted, 0);
    assert_eq!(names(&*store).len(), 3);
}

pub(super) fn an_ended_account_deletes_nothing_if_the_run_fails(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 3);
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    assert_eq!(run.track_end(MODEL), 3);
    run.fail();
    assert_eq!(begin(&*store, &sync).succeed().deleted, 0);
    assert_eq!(names(&*store).len(), 3);
}

pub(super) fn an_account_goes_on_in_the_next_run_with_its_checkpoint(engine: &dyn Engine) {
    let sync = sync("s", "c");
    let store = engine.open();
    fill(&*store, MODEL, 9);
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..2);
    run.checkpoint(r#"{"page":1}"#);
    run.fail();
    drop(store);
    let store = engine.open();
    // A run that succeeds half-way carries it on too, with what came after its last checkpoint.
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 2..4);
    run.checkpoint(r#"{"page":2}"#);
    save_range(&run, MODEL, 4..5);
    run.succeed();
    drop(store);
    let store = engine.open();
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 5..7);
    assert_eq!(run.track_end(MODEL), 2);
    assert_eq!(run.succeed().deleted, 2);
    assert_eq!(names(&*store), ["0", "1", "2", "3", "4", "5", "6"]);
}

/// Page 2 had nothing to save, so that run never came to the place where the account is taken up.
pub(super) fn an_account_waits_for_a_run_that_does_not_ask_for_it(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 4);
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..2);
    run.checkpoint(r#"{"page":1}"#);
    run.succeed();
    let run = begin(&*store, &sync);
    run.checkpoint(r#"{"page":2}"#);
    run.succeed();
    begin(&*store, &sync).succeed();
    begin(&*store, &sync).fail();
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 2..3);
    assert_eq!(run.track_end(MODEL), 1);
    run.succeed();
    assert_eq!(names(&*store), ["0", "1", "2"]);
}

pub(super) fn an_account_without_a_checkpoint_does_not_outlive_its_run(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 4);
    for succeed in [false, true] {
        let run = begin(&*store, &sync);
        run.track_start(MODEL);
        save_range(&run, MODEL, 0..2);
        let outcome = if succeed { Outcome::Succeeded } else { failure() };
        run.finish(outcome, &GUARD).unwrap();
        let run = begin(&*store, &sync);
        run.track_start(MODEL);
        save_range(&run, MODEL, 2..3);
        assert_eq!(run.track_end(MODEL), 3);
        run.fail();
    }
}

pub(super) fn an_account_of_a_run_that_failed_is_as_old_as_its_checkpoint(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 4);
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..1);
    run.checkpoint(r#"{"page":1}"#);
    // Not in the checkpoint: the next run fetches it again, or it is gone.
    save_range(&run, MODEL, 1..2);
    run.fail();
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    assert_eq!(run.track_end(MODEL), 3);
    run.succeed();
    assert_eq!(names(&*store), ["0"]);
}

pub(super) fn an_account_is_gone_once_it_has_deleted(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 4);
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..2);
    run.checkpoint(r#"{"page":1}"#);
    run.track_end(MODEL);
    assert_eq!(run.succeed().deleted, 2);
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..1);
    assert_eq!(run.track_end(MODEL), 1);
}

pub(super) fn clearing_the_checkpoint_ends_what_it_carried(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 4);
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..2);
    run.checkpoint("{}");
    run.fail();
    let run = begin(&*store, &sync);
    store.save_checkpoint(&run.lease, None).unwrap();
    run.succeed();
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 2..3);
    assert_eq!(run.track_end(MODEL), 3);
}

pub(super) fn ending_what_was_not_started_is_refused(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 3);
    let run = begin(&*store, &sync);
    let error = store.track_deletes_end(&run.lease, &model(MODEL), &GUARD).unwrap_err();
    assert_eq!(error.code(), "not-tracking");
    run.track_start("Other");
    let error = store.track_deletes_end(&run.lease, &model(MODEL), &GUARD).unwrap_err();
    assert_eq!(error.code(), "not-tracking");
    assert_eq!(run.track_end("Other"), 0);
    assert_eq!(run.succeed().deleted, 0);
}

pub(super) fn the_guard_holds_for_accounts_when_they_are_ended(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    fill(&*store, MODEL, 12);
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..2);
    let error = store.track_deletes_end(&run.lease, &model(MODEL), &GUARD).unwrap_err();
    assert_guarded(&error, (10, 12, 2));
    // It is not ended: a script that goes on regardless deletes nothing.
    assert_eq!(run.finish(Outcome::Succeeded, &GUARD).unwrap().deleted, 0);
    assert_eq!(names(&*store).len(), 12);
    // What held at the account's end is looked at again at the run's end.
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    save_range(&run, MODEL, 0..7);
    assert_eq!(store.track_deletes_end(&run.lease, &model(MODEL), &GUARD).unwrap(), 5);
    run.delete(MODEL, &["0", "1", "2", "3", "4", "5"]);
    assert_stopped_account(&*store, run);
}

fn assert_stopped_account(store: &dyn Store, mut run: ActiveRun<'_>) {
    // Five of six would go; six are below the guard's size, so only a guard of a smaller size stops it.
    let guard = DeleteGuard { min_records: 6, ..GUARD };
    run.run.outcome = Some(Outcome::Succeeded);
    assert_guarded(&store.finish_run(&run.lease, &mut run.run, &guard).unwrap_err(), (5, 6, 1));
    run.fail();
    assert_eq!(names(store).len(), 6);
}

pub(super) fn a_refresh_goes_on_after_an_interruption_with_its_checkpoint(engine: &dyn Engine) {
    let sync = sync("s", "c");
    let store = engine.open();
    fill(&*store, MODEL, 5);
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    save_range(&run, MODEL, 0..3);
    run.checkpoint(r#"{"page":1}"#);
    drop(run);
    drop(store);
    let store = engine.open();
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    save_range(&run, MODEL, 3..4);
    assert_eq!(run.succeed().deleted, 1);
    assert_eq!(names(&*store), ["0", "1", "2", "3"]);
}
