//! What is held against scripts whose runs did not end by themselves.

use terapi::ids::ScriptHash;
use terapi::run::{Run, RunKind};
use terapi::store::{DocumentKind, Offense, RunStart, STOPPING, Store, Suspicion};

use super::{Embedded, Engine as _, a_run, begin, now, sync};

fn held(store: &dyn Store, script: &[u8]) -> Option<Suspicion> {
    let text = store.document(DocumentKind::Suspect, &Suspicion::key(&ScriptHash::of(script))).unwrap();
    text.map(|text| serde_json::from_str(&text).unwrap())
}

fn begin_of(store: &dyn Store, script: &[u8], connection: &str) -> Run {
    let run = Run { script: ScriptHash::of(script), ..a_run(&sync("s", connection)) };
    store.begin_run(RunStart { run: run.clone(), lease_ms: 1_000, refreshes: Vec::new() }).unwrap();
    run
}

#[test]
fn each_script_that_ran_when_the_process_died_has_one_strike_however_many_of_its_runs_there_were() {
    let engine = Embedded::new();
    let store = engine.open();
    begin_of(&*store, b"one", "a");
    begin_of(&*store, b"one", "b");
    begin_of(&*store, b"two", "c");
    begin(&*store, &sync("s", "d")).succeed();
    drop(store);
    for times in 1..=3 {
        // Opened a second time nothing is under way, and nothing is added.
        for _ in 0..2 {
            let store = engine.open();
            let strikes = |script: &[u8]| held(&*store, script).map(|it| (it.strikes, it.is_quarantine()));
            assert_eq!(strikes(b"one"), Some((times, times == 3)));
            assert_eq!((strikes(b"two"), strikes(b"a script")), (Some((1, false)), None));
        }
        begin_of(&*engine.open(), b"one", "a");
    }
}

#[test]
fn an_action_that_was_under_way_is_noted_as_interrupted_and_held_against_its_script() {
    let engine = Embedded::new();
    let store = engine.open();
    let under_way = Run { kind: RunKind::Action, script: ScriptHash::of(b"act"), ..a_run(&sync("act", "a")) };
    let mut ended = Run { script: ScriptHash::of(b"done"), id: terapi::ids::RunId::new(now()), ..under_way.clone() };
    store.put_run(&under_way).unwrap();
    store.put_run(&ended).unwrap();
    ended.outcome = Some(terapi::run::Outcome::Succeeded);
    store.put_run(&ended).unwrap();
    drop(store);
    let store = engine.open();
    assert_eq!(store.run(under_way.id).unwrap().unwrap().outcome.unwrap().code(), "interrupted");
    assert_eq!(store.run(ended.id).unwrap().unwrap(), ended);
    assert_eq!(held(&*store, b"act").map(|it| (it.strikes, it.offense)), Some((1, Offense::ProcessDied)));
    assert_eq!(held(&*store, b"done"), None);
}

#[test]
fn what_a_service_that_was_told_to_stop_left_over_is_held_against_nobody_and_that_counts_once() {
    let engine = Embedded::new();
    let store = engine.open();
    let run = begin_of(&*store, b"one", "a");
    store.put_document(DocumentKind::Suspect, STOPPING, Some("{}")).unwrap();
    drop(store);
    let store = engine.open();
    assert_eq!(store.run(run.id).unwrap().unwrap().outcome.unwrap().code(), "interrupted");
    assert_eq!(held(&*store, b"one"), None);
    begin_of(&*store, b"one", "a");
    drop(store);
    assert_eq!(held(&*engine.open(), b"one").map(|it| it.strikes), Some(1));
}

#[test]
fn a_run_whose_lease_was_taken_over_is_held_against_its_script() {
    let engine = Embedded::new();
    let store = engine.open();
    let lost = begin_of(&*store, b"one", "a");
    let mut next = Run { script: ScriptHash::of(b"two"), ..a_run(&sync("s", "a")) };
    next.started_at.0 += 1_000_000;
    store.begin_run(RunStart { run: next, lease_ms: 1_000, refreshes: Vec::new() }).unwrap();
    let suspicion = held(&*store, b"one").unwrap();
    assert_eq!((suspicion.strikes, suspicion.run, suspicion.offense), (1, lost.id, Offense::LeaseLost));
    assert_eq!(Suspicion::after(Some(suspicion), lost.id, Offense::LeaseLost).strikes, 1, "a run counts once");
    assert_eq!(held(&*store, b"two"), None);
}
