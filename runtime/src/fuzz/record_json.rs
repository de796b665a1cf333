//! The JSON of records, checkpoints, metadata, configurations, and what actions take and return.

#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a broken promise is told by a panic")]

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::store::canonical::{
    JsonReason, MAX_DEPTH, MAX_NUMBER, Scratch, digest, merge, validate_object, validate_value,
};

/// What is accepted as a record is a JSON object by somebody else's reading too, of so many levels, without duplicates and
/// lone surrogates; what is refused is none, or has something that is refused beyond RFC 8259. Its digest is that of what
/// merging makes of it, and ignoring all fields leaves nothing.
pub fn record_json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut scratch = Scratch::default();
    let found = digest(text, &[], &mut scratch);
    assert_eq!(validate_object(text), found.map(drop), "two readings of one text differ");
    let value = validate_value(text);
    let theirs = serde_json::from_str::<Seen>(text);
    if let Err(error) = value.and(validate_object(text)) {
        assert!(error.offset <= text.len(), "{error}");
    }
    match (&value, &theirs) {
        (Ok(()), Ok(seen)) => assert!(seen.depth <= MAX_DEPTH, "{} levels are accepted", seen.depth),
        (Ok(()), Err(error)) => panic!("accepted, and no JSON: {error}"),
        (Err(ours), Ok(seen)) => {
            // What is refused beyond JSON, each of which serde_json lets pass.
            let beyond = match ours.reason {
                JsonReason::TooDeep => seen.depth > MAX_DEPTH,
                JsonReason::NumberTooLong => text.len() > MAX_NUMBER,
                JsonReason::NumberTooLarge => true,
                _ => false,
            };
            assert!(beyond, "refused, and JSON: {ours}");
        }
        (Err(_), Err(_)) => {}
    }
    let is_object = text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{');
    assert_eq!(found.is_ok(), value.is_ok() && is_object, "a record is an object");
    let Ok(found) = found else { return };
    for merged in [merge(text, "{}"), merge("{}", text), merge(text, text)] {
        let merged = merged.unwrap_or_else(|error| panic!("what is accepted cannot be merged: {error}"));
        assert_eq!(digest(&merged, &[], &mut scratch), Ok(found), "merging changed it: {merged}");
    }
    let names = theirs.map(|seen| seen.names).unwrap_or_default();
    assert_eq!(digest(text, &names, &mut scratch), digest("{}", &[], &mut scratch), "a field was not ignored");
}

/// What `serde_json` sees in a text, read strictly: levels, and the names of its top-level fields.
#[derive(Default)]
struct Seen {
    depth: usize,
    names: Vec<String>,
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(See)
    }
}

struct See;

impl<'de> Visitor<'de> for See {
    type Value = Seen;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Seen, A::Error> {
        let mut depth = 0;
        while let Some(inner) = items.next_element::<Seen>()? {
            depth = depth.max(inner.depth);
        }
        Ok(Seen { depth: depth + 1, names: Vec::new() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Seen, A::Error> {
        let (mut depth, mut keys) = (0, HashSet::new());
        while let Some((key, inner)) = members.next_entry::<String, Seen>()? {
            depth = depth.max(inner.depth);
            if !keys.insert(key) {
                return Err(de::Error::custom("a key that is there already"));
            }
        }
        Ok(Seen { depth: depth + 1, names: keys.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::record_json;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_looks_like_a_record_keeps_the_promises(text in "[{}\\[\\]\",:0-9eE.+\\-tfn \\\\ua-d]{0,60}", inner in "\\PC{0,20}") {
            record_json(text.as_bytes());
            record_json(format!("{{\"a\":{text},\"{inner}\":[\"{inner}\"]}}").as_bytes());
        }
    }
}
