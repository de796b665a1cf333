//! What a text says, as a tree; how it can be spelled; and what `serde_json` thinks of a spelling.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::store::canonical::MAX_DEPTH;

// --- a model of JSON --------------------------------------------------------------------------------------------------

/// What a text says. Equal trees are the same record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
}

impl Tree {
    /// Spells the tree in one of its many ways, which one is up to `dice`.
    pub(super) fn spell(&self, dice: &mut StdRng, out: &mut String) {
        match self {
            Tree::Null => out.push_str("null"),
            Tree::Bool(yes) => write!(out, "{yes}").unwrap(),
            Tree::Number(number) => out.push_str(number),
            Tree::Text(text) => spell_string(text, dice, out),
            Tree::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    spell_separator(index, dice, out);
                    item.spell(dice, out);
                    spell_white_space(dice, out);
                }
                spell_white_space(dice, out);
                out.push(']');
            }
            Tree::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.shuffle(dice);
                out.push('{');
                for (index, (key, value)) in members.into_iter().enumerate() {
                    spell_separator(index, dice, out);
                    spell_string(key, dice, out);
                    spell_white_space(dice, out);
                    out.push(':');
                    spell_white_space(dice, out);
                    value.spell(dice, out);
                    spell_white_space(dice, out);
                }
                spell_white_space(dice, out);
                out.push('}');
            }
        }
    }

    pub(super) fn spelled(&self, seed: u64) -> String {
        let (mut dice, mut out) = (StdRng::seed_from_u64(seed), String::new());
        spell_white_space(&mut dice, &mut out);
        self.spell(&mut dice, &mut out);
        spell_white_space(&mut dice, &mut out);
        out
    }

    /// Every place in the tree, the tree itself first.
    pub(super) fn places(&mut self) -> usize {
        let mut count = 0;
        self.visit(&mut |_| count += 1);
        count
    }

    pub(super) fn visit(&mut self, see: &mut impl FnMut(&mut Tree)) {
        see(self);
        match self {
            Tree::Array(items) => items.iter_mut().for_each(|item| item.visit(see)),
            Tree::Object(members) => members.values_mut().for_each(|member| member.visit(see)),
            _ => {}
        }
    }
}

pub(super) fn spell_white_space(dice: &mut StdRng, out: &mut String) {
    while dice.random_bool(0.2) {
        out.push(*[' ', '\t', '\n', '\r'].choose(dice).unwrap());
    }
}

pub(super) fn spell_separator(index: usize, dice: &mut StdRng, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
    spell_white_space(dice, out);
}

pub(super) fn spell_string(text: &str, dice: &mut StdRng, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        let short = match character {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '/' => Some("\\/"),
            '\n' => Some("\\n"),
            '\r' => Some("\\r"),
            '\t' => Some("\\t"),
            '\u{8}' => Some("\\b"),
            '\u{c}' => Some("\\f"),
            _ => None,
        };
        let must_escape = matches!(character, '"' | '\\' | '\0'..' ');
        match (short, dice.random_bool(0.2)) {
            (Some(short), false) => out.push_str(short),
            (None, false) if !must_escape => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let upper = dice.random_bool(0.5);
                    if upper { write!(out, "\\u{unit:04X}") } else { write!(out, "\\u{unit:04x}") }.unwrap();
                }
            }
        }
    }
    out.push('"');
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?",
        prop_oneof![Just("9007199254740993"), Just("1.0"), Just("1"), Just("-0"), Just("1e5"), Just("1E5")]
            .prop_map(String::from),
    ]
}

/// Strings that look like the canonical form itself are among them, and all lengths around a word of eight bytes.
pub(super) fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[ab]{0,2}",
        3 => "[\\[\\]{}\":,tfn\\\\/01\u{0}\u{8}\u{c}\n\r\t\u{1f}]{0,3}",
        2 => "[a-zA-Z ]{0,40}",
        1 => "\\PC{0,12}",
        1 => any::<String>(),
    ]
}

pub(super) fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::Bool),
        number().prop_map(Tree::Number),
        string().prop_map(Tree::Text),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::Array),
            prop::collection::btree_map(string(), inner, 0..8).prop_map(Tree::Object),
        ]
    })
}

pub(super) fn record() -> impl Strategy<Value = Tree> {
    prop::collection::btree_map(string(), tree(), 0..8).prop_map(Tree::Object)
}

/// Records so small that two of them are often the same, or nearly.
pub(super) fn small_record() -> impl Strategy<Value = Tree> {
    let text = || prop_oneof![Just(""), Just("}"), Just("1"), Just("t")].prop_map(String::from);
    let leaf = prop_oneof![
        Just(Tree::Null),
        Just(Tree::Bool(true)),
        Just(Tree::Number("1".into())),
        text().prop_map(Tree::Text),
        Just(Tree::Array(vec![])),
        Just(Tree::Object(BTreeMap::new())),
    ];
    let value = leaf.prop_recursive(2, 6, 2, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Tree::Array),
            prop::collection::btree_map(text(), inner, 0..3).prop_map(Tree::Object),
        ]
    });
    prop::collection::btree_map(text(), value, 0..3).prop_map(Tree::Object)
}

// --- what serde_json says ---------------------------------------------------------------------------------------------

/// Reads a text as strictly as the module under test, with `serde_json` doing the work; holds the depth.
struct Strict(usize);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct See;
        impl<'de> Visitor<'de> for See {
            type Value = Strict;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(0))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
                Ok(Strict(0))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
                Ok(Strict(0))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
                Ok(Strict(0))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
                Ok(Strict(0))
            }
            fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
                Ok(Strict(0))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
                let mut depth = 0;
                while let Some(Strict(inner)) = items.next_element()? {
                    depth = depth.max(inner);
                }
                Ok(Strict(depth + 1))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
                let (mut depth, mut keys) = (0, HashSet::new());
                while let Some((key, Strict(inner))) = members.next_entry::<String, Strict>()? {
                    depth = depth.max(inner);
                    if !keys.insert(key) {
                        return Err(de::Error::custom("duplicate key"));
                    }
                }
                Ok(Strict(depth + 1))
            }
        }
        deserializer.deserialize_any(See)
    }
}

/// Whether `text` is to be accepted; none where `serde_json` cannot tell, because it reads numbers into floats.
pub(super) fn serde_json_accepts(text: &str) -> Option<bool> {
    let object = text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{');
    match serde_json::from_str::<Strict>(text) {
        Ok(Strict(depth)) => Some(object && depth <= MAX_DEPTH),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(false),
    }
}
