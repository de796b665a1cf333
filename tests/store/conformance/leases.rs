//! One run a sync, and what the others may not do.

use terapi::ids::Timestamp;
use terapi::run::Outcome;
use terapi::store::{Lease, RunStart, Store, StoreError};

use crate::store::{Engine, UNGUARDED, a_run, begin, entry, failure, feed, list_all, model, now, rule, stream, sync};

const MODEL: &str = "Issue";

/// Every call that needs a lease is refused with this one, and none leaves a trace.
fn assert_lost(store: &dyn Store, lease: &Lease) {
    let of = stream(lease.sync.connection.as_str(), MODEL);
    let before = (feed(store, &of), list_all(store, &of, 100), store.sync_state(&lease.sync).unwrap());
    let stored_run = store.run(lease.run).unwrap();
    let batch = [entry("stale", r#"{"stale":true}"#)];
    let lost = |what: &str, result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::LeaseLost)), "{what}: {result:?}");
    };
    lost("save", store.save(lease, &rule(MODEL), &batch, now()).map(drop));
    lost("update", store.update(lease, &rule(MODEL), &batch, now()).map(drop));
    lost("delete", store.delete(lease, &model(MODEL), &["kept".to_owned()], now()).map(drop));
    lost("an empty save", store.save(lease, &rule(MODEL), &[], now()).map(drop));
    lost("track", store.track_deletes_start(lease, &model(MODEL)));
    lost("track end", store.track_deletes_end(lease, &model(MODEL), &UNGUARDED).map(drop));
    lost("checkpoint", store.save_checkpoint(lease, Some(r#"{"stale":true}"#)));
    lost("clear", store.save_checkpoint(lease, None));
    lost("renew", store.renew_lease(lease, now()));
    for outcome in [Outcome::Succeeded, failure()] {
        let mut run = a_run(&lease.sync);
        run.id = lease.run;
        run.outcome = Some(outcome);
        lost("finish", store.finish_run(lease, &mut run, &UNGUARDED));
    }
    assert_eq!((feed(store, &of), list_all(store, &of, 100), store.sync_state(&lease.sync).unwrap()), before);
    assert_eq!(store.run(lease.run).unwrap(), stored_run);
}

fn start(store: &dyn Store, at: Timestamp, lease_ms: u64) -> Result<Lease, StoreError> {
    let mut run = a_run(&sync("s", "c"));
    run.started_at = at;
    store.begin_run(RunStart { run, lease_ms, refreshes: Vec::new() })
}

pub(super) fn a_second_run_of_a_sync_is_refused_while_the_first_is_active(engine: &dyn Engine) {
    let store = engine.open();
    let first = begin(&*store, &sync("s", "c"));
    let refused = a_run(&sync("s", "c"));
    let start = RunStart { run: refused.clone(), lease_ms: 60_000, refreshes: Vec::new() };
    match store.begin_run(start).unwrap_err() {
        StoreError::SyncBusy(holder) => assert_eq!(holder, first.run.id),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.run(refused.id).unwrap(), None);
    // The first was not disturbed.
    first.save(MODEL, &[("a", "{}")]);
    first.succeed();
    begin(&*store, &sync("s", "c")).succeed();
}

pub(super) fn different_syncs_run_side_by_side(engine: &dyn Engine) {
    let store = engine.open();
    let variant = terapi::ids::SyncKey { variant: "other".parse().unwrap(), ..sync("s", "c") };
    let runs = [sync("s", "c"), sync("t", "c"), sync("s", "d"), variant].map(|sync| begin(&*store, &sync));
    for (number, run) in runs.iter().enumerate() {
        run.save(MODEL, &[(&number.to_string(), "{}")]);
    }
    for run in runs {
        run.succeed();
    }
    assert_eq!(feed(&*store, &stream("c", MODEL)).len(), 2);
}

pub(super) fn an_expired_lease_is_taken_over_and_the_old_run_can_write_nothing(engine: &dyn Engine) {
    let store = engine.open();
    let at = now();
    let old = start(&*store, at, 100).unwrap();
    store.save(&old, &rule(MODEL), &[entry("kept", "{}")], now()).unwrap();
    store.save_checkpoint(&old, Some(r#"{"page":1}"#)).unwrap();
    start(&*store, Timestamp(at.0 + 99), 100).unwrap_err();
    // Expired, but nobody has taken it over: the run may go on.
    store.save(&old, &rule(MODEL), &[entry("late", "{}")], Timestamp(at.0 + 5_000)).unwrap();
    let new = start(&*store, Timestamp(at.0 + 100), 100).unwrap();
    assert_lost(&*store, &old);
    store.save(&new, &rule(MODEL), &[entry("new", "{}")], now()).unwrap();
    assert_lost(&*store, &old);
    assert_eq!(store.sync_state(&new.sync).unwrap().checkpoint.as_deref(), Some(r#"{"page":1}"#));
}

pub(super) fn a_renewed_lease_is_not_taken_over(engine: &dyn Engine) {
    let store = engine.open();
    let at = now();
    let lease = start(&*store, at, 100).unwrap();
    store.renew_lease(&lease, Timestamp(at.0 + 90)).unwrap();
    assert_eq!(start(&*store, Timestamp(at.0 + 189), 100).unwrap_err().code(), "sync-busy");
    start(&*store, Timestamp(at.0 + 190), 100).unwrap();
    assert_lost(&*store, &lease);
}

pub(super) fn a_finished_run_can_write_nothing(engine: &dyn Engine) {
    let store = engine.open();
    for outcome in [Outcome::Succeeded, failure()] {
        let run = begin(&*store, &sync("s", "c"));
        run.save(MODEL, &[("kept", "{}")]);
        let lease = run.lease.clone();
        run.finish(outcome, &UNGUARDED).unwrap();
        assert_lost(&*store, &lease);
        let next = begin(&*store, &sync("s", "c"));
        assert_lost(&*store, &lease);
        next.succeed();
    }
    // Nor can a lease that never was.
    let forged = Lease { sync: sync("never", "c"), run: a_run(&sync("never", "c")).id, token: 0 };
    assert_lost(&*store, &forged);
    assert_lost(&*store, &Lease { sync: sync("s", "c"), ..forged });
}

pub(super) fn a_lease_from_before_a_restart_can_write_nothing(engine: &dyn Engine) {
    let store = engine.open();
    let run = begin(&*store, &sync("s", "c"));
    run.save(MODEL, &[("kept", "{}")]);
    let lease = run.lease.clone();
    drop(run);
    drop(store);
    let store = engine.open();
    assert_lost(&*store, &lease);
    let next = begin(&*store, &sync("s", "c"));
    assert!(next.lease.token > lease.token);
    assert_lost(&*store, &lease);
}

pub(super) fn tokens_ascend(engine: &dyn Engine) {
    let mut last = 0;
    for _ in 0..3 {
        let store = engine.open();
        for _ in 0..3 {
            let run = begin(&*store, &sync("s", "c"));
            assert!(run.lease.token > last, "{} after {last}", run.lease.token);
            last = run.lease.token;
            run.fail();
        }
        store.reset(&sync("s", "c"), &terapi::store::Reset::Refetch, now()).unwrap();
    }
}

/// It lost its lease, so nobody can finish it: the one who took over must have.
pub(super) fn a_run_that_was_taken_over_is_not_shown_as_active(engine: &dyn Engine) {
    let store = engine.open();
    let at = now();
    let old = start(&*store, at, 100).unwrap();
    let new = start(&*store, Timestamp(at.0 + 100), 100).unwrap();
    let run = store.run(old.run).unwrap().unwrap();
    assert_eq!(run.outcome.as_ref().map(Outcome::code), Some("interrupted"));
    assert_eq!(store.run(new.run).unwrap().unwrap().outcome, None);
    // A reset takes over too.
    store.reset(&sync("s", "c"), &terapi::store::Reset::Refetch, Timestamp(at.0 + 300)).unwrap();
    assert_lost(&*store, &new);
    assert_eq!(store.run(new.run).unwrap().unwrap().outcome.as_ref().map(Outcome::code), Some("interrupted"));
}
