//! The change feed: its order, what it leaves out, and its pages.

use terapi::store::{Action, ActionFilter, ChangesQuery, StreamInfo};

use crate::store::{Engine, Reader, begin, brief, entry, feed, now, rule, stream, sync};

const MODEL: &str = "Issue";

pub(super) fn changes_come_in_the_order_of_their_commits(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("z", "{}"), ("a", "{}")]);
    run.save(MODEL, &[("m", "{}")]);
    run.delete(MODEL, &["a"]);
    run.save(MODEL, &[("b", "{}"), ("z", r#"{"v":2}"#)]);
    run.succeed();
    let changes = feed(&*store, &stream);
    let expected = [
        ("m", Action::Added, "{}"),
        ("a", Action::Deleted, "{}"),
        ("b", Action::Added, "{}"),
        ("z", Action::Updated, r#"{"v":2}"#),
    ];
    assert_eq!(brief(&changes), expected);
    assert_eq!(changes.iter().map(|change| change.sequence).collect::<Vec<_>>(), [3, 4, 5, 6]);
}

pub(super) fn the_feed_holds_each_record_once_at_its_last_change(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    for version in 0..50 {
        let data = format!(r#"{{"v":{version}}}"#);
        run.save(MODEL, &[(&format!("once-{version}"), "{}"), ("often", &data), ("other", &data)]);
    }
    run.save(MODEL, &[("often", "{}")]);
    let changes = feed(&*store, &stream);
    assert_eq!(changes.len(), 52);
    assert_eq!(changes.last().map(|change| (change.id.as_str(), change.sequence)), Some(("often", 151)));
    assert_eq!(changes.iter().filter(|change| change.id == "often" || change.id == "other").count(), 2);
}

pub(super) fn a_reader_that_stopped_half_way_ends_with_the_final_state(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", r#"{"v":1}"#), ("b", r#"{"v":1}"#), ("c", r#"{"v":1}"#)]);
    store.sync().unwrap();
    let mut reader = Reader::default();
    assert!(reader.page(&*store, &stream, 2).1);
    run.save(MODEL, &[("a", r#"{"v":2}"#), ("d", "{}")]);
    run.delete(MODEL, &["c", "d"]);
    run.save(MODEL, &[("a", r#"{"v":3}"#)]);
    store.sync().unwrap();
    let read = reader.catch_up(&*store, &stream, 1);
    let expected =
        [("c", Action::Deleted, r#"{"v":1}"#), ("d", Action::Deleted, "{}"), ("a", Action::Updated, r#"{"v":3}"#)];
    assert_eq!(brief(&read), expected);
    let replica: Vec<_> = reader.replica.iter().map(|(id, data)| (id.as_str(), data.as_str())).collect();
    assert_eq!(replica, [("a", r#"{"v":3}"#), ("b", r#"{"v":1}"#)]);
}

pub(super) fn times_say_when_a_record_came_and_when_it_changed(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let (first, second) = (now(), now());
    store.save(&run.lease, &rule(MODEL), &[entry("a", "{}")], first).unwrap();
    store.save(&run.lease, &rule(MODEL), &[entry("a", "{ }")], now()).unwrap();
    let change = feed(&*store, &stream).remove(0);
    assert_eq!((change.first_seen_at, change.last_modified_at, change.deleted_at()), (first, first, None));
    store.save(&run.lease, &rule(MODEL), &[entry("a", r#"{"v":1}"#)], second).unwrap();
    let change = feed(&*store, &stream).remove(0);
    assert_eq!((change.first_seen_at, change.last_modified_at, change.deleted_at()), (first, second, None));
    let third = now();
    store.delete(&run.lease, &rule(MODEL).name, &["a".to_owned()], third).unwrap();
    let change = feed(&*store, &stream).remove(0);
    assert_eq!((change.first_seen_at, change.last_modified_at, change.deleted_at()), (first, third, Some(third)));
    // A clock that was set back orders nothing.
    store.save(&run.lease, &rule(MODEL), &[entry("b", "{}")], terapi::ids::Timestamp(5)).unwrap();
    assert_eq!(feed(&*store, &stream).last().map(|change| change.last_modified_at.0), Some(5));
}

pub(super) fn a_filter_leaves_out_the_other_actions_and_moves_on(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("new", "{}"), ("changed", "{}"), ("gone", "{}")]);
    run.save(MODEL, &[("changed", r#"{"v":2}"#)]);
    run.delete(MODEL, &["gone"]);
    store.sync().unwrap();
    for (words, expected) in [
        ("added", vec!["new"]),
        ("updated", vec!["changed"]),
        ("deleted", vec!["gone"]),
        ("added,deleted", vec!["new", "gone"]),
        ("updated, added", vec!["new", "changed"]),
        ("added,updated,deleted", vec!["new", "changed", "gone"]),
    ] {
        let filter: ActionFilter = words.parse().unwrap();
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let query = ChangesQuery { cursor, filter, limit: 1, ..ChangesQuery::default() };
            let page = store.changes(&stream, &query).unwrap();
            found.extend(page.changes.into_iter().map(|change| change.id));
            cursor = Some(page.cursor);
            if !page.more {
                break;
            }
        }
        assert_eq!(found, expected, "{words}");
        let query = ChangesQuery { cursor, ..ChangesQuery::default() };
        assert_eq!(store.changes(&stream, &query).unwrap().changes, [], "{words}: the cursor is at the end");
    }
}

/// Every save is a commit of its own, so this is more of them than an engine looks at for one page.
pub(super) fn a_page_that_the_filter_empties_still_leads_to_the_end(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    for number in 0..600 {
        run.save(MODEL, &[(&number.to_string(), "{}")]);
    }
    run.delete(MODEL, &["17", "599"]);
    run.save(MODEL, &[("last", "{}")]);
    store.sync().unwrap();
    let filter = ActionFilter { added: false, updated: false, deleted: true };
    let (mut cursor, mut found, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = store.changes(&stream, &ChangesQuery { cursor, filter, ..ChangesQuery::default() }).unwrap();
        found.extend(page.changes.into_iter().map(|change| change.id));
        cursor = Some(page.cursor);
        pages += 1;
        assert!(pages < 100, "each page must bring the reader forward");
        if !page.more {
            break;
        }
    }
    assert_eq!(found, ["17", "599"]);
    assert_eq!(Reader::default().catch_up(&*store, &stream, 1_000).len(), 601);
}

pub(super) fn a_page_holds_at_most_the_limit_and_at_least_one_change(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", "{}"), ("b", "{}"), ("c", "{}")]);
    store.sync().unwrap();
    for (limit, expected) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3), (usize::MAX, 3)] {
        let page = store.changes(&stream, &ChangesQuery { limit, ..ChangesQuery::default() }).unwrap();
        assert_eq!((page.changes.len(), page.more), (expected, expected < 3), "limit {limit}");
    }
}

pub(super) fn a_page_holds_about_the_bytes_asked_for_and_at_least_one_change(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    let data = format!(r#"{{"p":"{}"}}"#, "x".repeat(92));
    assert_eq!(data.len(), 100);
    run.save(MODEL, &[("a", &data), ("b", &data), ("c", &data)]);
    store.sync().unwrap();
    for (max_bytes, expected) in
        [(0, 1), (1, 1), (99, 1), (100, 1), (199, 1), (200, 2), (299, 2), (300, 3), (usize::MAX, 3)]
    {
        let page = store.changes(&stream, &ChangesQuery { max_bytes, ..ChangesQuery::default() }).unwrap();
        assert_eq!((page.changes.len(), page.more), (expected, expected < 3), "{max_bytes} bytes");
        let rest = ChangesQuery { cursor: Some(page.cursor), ..ChangesQuery::default() };
        assert_eq!(store.changes(&stream, &rest).unwrap().changes.len(), 3 - expected, "{max_bytes} bytes");
    }
}

pub(super) fn a_page_that_ends_exactly_at_the_head_says_that_there_is_no_more(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    for number in 0..10 {
        run.save(MODEL, &[(&number.to_string(), "{}")]);
    }
    store.sync().unwrap();
    let page = store.changes(&stream, &ChangesQuery { limit: 10, ..ChangesQuery::default() }).unwrap();
    assert_eq!((page.changes.len(), page.more), (10, false));
}

pub(super) fn a_commit_shows_itself_without_being_asked_to(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    run.save(MODEL, &[("a", "{}")]);
    let start = std::time::Instant::now();
    while store.changes(&stream, &ChangesQuery::default()).unwrap().changes.is_empty() {
        assert!(start.elapsed() < std::time::Duration::from_secs(30), "nobody made the commit durable");
        std::thread::yield_now();
    }
}

pub(super) fn every_page_size_reads_the_same_feed(engine: &dyn Engine) {
    let (store, sync, stream) = (engine.open(), sync("s", "c"), stream("c", MODEL));
    let run = begin(&*store, &sync);
    // Batches of many sizes, some of more than one block, with holes of every kind.
    for batch in 0..12 {
        let size = [1, 2, 3, 5, 40, 300][batch % 6];
        let padding = "x".repeat([10, 1_000][batch / 6]);
        let of: Vec<_> = (0..size)
            .map(|i| entry(&((i * 7 + batch * 13) % 500).to_string(), &format!(r#"{{"b":{batch},"p":"{padding}"}}"#)))
            .collect();
        run.try_save(MODEL, &of).unwrap();
        run.delete(MODEL, &[&(batch * 31).to_string(), &(batch * 17 + 1).to_string()]);
    }
    let whole = feed(&*store, &stream);
    for limit in [1, 2, 3, 7, 64, 999] {
        assert_eq!(Reader::default().catch_up(&*store, &stream, limit), whole, "limit {limit}");
    }
    // And from every place in it.
    for start in 0..whole.len() {
        let mut reader = Reader::default();
        if start > 0 {
            reader.page(&*store, &stream, start);
        }
        assert_eq!(reader.catch_up(&*store, &stream, 200), whole[start..], "from {start} on");
    }
}

pub(super) fn streams_are_listed_by_name_with_their_figures(engine: &dyn Engine) {
    let store = engine.open();
    for (connection, model) in [("b", "Issue"), ("a", "Pull"), ("a", "Issue"), ("a-b", "Issue")] {
        let run = begin(&*store, &sync("s", connection));
        run.save(model, &[("x", "{}"), ("y", "{}"), ("z", "{}")]);
        run.delete(model, &["x"]);
        run.succeed();
    }
    let info = |connection, model| StreamInfo { stream: stream(connection, model), live: 2, changes: 4 };
    let expected = [info("a", "Issue"), info("a", "Pull"), info("a-b", "Issue"), info("b", "Issue")];
    assert_eq!(store.streams().unwrap(), expected);
    drop(store);
    assert_eq!(engine.open().streams().unwrap(), expected);
}
