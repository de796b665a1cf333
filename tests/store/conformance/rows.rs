//! Metadata and scripts.

use std::sync::Arc;

use terapi::ids::{ConnectionName, ScriptHash};
use terapi::store::{MAX_METADATA_BYTES, Script, Store};

use crate::store::{Engine, now};

fn connection(name: &str) -> ConnectionName {
    name.parse().unwrap()
}

pub(super) fn metadata_is_an_empty_object_at_first(engine: &dyn Engine) {
    assert_eq!(engine.open().metadata(&connection("c")).unwrap(), "{}");
}

pub(super) fn metadata_is_replaced_and_merged(engine: &dyn Engine) {
    let store = engine.open();
    let c = connection("c");
    store.update_metadata(&c, r#"{"first":true}"#).unwrap();
    assert_eq!(store.metadata(&c).unwrap(), r#"{"first":true}"#);
    store.set_metadata(&c, r#"{ "a":1, "n":9007199254740993 }"#).unwrap();
    assert_eq!(store.metadata(&c).unwrap(), r#"{ "a":1, "n":9007199254740993 }"#);
    store.update_metadata(&c, r#"{"a":{"x":2},"b":null}"#).unwrap();
    assert_eq!(store.metadata(&c).unwrap(), r#"{"a":{"x":2},"n":9007199254740993,"b":null}"#);
    // Many at once: no update undoes another.
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (store, c) = (Arc::clone(&store), &c);
            scope.spawn(move || store.update_metadata(c, &format!(r#"{{"t{number}":{number}}}"#)).unwrap());
        }
    });
    drop(store);
    let text = engine.open().metadata(&c).unwrap();
    for number in 0..8 {
        assert!(text.contains(&format!(r#""t{number}":{number}"#)), "{text}");
    }
}

pub(super) fn unacceptable_metadata_is_refused_and_the_old_stays(engine: &dyn Engine) {
    let store = engine.open();
    let c = connection("c");
    let padded = |bytes: usize| format!(r#"{{"p":"{}"}}"#, "x".repeat(bytes - 8));
    store.set_metadata(&c, &padded(MAX_METADATA_BYTES)).unwrap();
    for bad in ["", "{", "[]", "null", r#"{"a":1,"a":1}"#, &padded(MAX_METADATA_BYTES + 1)] {
        assert_eq!(store.set_metadata(&c, bad).unwrap_err().code(), "invalid-state", "{bad:.40}");
    }
    for bad in ["", "{", "[]", "null", r#"{"a":1,"a":1}"#, r#"{"over":1}"#] {
        assert_eq!(store.update_metadata(&c, bad).unwrap_err().code(), "invalid-state", "{bad:.40}");
    }
    assert_eq!(store.metadata(&c).unwrap().len(), MAX_METADATA_BYTES);
    store.update_metadata(&c, r#"{"p":1}"#).unwrap();
    assert_eq!(store.metadata(&c).unwrap(), r#"{"p":1}"#);
}

pub(super) fn metadata_is_the_connections_own(engine: &dyn Engine) {
    let store = engine.open();
    for name in ["c", "C", "c1", "c.1", "-c"] {
        store.set_metadata(&connection(name), &format!(r#"{{"of":"{name}"}}"#)).unwrap();
    }
    for name in ["c", "C", "c1", "c.1", "-c"] {
        assert_eq!(store.metadata(&connection(name)).unwrap(), format!(r#"{{"of":"{name}"}}"#));
    }
}

pub(super) fn script(name: &str, bytes: &[u8]) -> Script {
    Script {
        name: name.parse().unwrap(),
        version: 0,
        integration: None,
        hash: ScriptHash::of(bytes),
        size: bytes.len() as u64,
        added_at: now(),
        manifest: r#"{"name":"x"}"#.to_owned(),
        limits: "{}".to_owned(),
    }
}

fn deploy(store: &dyn Store, name: &str, bytes: &[u8]) -> Script {
    store.put_script(&script(name, bytes), bytes).unwrap()
}

pub(super) fn a_script_is_deployed_replaced_and_removed(engine: &dyn Engine) {
    let store = engine.open();
    assert_eq!(store.scripts().unwrap(), []);
    let b = deploy(&*store, "b", b"bytes of b");
    let a = deploy(&*store, "a", b"");
    assert_eq!(store.scripts().unwrap(), [a.clone(), b.clone()]);
    assert_eq!(store.script(&a.name).unwrap(), Some(a.clone()));
    assert_eq!(store.script_bytes(&b.hash).unwrap().as_deref(), Some(&b"bytes of b"[..]));
    assert_eq!(store.script_bytes(&a.hash).unwrap().as_deref(), Some(&b""[..]));
    let newer = deploy(&*store, "b", b"new bytes of b");
    assert_eq!(store.scripts().unwrap(), [a.clone(), newer.clone()]);
    assert_eq!(store.script_bytes(&newer.hash).unwrap().as_deref(), Some(&b"new bytes of b"[..]));
    assert!(store.remove_script(&a.name).unwrap());
    assert!(!store.remove_script(&a.name).unwrap());
    assert_eq!(store.scripts().unwrap(), [newer]);
    assert_eq!(store.script(&a.name).unwrap(), None);
    assert_eq!(store.script_bytes(&a.hash).unwrap(), None);
}

pub(super) fn the_bytes_of_a_script_stay_while_any_name_has_them(engine: &dyn Engine) {
    let store = engine.open();
    let bytes = &b"shared"[..];
    let a = deploy(&*store, "a", bytes);
    deploy(&*store, "b", bytes);
    // The same again, and something else under one of the names.
    deploy(&*store, "a", bytes);
    deploy(&*store, "a", b"other");
    assert_eq!(store.script_bytes(&a.hash).unwrap().as_deref(), Some(bytes));
    assert!(store.remove_script(&"a".parse().unwrap()).unwrap());
    assert_eq!(store.script_bytes(&a.hash).unwrap().as_deref(), Some(bytes));
    assert!(store.remove_script(&"b".parse().unwrap()).unwrap());
    assert_eq!(store.script_bytes(&a.hash).unwrap(), None);
    // And once more after it was gone.
    deploy(&*store, "c", bytes);
    assert_eq!(store.script_bytes(&a.hash).unwrap().as_deref(), Some(bytes));
}

pub(super) fn scripts_survive_reopening(engine: &dyn Engine) {
    let store = engine.open();
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let a = deploy(&*store, "a", &bytes);
    drop(store);
    let store = engine.open();
    assert_eq!(store.script_bytes(&a.hash).unwrap(), Some(bytes));
    assert_eq!(store.scripts().unwrap(), [a]);
}
