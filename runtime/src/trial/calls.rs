//! What a run did, beside what it should have done.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::compare::values_with;
use super::file::RecordedFile;
use super::leeway::{Leeway, Place};
use super::{Mismatch, Trial};
use crate::sandbox::{Cassette, CassetteError, Found, RecordedCall, value_in_short};

/// Ids that are named where one side has more records than the other.
const SOME_IDS: usize = 3;

type Models = BTreeMap<String, Vec<Value>>;

/// What a run did, by model and by call.
#[derive(Default)]
pub(super) struct Calls {
    saved: Models,
    updated: Models,
    deleted: Models,
    /// Ids that were found deleted, and those of an account that is not ended yet.
    tracked: Models,
    unseen: Models,
    checkpoints: Vec<Value>,
    cleared: u64,
    metadata: Vec<Value>,
    metadata_fields: Vec<Value>,
    logged: Vec<Value>,
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
        let records = || {
            list("entries").into_iter().map(|entry| {
                let data = entry.get("data").and_then(Value::as_str).unwrap_or_default();
                serde_json::from_str(data).unwrap_or_else(|_| Value::from(data))
            })
        };
        let answer = || -> Option<Value> { serde_json::from_str(call.answer.as_ref()?.get()).ok() };
        match call.function.as_str() {
            "records.batch-save" => self.saved.entry(model).or_default().extend(records()),
            "records.batch-update" => self.updated.entry(model).or_default().extend(records()),
            "records.batch-delete" => self.deleted.entry(model).or_default().extend(list("ids")),
            "records.unseen" => {
                let ids = answer().and_then(|answer| answer.get("ok")?.get("ids")?.as_array().cloned());
                self.unseen.entry(model).or_default().extend(ids.unwrap_or_default());
            }
            "records.track-deletes-end" => {
                let ids = self.unseen.remove(&model).unwrap_or_default();
                if answer().is_some_and(|answer| answer.get("ok").is_some()) {
                    self.tracked.entry(model).or_default().extend(ids);
                }
            }
            "state.save-checkpoint" => self.checkpoints.push(json("value")),
            "state.clear-checkpoint" => self.cleared += 1,
            "state.set-metadata" => self.metadata.push(json("value")),
            "state.update-metadata" => self.metadata_fields.push(json("fields")),
            "log.log" => self.logged.extend(arguments.get("message").cloned()),
            _ => {}
        }
    }

    pub(super) fn compare(mut self, file: &RecordedFile, leeway: &Leeway, is_sync: bool, trial: &mut Trial) {
        let count = |models: &Models| models.values().map(|list| list.len() as u64).sum::<u64>();
        (trial.saved, trial.deleted) = (count(&self.saved) + count(&self.updated), count(&self.deleted));
        let mut side = Side { leeway, trial };
        if is_sync {
            let expected = file.of_models("batchSave").unwrap_or_default();
            match file.of_models("batchUpdate") {
                Some(updates) => side.models("updated", with_text_ids(updates), with_text_ids(self.updated)),
                // What does not tell updates from saves has both in one.
                None if !same_counts(&expected, &self.saved) => {
                    for (model, records) in self.updated {
                        self.saved.entry(model).or_default().extend(records);
                    }
                }
                None => {}
            }
            side.models("saved", with_text_ids(expected), with_text_ids(self.saved));
            side.models("deleted", ids(file.of_models("batchDelete").unwrap_or_default()), ids(self.deleted));
            if let Some(expected) = file.of_models("trackDeletesEnd") {
                side.models("found deleted", ids(expected), ids(self.tracked));
            }
        }
        let calls: [(&str, &[&str], Vec<Value>); 4] = [
            ("checkpoint", &["saveCheckpoint", "setCheckpoint"], self.checkpoints),
            ("metadata", &["setMetadata"], self.metadata),
            ("metadata", &["updateMetadata"], self.metadata_fields),
            ("log", &["log"], self.logged),
        ];
        for (kind, names, mut came) in calls {
            let Some((all, expected)) = file.calls(names) else { continue };
            if !all {
                came = came.pop().into_iter().collect();
            }
            side.values(kind, names.first().copied().unwrap_or_default(), &expected.into(), &came.into());
        }
        if let Some(expected) = file.count("clearCheckpoint") {
            side.values("checkpoint", "clearCheckpoint", &expected.into(), &self.cleared.into());
        }
    }
}

/// Whether both have as many records of each model.
fn same_counts(a: &Models, b: &Models) -> bool {
    let count = |models: &Models, model: &String| models.get(model).map_or(0, Vec::len);
    a.keys().chain(b.keys()).all(|model| count(a, model) == count(b, model))
}

/// Compares, and says what differs.
pub(super) struct Side<'a> {
    pub(super) leeway: &'a Leeway,
    pub(super) trial: &'a mut Trial,
}

impl Side<'_> {
    pub(super) fn values(&mut self, kind: &str, what: &str, expected: &Value, came: &Value) {
        self.trial.compared += 1;
        match values_with(self.leeway, Place::Result, expected, came) {
            Ok(accepted) => self.trial.accepted.extend(if kind == "output" { kind } else { what }, accepted),
            Err(Found { path, recorded, came }) => {
                let (kind, what) = (kind.to_owned(), what.to_owned());
                self.trial.mismatches.push(Mismatch { kind, what, path, recorded, came });
            }
        }
    }

    fn models(&mut self, kind: &str, mut expected: Models, mut came: Models) {
        let models: BTreeSet<String> = expected.keys().chain(came.keys()).cloned().collect();
        for model in models {
            let (expected, came) =
                (expected.remove(&model).unwrap_or_default(), came.remove(&model).unwrap_or_default());
            self.model(kind, model, expected, came);
        }
    }

    fn model(&mut self, kind: &str, model: String, expected: Vec<Value>, came: Vec<Value>) {
        self.trial.compared += 1;
        let (expected, came) = (Value::from(expected), Value::from(came));
        let found = match values_with(self.leeway, Place::Result, &expected, &came) {
            Ok(accepted) => return self.trial.accepted.extend(&format!("{kind} {model}"), accepted),
            Err(found) => found,
        };
        let (Value::Array(mut expected), Value::Array(mut came)) = (expected, came) else { return };
        let (expected_count, came_count) = (expected.len(), came.len());
        let same_order = expected.iter().map(id).eq(came.iter().map(id));
        for records in [&mut expected, &mut came] {
            records.sort_by_cached_key(|record| (id(record), record.to_string()));
        }
        let apart = |a: &[Value], b: &[Value]| {
            let these: BTreeSet<String> = b.iter().map(id).collect();
            let ids = a.iter().map(id).filter(|id| !these.contains(id));
            let some: Vec<String> = ids.take(SOME_IDS).map(|id| value_in_short(&id)).collect();
            if some.is_empty() { String::new() } else { format!(", only there: {}", some.join(", ")) }
        };
        let only = (apart(&expected, &came), apart(&came, &expected));
        let same_ids = !same_order && expected.iter().map(id).eq(came.iter().map(id));
        let (expected, came) = (Value::from(expected), Value::from(came));
        let by_id = match values_with(self.leeway, Place::Result, &expected, &came) {
            Err(found) => found,
            Ok(accepted) => {
                self.trial.accepted.extend(&format!("{kind} {model}"), accepted);
                let note = format!("{kind} {model}: the same {came_count} records in another order");
                return self.trial.notes.push(note);
            }
        };
        // Where as many came, the place in the file says most, or the id in another order; else which are missing or too many.
        let Found { path, recorded, came } = if same_ids {
            with_id(by_id, &expected)
        } else if expected_count == came_count {
            found
        } else {
            let recorded = format!("{expected_count} records{}", only.0);
            Found { path: String::new(), recorded, came: format!("{came_count} records{}", only.1) }
        };
        self.trial.mismatches.push(Mismatch { kind: kind.replace(' ', "-"), what: model, path, recorded, came });
    }
}

/// With the id of the record in the place of its number in a sorted list.
fn with_id(found: Found, sorted: &Value) -> Found {
    let place = found.path.strip_prefix('[').and_then(|path| path.split_once(']'));
    let named = place.and_then(|(at, rest)| {
        let record = sorted.get(at.parse::<usize>().ok()?)?;
        Some(format!("{} of the record {}", rest.trim_start_matches('.'), id(record)))
    });
    Found { path: named.unwrap_or_else(|| found.path.clone()), ..found }
}

/// The id of a record, or what is an id itself, as a text.
fn id(record: &Value) -> String {
    let id = record.get("id").unwrap_or(record);
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

fn ids(models: Models) -> Models {
    let ids = |records: Vec<Value>| records.iter().map(|record| Value::from(id(record))).collect();
    models.into_iter().map(|(model, records)| (model, ids(records))).collect()
}

/// An id is a text to the host, and a number to some scripts.
fn with_text_ids(mut models: Models) -> Models {
    for record in models.values_mut().flatten().filter_map(Value::as_object_mut) {
        if let Some(id) = record.get_mut("id").filter(|id| id.is_number()) {
            *id = Value::from(id.to_string());
        }
    }
    models
}
