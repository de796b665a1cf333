//! Where two JSON texts differ.
//!
//! White space and the order of keys are no difference, numbers are compared by their text, and a string that holds JSON, as
//! records and bodies do, by what it holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

/// What is shown of a value.
const MAX_SHOWN: usize = 200;
/// Levels that are gone into. The contract refuses deeper JSON; what holds it adds a few.
const MAX_DEPTH: usize = 100;

/// The first difference of two JSON texts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Where, such as `entries[0].data.title`; empty where they differ as a whole.
    pub path: String,
    /// What the first has there, cut where it is long.
    pub recorded: String,
    /// What the second has there.
    pub came: String,
}

/// The first difference, in the order of the keys; `None` where both say the same. What is no JSON is compared as text.
#[must_use]
pub fn json_difference(recorded: &str, came: &str) -> Option<Found> {
    let mut path = String::new();
    compare(&mut path, 0, recorded.trim(), came.trim())
}

fn compare(path: &mut String, depth: usize, a: &str, b: &str) -> Option<Found> {
    if a == b {
        return None;
    }
    let found = |path: &str| Some(Found { path: path.to_owned(), recorded: shown(a), came: shown(b) });
    if depth > MAX_DEPTH {
        return found(path);
    }
    match (a.bytes().next(), b.bytes().next()) {
        (Some(b'{'), Some(b'{')) => match (parse::<BTreeMap<String, &RawValue>>(a), parse(b)) {
            (Some(a), Some(b)) => objects(path, depth, &a, &b),
            _ => found(path),
        },
        (Some(b'['), Some(b'[')) => match (parse::<Vec<&RawValue>>(a), parse::<Vec<&RawValue>>(b)) {
            (Some(a), Some(b)) => arrays(path, depth, &a, &b),
            _ => found(path),
        },
        (Some(b'"'), Some(b'"')) => match (parse::<String>(a), parse::<String>(b)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(a), Some(b)) if holds_json(&a) && holds_json(&b) => compare(path, depth + 1, a.trim(), b.trim()),
            _ => found(path),
        },
        _ => found(path),
    }
}

fn objects(
    path: &mut String,
    depth: usize,
    a: &BTreeMap<String, &RawValue>,
    b: &BTreeMap<String, &RawValue>,
) -> Option<Found> {
    let before = path.len();
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        let found = match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) => compare(path, depth + 1, a.get(), b.get()),
            (a, b) => Some(one_sided(path, a.copied(), b.copied())),
        };
        if found.is_some() {
            return found;
        }
        path.truncate(before);
    }
    None
}

fn arrays(path: &mut String, depth: usize, a: &[&RawValue], b: &[&RawValue]) -> Option<Found> {
    let before = path.len();
    for at in 0..a.len().max(b.len()) {
        let _ = write!(path, "[{at}]");
        let found = match (a.get(at), b.get(at)) {
            (Some(a), Some(b)) => compare(path, depth + 1, a.get(), b.get()),
            (a, b) => Some(one_sided(path, a.copied(), b.copied())),
        };
        if found.is_some() {
            return found;
        }
        path.truncate(before);
    }
    None
}

fn one_sided(path: &str, a: Option<&RawValue>, b: Option<&RawValue>) -> Found {
    let side = |value: Option<&RawValue>| value.map_or_else(|| "nothing".to_owned(), |value| shown(value.get()));
    Found { path: path.to_owned(), recorded: side(a), came: side(b) }
}

fn parse<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}

fn holds_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && parse::<&RawValue>(text).is_some()
}

/// A value for a person: not more of it than can be looked at.
#[must_use]
pub fn shown(text: &str) -> String {
    if text.len() <= MAX_SHOWN {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_SHOWN);
    format!("{} … ({} bytes)", text.get(..end).unwrap_or_default(), text.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn path(a: &str, b: &str) -> Option<String> {
        json_difference(a, b).map(|found| found.path)
    }

    #[test]
    fn order_of_keys_and_white_space_are_no_difference() {
        assert_eq!(path(r#"{"a":1,"b":[1,2]}"#, r#" { "b": [1, 2], "a": 1 }"#), None);
        assert_eq!(path(r#"{"a":"A"}"#, r#"{"a":"\u0041"}"#), None);
        assert_eq!(path(r#"{"data":"{\"x\":1,\"y\":2}"}"#, r#"{"data":"{\"y\":2, \"x\":1}"}"#), None);
    }

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        assert_eq!(path(r#"{"a":{"b":[1,{"c":2}]}}"#, r#"{"a":{"b":[1,{"c":3}]}}"#).unwrap(), "a.b[1].c");
        assert_eq!(path(r#"{"a":1}"#, r#"{"a":1,"b":2}"#).unwrap(), "b");
        assert_eq!(path("[1,2]", "[1]").unwrap(), "[1]");
        assert_eq!(path(r#"{"data":"{\"x\":1}"}"#, r#"{"data":"{\"x\":2}"}"#).unwrap(), "data.x");
        assert_eq!(path("1", "2").unwrap(), "");
    }

    #[test]
    fn numbers_are_their_text() {
        assert_eq!(path(r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#).unwrap(), "a");
        assert_eq!(path(r#"{"a":1.0}"#, r#"{"a":1}"#).unwrap(), "a");
    }

    #[test]
    fn what_is_no_json_is_compared_as_text() {
        let found = json_difference("hello", "world").unwrap();
        assert_eq!((found.recorded.as_str(), found.came.as_str()), ("hello", "world"));
        assert!(json_difference("{", "{}").is_some());
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let found = json_difference(&"ä".repeat(1_000), "x").unwrap();
        assert!(found.recorded.ends_with("… (2000 bytes)"), "{}", found.recorded);
    }
}
