//! JSON pointers (RFC 6901) into JSON text, without building a tree of it.
//!
//! A page may be megabytes and a tree of it ten times that, so reading a cursor skips over everything else, and
//! putting a cursor into a request's body copies the rest as text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// A parsed pointer; the empty one means the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    text: String,
    tokens: Vec<String>,
}

impl Pointer {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let tokens = match text.strip_prefix('/') {
            None if text.is_empty() => Vec::new(),
            None => {
                return Err(Error::permanent(format!(
                    "`{text}` is no JSON pointer: write a path such as `/meta/next`, with a slash first"
                )));
            }
            Some(path) => path.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect(),
        };
        Ok(Self { text: text.to_owned(), tokens })
    }

    /// The part of `json` at this place. None if there is none.
    pub(crate) fn pick<'a>(&self, json: &'a [u8]) -> Result<Option<&'a RawValue>, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let found = Pick(&self.tokens).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(found)
    }

    /// The array at this place; `null` counts as an empty one. None if there is no array.
    pub(crate) fn items<'a>(&self, json: &'a [u8]) -> Result<Option<Items<'a>>, serde_json::Error> {
        let Some(part) = self.pick(json)? else { return Ok(None) };
        match part.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str(part.get()).map(Some),
            Some(b'n') => Ok(Some(Items::default())),
            _ => Ok(None),
        }
    }

    /// `json` with `value`, a JSON text, at this place; objects on the way are made where they are missing.
    pub(crate) fn set(&self, json: &str, value: &str) -> Result<String> {
        set(json, &self.tokens, value).map_err(|error| error.context(format!("setting `{self}` in the request's body")))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn set(json: &str, tokens: &[String], value: &str) -> Result<String> {
    let Some((key, rest)) = tokens.split_first() else { return Ok(value.to_owned()) };
    let members = if json == "null" {
        Vec::new()
    } else {
        serde_json::from_str::<Members>(json).map_err(|_| Error::permanent(format!("`{key}` needs an object")))?.0
    };
    let mut out = String::with_capacity(json.len() + key.len() + value.len() + 8);
    let mut found = false;
    out.push('{');
    for (name, old) in &members {
        out.push_str(&serde_json::to_string(name)?);
        out.push(':');
        if name == key {
            found = true;
            out.push_str(&set(old.get(), rest, value)?);
        } else {
            out.push_str(old.get());
        }
        out.push(',');
    }
    if found {
        out.pop();
    } else {
        out.push_str(&serde_json::to_string(key)?);
        out.push(':');
        out.push_str(&set("{}", rest, value)?);
    }
    out.push('}');
    Ok(out)
}

/// Finds one place and skips all else.
#[derive(Clone, Copy)]
struct Pick<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return <&RawValue>::deserialize(deserializer).map(Some);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((key, rest)) = self.0.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(KeyIs(key))? {
            if is_it {
                found = map.next_value_seed(Pick(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let index = self.0.first().and_then(|token| token.parse::<usize>().ok());
        let mut found = None;
        let mut at = 0;
        loop {
            if Some(at) == index {
                let Some(part) = seq.next_element_seed(Pick(self.0.get(1..).unwrap_or_default()))? else { break };
                found = part;
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
            at += 1;
        }
        Ok(found)
    }

    // Nothing lies below a scalar.
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Compares a key without keeping it.
struct KeyIs<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// What is asked about the items of an array.
#[derive(Debug, Default)]
pub(crate) struct Items<'a> {
    pub(crate) count: usize,
    pub(crate) last: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
                let mut items = Items::default();
                while let Some(item) = seq.next_element()? {
                    items.count += 1;
                    items.last = Some(item);
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

/// The members of an object in their order, the values as text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The text of a JSON string or number; None for `null` and the empty string, which both mean "no more".
pub(crate) fn scalar(part: &RawValue) -> Result<Option<Cow<'_, str>>> {
    let text = part.get();
    match text.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(text)?;
            Ok(Some(text.into()).filter(|text: &Cow<'_, str>| !text.trim().is_empty()))
        }
        Some(b'0'..=b'9' | b'-') => Ok(Some(text.into())),
        Some(b'n' | b'f') => Ok(None),
        _ => Err(Error::permanent("neither a string nor a number")),
    }
}

/// `value` as JSON text; used where a name for the failure exists.
pub(crate) fn to_text(doing: &str, value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::from(error).context(doing))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const JSON: &str = r#"{"a":{"b/c":[1,{"d":"x"},3]},"n":null,"s":"text","@odata.nextLink":"u", "a~b":7}"#;

    fn pick(pointer: &str) -> Option<&'static str> {
        Pointer::parse(pointer).unwrap().pick(JSON.as_bytes()).unwrap().map(RawValue::get)
    }

    #[test]
    fn a_pointer_finds_members_items_and_escaped_names() {
        assert_eq!(pick("/a/b~1c/1/d"), Some(r#""x""#));
        assert_eq!(pick("/@odata.nextLink"), Some(r#""u""#));
        assert_eq!(pick("/a~0b"), Some("7"));
        assert_eq!(pick("/n"), Some("null"));
        assert_eq!(pick(""), Some(JSON));
    }

    #[test]
    fn what_is_not_there_is_none_and_no_error() {
        for pointer in ["/z", "/s/below", "/a/b~1c/9", "/a/b~1c/name", "/n/x"] {
            assert_eq!(pick(pointer), None, "{pointer}");
        }
    }

    #[test]
    fn a_pointer_without_slash_and_a_text_that_is_no_json_are_refused() {
        assert!(Pointer::parse("a.b").unwrap_err().message().contains("slash first"));
        assert!(Pointer::parse("/a").unwrap().pick(b"<html>").is_err());
        assert!(Pointer::parse("/a").unwrap().pick(b"{} {}").is_err());
    }

    #[test]
    fn items_are_counted_and_null_is_empty() {
        let items = |pointer: &str| Pointer::parse(pointer).unwrap().items(JSON.as_bytes()).unwrap();
        let some = items("/a/b~1c").unwrap();
        assert_eq!((some.count, some.last.map(RawValue::get)), (3, Some("3")));
        assert_eq!(items("/n").unwrap().count, 0);
        assert!(items("/s").is_none());
        assert!(items("/z").is_none());
    }

    #[test]
    fn a_value_is_set_in_place_and_the_rest_keeps_its_text() {
        let set = |json: &str, pointer: &str| Pointer::parse(pointer).unwrap().set(json, r#""c""#);
        let body = r#"{"query":"q \"x\"","variables":{"first":250,"big":9007199254740993}}"#;
        assert_eq!(
            set(body, "/variables/after").unwrap(),
            r#"{"query":"q \"x\"","variables":{"first":250,"big":9007199254740993,"after":"c"}}"#
        );
        assert_eq!(set(r#"{"after":null,"b":1}"#, "/after").unwrap(), r#"{"after":"c","b":1}"#);
        assert_eq!(set("{}", "/x/y").unwrap(), r#"{"x":{"y":"c"}}"#);
        assert_eq!(set(r#"{"x":null}"#, "/x/y").unwrap(), r#"{"x":{"y":"c"}}"#);
        assert!(set(r#"{"x":[1]}"#, "/x/y").unwrap_err().message().contains("needs an object"));
    }

    #[test]
    fn blank_null_and_false_mean_no_more() {
        let of = |text: &str| scalar(&RawValue::from_string(text.to_owned()).unwrap()).map(|s| s.map(Cow::into_owned));
        assert_eq!(of(r#""a\u0062""#), Ok(Some("ab".to_owned())));
        assert_eq!(of("17"), Ok(Some("17".to_owned())));
        for end in ["null", r#""""#, r#"" ""#, "false"] {
            assert_eq!(of(end), Ok(None), "{end}");
        }
        assert!(of("{}").is_err());
    }
}
