//! Cursors: good ones go on, every other one is refused in so many words.

use terapi::ids::StreamKey;
use terapi::store::{ChangesQuery, Store, StoreError};

use crate::store::{Embedded, Engine, Reader, begin, save_in_a_run, stream, sync};

const MODEL: &str = "Issue";

fn refusal(store: &dyn Store, stream: &StreamKey, cursor: &str) -> StoreError {
    let query = ChangesQuery { cursor: Some(cursor.to_owned()), ..ChangesQuery::default() };
    match store.changes(stream, &query) {
        Err(error) => error,
        Ok(page) => panic!("{cursor:.80} was taken for a cursor: {page:?}"),
    }
}

fn assert_bad(store: &dyn Store, stream: &StreamKey, cursor: &str) {
    let error = refusal(store, stream, cursor);
    assert!(matches!(error, StoreError::BadCursor(_)), "{cursor:.80}: {error:?}");
}

/// A store with ten records, and the cursor after the first three.
fn three_of_ten(engine: &dyn Engine) -> (std::sync::Arc<dyn Store>, StreamKey, String) {
    let (store, stream) = (engine.open(), stream("c", MODEL));
    let names: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    let of: Vec<_> = names.iter().map(|name| (name.as_str(), "{}")).collect();
    save_in_a_run(&*store, &sync("s", "c"), MODEL, &of);
    let mut reader = Reader::default();
    reader.page(&*store, &stream, 3);
    (store, stream, reader.cursor.unwrap())
}

pub(super) fn a_cursor_handed_back_goes_on_where_the_page_ended(engine: &dyn Engine) {
    let (store, stream, cursor) = three_of_ten(engine);
    let mut reader = Reader { cursor: Some(cursor.clone()), ..Reader::default() };
    let read = reader.catch_up(&*store, &stream, 2);
    assert_eq!(read.iter().map(|change| change.id.as_str()).collect::<Vec<_>>(), ["3", "4", "5", "6", "7", "8", "9"]);
    // At the end, again and again, and with the same answer from the older one.
    for _ in 0..3 {
        assert_eq!(reader.catch_up(&*store, &stream, 2), []);
    }
    let mut again = Reader { cursor: Some(cursor), ..Reader::default() };
    assert_eq!(again.catch_up(&*store, &stream, 100), read);
    save_in_a_run(&*store, &sync("s", "c"), MODEL, &[("10", "{}")]);
    assert_eq!(reader.catch_up(&*store, &stream, 2).len(), 1);
}

pub(super) fn a_cursor_taken_before_the_stream_exists_reads_from_its_start(engine: &dyn Engine) {
    let (store, before, other) = (engine.open(), stream("c", MODEL), stream("c", "Other"));
    let mut reader = Reader::default();
    assert_eq!(reader.catch_up(&*store, &before, 10), []);
    assert!(reader.cursor.is_some());
    let cursor = reader.cursor.clone().unwrap();
    assert_bad(&*store, &other, &cursor);
    save_in_a_run(&*store, &sync("s", "c"), "Other", &[("x", "{}")]);
    save_in_a_run(&*store, &sync("s", "c"), MODEL, &[("a", "{}"), ("b", "{}")]);
    assert_eq!(reader.catch_up(&*store, &before, 10).len(), 2);
    let mut again = Reader { cursor: Some(cursor), ..Reader::default() };
    assert_eq!(again.catch_up(&*store, &before, 10).len(), 2);
}

pub(super) fn a_cursor_stays_good_across_reopening(engine: &dyn Engine) {
    let (store, stream, cursor) = three_of_ten(engine);
    drop(store);
    let store = engine.open();
    let mut reader = Reader { cursor: Some(cursor), ..Reader::default() };
    assert_eq!(reader.catch_up(&*store, &stream, 100).len(), 7);
    drop(store);
    let store = engine.open();
    begin(&*store, &sync("s", "c")).save(MODEL, &[("new", "{}")]);
    store.sync().unwrap();
    assert_eq!(reader.catch_up(&*store, &stream, 100).len(), 1);
}

pub(super) fn a_cursor_of_another_stream_is_refused(engine: &dyn Engine) {
    let (store, own, cursor) = three_of_ten(engine);
    let variant = StreamKey { variant: "other".parse().unwrap(), ..own.clone() };
    for foreign in [stream("d", MODEL), stream("c", "Other"), variant] {
        assert_bad(&*store, &foreign, &cursor);
        let sync = terapi::ids::SyncKey { variant: foreign.variant.clone(), ..sync("s", foreign.connection.as_str()) };
        save_in_a_run(&*store, &sync, foreign.model.as_str(), &[("a", "{}"), ("b", "{}"), ("c", "{}"), ("d", "{}")]);
        assert_bad(&*store, &foreign, &cursor);
    }
    // The same stream of another store.
    let other = Embedded::new();
    let (other_store, _, other_cursor) = three_of_ten(&other);
    assert_bad(&*store, &own, &other_cursor);
    assert_bad(&*other_store, &own, &cursor);
}

pub(super) fn a_cursor_with_any_character_changed_is_refused(engine: &dyn Engine) {
    let (store, stream, cursor) = three_of_ten(engine);
    for at in 0..cursor.len() {
        for other in "AQgw_-9z=+/ \0\u{e9}".chars() {
            let mut changed: Vec<char> = cursor.chars().collect();
            if changed[at] != other {
                changed[at] = other;
                assert_bad(&*store, &stream, &changed.into_iter().collect::<String>());
            }
        }
    }
}

pub(super) fn a_cursor_cut_or_lengthened_anywhere_is_refused(engine: &dyn Engine) {
    let (store, stream, cursor) = three_of_ten(engine);
    for length in 0..cursor.len() {
        assert_bad(&*store, &stream, &cursor[..length]);
        assert_bad(&*store, &stream, &cursor[length + 1..]);
        assert_bad(&*store, &stream, &format!("{}A{}", &cursor[..length], &cursor[length..]));
    }
    for end in ["A", "AA", "AAAA", "=", "==", " ", "\n", "\0", &cursor] {
        assert_bad(&*store, &stream, &format!("{cursor}{end}"));
    }
    for forged in ["0", "3", "-1", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "null", "😀"] {
        assert_bad(&*store, &stream, forged);
    }
}

pub(super) fn a_cursor_of_a_megabyte_is_refused(engine: &dyn Engine) {
    let (store, stream, cursor) = three_of_ten(engine);
    assert_bad(&*store, &stream, &"A".repeat(1 << 20));
    assert_bad(&*store, &stream, &cursor.repeat(30_000));
}
