//! Issue-like records: what the benches `store` and `sync` save. The fields are those of an issue of a code host, about
//! 1.5 KB of JSON, most of it text and URLs.
//!
//! Everything follows from the number, so that any record can be made at any time and is held nowhere. Ids look random,
//! as those of real APIs do to an index. The text is diced from a small vocabulary: words come often, sentences never
//! twice.

use std::fmt::Write as _;

/// A record in its `version`, as JSON. `id` is written as it stands here: with quotes or without.
pub fn write_issue(out: &mut String, id: &str, number: u64, version: u64) {
    let api = "https://api.example/repos/acme/widgets/issues";
    let (author, node) = (mix(number + 7) % 3_000, mix(number * 11));
    let (login, user) = (mix(author) % 0x00ff_ffff, mix(author) % 99_999_999);
    let _ = write!(out, r#"{{"id":{id},"node_id":"I_kw{node:x}","number":{number},"url":"{api}/{number}","#);
    let _ = write!(out, r#""html_url":"https://hub.example/acme/widgets/issues/{number}","#);
    let _ = write!(out, r#""comments_url":"{api}/{number}/comments","title":""#);
    write_text(out, number, 8);
    let state = if mix(number).is_multiple_of(3) { "open" } else { "closed" };
    let _ = write!(out, r#"","state":"{state}","user":{{"login":"user-{login:x}","id":{user},"#);
    let _ = write!(out, r#""avatar_url":"https://avatars.example/u/{user}?v=4","#);
    let _ = write!(out, r#""url":"https://api.example/users/user-{login:x}"}},"labels":["#);
    for label in 0..mix(number) % 4 {
        let word = mix(number * 3 + label) % WORDS.len() as u64;
        let (comma, id, color) = (if label == 0 { "" } else { "," }, mix(word) % 90_000, mix(word) % 0x00ff_ffff);
        let _ = write!(out, r#"{comma}{{"id":{id},"name":"{}","color":"{color:06x}"}}"#, word_at(word));
    }
    let dice = |at: u64, of: u64| mix(number + at) % of;
    let _ = write!(out, r#"],"comments":{},"created_at":""#, mix(number * 5) % 40 + version);
    let (month, day, hour, minute) = (dice(0, 12) + 1, dice(1, 28) + 1, dice(2, 24), dice(3, 60));
    let _ = write!(out, r#"2024-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z","updated_at":""#);
    let (month, day, hour, minute) = (dice(4, 12) + 1, dice(5, 28) + 1, dice(6, 24), dice(8, 60));
    let _ = write!(out, r#"2025-{month:02}-{day:02}T{hour:02}:{minute:02}:{version:02}Z","closed_at":null,"body":""#);
    write_text(out, number + 0x5eed, 132);
    out.push_str("\"}");
}

/// The id of record `number`: twelve or thirteen digits in no order.
#[must_use]
pub fn id(number: u64) -> u64 {
    1_000_000_000 + mix(number) % 10_000_000_000_000
}

/// Dice: the same for the same seed, on every machine (`SplitMix64`).
#[must_use]
pub fn mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn write_text(out: &mut String, seed: u64, words: u64) {
    for index in 0..words {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(word_at(mix(seed.wrapping_mul(1_000) + index) % WORDS.len() as u64));
    }
}

fn word_at(place: u64) -> &'static str {
    usize::try_from(place).ok().and_then(|place| WORDS.get(place)).copied().unwrap_or_default()
}

const WORDS: [&str; 48] = [
    "fix",
    "panic",
    "when",
    "the",
    "cursor",
    "is",
    "empty",
    "after",
    "restart",
    "timeout",
    "request",
    "header",
    "should",
    "not",
    "be",
    "sent",
    "twice",
    "memory",
    "grows",
    "without",
    "bound",
    "in",
    "worker",
    "pool",
    "docs",
    "mention",
    "wrong",
    "flag",
    "build",
    "fails",
    "on",
    "windows",
    "with",
    "feature",
    "enabled",
    "unexpected",
    "token",
    "while",
    "parsing",
    "json",
    "number",
    "large",
    "integer",
    "lost",
    "precision",
    "retry",
    "backoff",
    "jitter",
];
