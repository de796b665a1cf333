//! What a sync remembers, and the history of runs.

use terapi::run::{Level, LogLine, Outcome, Run, RunKind, StopReason, Stopped, Usage};
use terapi::store::{MAX_CHECKPOINT_BYTES, RunStart, RunsQuery, Store, SyncState};

use crate::store::{
    Engine, a_run, begin, begin_refresh, failure, feed, model, now, records, save_in_a_run, stream, sync,
};

const MODEL: &str = "Issue";

pub(super) fn the_last_sync_date_moves_only_on_success_and_to_the_start_of_the_run(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    let date = |store: &dyn Store| store.sync_state(&sync).unwrap().last_sync_date;
    assert_eq!(date(&*store), None);
    begin(&*store, &sync).fail();
    assert_eq!(date(&*store), None);
    let run = begin(&*store, &sync);
    let first = run.run.started_at;
    run.save(MODEL, &[("a", "{}")]);
    run.checkpoint("{}");
    assert_eq!(date(&*store), None);
    run.succeed();
    assert_eq!(date(&*store), Some(first));
    begin(&*store, &sync).fail();
    assert_eq!(date(&*store), Some(first));
    drop(store);
    let store = engine.open();
    assert_eq!(date(&*store), Some(first));
    let run = begin(&*store, &sync);
    let second = run.run.started_at;
    run.succeed();
    assert_eq!(date(&*store), Some(second));
    assert_eq!(store.sync_state(&crate::store::sync("s", "d")).unwrap(), SyncState::default());
}

pub(super) fn a_checkpoint_is_kept_until_it_is_replaced_or_cleared(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    let checkpoint = || store.sync_state(&sync).unwrap().checkpoint;
    let run = begin(&*store, &sync);
    assert_eq!(checkpoint(), None);
    run.checkpoint(r#"{ "page" : 1, "n": 9007199254740993 }"#);
    assert_eq!(checkpoint().as_deref(), Some(r#"{ "page" : 1, "n": 9007199254740993 }"#));
    run.checkpoint(r#"{"page":2}"#);
    run.succeed();
    assert_eq!(checkpoint().as_deref(), Some(r#"{"page":2}"#));
    let run = begin(&*store, &sync);
    store.save_checkpoint(&run.lease, None).unwrap();
    assert_eq!(checkpoint(), None);
    run.fail();
    assert_eq!(checkpoint(), None);
}

pub(super) fn a_checkpoint_outlives_failure_and_reopening(engine: &dyn Engine) {
    let sync = sync("s", "c");
    let store = engine.open();
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", "{}")]);
    run.checkpoint(r#"{"page":1}"#);
    run.fail();
    drop(store);
    let store = engine.open();
    assert_eq!(store.sync_state(&sync).unwrap().checkpoint.as_deref(), Some(r#"{"page":1}"#));
    assert_eq!(records(&*store, &stream("c", MODEL)).len(), 1);
}

pub(super) fn an_unacceptable_checkpoint_is_refused_and_the_old_one_stays(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    let run = begin(&*store, &sync);
    let padded = |bytes: usize| format!(r#"{{"p":"{}"}}"#, "x".repeat(bytes - 8));
    run.checkpoint(&padded(MAX_CHECKPOINT_BYTES));
    for bad in ["", "{", "[]", "null", "1", r#"{"a":1,"a":1}"#, "{} {}", &padded(MAX_CHECKPOINT_BYTES + 1)] {
        let error = store.save_checkpoint(&run.lease, Some(bad)).unwrap_err();
        assert_eq!(error.code(), "invalid-state", "{bad:.40}");
    }
    let kept = store.sync_state(&sync).unwrap().checkpoint;
    assert_eq!(kept.map(|text| text.len()), Some(MAX_CHECKPOINT_BYTES));
}

pub(super) fn reset_forgets_state_and_keeps_records(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", "{}"), ("b", "{}")]);
    run.checkpoint("{}");
    run.succeed();
    let before = feed(&*store, &stream);
    store.reset(&sync, &terapi::store::Reset::Refetch, now()).unwrap();
    assert_eq!(store.sync_state(&sync).unwrap(), SyncState::default());
    assert_eq!(feed(&*store, &stream), before);
    // What comes is still compared.
    let summary = save_in_a_run(&*store, &sync, MODEL, &[("a", "{}"), ("b", r#"{"v":2}"#)]);
    assert_eq!((summary.added, summary.updated, summary.unchanged), (0, 1, 1));
    drop(store);
    let store = engine.open();
    store.reset(&sync, &terapi::store::Reset::Refetch, now()).unwrap();
    store.reset(&crate::store::sync("never", "seen"), &terapi::store::Reset::Refetch, now()).unwrap();
    drop(store);
    assert_eq!(engine.open().sync_state(&sync).unwrap(), SyncState::default());
}

pub(super) fn reset_is_refused_while_a_run_is_active(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    let run = begin(&*store, &sync);
    run.checkpoint("{}");
    assert_eq!(store.reset(&sync, &terapi::store::Reset::Refetch, now()).unwrap_err().code(), "sync-busy");
    assert_eq!(store.sync_state(&sync).unwrap().checkpoint.as_deref(), Some("{}"));
    run.save(MODEL, &[("a", "{}")]);
    run.succeed();
    store.reset(&sync, &terapi::store::Reset::Refetch, now()).unwrap();
}

pub(super) fn reset_ends_accounts(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", "{}"), ("b", "{}")]);
    run.track_start(MODEL);
    run.save(MODEL, &[("a", "{}")]);
    run.checkpoint("{}");
    run.fail();
    store.reset(&sync, &terapi::store::Reset::Refetch, now()).unwrap();
    let run = begin(&*store, &sync);
    run.track_start(MODEL);
    assert_eq!(run.track_end(MODEL), 2);
}

pub(super) fn a_run_is_stored_as_it_started_and_as_it_ended(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    let mut run = begin_refresh(&*store, &sync, &[MODEL]);
    assert_eq!(store.run(run.run.id).unwrap().as_ref(), Some(&run.run));
    run.save(MODEL, &[("a", "{}")]);
    run.run.usage = Usage { fuel: u64::MAX, peak_memory: 1, wall_ms: 2, records: 1, ..Usage::default() };
    run.run.changes.added = 1;
    let (id, mut expected) = (run.run.id, run.run.clone());
    let changes = run.succeed();
    expected.changes = changes;
    expected.outcome = Some(Outcome::Succeeded);
    let stored = store.run(id).unwrap().unwrap();
    expected.ended_at = stored.ended_at;
    assert!(stored.ended_at.is_some());
    assert_eq!(stored, expected);
    drop(store);
    assert_eq!(engine.open().run(id).unwrap(), Some(expected));
}

pub(super) fn every_kind_of_outcome_comes_back_as_it_was(engine: &dyn Engine) {
    let (store, sync) = (engine.open(), sync("s", "c"));
    let reasons = [
        StopReason::OutOfFuel,
        StopReason::OutOfMemory,
        StopReason::TimedOut,
        StopReason::Cancelled,
        StopReason::Trapped,
        StopReason::Exhausted,
        StopReason::Interrupted,
        StopReason::Internal,
    ];
    let mut outcomes = vec![Outcome::Succeeded, failure()];
    outcomes.extend(reasons.map(|reason| {
        Outcome::Stopped(Stopped { reason, message: "why \u{1f600}\n\"".to_owned(), backtrace: vec!["f".to_owned()] })
    }));
    for outcome in outcomes {
        let run = begin(&*store, &sync);
        let id = run.run.id;
        run.finish(outcome.clone(), &crate::store::UNGUARDED).unwrap();
        assert_eq!(store.run(id).unwrap().unwrap().outcome, Some(outcome));
    }
}

pub(super) fn runs_come_newest_first_and_page_by_page(engine: &dyn Engine) {
    let store = engine.open();
    let mut made: Vec<_> = (0..25)
        .map(|number| {
            let run = begin(&*store, &sync("s", &format!("c{}", number % 3)));
            let id = run.run.id;
            run.succeed();
            id
        })
        .collect();
    made.reverse();
    for limit in [1, 4, 25, 1_000] {
        let mut found = Vec::new();
        loop {
            let query = RunsQuery { before: found.last().copied(), ..RunsQuery::newest(limit) };
            let page = store.runs(&query).unwrap().runs;
            assert!(page.len() <= limit);
            let Some(_) = page.last() else { break };
            found.extend(page.into_iter().map(|run| run.id));
        }
        assert_eq!(found, made, "limit {limit}");
    }
    drop(store);
    let found: Vec<_> =
        engine.open().runs(&RunsQuery::newest(100)).unwrap().runs.into_iter().map(|run| run.id).collect();
    assert_eq!(found, made);
}

pub(super) fn an_action_is_stored_without_a_lease(engine: &dyn Engine) {
    let store = engine.open();
    let sync = sync("s", "c");
    let active = begin(&*store, &sync);
    let mut action = Run { kind: RunKind::Action, ..a_run(&sync) };
    store.put_run(&action).unwrap();
    assert_eq!(store.run(action.id).unwrap().as_ref(), Some(&action));
    action.outcome = Some(failure());
    store.put_run(&action).unwrap();
    assert_eq!(store.run(action.id).unwrap(), Some(action.clone()));
    assert_eq!(store.run(a_run(&sync).id).unwrap(), None);
    active.succeed();
    drop(store);
    assert_eq!(engine.open().run(action.id).unwrap(), Some(action));
}

pub(super) fn a_run_that_the_process_left_behind_is_interrupted(engine: &dyn Engine) {
    let sync = sync("s", "c");
    let store = engine.open();
    save_in_a_run(&*store, &sync, MODEL, &[("a", "{}"), ("b", "{}")]);
    let state = store.sync_state(&sync).unwrap();
    let run = begin_refresh(&*store, &sync, &[MODEL]);
    run.save(MODEL, &[("c", "{}")]);
    let id = run.run.id;
    drop(run);
    drop(store);
    for _ in 0..2 {
        let store = engine.open();
        let left = store.run(id).unwrap().unwrap();
        assert_eq!(left.outcome.as_ref().map(Outcome::code), Some("interrupted"));
        assert_eq!(store.sync_state(&sync).unwrap(), state);
        assert_eq!(records(&*store, &stream("c", MODEL)).len(), 3);
    }
    // The sync is free at once.
    begin(&*engine.open(), &sync).succeed();
}

/// The lease was taken over, or finishing could not be written: the runtime stores the run without it. What it says
/// must not be replaced at the next start.
pub(super) fn a_run_that_ended_without_its_lease_keeps_its_outcome(engine: &dyn Engine) {
    let store = engine.open();
    let mut run = a_run(&sync("s", "c"));
    store.begin_run(RunStart { run: run.clone(), lease_ms: 10, refreshes: vec![model(MODEL)] }).unwrap();
    run.outcome = Some(failure());
    store.put_run(&run).unwrap();
    drop(store);
    assert_eq!(engine.open().run(run.id).unwrap().unwrap().outcome, Some(failure()));
}

pub(super) fn log_lines_come_back_in_order(engine: &dyn Engine) {
    let store = engine.open();
    let (run, other) = (a_run(&sync("s", "c")), a_run(&sync("s", "c")));
    assert_eq!(store.log(run.id).unwrap(), []);
    let line = |number: usize| LogLine {
        at: now(),
        level: [Level::Debug, Level::Info, Level::Warn, Level::Error][number % 4],
        message: format!("line {number}\n\0\u{1f600}"),
        fields: number.is_multiple_of(2).then(|| r#"{"n":9007199254740993}"#.to_owned()),
    };
    let lines: Vec<_> = (0..500).map(line).collect();
    let (first, second) = lines.split_at(300);
    for chunk in first.chunks(1) {
        store.append_log(run.id, chunk).unwrap();
        store.append_log(other.id, chunk).unwrap();
    }
    store.append_log(run.id, &[]).unwrap();
    assert_eq!(store.log(run.id).unwrap(), first);
    drop(store);
    let store = engine.open();
    store.append_log(run.id, second).unwrap();
    assert_eq!(store.log(run.id).unwrap(), lines);
    assert_eq!(store.log(other.id).unwrap(), first);
}
