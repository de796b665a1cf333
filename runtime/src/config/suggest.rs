//! What was meant, perhaps.

use strsim::damerau_levenshtein;

use super::load::{name, variable};
use super::settings::{PLACES, SECTIONS};
use crate::secrets::KEYS_VARIABLE;

/// What the variables of all settings begin with.
const PREFIX: &str = "TERAPI_";

/// What to say of a key that means nothing: the setting that was meant, or else what there is.
pub(super) fn hint(section: &str, key: &str, is_section: bool) -> String {
    if is_section {
        return match nearest(key, SECTIONS.iter().map(|section| (*section, *section))) {
            Some(section) => format!("did you mean `[{section}]`?"),
            None => format!("the sections are {}", listed(SECTIONS.iter().map(|section| format!("[{section}]")))),
        };
    }
    let key = &key.to_ascii_lowercase();
    let like = |all: bool| {
        nearest(key, PLACES.iter().filter(|place| all || place.0 == section).map(|place| (place.1, *place)))
    };
    if let Some((section, key)) = like(false).or_else(|| like(true)) {
        return format!("did you mean {}?", name(section, key));
    }
    let here = PLACES.iter().filter(|place| place.0 == section).map(|place| place.1.to_owned());
    format!("the settings there are {}", listed(here))
}

/// Of the names of environment variables those that look as if they were meant to be a setting and are none, each as a
/// sentence to warn with. Others that begin with `TERAPI_` may be somebody else's.
pub fn unknown_variables(names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    let known: Vec<String> = PLACES.iter().map(|place| variable(*place)).chain([KEYS_VARIABLE.to_owned()]).collect();
    let sections: Vec<String> = SECTIONS.iter().map(|section| variable((section, ""))).collect();
    let mut warnings: Vec<String> = Vec::new();
    for name in names {
        let name = name.as_ref();
        let upper = name.to_ascii_uppercase();
        if !upper.starts_with(PREFIX) || known.iter().any(|known| known == name) {
            continue;
        }
        let meant = nearest(own(&upper), known.iter().map(|known| (own(known), known)));
        match (meant, sections.iter().find(|section| upper.starts_with(section.as_str()))) {
            (Some(meant), _) => {
                warnings.push(format!("the environment variable {name} is no setting: did you mean {meant}?"));
            }
            (None, Some(section)) => {
                let there = known.iter().filter(|known| known.starts_with(section.as_str())).cloned();
                warnings.push(format!("the environment variable {name} is no setting: there are {}", listed(there)));
            }
            (None, None) => {}
        }
    }
    warnings.sort();
    warnings
}

/// The nearest, if it is near: a mistake in every three letters at most.
fn nearest<'a, T>(given: &str, choices: impl Iterator<Item = (&'a str, T)>) -> Option<T> {
    // A bound for the work: no setting's name is half as long.
    let given: String = given.chars().take(64).collect();
    choices
        .map(|(name, choice)| (damerau_levenshtein(&given, name), name.len(), choice))
        .filter(|(distance, length, _)| distance * 3 <= *length)
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., choice)| choice)
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// A variable's name without what all begin with, which is no likeness.
fn own(variable: &str) -> &str {
    variable.strip_prefix(PREFIX).unwrap_or(variable)
}
