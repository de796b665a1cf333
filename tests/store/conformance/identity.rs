//! What makes two records, and two streams, different ones.

use std::collections::BTreeSet;

use terapi::ids::{StreamKey, SyncKey};

use crate::store::{Engine, begin, entry, feed, list_all, now, rule, save_in_a_run, stream, sync};

const MODEL: &str = "Issue";

fn assert_distinct(engine: &dyn Engine, ids: &[String]) {
    let (sync, stream) = (sync("s", "c"), stream("c", MODEL));
    let expected: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!(expected.len(), ids.len(), "the test itself names no id twice");
    let store = engine.open();
    let run = begin(&*store, &sync);
    for (number, chunk) in ids.chunks(7).enumerate() {
        let batch: Vec<_> =
            chunk.iter().map(|id| entry(id, &format!(r#"{{"id":{:?}}}"#, chunk.len() + number))).collect();
        assert_eq!(run.try_save(MODEL, &batch).unwrap().added as usize, chunk.len(), "{chunk:?}");
    }
    run.succeed();
    drop(store);

    let store = engine.open();
    let found: BTreeSet<_> = list_all(&*store, &stream, 10).into_iter().map(|entry| entry.id).collect();
    assert_eq!(found, expected);
    let found: Vec<_> = feed(&*store, &stream).into_iter().map(|change| change.id).collect();
    assert_eq!(found, ids);
    for id in ids {
        let found = store.get(&stream, None, std::slice::from_ref(id)).unwrap();
        assert_eq!(found.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [id]);
    }
    // Each can go alone.
    let run = begin(&*store, &sync);
    for (gone, id) in ids.iter().enumerate() {
        assert_eq!(run.delete(MODEL, &[id]), 1, "{id:?}");
        assert_eq!(store.get(&stream, None, ids).unwrap().len(), ids.len() - gone - 1, "{id:?}");
    }
}

pub(super) fn ids_are_compared_byte_by_byte(engine: &dyn Engine) {
    let ids = [
        "a",
        "A",
        "a ",
        " a",
        "a\0",
        "\0a",
        "a\0b",
        "\0",
        "\0\0",
        "/",
        "//",
        "a/b",
        ".",
        "..",
        "../a",
        "%00",
        "%2e",
        "\n",
        "a\n",
        "\r\n",
        "\t",
        "\u{ffff}",
        "\u{10ffff}",
        "\u{feff}a",
        "é",
        "e\u{301}",
        "ﬁ",
        "fi",
        "Å",
        "A\u{30a}",
        "\u{212b}",
        "😀",
        "😀\u{200d}😀",
        "\u{202e}abc",
        "abc",
        "0",
        "00",
        "-0",
        "null",
        "\"",
        "\\",
        "{}",
        "CON",
        "\u{7f}",
        "i",
        "h\0\0\0\u{1}",
        "ß",
        "ss",
        "İ",
    ];
    assert_distinct(engine, &ids.map(str::to_owned));
}

pub(super) fn ids_that_share_a_long_beginning_are_distinct(engine: &dyn Engine) {
    let mut ids = Vec::new();
    for fill in ["a", "\0", "\u{7f}"] {
        ids.extend((500..=512).map(|length| fill.repeat(length)));
        for end in ["a", "b", "\0", "0", "~"] {
            ids.push(format!("{}{end}", fill.repeat(511)));
            ids.push(format!("{}{end}x", fill.repeat(400)));
        }
    }
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    assert_distinct(engine, &ids);
}

pub(super) fn streams_with_the_same_ids_are_apart(engine: &dyn Engine) {
    let store = engine.open();
    let other_variant = SyncKey { variant: "other".parse().unwrap(), ..sync("s", "c1") };
    let places = [
        (sync("s", "c1"), "Issue", stream("c1", "Issue")),
        (sync("s", "c1"), "issue", stream("c1", "issue")),
        (sync("s", "c2"), "Issue", stream("c2", "Issue")),
        (sync("s", "C1"), "Issue", stream("C1", "Issue")),
        (other_variant.clone(), "Issue", StreamKey { variant: other_variant.variant, ..stream("c1", "Issue") }),
    ];
    for (number, (sync, model, _)) in places.iter().enumerate() {
        let summary = save_in_a_run(&*store, sync, model, &[("a", &format!(r#"{{"n":{number}}}"#))]);
        assert_eq!(summary.added, 1);
    }
    // Two scripts that save the same model of a connection share its stream.
    let run = begin(&*store, &sync("t", "c1"));
    let summary = store.save(&run.lease, &rule("Issue"), &[entry("a", r#"{"n":0}"#)], now()).unwrap();
    assert_eq!(summary.unchanged, 1);
    run.delete("Issue", &["a"]);
    drop(run);
    drop(store);
    let store = engine.open();
    for (number, (_, _, stream)) in places.iter().enumerate() {
        let changes = feed(&*store, stream);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].sequence, if number == 0 { 2 } else { 1 });
        assert_eq!(changes[0].data, format!(r#"{{"n":{number}}}"#));
    }
}

pub(super) fn names_that_could_run_together_are_apart(engine: &dyn Engine) {
    let store = engine.open();
    for (connection, model) in [("a", "bc"), ("ab", "c"), ("a-b", "c"), ("a", "b-c"), ("a.b", "c"), ("a@b", "c")] {
        let summary = save_in_a_run(&*store, &sync("s", connection), model, &[("x", "{}")]);
        assert_eq!(summary.added, 1, "{connection} {model}");
    }
    for (connection, script) in [("a", "bc"), ("ab", "c"), ("a-b", "c"), ("a", "b-c")] {
        let run = begin(&*store, &sync(script, connection));
        assert_eq!(store.sync_state(&sync(script, connection)).unwrap().checkpoint, None);
        run.checkpoint("{}");
        run.track_start("m");
        run.succeed();
    }
}
