//! The texts of the demo data: a few words, put together by dice.

use super::{mix, pick};

/// How many users write issues.
pub(super) const AUTHORS: u64 = 24;

const VERBS: [&str; 8] = ["Fix", "Explain", "Speed up", "Rework", "Test", "Document", "Drop", "Retry"];
const THINGS: [&str; 10] = [
    "the import of contacts",
    "paging in the list view",
    "webhook signatures",
    "the retry after a 429",
    "time zones in reports",
    "the OAuth refresh",
    "exports over 2 GB",
    "the search index",
    "names such as “Zoë” and “李雷”",
    "the nightly rebuild",
];
const WHENS: [&str; 6] =
    ["on slow networks", "when the disk is full", "for guests", "after an upgrade", "in Safari", "with 10 000 rows"];
const SENTENCES: [&str; 8] = [
    "Seen since the last release, on two machines out of five.",
    "It worked before, as far as anyone remembers.",
    "The log says `connection reset by peer`, and nothing else.",
    "A colleague suggests that the cache keeps \"stale\" entries.",
    "Steps:\n\n1. Open the page\n2. Wait for a minute\n3. Reload",
    "Expected: the new name. Seen: the old one.",
    "Happy to send a pull request, if someone points to the place.",
    "Not urgent, but it comes up every week. 🙂",
];
const LABELS: [&str; 6] = ["bug", "enhancement", "question", "documentation", "performance", "help wanted"];
const FIRST_NAMES: [&str; 12] =
    ["Ada", "Bo", "Chloé", "Dmitri", "Esi", "Farid", "Grace", "Hana", "Imre", "Jun", "Kofi", "Lúcia"];
const LAST_NAMES: [&str; 10] =
    ["Abara", "Brandt", "Costa", "Dahl", "Endo", "Fischer", "Greco", "Haddad", "Iyer", "Jensen"];

pub(super) fn title(dice: u64) -> String {
    format!("{} {} {}", pick(&VERBS, dice), pick(&THINGS, dice >> 8), pick(&WHENS, dice >> 16))
}

/// One to three sentences.
pub(super) fn body(dice: u64) -> String {
    let mut body = String::new();
    for index in 0..=dice % 3 {
        if index > 0 {
            body.push_str("\n\n");
        }
        body.push_str(pick(&SENTENCES, mix(dice, index)));
    }
    body
}

/// None, or one.
pub(super) fn labels(dice: u64) -> Vec<String> {
    if dice.is_multiple_of(3) { vec![pick(&LABELS, dice >> 24).to_owned()] } else { Vec::new() }
}

pub(super) fn first_name(dice: u64) -> &'static str {
    pick(&FIRST_NAMES, dice)
}

pub(super) fn last_name(dice: u64) -> &'static str {
    pick(&LAST_NAMES, dice >> 8)
}

/// A login, a different one for each number.
pub(super) fn login(number: u64) -> String {
    let dice = mix(0, number);
    format!("{}-{}{number}", first_name(dice), last_name(dice)).to_ascii_lowercase().replace('é', "e").replace('ú', "u")
}
