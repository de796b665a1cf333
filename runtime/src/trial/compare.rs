//! What came, beside what was recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::file::RecordedFile;
use super::{Mismatch, Trial};
use crate::sandbox::{Cassette, CassetteError, Found, RecordedCall, value_in_short};

/// The first difference of two values. Numbers are compared by their value: `1.0` is `1`, as JavaScript has it.
pub(super) fn values(recorded: &Value, came: &Value) -> Option<Found> {
    compare(&mut String::new(), recorded, came)
}

fn compare(path: &mut String, recorded: &Value, came: &Value) -> Option<Found> {
    let before = path.len();
    match (recorded, came) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                let found = sides(path, a.get(key), b.get(key));
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
                let found = sides(path, a.get(at), b.get(at));
                if found.is_some() {
                    return found;
                }
                path.truncate(before);
            }
            None
        }
        (Value::Number(a), Value::Number(b)) if a == b || a.as_f64() == b.as_f64() && a.is_f64() | b.is_f64() => None,
        (a, b) if a == b => None,
        (a, b) => Some(Found { path: path.clone(), recorded: shown(Some(a)), came: shown(Some(b)) }),
    }
}

fn sides(path: &mut String, recorded: Option<&Value>, came: Option<&Value>) -> Option<Found> {
    match (recorded, came) {
        (Some(recorded), Some(came)) => compare(path, recorded, came),
        (recorded, came) => Some(Found { path: path.clone(), recorded: shown(recorded), came: shown(came) }),
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value_in_short(&value.to_string()))
}

/// What a run did, by model and by call.
#[derive(Default)]
pub(super) struct Calls {
    saved: BTreeMap<String, Vec<Value>>,
    deleted: BTreeMap<String, Vec<Value>>,
    checkpoints: Vec<Value>,
    metadata: Vec<Value>,
    metadata_fields: Vec<Value>,
}

impl Calls {
    pub(super) fn of(tape: &Cassette) -> Result<Self, CassetteError> {
        let mut calls = Self::default();
        tape.each_call(|call| calls.add(&call))?;
        Ok(calls)
    }

    fn add(&mut self, call: &RecordedCall) {
        let arguments: Value = serde_json::from_str(call.arguments.get()).unwrap_or_default();
        let json = |name: &str| {
            let text = arguments.get(name).and_then(Value::as_str).unwrap_or_default();
            serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
        };
        let model = arguments.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |name: &str| arguments.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        match call.function.as_str() {
            "records.batch-save" | "records.batch-update" => {
                let records = list("entries").into_iter().map(|entry| {
                    let data = entry.get("data").and_then(Value::as_str).unwrap_or_default();
                    serde_json::from_str(data).unwrap_or_else(|_| Value::from(data))
                });
                self.saved.entry(model).or_default().extend(records);
            }
            "records.batch-delete" => self.deleted.entry(model).or_default().extend(list("ids")),
            "state.save-checkpoint" => self.checkpoints.push(json("value")),
            "state.set-metadata" => self.metadata.push(json("value")),
            "state.update-metadata" => self.metadata_fields.push(json("fields")),
            _ => {}
        }
    }

    pub(super) fn compare_records(&self, file: &RecordedFile, trial: &mut Trial) {
        let count = |models: &BTreeMap<String, Vec<Value>>| models.values().map(|list| list.len() as u64).sum();
        (trial.saved, trial.deleted) = (count(&self.saved), count(&self.deleted));
        let mut expected = file.of_models("batchSave");
        for (model, records) in file.of_models("batchUpdate") {
            expected.entry(model).or_default().extend(records);
        }
        of_each_model("saved", &with_text_ids(expected), &with_text_ids(self.saved.clone()), trial);
        let ids = |models: BTreeMap<String, Vec<Value>>| -> BTreeMap<String, Vec<Value>> {
            let models = models.into_iter();
            models.map(|(model, list)| (model, list.iter().map(|it| Value::from(id(it))).collect())).collect()
        };
        of_each_model("deleted", &ids(file.of_models("batchDelete")), &ids(self.deleted.clone()), trial);
    }

    pub(super) fn compare_state(&self, file: &RecordedFile, trial: &mut Trial) {
        let kinds: [(&str, &[&str], &[Value]); 3] = [
            ("checkpoint", &["saveCheckpoint", "setCheckpoint"], &self.checkpoints),
            ("metadata", &["setMetadata"], &self.metadata),
            ("metadata", &["updateMetadata"], &self.metadata_fields),
        ];
        for (kind, names, came) in kinds {
            let Some((all, expected)) = file.calls(names) else { continue };
            let last = came.len().saturating_sub(1);
            let came = if all { came } else { came.get(last..).unwrap_or_default() };
            if let Some(found) = values(&Value::Array(expected), &Value::Array(came.to_vec())) {
                trial.mismatches.push(mismatch(kind, names.first().copied().unwrap_or_default(), found));
            }
        }
    }
}

fn mismatch(kind: &str, what: &str, found: Found) -> Mismatch {
    let Found { path, recorded, came } = found;
    Mismatch { kind: kind.to_owned(), what: what.to_owned(), path, recorded, came }
}

/// The id of a record, or what is an id itself, as a text.
fn id(record: &Value) -> String {
    let id = record.get("id").unwrap_or(record);
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// An id is a text to the host, and a number to some scripts.
fn with_text_ids(mut models: BTreeMap<String, Vec<Value>>) -> BTreeMap<String, Vec<Value>> {
    for record in models.values_mut().flatten().filter_map(Value::as_object_mut) {
        if let Some(id) = record.get_mut("id").filter(|id| id.is_number()) {
            *id = Value::from(id.to_string());
        }
    }
    models
}

fn of_each_model(
    kind: &str,
    expected: &BTreeMap<String, Vec<Value>>,
    came: &BTreeMap<String, Vec<Value>>,
    trial: &mut Trial,
) {
    let models: BTreeSet<&String> = expected.keys().chain(came.keys()).collect();
    let none = Vec::new();
    for model in models {
        let (expected, came) = (expected.get(model).unwrap_or(&none), came.get(model).unwrap_or(&none));
        let Some(found) = values(&Value::from(expected.clone()), &Value::from(came.clone())) else { continue };
        let sorted = |records: &[Value]| {
            let mut records = records.to_vec();
            records.sort_by_cached_key(|record| (id(record), record.to_string()));
            Value::from(records)
        };
        let Some(by_id) = values(&sorted(expected), &sorted(came)) else {
            trial.notes.push(format!("{kind} {model}: the same {} records in another order", came.len()));
            continue;
        };
        // Where as many came, the place in the file says most; else which is missing or too many does.
        let mut found = mismatch(kind, model, if expected.len() == came.len() { found } else { by_id });
        if expected.len() != came.len() {
            let ids = |records: &[Value]| records.iter().map(id).collect::<BTreeSet<_>>();
            let (expected_ids, came_ids) = (ids(expected), ids(came));
            let some = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
                let apart: Vec<&str> = a.difference(b).take(3).map(String::as_str).collect();
                if apart.is_empty() { String::new() } else { format!(", only there: {}", apart.join(", ")) }
            };
            found.path = String::new();
            found.recorded = format!("{} records{}", expected.len(), some(&expected_ids, &came_ids));
            found.came = format!("{} records{}", came.len(), some(&came_ids, &expected_ids));
        }
        trial.mismatches.push(found);
    }
}
