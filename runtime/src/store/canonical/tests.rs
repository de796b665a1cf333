//! The parser against `serde_json`, the digest against a plain model, and one fixed text for every refusal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod model;

use std::collections::HashSet;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use self::model::{
    Tree, record, serde_json_accepts, small_record, spell_separator, spell_string, spell_white_space, string, tree,
};
use super::*;

fn digest_of(text: &str) -> Digest {
    digest(text, &[], &mut Scratch::default()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn refusal(text: &str) -> (usize, JsonReason) {
    let error = digest(text, &[], &mut Scratch::default()).expect_err(text);
    assert_eq!(validate_object(text), Err(error));
    (error.offset, error.reason)
}

// --- properties -------------------------------------------------------------------------------------------------------

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_spelling_of_a_record_has_the_same_digest(tree in record(), seeds in any::<[u64; 2]>()) {
        let texts = seeds.map(|seed| tree.spelled(seed));
        prop_assert_eq!(digest_of(&texts[0]), digest_of(&texts[1]), "{}\n{}", texts[0], texts[1]);
    }

    #[test]
    fn a_change_anywhere_changes_the_digest(tree in record(), place in any::<prop::sample::Index>(), to in tree()) {
        let mut changed = tree.clone();
        // The first place is the record itself, which must stay an object.
        let place = place.index(changed.places());
        prop_assume!(place > 0);
        let mut at = 0;
        changed.visit(&mut |tree| {
            if at == place {
                *tree = to.clone();
            }
            at += 1;
        });
        prop_assume!(changed != tree);
        prop_assert_ne!(digest_of(&tree.spelled(0)), digest_of(&changed.spelled(0)));
    }

    #[test]
    fn two_texts_share_a_digest_exactly_if_they_say_the_same(a in small_record(), b in small_record(), seed: u64) {
        let same = digest_of(&a.spelled(seed)) == digest_of(&b.spelled(!seed));
        prop_assert_eq!(same, a == b, "{:?}\n{:?}", a, b);
    }

    #[test]
    fn a_renamed_key_changes_the_digest(tree in record(), key in any::<prop::sample::Index>(), name in string()) {
        let Tree::Object(mut members) = tree.clone() else { unreachable!() };
        prop_assume!(!members.is_empty() && !members.contains_key(&name));
        let key = key.get(&members.keys().cloned().collect::<Vec<_>>()).clone();
        let value = members.remove(&key).unwrap();
        members.insert(name, value);
        prop_assert_ne!(digest_of(&tree.spelled(0)), digest_of(&Tree::Object(members).spelled(0)));
    }

    #[test]
    fn damaged_texts_are_judged_as_serde_json_judges_them(
        tree in record(), seed: u64,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3, "[\\[\\]{}\":,\\\\/ \n\u{0}truefalsn019eE+.u-]"), 1..4),
    ) {
        let mut text: Vec<char> = tree.spelled(seed).chars().collect();
        for (at, how, with) in edits {
            let (at, with) = (at.index(text.len().max(1)), with.chars().next().unwrap());
            match how {
                0 if at < text.len() => drop(text.remove(at)),
                1 if at < text.len() => text[at] = with,
                _ => text.insert(at, with),
            }
        }
        let text: String = text.into_iter().collect();
        let judged = validate_object(&text);
        if let Some(accepted) = serde_json_accepts(&text) {
            prop_assert_eq!(judged.is_ok(), accepted, "{:?} {}", judged, text);
        }
        if let Err(error) = judged {
            prop_assert!(text.is_char_boundary(error.offset), "{} {}", error, text);
        }
    }

    #[test]
    fn a_text_cut_off_anywhere_is_called_truncated(tree in record(), seed: u64, cut in any::<prop::sample::Index>()) {
        let text = tree.spelled(seed);
        let (start, end) = (text.find('{').unwrap() + 1, text.rfind('}').unwrap());
        let cuts: Vec<usize> = (start..=end).filter(|at| text.is_char_boundary(*at)).collect();
        let cut = *cut.get(&cuts);
        let (offset, reason) = refusal(&text[..cut]);
        // Between the halves of an escaped pair, what is there is a lone surrogate.
        let in_pair = reason == JsonReason::LoneSurrogate && cut < offset + 12;
        prop_assert!(in_pair || (offset, reason) == (cut, JsonReason::Truncated), "{:?} {}", reason, &text[..cut]);
    }

    #[test]
    fn any_text_at_all_is_judged_without_a_panic(text in any::<String>(), ignore in prop::collection::vec(string(), 0..3)) {
        let alone = digest(&text, &ignore, &mut Scratch::default());
        let object = format!("{{\"a\":{text}}}");
        if let Some(accepted) = serde_json_accepts(&object) {
            prop_assert_eq!(validate_object(&object).is_ok(), accepted);
        }
        prop_assert_eq!(alone.is_ok(), serde_json_accepts(&text) == Some(true));
    }

    #[test]
    fn an_ignored_field_counts_as_absent(tree in record(), key in any::<prop::sample::Index>(), other in tree()) {
        let Tree::Object(mut members) = tree.clone() else { unreachable!() };
        prop_assume!(!members.is_empty());
        let key = key.get(&members.keys().cloned().collect::<Vec<_>>()).clone();
        let ignore = vec![key.clone(), "no such field".to_owned()];
        let with = digest(&tree.spelled(1), &ignore, &mut Scratch::default()).unwrap();
        members.insert(key.clone(), other);
        let changed = digest(&Tree::Object(members.clone()).spelled(2), &ignore, &mut Scratch::default()).unwrap();
        members.remove(&key);
        prop_assert_eq!(with, digest_of(&Tree::Object(members).spelled(3)));
        prop_assert_eq!(with, changed);
    }

    #[test]
    fn a_used_scratch_gives_what_a_new_one_gives(texts in prop::collection::vec((record(), any::<u64>(), any::<bool>()), 1..5)) {
        let mut scratch = Scratch::default();
        for (tree, seed, damaged) in texts {
            let mut text = tree.spelled(seed);
            if damaged {
                text.truncate(text.rfind('}').unwrap());
            }
            prop_assert_eq!(digest(&text, &[], &mut scratch), digest(&text, &[], &mut Scratch::default()));
        }
    }

    #[test]
    fn merging_replaces_in_place_and_appends_what_is_new(base in record(), fields in record(), seeds in any::<[u64; 2]>()) {
        let mut texts = Vec::new();
        let mut spelled = Vec::new();
        for (tree, seed) in [(&base, seeds[0]), (&fields, seeds[1])] {
            let Tree::Object(members) = tree else { unreachable!() };
            let mut dice = StdRng::seed_from_u64(seed);
            let mut members: Vec<(String, String, String)> = members.iter().map(|(key, value)| {
                let (mut name, mut text) = (String::new(), String::new());
                spell_string(key, &mut dice, &mut name);
                value.spell(&mut dice, &mut text);
                (key.clone(), name, text)
            }).collect();
            members.shuffle(&mut dice);
            let mut text = String::from("{");
            for (index, (_, name, value)) in members.iter().enumerate() {
                spell_separator(index, &mut dice, &mut text);
                text.push_str(name);
                spell_white_space(&mut dice, &mut text);
                text.push(':');
                spell_white_space(&mut dice, &mut text);
                text.push_str(value);
                spell_white_space(&mut dice, &mut text);
            }
            text.push('}');
            texts.push(text);
            spelled.push(members);
        }
        let mut expected = Vec::new();
        for (key, name, value) in &spelled[0] {
            let new = spelled[1].iter().find(|(other, ..)| other == key).map_or(value, |(_, _, value)| value);
            expected.push(format!("{name}:{new}"));
        }
        for (key, name, value) in &spelled[1] {
            if !spelled[0].iter().any(|(other, ..)| other == key) {
                expected.push(format!("{name}:{value}"));
            }
        }
        prop_assert_eq!(merge(&texts[0], &texts[1]).unwrap(), format!("{{{}}}", expected.join(",")));
    }
}

// --- fixed texts ------------------------------------------------------------------------------------------------------

#[test]
fn the_canonical_form_is_the_documented_one() {
    let text = r#" { "b" : [1.0, true, null, {}], "a\/" : "\u0041\n", "" : {"y":false,"x":-2e3} } "#;
    let form = b"{\"\xFF{\"x\xFF-2e3\xFF\"y\xFFf}\"a/\xFF\"A\n\xFF\"b\xFF[1.0\xFFtn{}]}";
    assert_eq!(digest_of(text).0, blake3::hash(form).as_bytes()[..16]);
}

#[test]
fn keys_are_sorted_by_their_unescaped_bytes() {
    // By spelling, the escaped key would come first; and a key comes before those that begin with it.
    let text = r#"{"\u0062":1,"a":2,"ab":3,"a\u0000":4}"#;
    let form = b"{\"a\xFF2\xFF\"a\0\xFF4\xFF\"ab\xFF3\xFF\"b\xFF1\xFF}";
    assert_eq!(digest_of(text).0, blake3::hash(form).as_bytes()[..16]);
}

#[test]
fn numbers_keep_their_text() {
    let numbers =
        ["1", "1.0", "1e0", "1E0", "10e-1", "9007199254740993", "9007199254740992", "1e308", "-0", "0", "0.0"];
    let digests: HashSet<_> = numbers.iter().map(|number| digest_of(&format!("{{\"a\":{number}}}"))).collect();
    assert_eq!(digests.len(), numbers.len());
}

#[test]
fn the_longest_number_is_accepted_and_a_longer_one_refused() {
    let record = |bytes: usize| format!("{{\"a\":0.{}}}", "9".repeat(bytes - 2));
    assert_eq!(validate_object(&record(MAX_NUMBER)), Ok(()));
    assert_eq!(refusal(&record(MAX_NUMBER + 1)), (5, JsonReason::NumberTooLong));
    assert_eq!(refusal(&record(1_000_000)), (5, JsonReason::NumberTooLong));
    let fraction = format!("{{\"a\":0.{}e-7}}", "3".repeat(MAX_NUMBER));
    assert_eq!(refusal(&fraction), (5, JsonReason::NumberTooLong));
}

#[test]
fn sixty_four_levels_are_accepted_and_one_more_is_refused() {
    let arrays = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    let objects = |levels: usize| format!("{}{{{}", "{\"a\":".repeat(levels - 1), "}".repeat(levels));
    assert_eq!(validate_object(&arrays(64)), Ok(()));
    assert_eq!(validate_object(&objects(64)), Ok(()));
    assert_eq!(refusal(&arrays(65)), (5 + 63, JsonReason::TooDeep));
    assert_eq!(refusal(&objects(65)), (5 * 64, JsonReason::TooDeep));
    assert_eq!(refusal(&arrays(10_000)), (5 + 63, JsonReason::TooDeep));
    assert_eq!(refusal(&"{\"a\":".repeat(1_000_000)), (5 * 64, JsonReason::TooDeep));
}

#[test]
fn a_text_beyond_the_limit_is_refused_unread() {
    assert_eq!(refusal(&" ".repeat(MAX_TEXT + 1)), (MAX_TEXT, JsonReason::TextTooLong));
    assert_eq!(refusal(&"x".repeat(MAX_TEXT)), (0, JsonReason::NotAnObject));
}

#[test]
fn each_refusal_names_its_place_and_reason() {
    use JsonReason as R;
    let vectors = [
        ("", 0, R::Empty),
        (" \r\n\t", 4, R::Empty),
        ("\u{feff}{}", 0, R::ByteOrderMark),
        ("{\u{feff}}", 1, R::ExpectedKey),
        ("[{}]", 0, R::NotAnObject),
        (" null", 1, R::NotAnObject),
        ("\"a\"", 0, R::NotAnObject),
        ("1", 0, R::NotAnObject),
        ("\u{a0}{}", 0, R::NotAnObject),
        ("\u{c}{}", 0, R::NotAnObject),
        ("{} {}", 3, R::TrailingText),
        ("{},", 2, R::TrailingText),
        ("{}\0", 2, R::TrailingText),
        ("{", 1, R::Truncated),
        ("{\"a", 3, R::Truncated),
        ("{\"a\"", 4, R::Truncated),
        ("{\"a\":", 5, R::Truncated),
        ("{\"a\":[", 6, R::Truncated),
        ("{\"a\":[1", 7, R::Truncated),
        ("{\"a\":-", 6, R::Truncated),
        ("{\"a\":tru", 8, R::Truncated),
        ("{\"a\":\"\\", 7, R::Truncated),
        ("{\"a\":\"\\u00", 10, R::Truncated),
        ("{\"a\":1.", 7, R::Truncated),
        ("{\"a\":1e-", 8, R::Truncated),
        ("{a:1}", 1, R::ExpectedKey),
        ("{'a':1}", 1, R::ExpectedKey),
        ("{\"a\":1,}", 7, R::ExpectedKey),
        ("{,}", 1, R::ExpectedKey),
        ("{\"a\" 1}", 5, R::ExpectedColon),
        ("{\"a\",1}", 4, R::ExpectedColon),
        ("{\"a\":1 \"b\":2}", 7, R::ExpectedComma),
        ("{\"a\":1]", 6, R::ExpectedComma),
        ("{\"a\":[1}", 7, R::ExpectedComma),
        ("{\"a\":[1 2]}", 8, R::ExpectedComma),
        ("{\"a\":0x10}", 6, R::ExpectedComma),
        ("{\"a\":1_000}", 6, R::ExpectedComma),
        ("{\"a\":nullx}", 9, R::ExpectedComma),
        ("{\"a\":}", 5, R::ExpectedValue),
        ("{\"a\":[1,]}", 8, R::ExpectedValue),
        ("{\"a\":[,1]}", 6, R::ExpectedValue),
        ("{\"a\":True}", 5, R::ExpectedValue),
        ("{\"a\":trUe}", 7, R::ExpectedValue),
        ("{\"a\":undefined}", 5, R::ExpectedValue),
        ("{\"a\":/*1*/1}", 5, R::ExpectedValue),
        ("{\"a\":-x}", 5, R::ExpectedValue),
        ("{\"a\":NaN}", 5, R::NotFinite),
        ("{\"a\":Infinity}", 5, R::NotFinite),
        ("{\"a\":-Infinity}", 5, R::NotFinite),
        ("{\"a\":01}", 5, R::LeadingZero),
        ("{\"a\":-00}", 5, R::LeadingZero),
        ("{\"a\":+1}", 5, R::Number),
        ("{\"a\":.5}", 5, R::Number),
        ("{\"a\":-.5}", 5, R::Number),
        ("{\"a\":1.}", 7, R::Number),
        ("{\"a\":1.e5}", 7, R::Number),
        ("{\"a\":1e}", 7, R::Number),
        ("{\"a\":1e+}", 8, R::Number),
        ("{\"a\":\"x\ny\"}", 7, R::ControlCharacter),
        ("{\"a\":\"12345678\0\"}", 14, R::ControlCharacter),
        ("{\"a\tb\":1}", 3, R::ControlCharacter),
        ("{\"a\":\"\u{1f}\"}", 6, R::ControlCharacter),
        ("{\"a\":\"\\x41\"}", 6, R::Escape),
        ("{\"a\":\"\\'\"}", 6, R::Escape),
        ("{\"a\":\"\\u12\"}", 6, R::Escape),
        ("{\"a\":\"\\u+123\"}", 6, R::Escape),
        ("{\"a\":\"\\uD83\u{e9}\"}", 6, R::Escape),
        ("{\"a\":\"\\ud800\"}", 6, R::LoneSurrogate),
        ("{\"a\":\"\\uDFFF\"}", 6, R::LoneSurrogate),
        ("{\"a\":\"x\\ud83d\\ud83d\"}", 7, R::LoneSurrogate),
        ("{\"a\":\"\\ude00\\ud83d\"}", 6, R::LoneSurrogate),
        ("{\"a\":\"\\ud83dxude00\"}", 6, R::LoneSurrogate),
        ("{\"\\ud800\":1}", 2, R::LoneSurrogate),
        ("{\"a\":1,\"a\":1}", 7, R::DuplicateKey),
        ("{\"a\":1,\"b\":2,\"\\u0061\":3}", 13, R::DuplicateKey),
        ("{\"b\":1,\"a\":2,\"b\":3,\"a\":4}", 13, R::DuplicateKey),
        ("{\"x\":[{\"\":1,\"\":2}]}", 12, R::DuplicateKey),
    ];
    for (text, offset, reason) in vectors {
        assert_eq!(refusal(text), (offset, reason), "{text}");
    }
}

#[test]
fn every_control_character_is_found_wherever_it_stands() {
    for before in 0..20 {
        for byte in 0..0x80u8 {
            let text = format!("{{\"a\":\"{}{}{}\"}}", "x".repeat(before), char::from(byte), "y".repeat(20 - before));
            match byte {
                0..0x20 => assert_eq!(refusal(&text), (6 + before, JsonReason::ControlCharacter), "{byte:#x}"),
                b'"' if before == 20 => assert_eq!(refusal(&text).1, JsonReason::ExpectedComma),
                b'"' => assert_eq!(refusal(&text), (7 + before, JsonReason::ExpectedComma)),
                b'\\' if before == 20 => assert_eq!(refusal(&text).1, JsonReason::Truncated),
                b'\\' => assert_eq!(refusal(&text).1, JsonReason::Escape),
                _ => assert_eq!(validate_object(&text), Ok(()), "{byte:#x}"),
            }
        }
    }
}

#[test]
fn of_many_duplicate_keys_the_first_repetition_is_named() {
    let member = |index: usize| format!("\"{:02}\":1", index * 7 % 50);
    let members: Vec<String> = (0..200).map(member).collect();
    let length = members[0].len() + 1;
    assert_eq!(refusal(&format!("{{{}}}", members.join(","))), (1 + 50 * length, JsonReason::DuplicateKey));
}

#[test]
fn the_edges_of_what_is_accepted_are_accepted() {
    let texts = [
        "{}",
        " \t\r\n{ \t\r\n} \t\r\n",
        "{\"\":\"\"}",
        "{\"a\":\"\u{7f}\u{80}\u{ffff}\u{10ffff}\u{feff}\"}",
        "{\"a\":\"\\u0000\\uD7FF\\uE000\\uFFFF\\udbff\\udfff\"}",
        "{\"a\":[-0,0.0,-0e0,0E+00,1.7976931348623157e308,1e-999,123456789012345678901234567890]}",
        "{\"a\":{\"a\":{\"a\":1}},\"A\":1}",
    ];
    for text in texts {
        assert_eq!(validate_object(text), Ok(()), "{text}");
    }
    assert_eq!(digest_of("{\"a\":\"\\ud83d\\ude00\"}"), digest_of("{\"a\":\"\u{1f600}\"}"));
}

#[test]
fn an_ignored_field_is_still_checked_and_still_no_duplicate() {
    let ignore = vec!["a".to_owned()];
    let reason = |text| digest(text, &ignore, &mut Scratch::default()).unwrap_err().reason;
    assert_eq!(reason("{\"a\":01}"), JsonReason::LeadingZero);
    assert_eq!(reason("{\"a\":1,\"a\":2}"), JsonReason::DuplicateKey);
}

#[test]
fn only_a_field_of_the_top_level_is_ignored() {
    let ignore = vec!["a".to_owned()];
    let with = |text| digest(text, &ignore, &mut Scratch::default()).unwrap();
    assert_eq!(with("{\"a\":1,\"b\":{\"a\":1}}"), with("{\"b\":{\"a\":1},\"\\u0061\":2}"));
    assert_ne!(with("{\"a\":1,\"b\":{\"a\":1}}"), with("{\"a\":1,\"b\":{\"a\":2}}"));
}

#[test]
fn a_scratch_that_fits_is_not_allocated_again_and_a_huge_one_is_let_go() {
    let mut scratch = Scratch::default();
    let text = format!("{{\"b\":[{{\"y\":1,\"x\":2}}],\"a\":\"{}\"}}", "long ".repeat(300));
    digest(&text, &[], &mut scratch).unwrap();
    let memory = |scratch: &Scratch| (scratch.form.as_ptr(), scratch.form.capacity(), scratch.members.as_ptr());
    let first = memory(&scratch);
    digest(&text, &[], &mut scratch).unwrap();
    assert_eq!(memory(&scratch), first);
    digest(&format!("{{\"a\":\"{}\"}}", "x".repeat(2 * KEPT_SCRATCH)), &[], &mut scratch).unwrap();
    assert_eq!(scratch.form.capacity(), KEPT_SCRATCH);
    digest(&format!("{{\"a\":\"{}", "x".repeat(2 * KEPT_SCRATCH)), &[], &mut scratch).unwrap_err();
    assert_eq!(scratch.form.capacity(), KEPT_SCRATCH);
}

#[test]
fn merging_refuses_what_is_invalid_on_either_side() {
    assert_eq!(merge("{\"a\":1}", "[]").unwrap_err().reason, JsonReason::NotAnObject);
    assert_eq!(merge("{\"a\":1", "{}").unwrap_err().reason, JsonReason::Truncated);
    assert_eq!(merge("{\"a\":1}", "{\"b\":1,\"\\u0062\":2}").unwrap_err().reason, JsonReason::DuplicateKey);
    assert_eq!(merge("{\"b\":1,\"a\":1,\"b\":2}", "{}").unwrap_err().reason, JsonReason::DuplicateKey);
}

#[test]
fn merging_copies_text_as_it_is_written() {
    let merged = merge("{ \"a:\" : 1.00 , \"b\" :[ 1 ] }", "{\"c\":{ \"x\" : 1e5 }, \"\\u0062\": null}").unwrap();
    assert_eq!(merged, "{\"a:\":1.00,\"b\":null,\"c\":{ \"x\" : 1e5 }}");
    assert_eq!(merge(" {} ", " { } ").unwrap(), "{}");
    assert_eq!(merge("{}", "{\"a\":1}").unwrap(), "{\"a\":1}");
}

#[test]
fn a_number_that_no_float_holds_is_refused_however_it_is_written() {
    let nines = "9".repeat(400);
    for number in
        ["1e999", "-1E+999", "1.8e308", "17976931348623159e292", &nines, &format!("{nines}.5e-1"), "1e99999999999"]
    {
        assert_eq!(refusal(&format!("{{\"a\":{number}}}")), (5, JsonReason::NumberTooLarge), "{number}");
    }
    for number in [
        "1e308",
        "0e999999",
        "1e-99999999999",
        &"9".repeat(308),
        &format!("0.{}e300", "0".repeat(300)),
        &format!("{nines}e-300"),
    ] {
        assert_eq!(validate_object(&format!("{{\"a\":{number}}}")), Ok(()), "{number}");
    }
}

#[test]
fn a_value_of_any_kind_is_held_to_the_same_rules() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for text in ["null", " true ", "7", "\"\"", "[]", "{}", "[{\"a\":[1,{\"a\":2}]},\"\\ud83d\\ude00\"]", &deep(64)] {
        assert_eq!(validate_value(text), Ok(()), "{text}");
    }
    for (text, reason) in [
        ("", JsonReason::Empty),
        (" ", JsonReason::Empty),
        ("\u{feff}1", JsonReason::ByteOrderMark),
        ("1 2", JsonReason::TrailingText),
        ("nul", JsonReason::Truncated),
        ("NaN", JsonReason::NotFinite),
        ("1e999", JsonReason::NumberTooLarge),
        ("\"\\ud800\"", JsonReason::LoneSurrogate),
        ("[{\"a\":1,\"a\":2}]", JsonReason::DuplicateKey),
        ("{\"a\":1,\"\\u0061\":2}", JsonReason::DuplicateKey),
        // `serde_json` would read the text in it again, with a depth of its own.
        ("[{\"\\u0024serde_json::private::RawValue\":\"[]\"}]", JsonReason::ReservedKey),
        (&deep(65), JsonReason::TooDeep),
        (&deep(100_000), JsonReason::TooDeep),
    ] {
        assert_eq!(validate_value(text).unwrap_err().reason, reason, "{text:.40}");
    }
}

#[test]
fn an_error_says_where_and_what_to_do() {
    let error = validate_object("{\"a\":NaN}").unwrap_err();
    assert_eq!(error.to_string(), "invalid JSON at byte 5: JSON has no NaN and no Infinity; write null or a string");
    assert_eq!(error.code(), "invalid-json");
}
