//! What the service keeps beside records: documents, versions of scripts, runs by whose they are; and reading by date, by id
//! and by waiting.

use terapi::ids::{RunId, Timestamp};
use terapi::run::{Level, LogLine, Run, RunKind};
use terapi::store::{
    Action, Change, ChangesQuery, DocumentKind, MAX_SCRIPT_VERSIONS, Retention, RunsQuery, Script, Store, StoreError,
};

use super::rows::script;
use crate::store::{
    Engine, a_run, begin, entries, feed, ids, now_and_reopened, records, rule, save_in_a_run, stream, sync,
};

const MODEL: &str = "Issue";

fn keys(store: &dyn Store, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let found = store.documents(DocumentKind::Sync, prefix, after, limit).unwrap();
    found.into_iter().map(|(key, _)| key).collect()
}

pub(super) fn documents_are_kept_listed_and_forgotten(engine: &dyn Engine) {
    let store = engine.open();
    for key in ["b/1", "a/2", "a/1", "ab/1", "c/1"] {
        store.put_document(DocumentKind::Sync, key, Some(&format!("{{\"of\":\"{key}\"}}"))).unwrap();
    }
    store.put_document(DocumentKind::Sync, "c/1", None).unwrap();
    store.sync().unwrap();
    now_and_reopened(engine, store, |store| {
        assert_eq!(store.document(DocumentKind::Sync, "a/2").unwrap().as_deref(), Some(r#"{"of":"a/2"}"#));
        assert_eq!(store.document(DocumentKind::Sync, "c/1").unwrap(), None);
        assert_eq!(keys(store, "", None, 100), ["a/1", "a/2", "ab/1", "b/1"]);
        assert_eq!(keys(store, "a/", None, 100), ["a/1", "a/2"]);
        assert_eq!(keys(store, "", Some("a/2"), 1), ["ab/1"]);
        assert_eq!(keys(store, "a/", Some("a/2"), 100), [""; 0]);
        assert_eq!(keys(store, "a/", Some("z"), 100), [""; 0]);
    });
}

pub(super) fn a_document_of_one_kind_is_none_of_another(engine: &dyn Engine) {
    let store = engine.open();
    for kind in DocumentKind::ALL {
        store.put_document(kind, "x", Some(&format!("{kind:?}"))).unwrap();
    }
    for kind in DocumentKind::ALL {
        assert_eq!(store.document(kind, "x").unwrap(), Some(format!("{kind:?}")));
        assert_eq!(store.documents(kind, "", None, 100).unwrap().len(), 1);
    }
}

fn upload(store: &dyn Store, content: &str) -> Script {
    store.put_script(&script("s", content.as_bytes()), content.as_bytes()).unwrap()
}

pub(super) fn each_upload_is_a_version_and_one_of_them_is_active(engine: &dyn Engine) {
    let store = engine.open();
    let name = "s".parse().unwrap();
    let (one, two) = (upload(&*store, "one"), upload(&*store, "two"));
    assert_eq!((one.version, two.version), (1, 2));
    assert_eq!(upload(&*store, "two").version, 2, "the same again is no version of its own");
    assert_eq!(store.activate_script(&name, 1).unwrap(), Some(one.clone()));
    assert_eq!(store.activate_script(&name, 3).unwrap(), None);
    now_and_reopened(engine, store, |store| {
        assert_eq!(store.script(&name).unwrap(), Some(one.clone()));
        assert_eq!(store.script_versions(&name).unwrap(), [two.clone(), one.clone()]);
        assert_eq!(store.script_bytes(&two.hash).unwrap().as_deref(), Some(&b"two"[..]));
    });
    let store = engine.open();
    assert_eq!(upload(&*store, "three").version, 3);
    // What was rolled back to and is uploaded again is a version again, unless it is active.
    assert_eq!(upload(&*store, "one").version, 4);
    assert!(store.remove_script(&name).unwrap());
    assert_eq!(store.script_versions(&name).unwrap(), []);
    assert_eq!(store.script_bytes(&two.hash).unwrap(), None);
}

pub(super) fn of_old_versions_so_many_are_kept(engine: &dyn Engine) {
    let store = engine.open();
    let first = upload(&*store, "0");
    let kept = upload(&*store, "1");
    for content in 2..MAX_SCRIPT_VERSIONS + 2 {
        upload(&*store, &content.to_string());
    }
    let versions = store.script_versions(&first.name).unwrap();
    assert_eq!(versions.len(), MAX_SCRIPT_VERSIONS + 1);
    assert_eq!(versions.last(), Some(&kept));
    assert_eq!(store.script_bytes(&first.hash).unwrap(), None);
    assert!(store.script_bytes(&kept.hash).unwrap().is_some());
}

fn found(store: &dyn Store, query: &RunsQuery) -> Vec<RunId> {
    let (mut query, mut found) = (query.clone(), Vec::new());
    loop {
        let page = store.runs(&query).unwrap();
        assert!(page.runs.len() <= query.limit);
        found.extend(page.runs.iter().map(|run| run.id));
        match page.next {
            Some(next) => query.before = Some(next),
            None => return found,
        }
    }
}

pub(super) fn runs_are_found_by_whose_they_are(engine: &dyn Engine) {
    let store = engine.open();
    let mut of = std::collections::BTreeMap::<(&str, &str), Vec<RunId>>::new();
    for (script, connection) in [("a", "c"), ("b", "c"), ("a", "d"), ("a", "c"), ("b", "c"), ("a", "c")] {
        let run = begin(&*store, &sync(script, connection));
        of.entry((script, connection)).or_default().insert(0, run.run.id);
        run.succeed();
    }
    let action = Run { kind: RunKind::Action, ..a_run(&sync("x", "c")) };
    store.put_run(&action).unwrap();
    let (connection, script) = (Some("c".parse().unwrap()), Some("a".parse().unwrap()));
    now_and_reopened(engine, store, |store| {
        for limit in [1, 2, 100] {
            let all = RunsQuery::newest(limit);
            let of_sync = RunsQuery { connection: connection.clone(), script: script.clone(), ..all.clone() };
            assert_eq!(found(store, &of_sync), of[&("a", "c")]);
            assert_eq!(found(store, &RunsQuery { connection: connection.clone(), ..all.clone() }).len(), 6);
            assert_eq!(found(store, &RunsQuery { script: script.clone(), ..all.clone() }).len(), 4);
            let ids = found(store, &all);
            assert_eq!(ids.len(), 7);
            assert!(ids.is_sorted_by(|a, b| a > b));
        }
        let of_action = RunsQuery { script: Some("x".parse().unwrap()), ..RunsQuery::newest(5) };
        assert_eq!(found(store, &of_action), [action.id]);
    });
}

pub(super) fn runs_are_forgotten_by_age_with_all_that_is_noted_of_them(engine: &dyn Engine) {
    let store = engine.open();
    let at = |ms: u64| Run { id: RunId::new(Timestamp(ms)), started_at: Timestamp(ms), ..a_run(&sync("a", "c")) };
    let (old, new) = (at(1_000_000), at(2_000_000));
    for run in [&old, &new] {
        let outcome = Some(terapi::run::Outcome::Succeeded);
        store.put_run(&Run { outcome, ..run.clone() }).unwrap();
        let line = LogLine { at: Timestamp(1), level: Level::Info, message: "m".to_owned(), fields: None };
        store.append_log(run.id, &[line]).unwrap();
        store.put_trace(run.id, "[]").unwrap();
    }
    assert_eq!(store.prune(Timestamp(2_000_500)).unwrap().runs, 0, "not unless it was asked for");
    store.set_retention(&Retention { runs_ms: Some(1_000), ..Retention::default() }).unwrap();
    assert_eq!(store.prune(Timestamp(2_000_500)).unwrap().runs, 1);
    now_and_reopened(engine, store, |store| {
        assert_eq!(store.run(old.id).unwrap(), None);
        assert_eq!(store.log(old.id).unwrap(), []);
        assert_eq!(store.trace(old.id).unwrap(), None);
        assert_eq!(store.trace(new.id).unwrap().as_deref(), Some("[]"));
        let query = RunsQuery { connection: Some("c".parse().unwrap()), ..RunsQuery::newest(9) };
        assert_eq!(found(store, &query), [new.id]);
    });
}

fn connected(store: &dyn Store, connection: &str) -> RunId {
    let sync = sync("s", connection);
    store.set_metadata(&sync.connection, r#"{"a":1}"#).unwrap();
    let run = begin(store, &sync);
    run.save(MODEL, &[("a", "{}"), ("b", "{}")]);
    run.save("Other", &[("a", "{}")]);
    run.track_start(MODEL);
    run.checkpoint(r#"{"page":1}"#);
    let id = run.run.id;
    let line = LogLine { at: Timestamp(1), level: Level::Info, message: "m".to_owned(), fields: None };
    store.append_log(id, &[line]).unwrap();
    run.succeed();
    id
}

pub(super) fn a_deleted_connection_leaves_nothing_and_its_neighbors_alone(engine: &dyn Engine) {
    let store = engine.open();
    let gone = connected(&*store, "c");
    let others: Vec<_> = ["b", "c1", "C", "c.", "d"].into_iter().map(|name| (name, connected(&*store, name))).collect();
    let cursor = store.changes(&stream("c", MODEL), &ChangesQuery::default()).unwrap().cursor;
    store.delete_connection(&"c".parse().unwrap()).unwrap();
    now_and_reopened(engine, store, |store| {
        assert_eq!(store.metadata(&"c".parse().unwrap()).unwrap(), "{}");
        assert_eq!(feed(store, &stream("c", MODEL)), []);
        assert_eq!(records(store, &stream("c", "Other")).len(), 0);
        assert_eq!(store.run(gone).unwrap(), None);
        assert_eq!(store.log(gone).unwrap(), []);
        assert_eq!(store.sync_state(&sync("s", "c")).unwrap().checkpoint, None);
        assert_eq!(store.streams().unwrap().len(), 2 * others.len());
        let query = ChangesQuery { cursor: Some(cursor.clone()), ..ChangesQuery::default() };
        let late = store.changes(&stream("c", MODEL), &query);
        assert!(matches!(late, Err(StoreError::LostHistory(_))), "{late:?}");
        for (name, run) in &others {
            assert_eq!(feed(store, &stream(name, MODEL)).len(), 2, "{name}");
            assert!(store.run(*run).unwrap().is_some());
            assert!(store.sync_state(&sync("s", name)).unwrap().checkpoint.is_some());
        }
    });
}

pub(super) fn a_connection_with_an_active_run_is_not_deleted(engine: &dyn Engine) {
    let store = engine.open();
    connected(&*store, "c");
    let run = begin(&*store, &sync("t", "c"));
    let refused = store.delete_connection(&"c".parse().unwrap());
    assert!(matches!(refused, Err(StoreError::SyncBusy(id)) if id == run.run.id), "{refused:?}");
    assert_eq!(feed(&*store, &stream("c", MODEL)).len(), 2);
    run.save(MODEL, &[("c", "{}")]);
    run.succeed();
    store.delete_connection(&"c".parse().unwrap()).unwrap();
}

pub(super) fn a_connection_made_again_begins_anew(engine: &dyn Engine) {
    let store = engine.open();
    connected(&*store, "c");
    // Looked at, so that it is in memory.
    store.get(&stream("c", MODEL), None, &ids(&["a"])).unwrap();
    store.delete_connection(&"c".parse().unwrap()).unwrap();
    let summary = save_in_a_run(&*store, &sync("s", "c"), MODEL, &[("a", "{}"), ("z", "{}")]);
    assert_eq!(summary.added, 2);
    now_and_reopened(engine, store, |store| {
        let feed = feed(store, &stream("c", MODEL));
        assert_eq!(
            feed.iter().map(|change| (change.sequence, change.id.as_str())).collect::<Vec<_>>(),
            [(1, "a"), (2, "z")]
        );
    });
}

pub(super) fn who_watches_a_stream_hears_of_every_change(engine: &dyn Engine) {
    let store = engine.open();
    let mut watch = store.watch(&stream("c", MODEL));
    let mut other = store.watch(&stream("c", "Other"));
    watch.borrow_and_update();
    other.borrow_and_update();
    save_in_a_run(&*store, &sync("s", "c"), MODEL, &[("a", "{}")]);
    assert!(watch.has_changed().unwrap());
    assert!(!other.has_changed().unwrap());
    watch.borrow_and_update();
    save_in_a_run(&*store, &sync("s", "c"), MODEL, &[("a", "{}")]);
    assert!(!watch.has_changed().unwrap(), "nothing that a reader would see");
    store.delete_connection(&"c".parse().unwrap()).unwrap();
    assert!(watch.has_changed().unwrap(), "its end is a change, too");
}

pub(super) fn each_change_has_the_cursor_that_reads_on_behind_it(engine: &dyn Engine) {
    let store = engine.open();
    let of = stream("c", MODEL);
    save_in_a_run(&*store, &sync("s", "c"), MODEL, &[("a", "{}"), ("b", "{}"), ("c", "{}")]);
    let changes = feed(&*store, &of);
    for (at, change) in changes.iter().enumerate() {
        let query = ChangesQuery { cursor: Some(change.cursor.clone()), ..ChangesQuery::default() };
        assert_eq!(store.changes(&of, &query).unwrap().changes, changes[at + 1..]);
    }
}

pub(super) fn changes_are_found_by_their_date(engine: &dyn Engine) {
    let store = engine.open();
    for (moment, id) in [(1_000, "a"), (2_000, "b"), (3_000, "c")] {
        let run = begin(&*store, &sync("s", "c"));
        store.save(&run.lease, &rule(MODEL), &entries(&[(id, "{}")]), Timestamp(moment)).unwrap();
        run.succeed();
    }
    let after = |moment| {
        let query = ChangesQuery { modified_after: Some(Timestamp(moment)), ..ChangesQuery::default() };
        let page = store.changes(&stream("c", MODEL), &query).unwrap();
        assert!(!page.more);
        page.changes.into_iter().map(|change| change.id).collect::<Vec<_>>()
    };
    assert_eq!(after(0), ["a", "b", "c"]);
    assert_eq!(after(1_000), ["b", "c"]);
    assert_eq!(after(2_999), ["c"]);
    assert_eq!(after(3_000), [""; 0]);
}

pub(super) fn changes_are_found_by_their_ids_deleted_ones_too(engine: &dyn Engine) {
    let store = engine.open();
    let of = stream("c", MODEL);
    let run = begin(&*store, &sync("s", "c"));
    run.save(MODEL, &[("a", r#"{"v":1}"#), ("b", "{}"), ("c", "{}")]);
    run.delete(MODEL, &["c"]);
    run.succeed();
    let found = store.changes_of(&of, &ids(&["c", "nobody", "a"])).unwrap();
    let brief: Vec<_> = found.iter().map(|change: &Change| (change.id.as_str(), change.action)).collect();
    assert_eq!(brief, [("c", Action::Deleted), ("a", Action::Added)]);
    let all = feed(&*store, &of);
    assert!(found.iter().all(|change| all.contains(change)));
    assert_eq!(store.changes_of(&stream("c", "Other"), &ids(&["a"])).unwrap(), []);
}
