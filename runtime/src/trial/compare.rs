//! Where a value that came is not as recorded.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::leeway::{Accepted, Leeway, Place};
use crate::sandbox::{Found, value_in_short};

/// Of a text that is longer only the part is shown that differs, and this many bytes before it.
const LONG: usize = 120;
const BEFORE: usize = 40;

/// The first difference of two values. Numbers are compared by their value: `1.0` is `1`, as JavaScript has it.
pub(super) fn values(recorded: &Value, came: &Value) -> Option<Found> {
    Comparison::default().compare(&mut String::new(), recorded, came)
}

/// The first difference of two values but for what is accepted, which is returned where nothing differs.
pub(super) fn values_with(leeway: &Leeway, place: Place, recorded: &Value, came: &Value) -> Result<Accepted, Found> {
    if values(recorded, came).is_none() {
        return Ok(Accepted::default());
    }
    let mut comparison = Comparison { leeway: Some((leeway, place)), accepted: Accepted::default() };
    match comparison.compare(&mut String::new(), recorded, came) {
        None => Ok(comparison.accepted),
        Some(found) => Err(found),
    }
}

#[derive(Default)]
struct Comparison<'a> {
    leeway: Option<(&'a Leeway, Place)>,
    accepted: Accepted,
}

impl Comparison<'_> {
    fn compare(&mut self, path: &mut String, recorded: &Value, came: &Value) -> Option<Found> {
        let before = path.len();
        match (recorded, came) {
            (Value::Object(a), Value::Object(b)) => {
                let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                    let found = self.sides(path, a.get(key), b.get(key));
                    if found.is_some() {
                        return found;
                    }
                    path.truncate(before);
                }
                None
            }
            (Value::Array(a), Value::Array(b)) => {
                for at in 0..a.len().max(b.len()) {
                    let _ = write!(path, "[{at}]");
                    let found = self.sides(path, a.get(at), b.get(at));
                    if found.is_some() {
                        return found;
                    }
                    path.truncate(before);
                }
                None
            }
            (Value::Number(a), Value::Number(b)) if a == b || a.as_f64() == b.as_f64() && a.is_f64() | b.is_f64() => {
                None
            }
            (a, b) if a == b || self.accepts(path, a, b) => None,
            (Value::String(a), Value::String(b)) => {
                let (recorded, came) = texts_in_short(a, b);
                let quoted = |text: String| Value::from(text).to_string();
                Some(Found { path: path.clone(), recorded: quoted(recorded), came: quoted(came) })
            }
            (a, b) => Some(Found { path: path.clone(), recorded: shown(Some(a)), came: shown(Some(b)) }),
        }
    }

    fn sides(&mut self, path: &mut String, recorded: Option<&Value>, came: Option<&Value>) -> Option<Found> {
        match (recorded, came) {
            (Some(recorded), Some(came)) => self.compare(path, recorded, came),
            (recorded, came) => Some(Found { path: path.clone(), recorded: shown(recorded), came: shown(came) }),
        }
    }

    fn accepts(&mut self, path: &str, recorded: &Value, came: &Value) -> bool {
        let Some((leeway, place)) = self.leeway else { return false };
        let accepted = match (recorded, came) {
            (Value::String(recorded), Value::String(came)) => leeway.accepts(recorded, came, place),
            (Value::Number(recorded), Value::Number(came)) => {
                leeway.accepts(&recorded.to_string(), &came.to_string(), place)
            }
            _ => None,
        };
        let Some(accepted) = accepted else { return false };
        self.accepted.extend(&without_numbers(path), accepted);
        true
    }
}

/// A path with all places of a list as one: `[3].at` is `[].at`.
fn without_numbers(path: &str) -> String {
    let mut inside = false;
    let kept = path.chars().filter(|it| {
        inside = *it == '[' || inside && *it != ']';
        !inside || *it == '['
    });
    kept.collect()
}

/// Of two texts that are not the same, what can be looked at: from shortly before where they part.
pub(super) fn texts_in_short(a: &str, b: &str) -> (String, String) {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let from = if a.len().max(b.len()) > LONG { common.saturating_sub(BEFORE) } else { 0 };
    let cut = |text: &str| {
        let rest = text.get(text.floor_char_boundary(from)..).unwrap_or_default();
        let rest = value_in_short(rest);
        if from > 0 { format!("… {rest}") } else { rest }
    };
    (cut(a), cut(b))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value_in_short(&value.to_string()))
}
